//! See `src/routes.rs`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tenantry_fuzz::routes::Routes;

static TARGET: LazyLock<Routes> = LazyLock::new(Routes::start);

fuzz_target!(|input: &[u8]| TARGET.run(input));
