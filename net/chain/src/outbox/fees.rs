//! What is offered for gas, at first and when nobody takes it.

use super::Settings;

/// Wei per unit of gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fees {
    /// At most, the base fee included.
    pub(crate) fee: u64,
    /// Above the base fee.
    pub(crate) tip: u64,
}

impl Fees {
    /// What the chain suggests, within the cap.
    pub(crate) fn suggested(fee: u128, tip: u128, settings: &Settings) -> Self {
        let fee = u64::try_from(fee).unwrap_or(u64::MAX).min(settings.most_per_gas);
        Self { fee, tip: u64::try_from(tip).unwrap_or(u64::MAX).min(fee) }
    }

    /// What replaces an offer: as nodes ask, both a tenth higher at least; an eighth, where the cap allows.
    /// None where it does not.
    pub(crate) fn replacing(self, suggested: Self, settings: &Settings) -> Option<Self> {
        let cap = settings.most_per_gas;
        let fee = raised(self.fee, 8)?.max(suggested.fee).min(cap);
        let tip = raised(self.tip, 8)?.max(suggested.tip).min(fee);
        (fee >= raised(self.fee, 10)? && tip >= raised(self.tip, 10)?).then_some(Self { fee, tip })
    }
}

/// One part in `parts` more, rounded up.
fn raised(wei: u64, parts: u64) -> Option<u64> {
    wei.checked_add(wei.div_ceil(parts).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cap(most_per_gas: u64) -> Settings {
        Settings { most_per_gas, ..Settings::default() }
    }

    #[test]
    fn a_replacement_is_a_tenth_higher_in_both_fees_or_there_is_none() {
        let old = Fees { fee: 1000, tip: 10 };
        let low = Fees { fee: 1, tip: 1 };
        assert_eq!(old.replacing(low, &cap(5000)), Some(Fees { fee: 1125, tip: 12 }));
        assert_eq!(old.replacing(Fees { fee: 3000, tip: 50 }, &cap(5000)), Some(Fees { fee: 3000, tip: 50 }));
        assert_eq!(old.replacing(low, &cap(1110)), Some(Fees { fee: 1110, tip: 12 }));
        assert_eq!(old.replacing(low, &cap(1099)), None);
        assert_eq!(Fees { fee: u64::MAX, tip: 1 }.replacing(low, &cap(u64::MAX)), None);
        assert_eq!(Fees { fee: 1000, tip: 1000 }.replacing(low, &cap(1099)), None);
        assert_eq!(Fees { fee: 7, tip: 0 }.replacing(low, &cap(100)), Some(Fees { fee: 8, tip: 1 }));
    }

    #[test]
    fn no_suggestion_exceeds_the_cap() {
        assert_eq!(Fees::suggested(u128::MAX, u128::MAX, &cap(9)), Fees { fee: 9, tip: 9 });
        assert_eq!(Fees::suggested(8, 3, &cap(9)), Fees { fee: 8, tip: 3 });
    }
}
