//! Who a client is: what it may show, what is refused, and what endpoints hear of it.

mod access;
mod authorizers;
mod certificates;
mod issuers;
mod keys;
mod tokens;

use tenantry::auth::api_key;
use tenantry::model::key::KeyDigest;

/// An API key, and the line of the files by which it is known.
pub(crate) struct MadeKey {
    pub(crate) secret: String,
    pub(crate) hash: String,
}

impl MadeKey {
    pub(crate) fn new() -> Self {
        let secret = api_key::generate().expect("randomness");
        let hash = format!("hash = \"{}\"", KeyDigest::of(secret.as_bytes()));
        Self { secret, hash }
    }

    /// As a field of its own.
    pub(crate) fn field(&self) -> String {
        format!("X-API-Key: {}", self.secret)
    }

    /// As HTTP's own scheme has it.
    pub(crate) fn bearer(&self) -> String {
        format!("Authorization: Bearer {}", self.secret)
    }
}
