//! The way of a source's findings to `control`: settled, labelled, and told in the log.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::config::spec::{EndpointSpec, EndpointState};
use crate::model::address::Address;
use crate::model::members::Found;

use super::settle::Settled;
use super::{Event, Report, SourceKey};

/// Takes what one source finds.
#[derive(Debug)]
pub(super) struct Feed {
    key: SourceKey,
    label: Arc<str>,
    reports: mpsc::Sender<Report>,
    settled: Settled,
    /// The reason that the log has already told.
    told: Option<String>,
}

impl Feed {
    pub(super) fn new(key: SourceKey, label: Arc<str>, reports: mpsc::Sender<Report>) -> Self {
        Self { key, label, reports, settled: Settled::default(), told: None }
    }

    /// An address as this source names it.
    pub(super) fn found(&self, address: impl Into<Address>, weight: u32, priority: u16) -> Found {
        let origin = Arc::clone(&self.label);
        Found { weight: weight.max(1), priority, ..Found::new(address, origin) }
    }

    /// Endpoints as somebody has written them. One of weight 0 gets no traffic, so it is no member.
    pub(super) fn written(&self, endpoints: &[EndpointSpec]) -> Vec<Found> {
        let members = endpoints.iter().filter(|endpoint| endpoint.weight > 0);
        let found = members.map(|endpoint| Found {
            zone: endpoint.zone.clone(),
            draining: endpoint.state == EndpointState::Draining,
            ..self.found(endpoint.address.clone(), endpoint.weight, endpoint.priority)
        });
        found.collect()
    }

    /// The full set, also where it is empty.
    pub(super) async fn state(&mut self, found: Vec<Found>) {
        if self.settled.is_failing() {
            tracing::info!(source = %self.label, "the source works again");
        }
        self.told = None;
        if let Some(event) = self.settled.state(found) {
            self.members(event).await;
        }
    }

    /// The full set as far as it is known, and what is wrong with the rest.
    pub(super) async fn state_partly(&mut self, found: Vec<Found>, reason: String) {
        if let Some(event) = self.settled.change(found) {
            self.members(event).await;
        }
        self.fail(reason).await;
    }

    /// A try that brought nothing that can be used.
    pub(super) async fn fail(&mut self, reason: String) {
        let event = self.settled.fail(reason);
        if let Event::Failed { reason, kept } = &event
            && self.told.as_ref() != Some(reason)
        {
            // Once for each reason: a dead server would else fill the log.
            tracing::warn!(source = %self.label, %reason, kept,
                "the source fails; what it said last stays");
            self.told = Some(reason.clone());
        }
        self.send(event).await;
    }

    async fn members(&self, event: Event) {
        if let Event::Members(found) = &event {
            tracing::debug!(source = %self.label, members = found.len(), "a new set");
        }
        self.send(event).await;
    }

    async fn send(&self, event: Event) {
        // Nobody listens any more: the process is about to end, and this source with it.
        drop(self.reports.send(Report { source: self.key, event }).await);
    }
}
