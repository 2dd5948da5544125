//! What can be wrong with a GPU's or switch's report, and with what it is compared to.

/// Why a GPU's or switch's report is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuFault {
    /// Larger than is read.
    #[error("{found} bytes, at most {max} are read")]
    TooLarge {
        /// Bytes that came.
        found: usize,
        /// Bytes that are read.
        max: usize,
    },
    /// A length field that does not fit the bytes: some are missing, or left over.
    #[error("a length field does not fit the bytes")]
    Length,
    /// A header of request or response with other constants than SPDM 1.1 measurements have.
    #[error("not a signed SPDM 1.1 measurements request and response for all blocks")]
    Header,
    /// Neither the number of measurement blocks of a GPU nor that of a switch.
    #[error("{0} measurement blocks: neither a GPU nor a switch")]
    Blocks(u8),
    /// A measurement block with another index, specification or size than its place asks for.
    #[error("measurement block {0} is malformed or out of order")]
    Block(u8),
    /// Opaque data that are no run of typed fields.
    #[error("opaque data malformed")]
    Opaque,
    /// A field of the opaque data that is there twice.
    #[error("opaque field {0} is there twice")]
    Repeated(u16),
    /// A field of the opaque data that has to be there and is not.
    #[error("opaque field {0} is missing")]
    Missing(u16),
    /// A field of the opaque data with a value that is not understood.
    #[error("opaque field {0} has a value that is not understood")]
    Field(u16),
    /// A version of the opaque data that is not understood.
    #[error("opaque data of version {0}")]
    OpaqueVersion(u16),
    /// The report names a firmware id, and the certificate of its key none.
    #[error("the key's certificate names no firmware id, the report does")]
    NoFirmwareId,
    /// The key is certified for other firmware than the report names.
    #[error("the key is certified for other firmware")]
    OtherFirmware,
    /// The report is of another chip, or of another kind of device, than the certificates.
    #[error("the certificates are of another chip")]
    OtherChip,
    /// A reference manifest was given, but for another version.
    #[error("reference manifest of another version")]
    ManifestVersion,
    /// A reference manifest was given, but of another kind.
    #[error("reference manifest of another kind")]
    ManifestKind,
    /// A reference manifest was given for this version, but for another chip.
    #[error("reference manifest for another chip")]
    ManifestChip,
    /// A reference manifest under a root of another kind than the device's: simulated under
    /// hardware, or hardware under simulated.
    #[error("hardware and simulation mixed: reference manifest under another kind of root")]
    ManifestPlatform,
    /// A reference manifest that names no measurement.
    #[error("reference manifest without measurements")]
    ManifestEmpty,
    /// An index that the manifests of driver and VBIOS both claim.
    #[error("measurement {0} is claimed by two reference manifests")]
    IndexConflict(u8),
    /// A measurement with a value that no manifest names.
    #[error("measurement {0} has a value that no reference manifest names")]
    Measurement(u8),
    /// The video decoder is enabled, and no manifest names its firmware.
    #[error("the video decoder is enabled, and no reference manifest names its firmware")]
    VideoDecoder,
}
