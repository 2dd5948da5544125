//! What to do about it: one sentence for each fault that a library names.

use crate::{
    checks,
    error::{Exit, Failure},
};
use glacier::{
    ChannelError, Error, FileError,
    input::InputError,
    job::JobError,
    keystore::KeystoreError,
    node::NodeError,
    output::OutputError,
    policy::PolicyError,
    seal::SealError,
    session::{ConnectError, RequestError},
};
use glacier_asset::AssetError;
use glacier_attest::Verdict;
use glacier_host::{HostError, LaunchError};
use glacier_wire::{
    ManifestError,
    api::{Refusal, RefusalCode},
    training::nearest,
};
use std::path::Path;

/// Anything that the client library says.
pub(crate) fn client(error: Error) -> Failure {
    let message = error.to_string();
    match error {
        Error::Keystore(error) => keystore(error),
        Error::Policy(error) => policy(Path::new("policy"), error),
        Error::Job(error) => job(Path::new("job"), error),
        Error::Seal(error) => seal(Path::new("asset"), Path::new("asset"), error),
        Error::Input(error) => input(Path::new("input"), error),
        Error::Output(error) => output(Path::new("output"), error),
        Error::NotYourRole => {
            Failure::trouble("not-a-party", message, "pick the identity that the job names with --key")
        }
        Error::Random => Failure::trouble("system", message, "check that the system's random source works"),
        Error::Node(error) => node(error),
        Error::Connect(error) => connect(error),
        Error::Elsewhere(_) => Failure::no(
            "manifest-elsewhere",
            message,
            "use the node that the job names; after an update of its code, propose the job again",
        ),
        Error::Request(error) => request(error),
        Error::Refused(error) => refusal(&error),
        Error::Unproved(_) => Failure::no(
            "unproved",
            message,
            "do not use this result; show the proof and this message to the node's operator",
        ),
        _ => Failure::trouble("client", message, "try again with a newer glacier"),
    }
}

/// The same, for calls that read one file of the caller's: the message names it.
pub(crate) fn with_file(error: Error, file: &Path) -> Failure {
    match error {
        Error::Seal(error) => seal(file, file, error),
        error => client(error),
    }
}

/// The untrusted part of a node.
pub(crate) fn node(error: NodeError) -> Failure {
    let (code, help) = match error {
        NodeError::Address => ("usage", "pass --node http://HOST:PORT".to_owned()),
        NodeError::Unreachable => {
            ("node-unreachable", "check --node, and that `glacier node run` runs there".to_owned())
        }
        NodeError::Missing(_) => ("asset-missing", "upload the asset again, with `glacier job join`".to_owned()),
        NodeError::Full => ("node-full", "ask the operator to make room".to_owned()),
        NodeError::Digest(_) => {
            ("asset-digest", "pass the file that was sealed for this job; if it is, the host altered it".to_owned())
        }
        NodeError::TooLarge { .. } => {
            ("node", "nothing was kept; the host sends something else: tell the node's operator".to_owned())
        }
        NodeError::File(fault) => ("file", file_help(fault)),
        _ => ("node", "check --node: what answers there may be no Glacier node".to_owned()),
    };
    Failure::trouble(code, error.to_string(), help)
}

/// No session: nothing private was sent.
pub(crate) fn connect(error: ConnectError) -> Failure {
    let message = error.to_string();
    match error {
        ConnectError::Unreachable(_) => {
            Failure::trouble("node-unreachable", message, "check --node, and that `glacier node run` runs there")
        }
        ConnectError::Closed => Failure::trouble("node", message, "try again; if it stays, ask the operator"),
        ConnectError::Evidence { error, checks } => Failure {
            exit: if error.verdict == Verdict::Rejected { Exit::No } else { Exit::Trouble },
            checks: checks::lines(&checks),
            ..Failure::no(
                "evidence-rejected",
                message,
                "nothing was sent; see what the node shows with `glacier verify node`, and change the policy only if you trust that",
            )
        },
        ConnectError::Collateral(_) => Failure::no(
            "evidence-rejected",
            message,
            "nothing was sent; ask the operator to mend the node's collateral",
        ),
        ConnectError::Channel(ChannelError::Io(_) | ChannelError::Deadline | ChannelError::NoQuote(_)) => {
            Failure::trouble("node", message, "nothing private was sent; try again, and if it stays, ask the operator")
        }
        ConnectError::Channel(ChannelError::IdentityRefused) => Failure::no(
            "identity-refused",
            message,
            "your key's address was sent, and nothing else; try again, and if it stays, compare `glacier --version` with the node's",
        ),
        ConnectError::Channel(_) => Failure::no(
            "channel",
            message,
            "nothing private was sent; try again, and if it stays, somebody stands between you and the enclave",
        ),
        _ => Failure::trouble("node", message, "try again; if it stays, ask the operator"),
    }
}

