//! Certificates and handshakes, both sides: rustls with aws-lc-rs, TLS 1.2 and 1.3, the hybrid
//! post-quantum key exchange preferred.

pub mod certificates;
pub mod client;
pub mod demand;
pub mod doubt;
pub mod expiry;
mod leaf;
pub mod offer;
pub mod server;
mod shown;
pub mod stream;
pub mod tenants;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The cryptography that both sides use. AES with keys of 128 bits comes first, as browsers and
/// Mozilla's guideline for servers have it: nothing known breaks it, and SHA-384, which comes with
/// keys of 256 bits, costs a seventh of a handshake.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| {
        let name = suite.suite().as_str().unwrap_or_default();
        (suite.tls13().is_none(), !name.contains("AES_128"))
    });
    Arc::new(provider)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_faster_of_two_sound_suites_comes_first_in_each_version() {
        let provider = super::provider();
        let of = |new| {
            let mut suites = provider.cipher_suites.iter();
            suites
                .find(|suite| suite.tls13().is_some() == new)
                .and_then(|suite| suite.suite().as_str())
        };
        assert_eq!(of(true), Some("TLS13_AES_128_GCM_SHA256"));
        assert_eq!(of(false), Some("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"));
        assert_eq!(
            provider.cipher_suites.len(),
            rustls::crypto::aws_lc_rs::default_provider().cipher_suites.len()
        );
    }
}
