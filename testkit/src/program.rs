//! Where the workspace's programs are.

use std::path::PathBuf;

/// A program of this workspace, built in the same profile as the test that asks.
///
/// # Panics
///
/// When it has not been built: a test that went on without it would test nothing.
pub fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a running program has a path");
    // Tests lie in `deps/`, one folder below the programs; benchmarks lie beside them.
    let program = this.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    program.unwrap_or_else(|| {
        panic!(
            "{name} is not built beside {}: build the whole workspace first, `cargo build --release`",
            this.display()
        )
    })
}
