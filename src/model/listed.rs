//! What may be said of an endpoint, wherever it is written: in the routes file or in a list.

/// Whether this names a zone: 1 to 64 letters, digits, `.`, `_`, `-` and `/`.
pub fn is_zone(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    (1..=LONGEST_ZONE).contains(&text.len()) && text.bytes().all(allowed)
}

/// 64: as the names of gateways.
const LONGEST_ZONE: usize = 64;
