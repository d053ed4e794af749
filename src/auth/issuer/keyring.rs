//! The keys of one issuer as they are now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use tokio::sync::Notify;

use crate::base::snapshot::Snapshot;
use crate::model::jwk::KeySet;

/// The keys of one issuer as they are now. Lives on from one table to the next, so that keys are exchanged
/// without another table. Written by control, read by whoever verifies a token.
#[derive(Debug)]
pub struct Keyring {
    issuer: Box<str>,
    set: Snapshot<KeySet>,
    /// Somebody has shown a token of a key that is not here, and nobody has looked for it yet.
    is_wished: AtomicBool,
    bell: Notify,
}

/// How it stands with the keys of an issuer, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysStatus {
    /// How many are in use.
    pub keys: usize,
    /// When they were read or fetched; `None` = never.
    pub at: Option<SystemTime>,
    /// Since when none could be read or fetched; `None` = the last try worked.
    pub failed_since: Option<SystemTime>,
    /// Why not.
    pub error: Option<String>,
}

impl Keyring {
    /// Those of the issuer with this `iss`.
    pub fn new(issuer: &str, set: KeySet) -> Self {
        let set = Snapshot::new(Arc::new(set));
        Self { issuer: issuer.into(), set, is_wished: AtomicBool::new(false), bell: Notify::new() }
    }

    /// What its tokens have in `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Looks at the keys of now.
    pub fn with<T>(&self, look: impl FnOnce(&KeySet) -> T) -> T {
        self.set.with(look)
    }

    /// Puts others in their place; none is what nobody can prove anything with.
    pub fn publish(&self, set: KeySet) {
        self.set.publish(Arc::new(set));
    }

    /// Asks for newer keys. Costs a look while that is asked for already: anybody can name keys that
    /// are not there.
    pub fn wish(&self) {
        let is_wished = self.is_wished.load(Ordering::Relaxed);
        if !is_wished && !self.is_wished.swap(true, Ordering::AcqRel) {
            self.bell.notify_one();
        }
    }

    /// Resolves once newer keys are asked for, until [`Self::look`]. May be dropped at any time.
    pub(in crate::auth) async fn wished(&self) {
        while !self.is_wished.load(Ordering::Acquire) {
            self.bell.notified().await;
        }
    }

    /// Somebody looks for newer keys from now on. Who asks from here on asks for others.
    pub(in crate::auth) fn look(&self) {
        self.is_wished.store(false, Ordering::Release);
    }
}
