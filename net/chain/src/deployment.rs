//! The contracts of one network on one chain: put there, written down, and checked again.

use crate::{
    Boxed, Chain, ChainError, SendError, Sender,
    contracts::{
        DcapVerifier, DeviceAnchor, EnclaveRegistry, IntelCollateral, JobEscrow, MeasurementPolicy, QuoteRouter,
        RewardVault, SimulatedCollateral, WorkLedger,
    },
};
use alloy::{
    primitives::{
        Address, B256, Bytes, U256,
        aliases::{U40, U88},
        keccak256,
    },
    sol_types::{SolCall, SolConstructor, SolValue as _},
};
use serde::{Deserialize, Serialize};

/// Whose root a network trusts. The contracts say so in their names and in every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Realm {
    /// Intel's.
    Production,
    /// One that somebody made.
    Simulated,
}

impl Realm {
    /// As contracts have it.
    pub fn number(self) -> u8 {
        match self {
            Self::Production => 0,
            Self::Simulated => 1,
        }
    }
}

/// Where the contracts of a network are. Public; what it says is checked on the chain by [`Deployment::check`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Whose root is trusted.
    pub realm: Realm,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The block of the first contract: no event is older.
    pub block: u64,
    /// `IntelCollateral` or `SimulatedCollateral`.
    pub collateral: Address,
    /// `DcapVerifier`.
    pub verifier: Address,
    /// `QuoteRouter`.
    pub router: Address,
    /// `MeasurementPolicy`.
    pub policy: Address,
    /// `EnclaveRegistry`.
    pub registry: Address,
    /// `WorkLedger`: what manifests name as ledger.
    pub ledger: Address,
    /// `RewardVault`.
    pub vault: Address,
    /// `GlacierToken`.
    pub token: Address,
    /// `JobEscrow`.
    pub escrow: Address,
    /// `DeviceAnchor`.
    pub anchor: Address,
}

/// What cannot be changed after deployment.
#[derive(Debug, Clone)]
pub struct Plan {
    /// DER of the simulated vendor's root; none for a network that trusts Intel's.
    pub simulated_root: Option<Vec<u8>>,
    /// Who may announce code and name proposers and watchmen.
    pub owner: Address,
    /// Who may pause and revoke code.
    pub guardian: Address,
    /// Seconds between an announcement and its force: at least two days for production.
    pub delay: u32,
    /// Start of the first epoch, seconds since 1970.
    pub genesis: u64,
    /// Seconds.
    pub epoch: u32,
    /// Seconds in which a proposed root can be vetoed: at least a day for production.
    pub challenge: u32,
    /// Seconds.
    pub unbonding: u32,
}

/// Tokens of the first epochs, before the first halving, in units of 10^-18.
const EMISSION: u128 = 50_000 * TOKEN;
/// Epochs until emission halves: four years of days.
const HALVING: u32 = 4 * 365;
/// Most tokens there will ever be.
const CAP: u128 = 200_000_000 * TOKEN;
const TOKEN: u128 = 1_000_000_000_000_000_000;
const DAY: u32 = 86_400;
/// Versions of quotes that are taken: SGX's and TDX's.
const QUOTES: [u16; 2] = [3, 4];

impl Plan {
    /// A network under a simulated vendor, for this machine: nothing waits.
    pub fn simulated(root: Vec<u8>, owner: Address, genesis: u64) -> Self {
        Self {
            simulated_root: Some(root),
            owner,
            guardian: owner,
            delay: 0,
            genesis,
            epoch: DAY,
            challenge: 0,
            unbonding: 0,
        }
    }

    /// A network under Intel's root, with the shortest periods that its contracts take.
    pub fn production(owner: Address, guardian: Address, genesis: u64) -> Self {
        let (delay, challenge, unbonding) = (2 * DAY, DAY, 14 * DAY);
        Self { simulated_root: None, owner, guardian, delay, genesis, epoch: DAY, challenge, unbonding }
    }

    /// Names it, so that an outbox that made another network makes this one from the start.
    fn digest(&self) -> B256 {
        let root = self.simulated_root.as_ref().map(keccak256).unwrap_or_default();
        let numbers =
            [u64::from(self.delay), self.genesis, self.epoch.into(), self.challenge.into(), self.unbonding.into()];
        keccak256((root, self.owner, self.guardian, numbers).abi_encode())
    }

    fn realm(&self) -> Realm {
        if self.simulated_root.is_some() { Realm::Simulated } else { Realm::Production }
    }
}

