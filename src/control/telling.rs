//! What people are told when routes go live: what makes one doubt them, what is held, what ends when.

use std::cell::LazyCell;

use crate::config::places::Places;
use crate::tls::doubt;
use crate::tls::expiry::{self, Expiry, Role};

use super::generation::Fault;
use super::load::Loaded;
use super::reload::Reloader;
use super::{certificates, quarantine};

impl Reloader {
    /// Warns of routes that are never used, and of what pools are reached with, where that is new.
    pub(super) fn tell_doubts(&self, loaded: &Loaded) {
        // Lines move with every edit above them, keys and words do not.
        let is_same = |a: &Fault, b: &Fault| (&a.key, &a.what) == (&b.key, &b.what);
        let before = self.applied.iter().flat_map(|applied| applied.doubts.iter());
        let is_new = |doubt: &&Fault| !before.clone().any(|old| is_same(old, doubt));
        for doubt in loaded.doubts.iter().filter(is_new) {
            tracing::warn!("{doubt}");
        }
        let places = LazyCell::new(|| Places::of(&loaded.files));
        for (id, pool) in &loaded.spec.pools {
            let before = self.applied.as_ref().and_then(|applied| applied.spec.pools.get(id));
            for (key, tls) in pool.all_tls() {
                if before.is_some_and(|before| before.all_tls().any(|was| was == (key, tls))) {
                    continue;
                }
                for doubt in doubt::of_pool(tls) {
                    let place =
                        places.place(&loaded.files, &[&["pools", &*id.0][..], key].concat());
                    let told = place.problem(doubt.to_string(), doubt.hint().to_owned());
                    tracing::warn!("{}", told.in_one_line());
                }
            }
        }
    }

    /// Warns of files that are held as they were when they were good, where that is new.
    pub(super) fn tell_quarantine(&self, loaded: &Loaded) {
        let now = &loaded.quarantine;
        quarantine::tell(now, self.applied.as_ref().map(|applied| &applied.quarantine));
        self.metrics.config_quarantined(quarantine::tenants(now));
    }

    /// When the certificates of the pools end.
    pub(super) fn publish_ends(&self) -> Vec<Expiry> {
        let pools = self.running.list();
        let ends =
            expiry::of_pools(pools.iter().flat_map(|pool| pool.spec.all_tls().map(|(_, tls)| tls)));
        let roles = [Role::PoolClient, Role::PoolAuthorities];
        certificates::publish_ends(&self.metrics, &roles, &ends);
        ends
    }
}
