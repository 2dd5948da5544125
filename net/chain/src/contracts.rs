//! Bindings of the contracts, made from the artifacts that are committed beside their sources.

#![allow(missing_docs, unreachable_pub, clippy::too_many_arguments)]

use alloy::primitives::{Bytes, U256};

macro_rules! bind {
    ($($module:ident $name:ident $errors:ident $artifact:literal,)*) => {
        $(mod $module {
            alloy::sol!(
                #[sol(rpc)]
                $name,
                $artifact
            );
        }
        pub use $module::$name;)*

        /// Signature of the contracts' own error with this selector.
        fn error(selector: [u8; 4]) -> Option<&'static str> {
            None$(.or_else(|| $name::$errors::signature_by_selector(selector)))*
        }
    };
}

bind! {
    collateral IntelCollateral IntelCollateralErrors "../../contracts/artifacts/IntelCollateral.json",
    simulated SimulatedCollateral SimulatedCollateralErrors "../../contracts/artifacts/SimulatedCollateral.json",
    verifier DcapVerifier DcapVerifierErrors "../../contracts/artifacts/DcapVerifier.json",
    router QuoteRouter QuoteRouterErrors "../../contracts/artifacts/QuoteRouter.json",
    policy MeasurementPolicy MeasurementPolicyErrors "../../contracts/artifacts/MeasurementPolicy.json",
    registry EnclaveRegistry EnclaveRegistryErrors "../../contracts/artifacts/EnclaveRegistry.json",
    ledger WorkLedger WorkLedgerErrors "../../contracts/artifacts/WorkLedger.json",
    vault RewardVault RewardVaultErrors "../../contracts/artifacts/RewardVault.json",
    token GlacierToken GlacierTokenErrors "../../contracts/artifacts/GlacierToken.json",
    escrow JobEscrow JobEscrowErrors "../../contracts/artifacts/JobEscrow.json",
    anchor DeviceAnchor DeviceAnchorErrors "../../contracts/artifacts/DeviceAnchor.json",
}

/// What a contract's own error says: its signature, and its members in hexadecimal. None for data of other kinds.
pub(crate) fn refusal(data: &Bytes) -> Option<String> {
    let (selector, members) = data.split_first_chunk::<4>()?;
    let signature = error(*selector)?;
    let members: Vec<String> =
        members.chunks_exact(32).take(MEMBERS).map(|word| format!("{:#x}", U256::from_be_slice(word))).collect();
    Some(if members.is_empty() { signature.to_owned() } else { format!("{signature}: {}", members.join(", ")) })
}

/// Of an error, at most.
const MEMBERS: usize = 8;