/// A request without an answer.
fn request(error: RequestError) -> Failure {
    let message = error.to_string();
    match error {
        RequestError::Refused(error) => refusal(&error),
        RequestError::Cut => Failure::trouble(
            "node",
            message,
            "the host cut the session or the enclave ended; see `glacier node status`",
        ),
        RequestError::Deadline => Failure::trouble("node", message, "try again; large jobs need `glacier job`"),
        RequestError::SetBack { .. } => Failure::no(
            "set-back",
            message,
            "do not rely on this enclave's answers; ask the operator which disk it was started from",
        ),
        RequestError::Memory(_) => {
            Failure::trouble("file-write", message, "make room in the home, and see who may write there")
        }
        _ => Failure::trouble("node", message, "the node may run another version; compare `glacier --version`"),
    }
}

/// A sandboxed app said no, in words of its own: they are not to move the terminal's cursor, nor to fill its page.
pub(crate) fn app_refusal(text: &str) -> Failure {
    let text: String = text.chars().filter(|c| !c.is_control()).take(LONGEST_REFUSAL).collect();
    Failure::no("app", format!("the app refuses this data: {text}"), "ask the app's owner what data it takes")
}

/// Characters of an app's refusal that are shown.
const LONGEST_REFUSAL: usize = 2000;

/// The enclave said no.
fn refusal(refusal: &Refusal) -> Failure {
    use RefusalCode as Code;
    let help = match refusal.code {
        Code::NotFound => "check the name; after a restart the enclave knows no earlier job, and it is proposed anew",
        Code::NotYours => "pick the identity that the job names with --key",
        Code::ManifestInvalid => "collect every party's signature with `glacier job sign`",
        Code::ManifestElsewhere | Code::GrantElsewhere => "use the node that the job names, or propose the job again",
        Code::GrantSignature => "pick the identity of your role with --key",
        Code::GrantExpired | Code::JobExpired => "propose the job again with a later --expires",
        Code::GrantReplayed => "you have joined already: see `glacier job status`",
        Code::GrantExhausted => "propose a new job, or serve the model again with more --runs",
        Code::AssetMissing => "its owner uploads the asset with `glacier job join --asset FILE`",
        Code::AssetDigest | Code::AssetMalformed => {
            "the host's copy is not what was sealed: upload it again, and tell the operator"
        }
        Code::AssetKey => "use the key store that sealed the asset",
        Code::ModelInvalid | Code::ModelUnsupported => {
            "the model's owner exports it again: ONNX, opset and sizes as the docs say"
        }
        Code::DataInvalid => "mend the table and seal it again",
        Code::MemoryLimit => "propose the job with more --memory",
        Code::UnitLimit => "propose the job with more --units",
        Code::EngineCrashed => "try another export of the model; nothing else was touched",
        Code::TooLarge => "send fewer rows at once, or use `glacier job`",
        Code::Busy => "try again later",
        Code::NotReady => "wait: `glacier job status` shows how far it is",
        Code::CheckpointStale | Code::CheckpointForged | Code::StateForked => {
            "the host did not bring back what it was given: do not go on with it, and ask the operator"
        }
        Code::StateUnknown => {
            "ask the application what stands before you repeat the change, and tell the node's operator"
        }
        Code::Withdrawn => "grant again with `glacier job join`, or propose the job anew",
        Code::PlanInvalid => "change the plan; `docs/training.md` lists what it may say",
        Code::Diverged => "train with a lower --rate, with --clip-norm, or on standardised columns",
        Code::CredentialInvalid => "use the node that the federation seats there, or propose the federation again",
        Code::UpdateInvalid => "the site trains the round again; if it stays, compare the versions of both nodes",
        Code::UpdateLate => "nothing is lost: go on with the round under way",
        Code::UpdateRepeated => "nothing: the update is there",
        Code::Host | Code::Platform => "ask the node's operator",
        _ => "see what the application says",
    };
    Failure::no(refusal.code.as_str(), format!("the enclave refused: {refusal}"), help)
}

