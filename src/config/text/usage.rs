//! The name of a gateway.

use super::{Text, Wrong};

/// The name of a gateway, which becomes a part of the names of files.
#[derive(Clone, Debug)]
pub(in crate::config) struct GatewayName(pub(in crate::config) String);

impl Text for GatewayName {
    const EXPECTED: &'static str = "a name, as in \"edge-1\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=MOST).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(Wrong::new(
            format!("{text:?} is no name of a gateway"),
            "write 1 to 64 letters, digits, '.', '_' and '-', as in \"edge-1\"",
        ))
    }
}

/// 64: as long as a host name of Linux may be.
const MOST: usize = 64;
