//! Bodies of `/glacier/v1/…` (inside the channel, between party and enclave) and of the host port
//! (between enclave and host, untrusted).

use crate::{
    federation::Membership,
    grant::{Role, SignedGrant},
    id::{Address, Digest, EnclaveId, ManifestHash, Measurement, PlatformKind, UnixTime},
    manifest::SignedManifest,
    secret::FileKey,
};
use alloc::{string::String, vec::Vec};

/// Media type of every CBOR body.
pub const CBOR: &str = "application/cbor";

/// `POST /glacier/v1/jobs`: one party joins one job. The channel has already shown who calls.
#[derive(Debug, minicbor::Encode, minicbor::Decode)]
pub struct Join {
    /// The job, signed by all its parties. Whoever comes first brings it in; the others must bring the same.
    #[n(0)]
    pub manifest: SignedManifest,
    /// This party's permission.
    #[n(1)]
    pub grant: SignedGrant,
    /// Opens this party's asset.
    #[n(2)]
    pub file_key: FileKey,
    /// The party's clock. The enclave takes the latest of its own and its parties' clocks when it
    /// judges expiry, so a host that sets the clock back revives nothing.
    #[n(3)]
    pub now: UnixTime,
    /// Training: the newest checkpoint that this party has been told of; zero for none. What the host
    /// brings back must be no older: a rolled-back training is refused.
    #[n(4)]
    pub checkpoint: u64,
    /// The asset of the manifest that `file_key` opens.
    #[n(5)]
    pub asset: Digest,
    /// A site's part in a federation: why the model needs nobody's key. The model must be sealed to this enclave.
    #[n(6)]
    pub membership: Option<Membership>,
}

impl Join {
    /// Largest body that is read.
    pub const MAX_BYTES: usize = SignedManifest::MAX_BYTES.saturating_add(Membership::MAX_BYTES).saturating_add(4096);
}

/// How far a job is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum Phase {
    /// Not every party has granted.
    #[n(0)]
    Waiting,
    /// Ciphertext is fetched, checked and opened.
    #[n(1)]
    Loading,
    /// The engine works.
    #[n(2)]
    Running,
    /// A deployment answers requests.
    #[n(3)]
    Serving,
    /// Result and proof are there; keys, model and data are gone.
    #[n(4)]
    Done,
    /// Ended without a result; keys, model and data are gone.
    #[n(5)]
    Refused,
    /// The owner of the data has stopped a training for now; its last checkpoint waits.
    #[n(6)]
    Paused,
}

/// What happened inside, in order. Told to the parties only.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(rename_all = "lowercase", tag = "event")]
pub enum Event {
    /// A party's grant and key were accepted.
    #[n(0)]
    Granted {
        /// Whose.
        #[n(0)]
        role: Role,
    },
    /// An asset was fetched, its digest compared, and opened.
    #[n(1)]
    Opened {
        /// Whose.
        #[n(0)]
        role: Role,
        /// Ciphertext bytes.
        #[n(1)]
        bytes: u64,
    },
    /// The engine has worked.
    #[n(2)]
    Ran {
        /// Rows answered.
        #[n(0)]
        rows: u64,
        /// Multiply-accumulates.
        #[n(1)]
        units: u64,
    },
    /// The result was encrypted to its recipients.
    #[n(3)]
    Sealed {
        /// Ciphertext bytes.
        #[n(0)]
        bytes: u64,
    },
    /// File keys were overwritten and the worker that held model and data has ended.
    #[n(4)]
    Wiped,
    /// A Work Proof was signed.
    #[n(5)]
    Proved {
        /// Its sequence number.
        #[n(0)]
        sequence: u64,
    },
    /// Training goes on from a checkpoint.
    #[n(6)]
    Resumed {
        /// Its number.
        #[n(0)]
        checkpoint: u64,
    },
    /// Training has ended, with refined weights.
    #[n(7)]
    Trained {
        /// Steps of the optimiser.
        #[n(0)]
        steps: u64,
        /// Multiply-accumulates.
        #[n(1)]
        units: u64,
    },
    /// A round of a federation has closed: its updates were averaged.
    #[n(8)]
    Merged {
        /// From 1.
        #[n(0)]
        round: u32,
        /// Sites whose update was there.
        #[n(1)]
        sites: u32,
    },
}

