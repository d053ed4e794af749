//! Names of things, each its own type so that none is taken for another.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The id of a tenant: 1 to 128 bytes of `[A-Za-z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// Why a text cannot name a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TenantIdError {
    /// Nothing is there.
    #[error("is empty")]
    Empty,
    /// Longer than [`TenantId::MAX_BYTES`].
    #[error("is longer than 128 bytes")]
    TooLong,
    /// A byte outside `[A-Za-z0-9._-]`.
    #[error("has a character other than letters, digits, '.', '_' and '-'")]
    BadCharacter,
}

impl TenantId {
    /// The longest id, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Checks `text` and makes an id of it.
    ///
    /// # Errors
    /// When [`TenantId::check`] refuses the text.
    pub fn new(text: &str) -> Result<Self, TenantIdError> {
        Self::check(text.as_bytes()).map(|text| Self(Arc::from(text)))
    }

    /// Checks the bytes of an id without keeping them.
    ///
    /// # Errors
    /// When there is none, it is too long, or a character is not allowed.
    pub fn check(bytes: &[u8]) -> Result<&str, TenantIdError> {
        if bytes.is_empty() {
            return Err(TenantIdError::Empty);
        }
        if bytes.len() > Self::MAX_BYTES {
            return Err(TenantIdError::TooLong);
        }
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !bytes.iter().all(allowed) {
            return Err(TenantIdError::BadCharacter);
        }
        std::str::from_utf8(bytes).map_err(|_| TenantIdError::BadCharacter)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as text that shares its memory.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl Borrow<str> for TenantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a pool, as the routes file writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub Arc<str>);

impl Borrow<str> for PoolId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One endpoint of one pool for as long as it is a member: a key that is never used twice in a
/// process, so that what a worker keeps for an endpoint cannot reach its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u64);

/// A name that metrics are kept under, and its number: dense, given when the table is compiled,
/// so that the data path indexes an array where it would else look a string up. Tenants and pools
/// are numbered apart; a number is never used for two names in a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The name.
    pub name: Arc<str>,
    /// Its number.
    pub slot: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_id_is_short_and_plain() {
        assert!(TenantId::new("acme-1.EU_west").is_ok());
        assert!(TenantId::new(&"a".repeat(128)).is_ok());
        assert_eq!(TenantId::new(""), Err(TenantIdError::Empty));
        assert_eq!(TenantId::new(&"a".repeat(129)), Err(TenantIdError::TooLong));
        for bad in ["a,b", "a b", "a/b", "ä", "a\0"] {
            assert_eq!(TenantId::new(bad), Err(TenantIdError::BadCharacter), "{bad:?}");
        }
    }
}
