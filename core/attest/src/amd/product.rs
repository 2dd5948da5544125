//! Processor generations: how each names its authorities and lays out its firmware versions.

use super::tcb::SnpTcb;

/// A processor generation, with authorities of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    Milan,
    /// Genoa, Bergamo and Siena.
    Genoa,
    /// Turin and Turin Dense.
    Turin,
}

/// Whose key signs reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// The chip's: VCEK.
    Chip,
    /// A cloud provider's, loaded into its chips: VLEK.
    Provider,
}

/// Processor as CPUID names it: family and model, each combined with its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Processor {
    pub(crate) family: u8,
    pub(crate) model: u8,
}

impl Product {
    /// AMD's word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// Product of a root, by its common name.
    pub(crate) fn of_root(name: &str) -> Option<Self> {
        Self::named(name.strip_prefix("ARK-")?)
    }

    /// Product and kind of the keys that an authority certifies, by its common name.
    pub(crate) fn of_authority(name: &str) -> Option<(Self, KeyKind)> {
        let name = name.strip_prefix("SEV-")?;
        match name.strip_prefix("VLEK-") {
            Some(name) => Some((Self::named(name)?, KeyKind::Provider)),
            None => Some((Self::named(name)?, KeyKind::Chip)),
        }
    }

    /// Product of a key's certificate, by its product name: a stepping may follow, as in `Milan-B0`.
    pub(crate) fn of_chip(name: &str) -> Option<Self> {
        Self::named(name.split_once('-').map_or(name, |(product, _stepping)| product))
    }

    /// Whether the processor is of this product.
    pub(crate) fn includes(self, processor: Processor) -> bool {
        let Processor { family, model } = processor;
        match self {
            Self::Milan => family == 0x19 && model <= 0x0f,
            Self::Genoa => family == 0x19 && matches!(model, 0x10..=0x1f | 0xa0..=0xaf),
            Self::Turin => family == 0x1a && model <= 0x1f,
        }
    }

    /// Versions in a TCB_VERSION of this product.
    pub(crate) fn tcb(self, version: &[u8; 8]) -> SnpTcb {
        match (self, *version) {
            (Self::Milan | Self::Genoa, [bootloader, tee, _, _, _, _, snp, microcode]) => {
                SnpTcb { fmc: None, bootloader, tee, snp, microcode }
            }
            (Self::Turin, [fmc, bootloader, tee, snp, _, _, _, microcode]) => {
                SnpTcb { fmc: Some(fmc), bootloader, tee, snp, microcode }
            }
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "Milan" => Some(Self::Milan),
            "Genoa" => Some(Self::Genoa),
            "Turin" => Some(Self::Turin),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_known_by_their_whole_name() {
        assert_eq!(Product::of_root("ARK-Milan"), Some(Product::Milan));
        assert_eq!(Product::of_authority("SEV-Genoa"), Some((Product::Genoa, KeyKind::Chip)));
        assert_eq!(Product::of_authority("SEV-VLEK-Turin"), Some((Product::Turin, KeyKind::Provider)));
        for name in ["", "ARK-", "ARK-Venice", "SEV-Milan", "ARK-Milan2", "xARK-Milan", "ARK-Milan-B0"] {
            assert_eq!(Product::of_root(name), None, "{name}");
        }
        for name in ["", "SEV-", "SEV-VLEK", "SEV-VLEK-", "SEV-VCEK", "ARK-Milan", "SEV-Milan-B0"] {
            assert_eq!(Product::of_authority(name), None, "{name}");
        }
    }

    #[test]
    fn a_stepping_may_follow_a_chips_product() {
        assert_eq!(Product::of_chip("Milan-B0"), Some(Product::Milan));
        assert_eq!(Product::of_chip("Turin"), Some(Product::Turin));
        assert_eq!(Product::of_chip("Turing"), None);
        assert_eq!(Product::of_chip("-Turin"), None);
    }

    #[test]
    fn no_processor_is_of_two_products() {
        for (family, model) in (0..=255).flat_map(|family| (0..=255).map(move |model| (family, model))) {
            let of = [Product::Milan, Product::Genoa, Product::Turin]
                .into_iter()
                .filter(|product| product.includes(Processor { family, model }))
                .count();
            assert!(of <= 1, "{family:#x} {model:#x}");
        }
    }

    #[test]
    fn versions_lie_where_the_product_has_them() {
        let version = [1, 2, 3, 4, 5, 6, 7, 8];
        let older = SnpTcb { fmc: None, bootloader: 1, tee: 2, snp: 7, microcode: 8 };
        assert_eq!(Product::Milan.tcb(&version), older);
        assert_eq!(Product::Genoa.tcb(&version), older);
        let turin = SnpTcb { fmc: Some(1), bootloader: 2, tee: 3, snp: 4, microcode: 8 };
        assert_eq!(Product::Turin.tcb(&version), turin);
    }
}
