//! What each transaction costs: `contracts/gas.json`, which the contract tests write.

use crate::cargo;
use serde_json::{Map, Value};
use std::fs;

/// Gas of a transaction before it does anything.
pub(super) const TRANSACTION: u64 = 21_000;

macro_rules! operations {
    ($($name:ident $key:literal $slots:literal $event:literal $calldata:literal;)*) => {
        /// A transaction that the network sends.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub(super) enum Op { $($name,)* }

        impl Op {
            /// All, in the order of their discriminants.
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its key in the gas file.
            pub(super) fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            /// What it leaves behind.
            pub(super) fn footprint(self) -> Footprint {
                match self { $(Self::$name => Footprint { slots: $slots, event: $event, calldata: $calldata },)* }
            }
        }
    };
}

/// What one operation leaves on the chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Footprint {
    /// Storage slots that were zero before.
    pub(super) slots: u64,
    /// Bytes of events: 20 of the address, 32 a topic, the data.
    pub(super) event: u64,
    /// Bytes of calldata.
    pub(super) calldata: u64,
}

// Slots are those of the layout: a chip, a key, a proven attestation key and a log's head are one each; a claim one for what
// was claimed and, the first time, one for the token balance. Documents and certificates are kept as code of their own, a new
// one each time: their bytes and their account are counted here as so many slots of 128 bytes. A quote is 1,040 (SGX) or
// 1,240 (TDX) bytes in the form that is sent, the chip's certificate about 620. A work proof is one of a log with one peak.
operations! {
    DeployAll "deploy_all" 60 1600 121500;
    Authority "authority" 5 276 740;
    TcbInfoSgxFirst "tcb_info_sgx_first" 5 276 10148;
    TcbInfoSgxUpdate "tcb_info_sgx_update" 4 276 10148;
    TcbInfoTdxFirst "tcb_info_tdx_first" 4 276 8420;
    TcbInfoTdxUpdate "tcb_info_tdx_update" 3 276 8420;
    QeIdentity "qe_identity" 2 244 1400;
    Crl "crl" 0 180 7300;
    RegisterSgxFirst "register_sgx_first" 3 520 1924;
    RegisterSgxAgain "register_sgx_again" 1 668 1924;
    RegisterTdxFirst "register_tdx_first" 3 520 2116;
    RegisterTdxAgain "register_tdx_again" 1 668 2116;
    RenewSgx "renew_sgx" 0 392 1860;
    RenewTdx "renew_tdx" 0 392 2052;
    RenewKeptSgx "renew_kept_sgx" 0 212 836;
    RenewKeptTdx "renew_kept_tdx" 0 212 1028;
    CheckpointFirst "checkpoint_first" 1 180 164;
    CheckpointAgain "checkpoint_again" 0 180 164;
    CheckpointBatch100 "checkpoint_batch_100" 0 180 141;
    WorkProofFirst "work_proof_first" 1 212 420;
    WorkProofAgain "work_proof_again" 0 212 452;
    EpochRoot "epoch_root" 0 212 100;
    ClaimFirst "claim_first" 2 296 580;
    ClaimAgain "claim_again" 0 296 580;
    EscrowDeposit "escrow_deposit" 2 488 196;
    EscrowRelease "escrow_release" 0 244 548;
    Equivocation "equivocation" 2 1048 1220;
    AnchorRoot "anchor_root" 1 244 324;
}

/// Gas of each operation.
#[derive(Debug, Clone)]
pub(super) struct Gas([u64; Op::ALL.len()]);

impl Gas {
    /// What is committed.
    pub(super) fn committed() -> Result<Self, String> {
        let file = cargo::root().join("contracts/gas.json");
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        Self::parse(&text).map_err(|why| format!("{}: {why}", file.display()))
    }

    /// A flat object of whole numbers. Keys that are not named here are no business of ours.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let object: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut gas = [0; Op::ALL.len()];
        for op in Op::ALL {
            let value = object.get(op.key()).ok_or_else(|| format!("no key `{}`", op.key()))?;
            gas[*op as usize] = value
                .as_u64()
                .filter(|gas| *gas >= TRANSACTION)
                .ok_or_else(|| format!("`{}` must be the gas of a whole transaction, not {value}", op.key()))?;
        }
        let gas = Self(gas);
        // A recovered signer and a changed slot cost 8,000 each time, in whatever batch.
        if gas.of(Op::CheckpointBatch100) < 800_000 {
            return Err("`checkpoint_batch_100` must be the gas of one call that settles 100 checkpoints".into());
        }
        Ok(gas)
    }

    pub(super) fn of(&self, op: Op) -> u64 {
        self.0[op as usize]
    }

    /// Gas of one more checkpoint in a batch.
    pub(super) fn in_batch(&self) -> u64 {
        (self.of(Op::CheckpointBatch100) - TRANSACTION) / 100
    }

    /// What the first checkpoint of a key costs more than the next.
    pub(super) fn first_checkpoint(&self) -> u64 {
        self.of(Op::CheckpointFirst).saturating_sub(self.of(Op::CheckpointAgain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(but: &str) -> String {
        let keys = Op::ALL.iter().map(|op| op.key()).filter(|key| *key != but);
        let members: Vec<String> = keys.map(|key| format!("\"{key}\": 1914700")).collect();
        format!("{{{}}}", members.join(","))
    }

    #[test]
    fn a_missing_key_is_named() {
        assert!(Gas::parse(&all("")).is_ok());
        for op in Op::ALL {
            assert_eq!(Gas::parse(&all(op.key())).unwrap_err(), format!("no key `{}`", op.key()));
        }
    }

    #[test]
    fn a_number_that_is_not_the_gas_of_a_transaction_is_refused() {
        for wrong in ["-1", "1.5", "\"45000\"", "20999", "null"] {
            let text = all("crl").replacen('{', &format!("{{\"crl\": {wrong},"), 1);
            assert!(Gas::parse(&text).unwrap_err().contains("`crl`"), "{wrong}");
        }
        let by_node = all("checkpoint_batch_100").replacen('{', "{\"checkpoint_batch_100\": 45000,", 1);
        assert!(Gas::parse(&by_node).unwrap_err().contains("checkpoint_batch_100"));
    }

    #[test]
    fn the_committed_file_is_complete() {
        Gas::committed().unwrap();
    }
}
