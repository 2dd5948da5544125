//! Bindings of the contracts, made from the artifacts that are committed beside their sources.

#![allow(missing_docs, unreachable_pub, clippy::too_many_arguments)]

macro_rules! bind {
    ($($module:ident $name:ident $artifact:literal,)*) => {
        $(mod $module {
            alloy::sol!(
                #[sol(rpc)]
                $name,
                $artifact
            );
        }
        pub use $module::$name;)*
    };
}

bind! {
    collateral IntelCollateral "../../contracts/artifacts/IntelCollateral.json",
    simulated SimulatedCollateral "../../contracts/artifacts/SimulatedCollateral.json",
    verifier DcapVerifier "../../contracts/artifacts/DcapVerifier.json",
    router QuoteRouter "../../contracts/artifacts/QuoteRouter.json",
    policy MeasurementPolicy "../../contracts/artifacts/MeasurementPolicy.json",
    registry EnclaveRegistry "../../contracts/artifacts/EnclaveRegistry.json",
    ledger WorkLedger "../../contracts/artifacts/WorkLedger.json",
    vault RewardVault "../../contracts/artifacts/RewardVault.json",
    token GlacierToken "../../contracts/artifacts/GlacierToken.json",
    escrow JobEscrow "../../contracts/artifacts/JobEscrow.json",
    anchor DeviceAnchor "../../contracts/artifacts/DeviceAnchor.json",
}
