//! The API keys of all tenants, found by their digests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use foldhash::fast::RandomState;

use crate::config::spec::KeySpec;
use crate::model::caller::{Caller, Proof};
use crate::model::ids::TenantId;
use crate::model::key::KeyDigest;

/// The API keys of all tenants. Who finds a digest has a key: a client cannot choose the digests
/// that it asks for, so that the time that a look-up takes tells nothing of those that are there.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    by_digest: HashMap<KeyDigest, Arc<Key>, RandomState>,
}

/// An API key, without the key itself.
#[derive(Debug)]
pub struct Key {
    /// Whose it is.
    pub tenant: Arc<str>,
    subject: Arc<str>,
    expires: Option<SystemTime>,
}

impl Keys {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// The key of this digest.
    pub fn find(&self, digest: &KeyDigest) -> Option<&Key> {
        self.by_digest.get(digest).map(AsRef::as_ref)
    }

    /// Adds a tenant's keys.
    pub fn add(&mut self, tenant: &TenantId, keys: &[KeySpec]) {
        for KeySpec { digest, subject, expires, .. } in keys {
            let (tenant, subject) = (tenant.shared(), Arc::clone(subject));
            self.by_digest.insert(*digest, Arc::new(Key { tenant, subject, expires: *expires }));
        }
    }

    /// Removes a tenant's keys. One that has become another's stays.
    pub fn remove(&mut self, tenant: &TenantId, keys: &[KeySpec]) {
        for KeySpec { digest, .. } in keys {
            if self.find(digest).is_some_and(|key| *key.tenant == *tenant.as_str()) {
                self.by_digest.remove(digest);
            }
        }
    }
}

impl Key {
    /// Whether its time is over.
    pub fn is_over(&self) -> bool {
        self.expires.is_some_and(|end| SystemTime::now() >= end)
    }

    /// Who shows it. A copy: a count of its holders would be one that all workers write to.
    pub fn caller(&self) -> Caller {
        Caller { subject: Box::from(&*self.subject), proof: Proof::ApiKey, told: Box::default() }
    }
}
