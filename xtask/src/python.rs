//! The Python package: built into a wheel, installed where nothing else is, and tried there.

use crate::{cargo, programs};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Builds the wheel into `target/wheels`.
pub(crate) fn wheel() -> Result<(), String> {
    let Some(python) = Python::find()? else {
        return Err("a Python of 3.11 or newer is needed to build a wheel".into());
    };
    let wheel = python.wheel()?;
    println!("python: {}", wheel.display());
    Ok(())
}

/// Everything: wheel, lints, types, stubs against the binary, tests against a node, notebooks.
pub(crate) fn check() -> Result<(), String> {
    let Some(python) = Python::find()? else {
        println!("python: skipped: no python3 of 3.11 or newer with venv");
        return Ok(());
    };
    programs::build()?;
    let wheel = python.wheel()?;
    python.run("pip", &["install", "--quiet", "--force-reinstall", "--no-deps", &wheel.display().to_string()])?;
    python.run("ruff", &["check", "python"])?;
    python.run("ruff", &["format", "--check", "python"])?;
    python.run("mypy", &["--config-file", "python/pyproject.toml", "python/glacier_tee", "python/tests"])?;
    // What is installed, not the sources beside it: a stub that differs from the binary is a lie to every editor.
    python.run("stubtest", &["--ignore-disjoint-bases", "glacier_tee"])?;
    python.run("pytest", &["--quiet", "-c", "python/pyproject.toml", "python/tests"])
}

/// An environment of its own under the target folder.
struct Python {
    home: PathBuf,
    target: PathBuf,
}

impl Python {
    /// None where there is no Python that will do.
    fn find() -> Result<Option<Self>, String> {
        let target = cargo::metadata()?.target_directory;
        let this = Self { home: target.join("python"), target };
        let new_enough = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";
        let fits = Command::new("python3").args(["-c", new_enough]).output();
        if !fits.is_ok_and(|output| output.status.success()) {
            return Ok(None);
        }
        this.install()?;
        Ok(Some(this))
    }

    /// Installs the tools, unless these very ones are there.
    fn install(&self) -> Result<(), String> {
        let wanted = cargo::root().join("python/requirements.txt");
        let text = fs::read_to_string(&wanted).map_err(|error| format!("{}: {error}", wanted.display()))?;
        let installed = self.home.join("installed.txt");
        if fs::read_to_string(&installed).is_ok_and(|there| there == text) {
            return Ok(());
        }
        let home = self.home.display().to_string();
        run(Command::new("python3").args(["-m", "venv", "--clear", &home]))?;
        self.run("pip", &["install", "--quiet", "--disable-pip-version-check", "-r", &wanted.display().to_string()])?;
        fs::write(&installed, text).map_err(|error| format!("{}: {error}", installed.display()))
    }

    /// The same profile and lock file as everything else, in the same target folder.
    fn wheel(&self) -> Result<PathBuf, String> {
        let folder = self.target.join("wheels");
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        let (manifest, out) = ("python/Cargo.toml", folder.display().to_string());
        self.run(
            "maturin",
            &["build", "--quiet", "--release", "--locked", "--manifest-path", manifest, "--out", &out],
        )?;
        let files = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut wheels =
            files.flatten().map(|entry| entry.path()).filter(|path| path.extension() == Some("whl".as_ref()));
        wheels.next().ok_or_else(|| "maturin built no wheel".into())
    }

    fn run(&self, tool: &str, args: &[&str]) -> Result<(), String> {
        let bin = self.home.join("bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut command = Command::new(bin.join(tool));
        command
            .args(args)
            .current_dir(cargo::root())
            .env("VIRTUAL_ENV", &self.home)
            .env("GLACIER_PROGRAM", self.target.join("release/glacier"))
            .env("PATH", prepended(&bin, &path)?)
            .env("MPLBACKEND", "agg");
        run(&mut command)
    }
}

fn prepended(first: &Path, path: &std::ffi::OsStr) -> Result<std::ffi::OsString, String> {
    let all = std::iter::once(first.to_owned()).chain(std::env::split_paths(path));
    std::env::join_paths(all).map_err(|error| error.to_string())
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| format!("{program} did not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program}: {status}")) }
}
