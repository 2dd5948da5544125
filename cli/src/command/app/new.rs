//! `glacier app new`: an application to start from.

use crate::{
    error::{Exit, Failure, Outcome},
    files,
    output::{BOLD, Output, Report, field, paint},
};
use serde::Serialize;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the application: small letters, digits and `-`
    #[arg(value_name = "NAME")]
    name: String,
    /// Where to write it [default: a folder of that name]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, output: Output) -> Outcome {
    let name = args.name.as_str();
    if !is_name(name) {
        let message = format!("`{name}` is no name of a program");
        return Err(Failure::trouble("usage", message, "use small letters, digits and `-`, a letter first"));
    }
    let folder = args.path.clone().unwrap_or_else(|| name.into());
    let checkout = checkout();
    for (file, text) in FILES {
        let path = folder.join(file);
        let parent = path.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).map_err(|error| Failure::writing(parent, &error))?;
        files::write_new(&path, fill(text, name, checkout.as_deref()).as_bytes())?;
    }
    if let Some(checkout) = &checkout {
        // The versions that this very program was built and tested with.
        let (from, to) = (checkout.join(LOCK), folder.join(LOCK));
        fs::copy(&from, &to).map_err(|error| Failure::writing(&to, &error))?;
    }
    output.report(&Written { name: name.to_owned(), folder, checkout })?;
    Ok(Exit::Yes)
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= 40 && name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(fits)
}

/// The source tree that this program was built in, if it is still there.
fn checkout() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let there = root.join("enclave/app/Cargo.toml").is_file() && root.join(LOCK).is_file();
    there.then(|| root.to_owned())
}

fn fill(text: &str, name: &str, checkout: Option<&Path>) -> String {
    let source = |crate_folder: &str| match checkout {
        Some(root) => format!("path = {:?}", root.join(crate_folder)),
        // The version that this program is: whatever is the newest by then may be another interface.
        None => format!("git = {:?}, tag = {:?}", env!("CARGO_PKG_REPOSITORY"), TAG),
    };
    text.replace("@APP@", &source("enclave/app"))
        .replace("@SDK@", &source("sdk"))
        .replace("@TESTKIT@", &source("testkit"))
        .replace("@NAME@", name)
}

#[derive(Serialize)]
struct Written {
    name: String,
    folder: PathBuf,
    /// The source tree that it depends on; absent where it depends on the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkout: Option<PathBuf>,
}

impl Report for Written {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let Self { name, folder, .. } = self;
        field(page, "written", folder.display())?;
        writeln!(page, "\n{}", paint(BOLD, "next"))?;
        writeln!(page, "  cd {}", folder.display())?;
        writeln!(page, "  cargo build --release")?;
        writeln!(page, "  glacier measure target/release/{name}   # the line that users of it pin in their policy")?;
        writeln!(page, "  glacier node run --no-chain --enclave target/release/{name} --write-policy policy.toml")?;
        writeln!(page, "and in another terminal")?;
        writeln!(
            page,
            "  glacier app call --node http://127.0.0.1:8480 --policy policy.toml /hello '{{\"name\": \"Ada\"}}'"
        )
    }
}

const LOCK: &str = "Cargo.lock";
/// What the repository calls this version.
const TAG: &str = concat!("v", env!("CARGO_PKG_VERSION"));

const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("starter/Cargo.toml.in")),
    ("src/main.rs", include_str!("starter/main.rs.in")),
    ("tests/hello.rs", include_str!("starter/hello.rs.in")),
    ("README.md", include_str!("starter/README.md.in")),
    (".gitignore", "/target\n/policy.toml\n"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_of_programs() {
        assert!(["a", "sealed-bids2"].iter().all(|name| is_name(name)));
        assert!(!["", "A", "2a", "-a", "a b", "a/b", "ä"].iter().any(|name| is_name(name)));
    }

    #[test]
    fn a_starter_names_its_sources_in_every_place() {
        for (file, text) in FILES {
            for checkout in [None, Some(Path::new("/src/glacier"))] {
                let filled = fill(text, "hello", checkout);
                assert!(!filled.contains('@') || file.ends_with(".rs"), "{file}: {filled}");
            }
        }
        let (manifest, repository) = (FILES[0].1, env!("CARGO_PKG_REPOSITORY"));
        assert!(
            fill(manifest, "hello", None)
                .contains(&format!("glacier-app = {{ git = \"{repository}\", tag = \"{TAG}\" }}"))
        );
    }
}
