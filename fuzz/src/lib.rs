//! The entry points of fuzzing: each takes any bytes and panics where the gateway did what it must
//! not. `fuzz_targets` gives them to libFuzzer, `tests/fuzz` gives them seeded mutations.

pub mod answers;
mod choices;
pub mod forwarded;
pub mod frames;
mod manner;
pub mod matching;
mod model;
mod origin;
pub mod proxy_header;
mod recorder;
pub mod requests;
pub mod routes;
mod strict_answer;
mod world;

#[path = "../../tests/it/world/strict.rs"]
mod strict;
