//! The arithmetic of the sandboxed app `cohort` as an enclave program of its own: what the sandbox costs is measured
//! against this, and who trusts the code may measure it instead.

#[path = "cohort/src/cohort.rs"]
mod cohort;

use glacier_app::{App, Context, CountingAllocator, Refusal, RefusalCode, Request, Response, serve};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

struct Cohort;

impl App for Cohort {
    const NAME: &'static str = "cohort";

    async fn handle(&self, _: &Context, request: Request) -> Result<Response, Refusal> {
        let answer = cohort::answer(request.path(), request.body());
        Ok(Response::bytes(answer.map_err(|why| Refusal::new(RefusalCode::App, why))?).proved(1))
    }
}

fn main() -> ExitCode {
    serve(Cohort)
}
