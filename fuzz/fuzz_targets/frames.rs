//! See `src/frames.rs`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tenantry_fuzz::frames::Frames;

static TARGET: LazyLock<Frames> = LazyLock::new(Frames::start);

fuzz_target!(|input: &[u8]| TARGET.run(input));
