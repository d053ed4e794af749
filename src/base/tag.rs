//! Names for states of things: the same bytes have the same one, others another.

use aws_lc_rs::digest::{SHA256, digest};

/// The entity tag (RFC 9110 §8.8.3) of a representation.
pub fn tag(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    let hex: String = digest.as_ref().iter().take(BYTES).map(|b| format!("{b:02x}")).collect();
    format!("\"{hex}\"")
}

/// 16: 128 bits of the digest. Nobody gains anything by a collision.
const BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_have_another_tag() {
        assert_eq!(tag(b"{}"), tag(b"{}"));
        assert_ne!(tag(b"{}"), tag(b"{ }"));
        assert_eq!(tag(b"").len(), 34);
    }
}
