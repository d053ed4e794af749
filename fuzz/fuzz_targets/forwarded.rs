//! See `src/forwarded.rs`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tenantry_fuzz::forwarded::Forwarded;

static TARGET: LazyLock<Forwarded> = LazyLock::new(Forwarded::start);

fuzz_target!(|input: &[u8]| TARGET.run(input));
