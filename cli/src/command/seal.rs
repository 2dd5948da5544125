//! `glacier seal` and `glacier open`.

use crate::{
    context::Context,
    error::{Exit, Failure, Outcome},
    explain,
    output::{Report, field},
    progress, source,
    units::Size,
};
use glacier::seal::{open_file, seal_for};
use glacier_wire::Digest;
use serde::Serialize;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct SealArgs {
    /// What to encrypt: a model (ONNX), data (CSV), anything
    #[arg(value_name = "FILE|URL")]
    file: PathBuf,
    /// Where to write the asset: a file, or s3://, gs://, az:// [default: FILE.age]
    #[arg(short, long, value_name = "OUT|URL")]
    output: Option<PathBuf>,
}

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct OpenArgs {
    /// What to decrypt
    #[arg(value_name = "FILE|URL")]
    file: PathBuf,
    /// Where to write the content [default: FILE without .age]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
}

/// Encrypts to the owner alone. The key of the file stays in the key store until it is released.
pub(crate) async fn seal(args: SealArgs, cx: &Context) -> Outcome {
    let from = cx.bring(&args.file).await?;
    let named = args.output.unwrap_or_else(|| match source::remote(&args.file) {
        // What was fetched is not kept, and what is made of it is wanted here.
        Ok(Some(remote)) => with_age(Path::new(remote.name())),
        _ => with_age(&args.file),
    });
    let (keys, key) = (cx.keystore()?, cx.key()?);
    let remote = source::remote(&named)?;
    let scratch = tempfile::tempdir().map_err(|error| Failure::writing(&std::env::temp_dir(), &error))?;
    let to = remote.as_ref().map_or_else(|| named.clone(), |remote| scratch.path().join(remote.name()));
    let bar = progress::bytes(cx.output, "sealing", 0);
    let sealed = seal_for(&keys, &key, &from, &to, &mut progress::follow(&bar));
    bar.finish_and_clear();
    let sealed = sealed.map_err(|error| explain::seal(&args.file, &to, error))?;
    if let Some(remote) = &remote {
        cx.put(&to, remote).await?;
    }
    let owner = key.name().to_string();
    cx.output.report(&Sealed {
        digest: sealed.digest,
        file: named,
        bytes: sealed.bytes,
        content: sealed.content,
        owner,
    })?;
    Ok(Exit::Yes)
}

/// Opens what was encrypted to the key.
pub(crate) async fn open(args: OpenArgs, cx: &Context) -> Outcome {
    let from = cx.bring(&args.file).await?;
    let here = source::remote(&args.file)?.map_or_else(|| args.file.clone(), |remote| remote.name().into());
    let to = match (&args.output, here.extension()) {
        (Some(to), _) => to.clone(),
        (None, Some(extension)) if extension == "age" => here.with_extension(""),
        (None, _) => {
            let message = format!("{} does not end in .age, so there is no name for its content", args.file.display());
            return Err(Failure::trouble("usage", message, "name the output with -o OUT"));
        }
    };
    let key = cx.key()?;
    let bar = progress::bytes(cx.output, "opening", 0);
    let opened = open_file(&from, &to, key.age(), &mut progress::follow(&bar));
    bar.finish_and_clear();
    let opened = opened.map_err(|error| explain::seal(&args.file, &to, error))?;
    cx.output.report(&Opened { digest: opened.digest, file: to, content: opened.plaintext_bytes })?;
    Ok(Exit::Yes)
}

fn with_age(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".age");
    name.into()
}

#[derive(Serialize)]
struct Sealed {
    digest: Digest,
    file: PathBuf,
    bytes: u64,
    content: u64,
    owner: String,
}

impl Report for Sealed {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "{}", self.file.display())?;
        field(page, "digest", self.digest)?;
        field(page, "size", Size(self.bytes))?;
        field(page, "key", format_args!("{} (in this key store)", self.owner))
    }
}

#[derive(Serialize)]
struct Opened {
    digest: Digest,
    file: PathBuf,
    content: u64,
}

impl Report for Opened {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "{}", self.file.display())?;
        field(page, "digest", format_args!("{} (of the sealed file)", self.digest))?;
        field(page, "size", Size(self.content))
    }
}
