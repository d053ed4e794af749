//! What is kept of a secret key: its digest, from which nobody can work out the key.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// The SHA-256 digest of a key of 256 random bits. A slow digest, as passwords need, would gain
/// nothing: nobody tries all keys.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; SIZE]);

impl KeyDigest {
    /// Of this key.
    pub fn of(key: &[u8]) -> Self {
        let mut bytes = [0; SIZE];
        for (byte, of) in bytes.iter_mut().zip(digest(&SHA256, key).as_ref()) {
            *byte = *of;
        }
        Self(bytes)
    }
}

impl PartialEq for KeyDigest {
    /// In a time that does not tell how much of them is the same.
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for KeyDigest {}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyDigest {
    type Err = ();

    /// Reads `sha256:` and 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix(SCHEME).ok_or(())?.as_bytes();
        let mut bytes = [0; SIZE];
        if digits.len() != 2 * SIZE {
            return Err(());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let digit = char::from(*digit).to_digit(16).ok_or(())?;
                *byte = *byte << 4 | u8::try_from(digit).map_err(|_| ())?;
            }
        }
        Ok(Self(bytes))
    }
}

/// How a key begins: people and scanners know it by this, and it stands nowhere by chance.
pub const KEY_PREFIX: &str = "tenantry_";
const SCHEME: &str = "sha256:";
/// 32 bytes.
const SIZE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = KeyDigest::of(b"abc");
        let written = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

        assert_eq!(digest.to_string(), written);
        assert_eq!(written.parse(), Ok(digest));
        assert_eq!(written.replace("ba78", "BA78").parse(), Ok(digest));
        let cut = written.get(..written.len() - 1).unwrap();
        for wrong in ["", "sha256:", cut, &written.replace("sha256", "md5"), &format!("{written}0")]
        {
            assert_eq!(wrong.parse::<KeyDigest>(), Err(()), "{wrong}");
        }
        assert_eq!(written.replace("ba", "g0").parse::<KeyDigest>(), Err(()));
    }
}