/// A node that does not start.
pub(crate) fn host(error: HostError) -> Failure {
    let (code, help) = match &error {
        HostError::Enclave(LaunchError::NoChip(_) | LaunchError::NoEnclave(_)) => {
            ("programs-missing", "build all programs together: cargo build --release")
        }
        HostError::Enclave(_) => ("enclave", "see what the chip says above; RUST_LOG=debug tells more"),
        HostError::Config(_) => ("config", "mend the file; `home = \"FOLDER\"` is the only member that must be there"),
        HostError::HomeTooLong => ("file-write", "use a folder with a shorter path"),
        HostError::Home(_) | HostError::Store(_) | HostError::Proofs(_) => {
            ("node-folder", "check the folder and its disk, and that no other node runs in it")
        }
        HostError::Listen { .. } => ("port", "choose another port with --listen, or end what listens there"),
        _ => ("host", "RUST_LOG=debug tells more"),
    };
    Failure::trouble(code, error.to_string(), help)
}

/// A table or tensor file that is none.
pub(crate) fn input(path: &Path, error: InputError) -> Failure {
    let help = match &error {
        InputError::Format => "name a file that ends in .csv, .npy or .npz".to_owned(),
        InputError::File(fault) => file_help(*fault),
        InputError::TooLarge { .. } => "send fewer rows at once, or use `glacier job`".to_owned(),
        InputError::Unfit(_) => "mend the numbers, or see that each column is the one that the model wants".to_owned(),
        _ => "mend the file".to_owned(),
    };
    Failure::trouble("input", format!("{}: {error}", path.display()), help)
}

/// A result that cannot be written as wanted.
pub(crate) fn output(path: &Path, error: OutputError) -> Failure {
    let help = match &error {
        OutputError::Format => "name an output that ends in .csv, .json, .npy or .npz".to_owned(),
        OutputError::OneArray(_) | OutputError::Ragged => "write .npz or .json instead".to_owned(),
        OutputError::File(fault) => file_help(*fault),
        _ => "the model gives outputs that do not fit together; tell its owner".to_owned(),
    };
    Failure::trouble("output", format!("{}: {error}", path.display()), help)
}

/// A key store that says no.
pub(crate) fn keystore(error: KeystoreError) -> Failure {
    let (code, help) = match &error {
        KeystoreError::NoHome => ("no-home", "pass --home DIR, or set GLACIER_HOME".to_owned()),
        KeystoreError::Open(path) => ("key-exposed", format!("close it: chmod go-rwx {}", path.display())),
        KeystoreError::Exists(_) => ("key-exists", "choose another name; keys are never replaced".to_owned()),
        KeystoreError::Missing(name) => {
            ("key-missing", format!("make it with `glacier key new {name}`, or pick one of `glacier key list`"))
        }
        KeystoreError::Damaged(_) | KeystoreError::DamagedNote(_) => {
            ("key-damaged", "restore the file from a backup; nothing else can mend it".to_owned())
        }
        KeystoreError::Version { .. } => ("key-version", "use the newer glacier that wrote it".to_owned()),
        KeystoreError::UnknownAsset(_) => (
            "asset-unknown",
            "seal the file here first (`glacier seal FILE`), or pass the --home that sealed it".to_owned(),
        ),
        KeystoreError::Unwrap(_) => ("asset-key", "use the --home and --key that sealed the file".to_owned()),
        KeystoreError::Random => ("system", "check that the system's random source works".to_owned()),
        KeystoreError::File(fault) => ("file", file_help(*fault)),
        _ => ("keystore", "check the folder of keys".to_owned()),
    };
    Failure::trouble(code, error.to_string(), help)
}

