//! See `src/proxy_header.rs`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tenantry_fuzz::proxy_header::ProxyHeader;

static TARGET: LazyLock<ProxyHeader> = LazyLock::new(ProxyHeader::start);

fuzz_target!(|input: &[u8]| TARGET.run(input));
