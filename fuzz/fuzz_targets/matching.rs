//! See `src/matching.rs`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tenantry_fuzz::matching::Matching;

static TARGET: LazyLock<Matching> = LazyLock::new(Matching::start);

fuzz_target!(|input: &[u8]| TARGET.run(input));
