//! Where the workspace's programs are.

use std::path::PathBuf;

/// A program of this workspace, built in the same profile as the test that asks; for a test of a project of its
/// own, the program beside `glacier` on the PATH.
///
/// # Panics
///
/// When it is in neither place: a test that went on without it would test nothing.
pub fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a running program has a path");
    // Tests lie in `deps/`, one folder below the programs; benchmarks lie beside them.
    let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|folder| folder.join(name));
    let program = beside.chain(installed).find(|path| path.is_file());
    program.unwrap_or_else(|| {
        panic!(
            "{name} is neither beside {} nor on the PATH: build the whole workspace first, `cargo build --release`",
            this.display()
        )
    })
}
