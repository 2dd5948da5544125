//! The sandbox, the workers and the launch, tried from inside and looked at from outside.
//!
//! One program, two lives: run by `cargo test` it is a list of tests; launched by `glacier-chip` it is
//! the enclave under test, which does on command what an enclave must not be able to do, and reports
//! what the kernel said. Each test launches its own.

mod driver;
mod probe;

use glacier_platform::CountingAllocator;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|name| name == "enclave") {
        return probe::enclave();
    }
    driver::run()
}
