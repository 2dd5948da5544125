//! `cargo xtask guest`: the initial file system of a measured TDX or SEV-SNP guest. See deploy/guest.

use crate::{cargo, cpio::Archive};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Builds the programs, and from them `guest.cpio`, `guest.sums` and `cmdline` in `out`.
///
/// `modules` is the folder `/lib/modules/VERSION` of the kernel that will run, unpacked.
pub(crate) fn build(modules: &Path, out: &Path) -> Result<(), String> {
    cargo::run(&["build", "--release", "--locked", "-p", ENCLAVE, "-p", INIT])?;
    let programs = cargo::metadata()?.target_directory.join("release");
    let archive = archive(&programs.join(INIT), &programs.join(ENCLAVE), modules)?;
    let bytes = archive.bytes()?;

    let mut sums = String::new();
    for (path, content) in archive.files() {
        let _ = writeln!(sums, "{}  {path}", sum(content));
    }
    let digest = sum(&bytes);
    fs::create_dir_all(out).map_err(|error| format!("{}: {error}", out.display()))?;
    let files =
        [("guest.cpio", bytes.as_slice()), ("guest.sums", sums.as_bytes()), ("cmdline", command_line()?.as_bytes())]
            .map(|(name, content)| (out.join(name), content.to_vec()));
    for (path, content) in files {
        fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    print!("{sums}");
    println!("{digest}  {}", out.join("guest.cpio").display());
    Ok(())
}

/// The fixed command line: `deploy/guest/cmdline`, one option a line, `#` for reasons.
fn command_line() -> Result<String, String> {
    let path = cargo::root().join("deploy/guest/cmdline");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let options: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    Ok(options.join(" "))
}

fn archive(init: &Path, enclave: &Path, modules: &Path) -> Result<Archive, String> {
    let mut archive = Archive::default();
    archive.file("init", true, read(init)?)?;
    archive.file("bin/glacier-enclave", true, read(enclave)?)?;
    for library in libraries(&[init, enclave])? {
        let content = read(&library)?;
        archive.file(library.to_string_lossy().trim_start_matches('/'), true, content)?;
    }
    let mut list = String::new();
    for name in MODULES {
        let path = find(modules, name)?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        archive.file(&format!("lib/modules/{file}"), false, read(&path)?)?;
        let _ = writeln!(list, "{file}");
    }
    archive.file("etc/modules", false, list.into_bytes())?;
    // Where init mounts. The console has to be there before anything is mounted.
    ["proc", "sys", "dev", "run"].iter().try_for_each(|folder| archive.folder(folder))?;
    archive.device("dev/console", 5, 1)?;
    Ok(archive)
}

/// What the loader will want, as it says itself.
fn libraries(programs: &[&Path]) -> Result<BTreeSet<PathBuf>, String> {
    let mut found = BTreeSet::new();
    for program in programs {
        let output =
            Command::new("ldd").arg(program).output().map_err(|error| format!("ldd did not start: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(format!("ldd {}: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim()));
        }
        for line in text.lines() {
            found.extend(library(line)?);
        }
    }
    Ok(found)
}

/// `NAME => PATH (0x…)`, `PATH (0x…)`; the kernel's own object has no file.
fn library(line: &str) -> Result<Option<PathBuf>, String> {
    let line = line.trim();
    if line.contains("not found") {
        return Err(format!("ldd: {line}"));
    }
    let path = line.split_once(" => ").map_or(line, |(_, path)| path);
    let path = path.split(" (0x").next().unwrap_or_default();
    Ok(path.starts_with('/').then(|| PathBuf::from(path)))
}

/// A module by name, in any compression that the kernel undoes itself.
fn find(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let mut folders = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let complain = |error: std::io::Error| format!("{}: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(complain)? {
            let path = entry.map_err(complain)?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if SUFFIXES.iter().any(|suffix| file.strip_suffix(suffix) == Some(name)) {
                found.push(path);
            }
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(format!("no module {name} under {}: is it the folder of one kernel?", folder.display())),
        _ => Err(format!("several modules {name} under {}: name the folder of one kernel", folder.display())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const ENCLAVE: &str = "glacier-enclave";
const INIT: &str = "glacier-guest-init";
const SUFFIXES: &[&str] = &[".ko", ".ko.xz", ".ko.zst", ".ko.gz"];
/// In the order in which they are loaded: each after those it needs.
const MODULES: &[&str] = &[
    "configfs",
    "tsm",
    "tdx-guest",
    "sev-guest",
    "vsock",
    "vmw_vsock_virtio_transport_common",
    "vmw_vsock_virtio_transport",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in MODULES {
            let inside = folder.path().join("kernel").join(name);
            fs::create_dir_all(&inside).unwrap();
            fs::write(inside.join(format!("{name}.ko.xz")), name).unwrap();
        }
        folder
    }

    /// Any two programs of this machine do.
    fn programs() -> [PathBuf; 2] {
        [std::env::current_exe().unwrap(), PathBuf::from("/bin/sh")]
    }

    #[test]
    fn two_builds_are_one_archive() {
        let [init, enclave] = programs();
        let (one, other) = (modules(), modules());
        let built = archive(&init, &enclave, one.path()).unwrap();
        let again = archive(&init, &enclave, other.path()).unwrap();
        assert_eq!(sum(&built.bytes().unwrap()), sum(&again.bytes().unwrap()));
        let names: Vec<&str> = built.files().map(|(path, _)| path).collect();
        for name in ["init", "bin/glacier-enclave", "etc/modules", "lib/modules/vsock.ko.xz"] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert!(names.iter().any(|name| name.contains("libc.so")), "{names:?}");
        assert!(!names.iter().any(|name| name.ends_with("/sh")), "no shell: {names:?}");
    }

    #[test]
    fn a_changed_program_is_another_archive() {
        let [init, enclave] = programs();
        let modules = modules();
        let built = archive(&init, &enclave, modules.path()).unwrap().bytes().unwrap();
        assert_ne!(archive(&enclave, &enclave, modules.path()).unwrap().bytes().unwrap(), built);
    }

    #[test]
    fn modules_of_two_kernels_are_refused() {
        let modules = modules();
        fs::write(modules.path().join("vsock.ko"), "other").unwrap();
        assert!(find(modules.path(), "vsock").is_err());
        assert!(find(modules.path(), "nothing").is_err());
        assert!(find(modules.path(), "tsm").is_ok());
    }

    #[test]
    fn lines_of_ldd_are_read() {
        let at = |path: &str| Ok(Some(PathBuf::from(path)));
        assert_eq!(
            library("\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f6a)"),
            at("/lib/x86_64-linux-gnu/libm.so.6")
        );
        assert_eq!(library("\t/lib64/ld-linux-x86-64.so.2 (0x00007f6a)"), at("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007f6a)"), Ok(None));
        assert_eq!(library("\tstatically linked"), Ok(None));
        assert!(library("\tlibodd.so => not found").is_err());
    }

    #[test]
    fn the_command_line_is_one_line_of_options() {
        let line = command_line().unwrap();
        assert!(line.is_ascii() && !line.contains('\n') && !line.contains("  "));
        for option in ["panic=-1", "lockdown=confidentiality", "module.sig_enforce=1"] {
            assert!(line.split(' ').any(|found| found == option), "{option} in {line}");
        }
        for option in ["init=", "rdinit=", "root="] {
            assert!(!line.contains(option), "{option} in {line}");
        }
    }
}