/// A deployment that cannot be made or is not what it says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// A contract was refused.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The chain does not answer.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The chain has something else under an address.
    #[error("{0} is not the contract that the deployment names")]
    Other(&'static str),
    /// A call of a view failed.
    #[error("a contract of the deployment does not answer: {0}")]
    View(#[from] alloy::contract::Error),
}

impl Deployment {
    /// Deploys all contracts and wires them, each transaction once: after a crash the same plan goes on
    /// where it stopped, and one that is through is found again. Any other plan, if only its genesis differs, is
    /// another network: whoever deploys where gas costs keeps the plan until it has the deployment.
    ///
    /// # Errors
    /// A contract that was refused, or the chain.
    pub fn deploy<'a>(sender: &'a Sender, plan: &'a Plan) -> Boxed<'a, Result<Self, DeployError>> {
        Box::pin(async move {
            let realm = plan.realm();
            let names = format!("deploy/{:x}", plan.digest());
            let put_at = async |name: &str, code: &Bytes, arguments: Vec<u8>| {
                sender.deploy(&format!("{names}/{name}"), [code.as_ref(), &arguments].concat()).await
            };
            let put = async |name: &str, code: &Bytes, arguments: Vec<u8>| {
                put_at(name, code, arguments).await.map(|(address, _)| address)
            };
            let (collateral, block) = match &plan.simulated_root {
                None => put_at("collateral", &IntelCollateral::BYTECODE, Vec::new()).await?,
                Some(der) => {
                    let arguments = SimulatedCollateral::constructorCall { root: der.clone().into() }.abi_encode();
                    put_at("collateral", &SimulatedCollateral::BYTECODE, arguments).await?
                }
            };
            let arguments = DcapVerifier::constructorCall { collateral_: collateral }.abi_encode();
            let verifier = put("verifier", &DcapVerifier::BYTECODE, arguments).await?;
            let arguments = QuoteRouter::constructorCall {
                realm_: realm.number(),
                owner_: plan.owner,
                delay_: U40::from(plan.delay),
                versions: QUOTES.to_vec(),
                verifiers: vec![verifier, verifier],
            };
            let router = put("router", &QuoteRouter::BYTECODE, arguments.abi_encode()).await?;
            let arguments = MeasurementPolicy::constructorCall {
                collateral,
                owner_: sender.address(),
                guardian_: plan.guardian,
                delay_: U40::from(plan.delay),
            };
            let policy = put("policy", &MeasurementPolicy::BYTECODE, arguments.abi_encode()).await?;
            let arguments = EnclaveRegistry::constructorCall {
                router_: router,
                policy_: policy,
                owner_: sender.address(),
                guardian_: plan.guardian,
            };
            let registry = put("registry", &EnclaveRegistry::BYTECODE, arguments.abi_encode()).await?;
            let arguments = WorkLedger::constructorCall { registry_: registry }.abi_encode();
            let ledger = put("ledger", &WorkLedger::BYTECODE, arguments).await?;
            let arguments = RewardVault::constructorCall {
                registry_: registry,
                ledger_: ledger,
                terms: RewardVault::Terms {
                    genesis: U40::from(plan.genesis),
                    epochLength: plan.epoch,
                    challengeWindow: plan.challenge,
                    unbondingPeriod: plan.unbonding,
                    initialEmission: U88::from(EMISSION),
                    halvingEpochs: HALVING,
                    cap: U88::from(CAP),
                },
                admin: plan.owner,
            };
            let vault = put("vault", &RewardVault::BYTECODE, arguments.abi_encode()).await?;
            let token = RewardVault::new(vault, sender.chain().provider()).token().call().await?;
            let arguments = JobEscrow::constructorCall { ledger_: ledger, token_: token }.abi_encode();
            let escrow = put("escrow", &JobEscrow::BYTECODE, arguments).await?;
            let arguments = DeviceAnchor::constructorCall { registry_: registry }.abi_encode();
            let anchor = put("anchor", &DeviceAnchor::BYTECODE, arguments).await?;

            let wire = async |name: &str, to: Address, call: Vec<u8>| {
                sender.call(&format!("{names}/wire/{name}"), to, call).await.map(drop)
            };
            wire("registry", registry, EnclaveRegistry::setLedgerCall { ledger_: ledger }.abi_encode()).await?;
            wire("policy", policy, MeasurementPolicy::setRegistryCall { registry_: registry }.abi_encode()).await?;
            wire("ledger", ledger, WorkLedger::setSlasherCall { slasher_: vault }.abi_encode()).await?;
            if plan.owner != sender.address() {
                // Two steps: the owner accepts.
                let hand_over = MeasurementPolicy::transferOwnershipCall { newOwner: plan.owner }.abi_encode();
                wire("policy-owner", policy, hand_over).await?;
                let hand_over = EnclaveRegistry::transferOwnershipCall { newOwner: plan.owner }.abi_encode();
                wire("registry-owner", registry, hand_over).await?;
            }
            let chain_id = sender.chain().id();
            Ok(Self {
                realm,
                chain_id,
                block,
                collateral,
                verifier,
                router,
                policy,
                registry,
                ledger,
                vault,
                token,
                escrow,
                anchor,
            })
        })
    }

    /// Whether the chain has these contracts, wired as they must be, in this realm.
    ///
    /// # Errors
    /// Which one is another; or the chain does not answer.
    pub fn check<'a>(&'a self, chain: &'a Chain) -> Boxed<'a, Result<(), DeployError>> {
        Box::pin(async move {
            if chain.id() != self.chain_id {
                return Err(ChainError::ChainId { expected: self.chain_id, found: chain.id() }.into());
            }
            let provider = chain.provider();
            let same = |found: Address, expected: Address, what| {
                if found == expected { Ok(()) } else { Err(DeployError::Other(what)) }
            };
            let (registry, ledger) =
                (EnclaveRegistry::new(self.registry, provider), WorkLedger::new(self.ledger, provider));
            let (router, policy) =
                (QuoteRouter::new(self.router, provider), MeasurementPolicy::new(self.policy, provider));
            let anchor = DeviceAnchor::new(self.anchor, provider);
            let (vault, escrow) = (RewardVault::new(self.vault, provider), JobEscrow::new(self.escrow, provider));
            same(registry.router().call().await?, self.router, "the registry's router")?;
            same(registry.policy().call().await?, self.policy, "the registry's policy")?;
            same(registry.ledger().call().await?, self.ledger, "the registry's ledger")?;
            for version in QUOTES {
                same(router.verifier(version).call().await?, self.verifier, "the router's verifier")?;
            }
            same(policy.registry().call().await?, self.registry, "the policy's registry")?;
            same(ledger.registry().call().await?, self.registry, "the ledger's registry")?;
            same(ledger.slasher().call().await?, self.vault, "the ledger's vault")?;
            same(vault.registry().call().await?, self.registry, "the vault's registry")?;
            same(vault.ledger().call().await?, self.ledger, "the vault's ledger")?;
            same(vault.token().call().await?, self.token, "the vault's token")?;
            same(escrow.ledger().call().await?, self.ledger, "the escrow's ledger")?;
            same(escrow.token().call().await?, self.token, "the escrow's token")?;
            same(anchor.registry().call().await?, self.registry, "the anchor's registry")?;
            same(
                DcapVerifier::new(self.verifier, provider).collateral().call().await?,
                self.collateral,
                "the verifier's collateral",
            )?;
            if registry.realm().call().await? != self.realm.number() {
                return Err(DeployError::Other("the registry's realm"));
            }
            Ok(())
        })
    }

    /// Allows code to earn from now on, at any standing that is not out of date or revoked, until the far future. Only the owner.
    ///
    /// # Errors
    /// The policy's refusal, or the chain.
    pub fn announce<'a>(
        &'a self,
        sender: &'a Sender,
        measurement: [u8; 32],
        floor: u8,
    ) -> Boxed<'a, Result<(), DeployError>> {
        Box::pin(async move {
            let head = sender.chain().head().await?.number;
            let policy = MeasurementPolicy::new(self.policy, sender.chain().provider());
            let entry = policy.entryOf(measurement.into()).call().await?;
            // The newest terms: those in force, or announced and not yet in force.
            if !entry.revoked && (entry.nextFloor, entry.nextUntil) == (floor, U40::MAX) {
                return Ok(());
            }
            let call = MeasurementPolicy::announceCall { measurement: measurement.into(), floor, until: U40::MAX };
            let key = format!("announce/{}/{}/{floor}", self.policy, alloy::hex::encode(measurement));
            sender.call_since(head, &key, self.policy, call.abi_encode()).await?;
            Ok(())
        })
    }

    /// Lets `proposer` propose roots. Only the vault's admin.
    ///
    /// # Errors
    /// The vault's refusal, or the chain.
    pub async fn allow_proposing(&self, sender: &Sender, proposer: Address) -> Result<(), DeployError> {
        let role = RewardVault::new(self.vault, sender.chain().provider()).PROPOSER_ROLE().call().await?;
        self.grant(sender, ("proposer", role), proposer).await.map(drop)
    }

    /// Lets `watchman` veto roots. Only the vault's admin. Tells whether it was not allowed to before.
    ///
    /// # Errors
    /// The vault's refusal, or the chain.
    pub async fn allow_vetoing(&self, sender: &Sender, watchman: Address) -> Result<bool, DeployError> {
        let role = RewardVault::new(self.vault, sender.chain().provider()).WATCHMAN_ROLE().call().await?;
        self.grant(sender, ("watchman", role), watchman).await
    }

    fn grant<'a>(
        &'a self,
        sender: &'a Sender,
        role: (&'a str, B256),
        account: Address,
    ) -> Boxed<'a, Result<bool, DeployError>> {
        Box::pin(async move {
            let head = sender.chain().head().await?.number;
            let (name, role) = role;
            let vault = RewardVault::new(self.vault, sender.chain().provider());
            if vault.hasRole(role, account).call().await? {
                return Ok(false);
            }
            let call = RewardVault::grantRoleCall { role, account }.abi_encode();
            sender.call_since(head, &format!("grant/{name}/{}/{account}", self.vault), self.vault, call).await?;
            Ok(true)
        })
    }

    /// What the schedule allows in one epoch, in units of 10^-18.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn emission<'a>(&'a self, chain: &'a Chain, epoch: u32) -> Boxed<'a, Result<U256, DeployError>> {
        Box::pin(async move {
            let vault = RewardVault::new(self.vault, chain.provider());
            let (now, before) =
                (vault.allowedBy(epoch).call().await?, vault.allowedBy(epoch.saturating_sub(1)).call().await?);
            Ok(now.saturating_sub(before))
        })
    }
}
