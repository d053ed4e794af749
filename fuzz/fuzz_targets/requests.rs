//! See `src/requests.rs`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tenantry_fuzz::requests::Requests;

static TARGET: LazyLock<Requests> = LazyLock::new(Requests::start);

fuzz_target!(|input: &[u8]| TARGET.run(input));
