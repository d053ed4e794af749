//! Names for states of things: the same bytes have the same one, others another.

use aws_lc_rs::digest::{SHA256, digest};

/// The entity tag (RFC 9110 §8.8.3) of a representation.
pub fn tag(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    let hex: String = digest.as_ref().iter().take(BYTES).map(|b| format!("{b:02x}")).collect();
    format!("\"{hex}\"")
}

/// A number for what is kept on the disk or told to other gateways by it: the same with every build, which no hasher
/// of the standard library promises.
pub fn number(bytes: &[u8]) -> u64 {
    let digest = digest(&SHA256, bytes);
    digest.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
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

    /// FIPS 180-4 has the digest of "abc" as an example.
    #[test]
    fn a_number_is_the_same_with_every_build() {
        assert_eq!(number(b"abc"), 0xba78_16bf_8f01_cfea);
    }
}
