//! What a hostile host, a hostile party and hostile files get: a refusal, by name.

mod files;
mod host;
mod party;
mod scene;
mod traces;