/// A job document that cannot be read, signed or merged.
pub(crate) fn job(path: &Path, error: JobError) -> Failure {
    let message = format!("{}: {error}", path.display());
    let (code, help) = match error {
        JobError::Malformed => ("job-malformed", "pass the file that `glacier job propose` wrote".to_owned()),
        JobError::Manifest(_) => {
            ("job-invalid", "ask its author for a new proposal; a signed job cannot be edited".to_owned())
        }
        JobError::NotNamed(_) => ("not-a-party", "pick the identity that the job names with --key".to_owned()),
        JobError::OtherJob => ("other-job", "these files are different jobs; use copies of one".to_owned()),
        JobError::Random => ("system", "check that the system's random source works".to_owned()),
        JobError::File(fault) => ("file", file_help(fault)),
        _ => ("job", "check the job file".to_owned()),
    };
    Failure::trouble(code, message, help)
}

/// A job that not everybody has signed.
pub(crate) fn unsigned(path: &Path, error: JobError) -> Failure {
    let mut failure = job(path, error);
    if let JobError::Manifest(ManifestError::Unsigned(party)) = error {
        failure.code = "job-unsigned".to_owned();
        failure.help = format!("send it to {party}, who runs `glacier job sign {}`", path.display());
    }
    failure
}

/// A policy file that cannot be used.
pub(crate) fn policy(path: &Path, error: PolicyError) -> Failure {
    let message = format!("{}: {error}", path.display());
    let (code, help) = match error {
        PolicyError::Unknown { meant: Some(meant), .. } => ("policy", format!("did you mean `{meant}`?")),
        PolicyError::File(fault) => ("file", file_help(fault)),
        _ => (
            "policy",
            "write one with `glacier node run --write-policy FILE`, or with the lines that `glacier verify node` prints"
                .to_owned(),
        ),
    };
    Failure::trouble(code, message, help)
}

/// Settings in TOML that cannot be read: the line, and what a misspelt member may have meant. `manual` is a sentence
/// that says where they are listed.
pub(crate) fn settings(
    code: &str,
    path: &Path,
    text: &str,
    error: &toml::de::Error,
    members: &[&str],
    manual: &str,
) -> Failure {
    let found = error.message().split('`').nth(1).filter(|_| error.message().starts_with("unknown field"));
    let meant = found.and_then(|found| nearest(found, members));
    let help = meant.map_or_else(|| manual.to_owned(), |word| format!("`{word}` may be meant; {manual}"));
    let line = error.span().map_or(0, |span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
    // The list of all that is known is in the manual.
    let message = error.message().split(", expected").next().unwrap_or_default();
    Failure::trouble(code, format!("{}: line {line}: {message}", path.display()), help)
}

/// A file that was not sealed or opened.
pub(crate) fn seal(from: &Path, to: &Path, error: SealError) -> Failure {
    let at = |path: &Path| format!("{}: {error}", path.display());
    match &error {
        SealError::Read(fault) => Failure::trouble("file-read", at(from), file_help(*fault)),
        SealError::Write(fault) => Failure::trouble("file-write", at(to), file_help(*fault)),
        SealError::Keystore(fault) => keystore(fault.clone()),
        SealError::Digest { .. } => Failure::no("asset-digest", at(from), "fetch the file again from its owner"),
        SealError::TooLarge { .. } => Failure::trouble("file-size", at(from), "write it to a file instead"),
        SealError::Asset(fault) => {
            let (code, help) = match fault {
                AssetError::NoMatch => ("asset-key", "name the key that it was encrypted to with --key or --home"),
                AssetError::Malformed(_) => ("asset-malformed", "pass a file that `glacier seal` or age has written"),
                AssetError::Truncated => ("asset-malformed", "the file is incomplete: fetch it again"),
                AssetError::BadRecipient => {
                    ("recipient", "a recipient begins with age1; `glacier key show` prints yours")
                }
                AssetError::Random => ("system", "check that the system's random source works"),
                _ => ("asset-malformed", "the file was altered on its way: fetch it again"),
            };
            Failure::no(code, at(from), help)
        }
        _ => Failure::trouble("seal", at(from), "check the file"),
    }
}

/// A file that was not written.
pub(crate) fn file_write(path: &Path, fault: FileError) -> Failure {
    Failure::trouble("file-write", format!("cannot write {}: {fault}", path.display()), file_help(fault))
}

/// What to do about a file.
pub(crate) fn file_help(fault: FileError) -> String {
    match fault {
        FileError::Exists => "move the file away, or name another output",
        FileError::Missing => "check the path; `ls` shows what is there",
        FileError::Denied => "check who may read and write there",
        FileError::Full => "make room on the disk",
        _ => "check the disk and the path",
    }
    .to_owned()
}
