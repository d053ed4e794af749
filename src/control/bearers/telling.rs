//! What is told of certificates of tenants: what is wrong, once it is no half of a renewal, and how many there are.

use std::sync::Arc;

use tokio::time::Instant;

use crate::model::ids::TenantId;

use super::super::generation::Fault;
use super::super::references::SETTLING;
use super::told::{BearerList, Held, LiveBearers, Sum};
use super::{Keeper, Wish};

impl Keeper {
    /// Notes what is wrong with a tenant's files; whether that is told now and was not before.
    pub(super) fn note(&mut self, id: &TenantId, held: &Held, wish: Wish) -> bool {
        match held.doubts.is_empty() {
            true => drop(self.doubted.remove(id)),
            false => drop(self.doubted.insert(id.clone())),
        }
        if held.problems.is_empty() {
            self.unsettled.remove(id);
            if self.failing.remove(id) {
                tracing::info!(tenant = %id, "the tenant's certificates are good again");
            }
            return false;
        }
        if wish == Wish::Asked {
            self.unsettled.remove(id);
            return self.failing.insert(id.clone());
        }
        if !self.failing.contains(id) {
            self.unsettled.entry(id.clone()).or_insert_with(Instant::now);
        }
        false
    }

    pub(super) fn forget(&mut self, id: &TenantId) {
        self.doubted.remove(id);
        self.failing.remove(id);
        self.unsettled.remove(id);
    }

    /// What has been wrong for long enough is told.
    pub(super) fn settle(&mut self) {
        let now = Instant::now();
        let is_due = |since: &Instant| *since + SETTLING <= now;
        let due: Vec<TenantId> = self
            .unsettled
            .iter()
            .filter(|(_, since)| is_due(since))
            .map(|(id, _)| id.clone())
            .collect();
        if due.is_empty() {
            return;
        }
        for id in due {
            self.unsettled.remove(&id);
            self.failing.insert(id);
        }
        self.metrics.tenant_certificates_read("refused");
        let bearers = self.live().bearers.clone();
        self.publish(bearers);
    }

    /// Tells everybody what there is, and what is wrong with it, each fault once.
    pub(super) fn publish(&self, bearers: BearerList) {
        let before = self.live();
        let live = LiveBearers::telling(bearers, &self.failing, &self.doubted, &before);
        // One that only stands elsewhere is none.
        let are_one =
            |one: &Fault, other: &Fault| (&one.key, &one.what) == (&other.key, &other.what);
        let is_new = |fault: &&Fault| !before.problems.iter().any(|old| are_one(old, fault));
        live.problems.iter().filter(is_new).for_each(|fault| tracing::error!("{fault}"));
        let is_new = |fault: &&Fault| !before.doubts.iter().any(|old| are_one(old, fault));
        live.doubts.iter().filter(is_new).for_each(|fault| tracing::warn!("{fault}"));
        self.metrics.tenant_certificate_problems(live.count);
        self.bearers.live.publish(Arc::new(live));
        self.measure();
    }

    /// Shows how many there are, and when the next one ends.
    pub(super) fn measure(&self) {
        let Sum { in_use, expired, next_end } = self.live().sum();
        self.metrics.publish_tenant_certificates(in_use, expired, next_end);
    }
}
