//! Why there is no measurement, sorted by the file that is at fault.

/// No measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The firmware image.
    #[error("the firmware: {0}")]
    Firmware(#[from] FirmwareFault),
    /// The kernel image or its command line.
    #[error("the kernel: {0}")]
    Kernel(#[from] KernelFault),
    /// The number of virtual processors.
    #[error("a guest has 1 to {max} virtual processors")]
    Vcpus {
        /// The most that are computed.
        max: u32,
    },
}

/// What is wrong with a firmware image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FirmwareFault {
    /// Not made of whole pages, or empty, or larger than 4 GiB.
    #[error("is not made of whole 4096-byte pages")]
    Size,
    /// The GUID that ends the table is not where OVMF puts it.
    #[error("has no table of GUIDs at its end")]
    NoTable,
    /// An entry of the table overruns it.
    #[error("has a broken table of GUIDs")]
    Table,
    /// No SEV metadata: built without support for SEV-SNP.
    #[error("has no SEV metadata")]
    NoSevMetadata,
    /// No TDX metadata: built without support for TDX.
    #[error("has no TDX metadata")]
    NoTdxMetadata,
    /// No address at which other processors start.
    #[error("has no SEV-ES reset block, which says where the second processor starts")]
    NoResetBlock,
    /// A kernel was given, and the image has no room for its hashes.
    #[error("has no place for kernel hashes")]
    NoKernelHashes,
    /// Signature, version or length of the metadata.
    #[error("has broken metadata")]
    Metadata,
    /// More sections than any image has.
    #[error("names too many sections")]
    TooManySections,
    /// A section of a kind that this code does not know, so its pages cannot be counted.
    #[error("has a section of unknown kind {kind:#x}")]
    UnknownSection {
        /// As the image says it.
        kind: u32,
    },
    /// A section that is not page-aligned, or lies outside of the image, or is measured beyond its data.
    #[error("has a section with an impossible size or place")]
    Section,
    /// More pages than are worth hashing: a wrong size.
    #[error("asks for too many pages")]
    TooManyPages,
}

/// What is wrong with a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelFault {
    /// Not a PE image: built without the EFI stub, or not a kernel.
    #[error("is no PE image")]
    NotPe,
    /// Headers or sections that point outside of the file.
    #[error("is a broken PE image")]
    BrokenPe,
    /// More sections than the specification allows.
    #[error("has too many PE sections")]
    TooManySections,
    /// The firmware takes a command line of ASCII, without NUL.
    #[error("has a command line that is not plain ASCII")]
    CommandLine,
}

/// What is wrong with an event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogFault {
    /// The first event must be the specification identifier of a crypto-agile log.
    #[error("does not begin with a `Spec ID Event03`")]
    NotCryptoAgile,
    /// The log must have digests of SHA-384.
    #[error("has no bank of SHA-384")]
    NoSha384,
    /// An algorithm twice, or of another digest size than it has.
    #[error("declares its digest algorithms wrongly")]
    Algorithms,
    /// Ends within an event.
    #[error("ends within event {index}")]
    Truncated {
        /// Counted from 0, the identifier.
        index: u32,
    },
    /// An event without exactly one SHA-384 digest, or with an undeclared algorithm.
    #[error("has wrong digests in event {index}")]
    Digests {
        /// Counted from 0, the identifier.
        index: u32,
    },
    /// Registers are 0 (MRTD) to 4 (RTMR3).
    #[error("names register {register} in event {index}")]
    Register {
        /// Counted from 0, the identifier.
        index: u32,
        /// As the event says it.
        register: u32,
    },
    /// More events than any boot writes.
    #[error("has too many events")]
    TooManyEvents,
}