/// `GET /glacier/v1/jobs/{manifest}`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
pub struct JobStatus {
    /// Which job.
    #[n(0)]
    pub manifest: ManifestHash,
    /// How far.
    #[n(1)]
    pub phase: Phase,
    /// Who has not granted yet.
    #[n(2)]
    pub waiting_for: Vec<Role>,
    /// Bytes loaded so far and in all, both assets together.
    #[n(3)]
    pub loaded: (u64, u64),
    /// Rows answered so far.
    #[n(4)]
    pub rows: u64,
    /// What happened, in order.
    #[n(5)]
    pub events: Vec<Event>,
    /// Why it ended, when it was refused.
    #[n(6)]
    pub refusal: Option<Refusal>,
}

/// `GET /glacier/v1/enclave`: what the enclave says of itself. Believe the evidence, not this.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
pub struct EnclaveInfo {
    /// Version of the enclave program.
    #[n(0)]
    pub version: String,
    /// Name of the application that runs in it.
    #[n(1)]
    pub app: String,
    /// Its platform.
    #[n(2)]
    pub platform: PlatformKind,
    /// Its code.
    #[n(3)]
    pub measurement: Measurement,
    /// Its hardware.
    #[n(4)]
    pub enclave_id: EnclaveId,
    /// Work Proofs signed in this key epoch.
    #[n(5)]
    pub proofs: u64,
}

