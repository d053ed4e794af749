//! Certificates and handshakes, both sides: rustls with aws-lc-rs, TLS 1.2 and 1.3, the hybrid
//! post-quantum key exchange preferred.

pub mod certificates;
pub mod client;
pub mod demand;
pub mod doubt;
pub mod expiry;
mod leaf;
pub mod server;
mod shown;
pub mod stream;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The cryptography that both sides use.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
