//! See `src/answers.rs`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tenantry_fuzz::answers::Answers;

static TARGET: LazyLock<Answers> = LazyLock::new(Answers::start);

fuzz_target!(|input: &[u8]| TARGET.run(input));
