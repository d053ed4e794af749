//! Opens the admin API: what it may reach, and whom it lets in.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::admin::access::Access;
use crate::admin::{self, About};
use crate::base::snapshot::Snapshot;
use crate::base::tasks::Tasks;
use crate::base::tokens::Form;
use crate::config::spec::{AdminSpec, GatewaySpec};
use crate::control::Control;
use crate::control::explain::Setting;
use crate::telemetry::audit_log::AuditLog;
use crate::telemetry::registry::Metrics;
use crate::telemetry::tracing::Levels;

use super::sharing::Counted;
use super::{StartError, open_tokens};

/// What operators see and do.
pub(super) struct Operators {
    pub(super) started: Instant,
    pub(super) shown: Snapshot<admin::Front>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) audit: AuditLog,
    /// What is used of quotas, and what gateways share.
    pub(super) counted: Counted,
    /// Whether it is asked to end.
    pub(super) hears: watch::Receiver<bool>,
    pub(super) end: watch::Sender<bool>,
    pub(super) levels: Option<Levels>,
    /// What holds for all requests.
    pub(super) holds: Vec<Setting>,
}

impl Operators {
    /// Serves the API from now on, if there is one; gives its address.
    pub(super) fn open(
        self,
        listener: Option<std::net::TcpListener>,
        gateway: &GatewaySpec,
        control: &Control,
        tasks: &mut Tasks,
    ) -> Result<Option<SocketAddr>, StartError> {
        let (Some(listener), Some(spec)) = (listener, &gateway.admin) else { return Ok(None) };
        let listener = TcpListener::from_std(listener).map_err(StartError::Admin)?;
        let address = listener.local_addr().map_err(StartError::Admin)?;
        let tokens = open_tokens((spec.token_file.as_ref(), Form::Roles), control, tasks)?;
        warn(address, spec, tokens.is_some());
        let access = Access::new(spec, tokens, Arc::clone(&self.metrics));
        let access = access.with_audit(self.audit, control.live.clone());
        let (workers, drain) = (gateway.workers, gateway.drain);
        let (quotas, fleet) = self.counted;
        let roster = control.roster(Arc::clone(&self.metrics));
        let state = admin::State {
            about: Arc::new(About { started: self.started, workers, drain }),
            front: self.shown,
            roster: roster.with_limits(quotas, fleet.clone()),
            fleet,
            metrics: self.metrics,
            explainer: control.explainer(self.holds),
            drainer: control.drainer(),
            splits: control.splits.clone(),
            stored: control.stored.clone(),
            live: control.live.clone(),
            certificates: control.certificates.clone(),
            bearers: control.bearers.live.clone(),
            draining: self.hears,
            end: self.end,
            reload: control.asks.clone(),
            levels: self.levels,
            access,
        };
        let tls = control.admin_tls.clone();
        tasks.spawn_vital(|stop| admin::serve(listener, tls, state, stop));
        Ok(Some(address))
    }
}

/// Tells of what an operator would rather not have.
fn warn(address: SocketAddr, spec: &AdminSpec, has_tokens: bool) {
    if address.ip().to_canonical().is_loopback() {
        return;
    }
    let asks = |tls: &crate::config::spec::ListenerTlsSpec| {
        tls.default.iter().chain(&tls.certificates).any(|one| one.clients.is_some())
    };
    match &spec.tls {
        None if has_tokens => tracing::warn!(%address,
            "the admin API takes tokens in the clear: whoever listens on the way has them; give \
             it tls"),
        Some(tls) if asks(tls) => {}
        _ if has_tokens => {}
        _ => tracing::warn!(%address,
            "the admin API lets in whoever reaches it; give it a token-file or client certificates, \
             or keep it on loopback or a network of operators"),
    }
}
