//! Attributes of a guest or enclave that let somebody in. Genuine evidence may have them; whether
//! they are acceptable is for policy.

use core::fmt;

macro_rules! exposures {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $text:literal;)+) => {
        /// An attribute that lets somebody in.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[non_exhaustive]
        pub enum Exposure {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl Exposure {
            /// The word that outputs and policies use.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for Exposure {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)+ })
            }
        }
    };
}

exposures! {
    /// SGX: ATTRIBUTES.DEBUG. TDX: bit 0 of TDATTRIBUTES or a profiling bit (4 to 6). SNP: bit 19 of
    /// the guest policy.
    Debug = "debug", "debug is on: the host can read this memory";
    /// TDX: bit 29 of TDATTRIBUTES.
    Migratable = "migratable", "the domain may be migrated by a service domain";
    /// TDX: bit 28 of TDATTRIBUTES is clear.
    SeptVeDisableClear = "sept-ve-disable-clear", "SEPT_VE_DISABLE is clear: the host can inject exceptions on memory access";
    /// TDX: MRSERVICETD is not zero, or bit 17 of TDATTRIBUTES (SERVTD_EXT) is set.
    ServiceTd = "service-td", "a service domain is bound to it";
    /// TDX: an attribute bit that no specification names.
    UnknownAttributes = "unknown-attributes", "an attribute is set that is not understood";
    /// SNP: bit 18 of the guest policy.
    MigrationAgent = "migration-agent", "the guest policy allows a migration agent";
    /// SNP: the report was asked for below VMPL 0.
    LowerPrivilege = "lower-privilege", "the report was asked for below VMPL 0: something more privileged is in the guest";
}