/// Why the enclave said no: who must act is in the code, what exactly is in the detail.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    thiserror::Error,
    serde::Serialize,
    serde::Deserialize,
    minicbor::Encode,
    minicbor::Decode,
)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// The case.
    #[n(0)]
    pub code: RefusalCode,
    /// One sentence for people. Goes to the parties only, so it may name a column; never a value.
    #[n(1)]
    pub detail: String,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(code: RefusalCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

macro_rules! refusal_codes {
    ($($(#[$doc:meta])* $n:literal $name:ident $word:literal $status:literal,)*) => {
        /// Every way the enclave says no. The word is stable; tools match on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
        #[cbor(index_only)]
        #[non_exhaustive]
        pub enum RefusalCode {
            $($(#[$doc])* #[n($n)] #[serde(rename = $word)] $name,)*
        }

        impl RefusalCode {
            /// The stable word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// HTTP status that carries it.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

refusal_codes! {
    /// The body is not what this path takes.
    0 BadRequest "bad-request" 400,
    /// No such path, job or deployment in this key epoch.
    1 NotFound "not-found" 404,
    /// The caller is not named in the manifest, or asks for what is another party's.
    2 NotYours "not-yours" 403,
    /// The manifest contradicts itself or lacks a signature.
    3 ManifestInvalid "manifest-invalid" 400,
    /// The manifest names other code or another chip than this.
    4 ManifestElsewhere "manifest-elsewhere" 409,
    /// The grant is not signed by the party in that role.
    5 GrantSignature "grant-signature" 403,
    /// The grant is for another manifest, key epoch or role.
    6 GrantElsewhere "grant-elsewhere" 409,
    /// The grant has expired.
    7 GrantExpired "grant-expired" 403,
    /// The grant was brought before.
    8 GrantReplayed "grant-replayed" 409,
    /// The grant or the manifest has no uses left.
    9 GrantExhausted "grant-exhausted" 403,
    /// The job may no longer start.
    10 JobExpired "job-expired" 409,
    /// The host does not have the ciphertext.
    11 AssetMissing "asset-missing" 424,
    /// The ciphertext is not the one whose digest was signed: altered, reordered, truncated or swapped.
    12 AssetDigest "asset-digest" 422,
    /// The ciphertext is not an age file, or ends early.
    13 AssetMalformed "asset-malformed" 422,
    /// The released key does not open the asset.
    14 AssetKey "asset-key" 422,
    /// The model is not a well-formed graph.
    15 ModelInvalid "model-invalid" 422,
    /// The model uses what the engine does not have.
    16 ModelUnsupported "model-unsupported" 422,
    /// The data does not fit the model, or is not well formed.
    17 DataInvalid "data-invalid" 422,
    /// The job needs more memory than its manifest allows.
    18 MemoryLimit "memory-limit" 413,
    /// The job needs more units than its manifest allows.
    19 UnitLimit "unit-limit" 413,
    /// The engine died on this input; nothing else was touched.
    20 EngineCrashed "engine-crashed" 422,
    /// A request body is larger than is read.
    21 TooLarge "too-large" 413,
    /// No room for another job now.
    22 Busy "busy" 503,
    /// The host did not do its part.
    23 Host "host" 502,
    /// The platform did not do its part.
    24 Platform "platform" 502,
    /// A refusal by the application itself.
    25 App "app" 422,
    /// The job has no result yet.
    26 NotReady "not-ready" 409,
    /// The host brings back an older checkpoint than the party was told of, or none.
    27 CheckpointStale "checkpoint-stale" 409,
    /// The checkpoint is not one that this enclave sealed for this job.
    28 CheckpointForged "checkpoint-forged" 422,
    /// A party has withdrawn its grant, or the owner of the data has cancelled.
    29 Withdrawn "withdrawn" 409,
    /// The training plan is not there, or cannot be carried out with this model and data.
    30 PlanInvalid "plan-invalid" 422,
    /// The loss or a gradient is no longer a finite number.
    31 Diverged "diverged" 422,
    /// The credential is not of the enclave that the federation names there, or not of any.
    32 CredentialInvalid "credential-invalid" 403,
    /// The update is not one that was asked for, or does not prove what it must.
    33 UpdateInvalid "update-invalid" 422,
    /// The update's round is over.
    34 UpdateLate "update-late" 409,
    /// This site's update of the round is there already.
    35 UpdateRepeated "update-repeated" 409,
    /// The application's state is another than the caller was told of: somebody runs it twice from one state.
    36 StateForked "state-forked" 409,
    /// The host did not say that it has kept the application's new state: it may have, and it may bring back either.
    37 StateUnknown "state-unknown" 502,
}

impl core::fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which version of an application's sealed state there is. In answers, the header [`StateHead::TOLD`]; in
/// requests, of the newest that the party was told, the header [`StateHead::SEEN`]; each a list `name=version:digest`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StateHead {
    /// Its name: lower-case letters, digits and `-`.
    pub name: String,
    /// From 1, one more with each change.
    pub version: u64,
    /// Of this version and all before it.
    pub digest: Digest,
}

impl StateHead {
    /// Header of answers.
    pub const TOLD: &str = "glacier-state";
    /// Header of requests.
    pub const SEEN: &str = "glacier-state-seen";
    /// Most states of an application.
    pub const MOST: usize = 8;
    /// Most letters of a name.
    pub const MAX_NAME: usize = 40;

    /// Whether this can be a state's name.
    pub fn is_name(name: &str) -> bool {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=Self::MAX_NAME).contains(&name.len()) && name.bytes().all(fits)
    }

    /// As a header has them.
    pub fn write_all(heads: &[Self]) -> String {
        let mut text = String::new();
        for Self { name, version, digest } in heads {
            let comma = if text.is_empty() { "" } else { "," };
            text.push_str(&alloc::format!("{comma}{name}={version}:{digest}"));
        }
        text
    }

    /// Reads a header; `None` if it is none, or has too many.
    pub fn parse_all(text: &str) -> Option<Vec<Self>> {
        let heads = text.split(',').take(Self::MOST.saturating_add(1)).map(|part| {
            let (name, rest) = part.trim().split_once('=')?;
            let (version, digest) = rest.split_once(':')?;
            let head = Self { name: name.into(), version: version.parse().ok()?, digest: digest.parse().ok()? };
            Self::is_name(name).then_some(head)
        });
        let heads: Option<Vec<_>> = heads.collect();
        heads.filter(|heads| heads.len() <= Self::MOST)
    }
}

/// What stands behind an answer that came as a stream. One of [`END`](Self::END) and [`REFUSAL`](Self::REFUSAL) does:
/// an answer with neither was cut.
#[derive(Debug, Clone, Copy)]
pub struct Trailer;

impl Trailer {
    /// The answer is whole, and has so many bytes.
    pub const END: &str = "glacier-stream-end";
    /// The answer broke off: a [`Refusal`] in CBOR, in hexadecimal.
    pub const REFUSAL: &str = "glacier-stream-refusal";
    /// The Work Proof over request and answer, in hexadecimal.
    pub const PROOF: &str = "glacier-proof";
    /// All of them, as the header `trailer` announces them.
    pub const ALL: &str = "glacier-stream-end, glacier-stream-refusal, glacier-proof";
}

/// What the enclave asks of the host. Frames on the host port are a little-endian `u32` length and
/// the CBOR of a [`HostCall`] or a [`HostAnswer`]; answers may come in any order.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct HostCall {
    /// Matches the answer to the call.
    #[n(0)]
    pub id: u32,
    /// What is asked.
    #[n(1)]
    pub request: HostRequest,
}

/// The host's answer to one [`HostCall`]. Nothing in it is believed unchecked.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct HostAnswer {
    /// Of the call.
    #[n(0)]
    pub id: u32,
    /// The answer.
    #[n(1)]
    pub reply: HostReply,
}

/// Largest frame on the host port: one [`HOST_CHUNK`] and its envelope.
pub const HOST_FRAME: usize = HOST_CHUNK + 1024;
/// Most asset bytes in one frame.
pub const HOST_CHUNK: usize = 1 << 20;

/// One request on the host port.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum HostRequest {
    /// How long is the asset?
    #[n(0)]
    Size {
        /// Which.
        #[n(0)]
        asset: Digest,
    },
    /// At most `len` bytes of the asset from `offset`.
    #[n(1)]
    Read {
        /// Which.
        #[n(0)]
        asset: Digest,
        /// From where.
        #[n(1)]
        offset: u64,
        /// How many; at most [`HOST_CHUNK`].
        #[n(2)]
        len: u32,
    },
    /// Begin to store a result.
    #[n(2)]
    Create,
    /// Append to it.
    #[n(3)]
    Append {
        /// From [`HostReply::Created`].
        #[n(0)]
        upload: u64,
        /// Ciphertext.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        data: Vec<u8>,
    },
    /// It is complete and has this digest.
    #[n(4)]
    Commit {
        /// From [`HostReply::Created`].
        #[n(0)]
        upload: u64,
        /// BLAKE3 of all that was appended.
        #[n(1)]
        asset: Digest,
    },
    /// Give it up.
    #[n(5)]
    Abort {
        /// From [`HostReply::Created`].
        #[n(0)]
        upload: u64,
    },
    /// Keep a Work Proof, to settle it. They come in the order of their numbers.
    #[n(6)]
    Publish {
        /// `glacier_proof::SignedProof`, encoded.
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        proof: Vec<u8>,
        /// `glacier_proof::SignedCheckpoint`, encoded: the head of the log of which this proof is the
        /// last, for the ledger of the last [`HostOrder::Settle`]. The last of a burst has it.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        checkpoint: Option<Vec<u8>>,
    },
    /// Keep the head of a log whose proofs were all published before.
    #[n(7)]
    Head {
        /// `glacier_proof::SignedCheckpoint`, encoded.
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        checkpoint: Vec<u8>,
    },
    /// What does the host want? Answered with [`HostReply::Order`] when it wants something, so this may
    /// take for ever. One at a time.
    #[n(8)]
    Orders,
    /// A registration was quoted.
    #[n(9)]
    Registered {
        /// What was ordered.
        #[n(0)]
        order: RegistrationOrder,
        /// The key that the quote speaks of.
        #[n(1)]
        enclave_key: Address,
        /// Over `glacier_proof::Registration::report_data`.
        #[n(2)]
        #[cbor(with = "minicbor::bytes")]
        quote: Vec<u8>,
        /// What the platform brings to judge it by; absent where that is the host's to fetch.
        #[n(3)]
        #[cbor(with = "minicbor::bytes")]
        collateral: Option<Vec<u8>>,
    },
    /// An order was not carried out.
    #[n(10)]
    Refused {
        /// Which.
        #[n(0)]
        order: HostOrder,
        /// Why.
        #[n(1)]
        fault: OrderFault,
    },
    /// A committed upload is the newest checkpoint of a job; the one before may go.
    #[n(11)]
    Keep {
        /// Of which job.
        #[n(0)]
        job: ManifestHash,
        /// The age file.
        #[n(1)]
        asset: Digest,
    },
    /// Which is the newest checkpoint of a job? Answered with [`HostReply::Recalled`].
    #[n(12)]
    Recall {
        /// Of which job.
        #[n(0)]
        job: ManifestHash,
    },
    /// The job has ended: its checkpoint may go.
    #[n(13)]
    Forget {
        /// Which job.
        #[n(0)]
        job: ManifestHash,
    },
    /// Connect to another node. Answered with [`HostReply::Dialed`].
    #[n(14)]
    Dial {
        /// `HOST:PORT`, as the operator allows it.
        #[n(0)]
        address: String,
    },
    /// Bytes for a connection; one request at a time.
    #[n(15)]
    Send {
        /// From [`HostReply::Dialed`].
        #[n(0)]
        connection: u64,
        /// Ciphertext.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        data: Vec<u8>,
    },
    /// The next bytes of a connection; one request at a time, and it may take for ever. Answered with
    /// [`HostReply::Data`], which is empty at the end.
    #[n(16)]
    Receive {
        /// From [`HostReply::Dialed`].
        #[n(0)]
        connection: u64,
    },
    /// A connection is not needed any more.
    #[n(17)]
    Hangup {
        /// From [`HostReply::Dialed`].
        #[n(0)]
        connection: u64,
    },
    /// Show this to whoever asks who works here: the evidence that every client gets, public already.
    #[n(18)]
    Show {
        /// [`Evidence`](crate::Evidence), encoded.
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        evidence: Vec<u8>,
    },
}

/// What the host wants of the enclave. Nothing in it is believed, and nothing it names makes the
/// enclave say two things of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum HostOrder {
    /// Sign the log's heads for this ledger from now on.
    #[n(0)]
    Settle(#[n(0)] SettlementOrder),
    /// Have the hardware quote the enclave key for a registry.
    #[n(1)]
    Register(#[n(0)] RegistrationOrder),
}

/// Where a host settles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
pub struct SettlementOrder {
    /// EIP-155 chain id.
    #[n(0)]
    pub chain_id: u64,
    /// The contract, `WorkLedger`.
    #[n(1)]
    pub ledger: Address,
}

/// Where a host registers an enclave, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
pub struct RegistrationOrder {
    /// EIP-155 chain id.
    #[n(0)]
    pub chain_id: u64,
    /// The contract, `EnclaveRegistry`.
    #[n(1)]
    pub registry: Address,
    /// Who is paid.
    #[n(2)]
    pub owner: Address,
    /// How often the chip was registered before.
    #[n(3)]
    pub number: u32,
}

/// Why the enclave did not do what the host wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
#[non_exhaustive]
pub enum OrderFault {
    /// The platform made no quote.
    #[n(0)]
    #[error("the platform made no quote")]
    Platform,
    /// The proofs of this key name so many ledgers that units at another are not counted.
    #[error("the enclave counts units for no more ledgers")]
    #[n(1)]
    TooManyLedgers,
}

/// One reply on the host port.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum HostReply {
    /// Bytes of the asset.
    #[n(0)]
    Size {
        /// How many.
        #[n(0)]
        bytes: u64,
    },
    /// A piece of the asset.
    #[n(1)]
    Data {
        /// Ciphertext.
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        data: Vec<u8>,
    },
    /// An upload has begun.
    #[n(2)]
    Created {
        /// Its handle.
        #[n(0)]
        upload: u64,
    },
    /// Done.
    #[n(3)]
    Done,
    /// Not done.
    #[n(4)]
    Failed {
        /// Why.
        #[n(0)]
        fault: HostFault,
    },
    /// The host wants something.
    #[n(5)]
    Order {
        /// What.
        #[n(0)]
        order: HostOrder,
    },
    /// A checkpoint, if there is one.
    #[n(6)]
    Recalled {
        /// The age file.
        #[n(0)]
        asset: Option<Digest>,
    },
    /// A connection is open.
    #[n(7)]
    Dialed {
        /// Its handle.
        #[n(0)]
        connection: u64,
    },
}

/// Why the host did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
#[non_exhaustive]
pub enum HostFault {
    /// There is no such asset.
    #[n(0)]
    #[error("the host has no such asset")]
    Missing,
    /// The store is full.
    #[n(1)]
    #[error("the host's store is full")]
    Full,
    /// The request makes no sense to the host.
    #[n(2)]
    #[error("the host did not understand the request")]
    Bad,
    /// The host's disk failed.
    #[n(3)]
    #[error("the host could not read or write")]
    Io,
    /// The operator does not allow it.
    #[n(4)]
    #[error("the node's operator does not allow that: `dial` in its settings names the addresses")]
    Forbidden,
}
