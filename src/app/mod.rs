//! Builds, owns and stops everything.

pub mod front;
pub mod memory;
pub mod nofile;
mod operators;
pub mod outside;
pub mod passed;
mod replay;
mod restart;
pub mod service;
mod sharing;
pub mod signals;
pub mod sockets;
pub mod translate;
pub mod unix;
pub mod workers;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use crate::base::memory::Memory;
use crate::base::pulse::Pulses;
use crate::base::snapshot::Snapshot;
use crate::base::tasks::Tasks;
use crate::base::tokens::{self, Form, Tokens, TokensError};
use crate::config::Problems;
use crate::config::spec::{DrainSpec, GatewaySpec, NamedPath};
use crate::control::certificates::Presented;
use crate::control::explain;
use crate::control::generation::ReloadResult;
use crate::control::history::{By, Cause};
use crate::control::usage::Export;
use crate::control::{Ask, BootError, Control, quotas};
use crate::export::Exporter;
use crate::limits;
use crate::model::address::Address;
use crate::proxy::headcount::Headcount;
use crate::proxy::worker::{self, Phase, Setup};
use crate::telemetry::access_log::{AccessLog, AccessLogOwner};
use crate::telemetry::audit_log::{AuditLog, AuditLogOwner};
use crate::telemetry::delta::Delta;
use crate::telemetry::lines::LinesError;
use crate::telemetry::registry::{self, Metrics};
use crate::telemetry::trace::Tracer;
use crate::telemetry::tracing::Levels;
use crate::tls::client::ClientTlsError;

use front::{Ears, Front, GatewayFile};
use operators::Operators;
use passed::{Passed, PassedError};
use sockets::Sockets;
use unix::SocketFiles;
use workers::{Body, WorkerLost, Workers};

/// A gateway that serves. It belongs to the runtime that it was started on, which does its control
/// work; the workers are threads of their own. Dropped without [`App::stop`], it cuts off what is
/// in flight.
#[derive(Debug)]
pub struct App {
    addresses: Vec<SocketAddr>,
    files: SocketFiles,
    admin: Option<SocketAddr>,
    control: Control,
    workers: Workers,
    phase: watch::Sender<Phase>,
    draining: watch::Sender<bool>,
    /// Whether an operator has asked for the end.
    end: watch::Receiver<bool>,
    logs: Logs,
    tasks: Tasks,
    usage: Option<Export>,
    drain: DrainSpec,
}

/// What a gateway starts from besides its config.
#[derive(Debug, Default)]
pub struct Outset {
    /// The file that the config was read from: it is followed, so that listeners come, change and go
    /// while the gateway runs.
    pub file: Option<GatewayFile>,
    /// Sockets that a service manager has passed: they serve where their addresses are configured.
    pub passed: Passed,
    /// What the process logs, for the admin API to change; `None` = somebody else's log.
    pub levels: Option<Levels>,
}

/// Why a gateway does not start. Each is one sentence that says what to do, or the list of the
/// problems of the configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A socket that was passed cannot be used.
    #[error("{0}; {hint}", hint = .0.hint())]
    Passed(#[from] PassedError),
    /// The routes are broken.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// What `gateway.toml` names cannot be used: a file, an address.
    #[error(transparent)]
    Outside(#[from] Problems),
    /// The admin API's socket cannot be used.
    #[error("cannot serve the admin API: {0}")]
    Admin(io::Error),
    /// The access log cannot be written.
    #[error("the access log: {0}")]
    AccessLog(#[from] LinesError),
    /// The audit log cannot be written.
    #[error("the audit log: {0}")]
    AuditLog(LinesError),
    /// Tokens were lost since they were looked at.
    #[error("{file} {error}")]
    Tokens {
        /// Their file.
        file: String,
        /// What is wrong with it.
        #[source]
        error: TokensError,
    },
    /// The collector of traces cannot be reached by TLS.
    #[error("tracing: {0}; {hint}", hint = .0.hint())]
    Tracing(#[from] ClientTlsError),
    /// The server of the limits that gateways share cannot be reached by TLS.
    #[error("shared-limits: {0}; {hint}", hint = .0.hint())]
    SharedLimits(#[source] ClientTlsError),
    /// The system gives no more threads.
    #[error("cannot start the workers: {0}; raise the limit of threads or configure fewer workers")]
    Threads(io::Error),
}

/// How a gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Connections that had not finished at the deadline and were cut off.
    pub cut_off: usize,
}

impl App {
    /// Starts a gateway and returns once it serves.
    ///
    /// # Errors
    /// When something that it needs cannot be had; nothing is left running then.
    pub async fn start(gateway: GatewaySpec, metrics: Arc<Metrics>) -> Result<Self, StartError> {
        Self::start_from(Outset::default(), gateway, metrics).await
    }

    /// As [`App::start`], from what a command has found: see [`Outset`].
    ///
    /// # Errors
    /// When something that it needs cannot be had, or a passed socket is not wanted.
    pub async fn start_from(
        Outset { file, passed, levels }: Outset,
        gateway: GatewaySpec,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let started = Instant::now();
        metrics.limit_tenants(gateway.metrics.tenants);
        let presented = look_outside(&gateway)?;
        let (sockets, admin) = bind(&gateway, passed)?;
        let ((lines, audit), logs) = start_logs(&gateway, &metrics)?;

        let mut tasks = Tasks::new("app");
        let (ask_gateway, gateway_asks) = mpsc::channel(WAITING);
        let told = (Arc::clone(&metrics), audit.clone());
        let control = Control::start(&gateway, presented, ask_gateway, told, &mut tasks);
        let control = Box::pin(control).await?;
        let (deltas, usage, counted) = start_counting(&gateway, &metrics, &mut tasks).await?;
        let addresses = sockets.addresses.clone();

        let (phase, gateway) = (watch::Sender::new(Phase::Serving), Arc::new(gateway));
        let (front, ears, files) = Front::open(&gateway, sockets, &control, Arc::clone(&metrics))?;
        let shown = front.shown();
        let debug_tokens = (gateway.debug_tokens.as_ref(), Form::Bare);
        let given = Given {
            gateway: Arc::clone(&gateway),
            control: &control,
            metrics: &metrics,
            counted: counted.clone(),
            deltas,
            access_log: lines,
            debug_tokens: open_tokens(debug_tokens, &control, &mut tasks)?,
            tracer: start_tracing(&gateway, &metrics, &mut tasks)?,
            phase: phase.subscribe(),
        };
        let (workers, pulses) = serve(ears, given)?;
        let draining = watch::Sender::new(false);
        let holds = explain::of_gateway(&gateway, file.as_ref().map(|file| &file.text));
        if let Some(file) = file {
            let (files, until) = (control.files.clone(), draining.subscribe());
            tasks.spawn_vital(|stop| front.follow(file, files, gateway_asks, (until, stop)));
        }
        if service::is_there() {
            let control = control.clone();
            tasks.spawn_vital(|stop| service::keep_told(control, pulses, stop));
        }
        let end = watch::Sender::new(false);
        let (asked_to_end, hears) = (end.subscribe(), draining.subscribe());
        let operators =
            Operators { started, shown, metrics, audit, counted, hears, end, levels, holds };
        let admin = operators.open(admin, &gateway, &control, &mut tasks)?;
        tracing::info!(?addresses, ?admin, workers = gateway.workers, "serving");
        Ok(Self {
            addresses: addresses.iter().filter_map(Address::net).collect(),
            files,
            admin,
            control,
            workers,
            phase,
            draining,
            end: asked_to_end,
            logs,
            tasks,
            usage,
            drain: gateway.drain,
        })
    }

    /// Where clients connected over TCP at the start, in the order of the listeners.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the admin API listens.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The handle to what is live.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Has the routes loaded soon. What came of it is in the log, and told here.
    pub fn ask_to_reload(&self) -> oneshot::Receiver<ReloadResult> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask { by: By::of(Cause::Signal), answer };
        // Where the queue is full, the reload that is asked for is about to happen anyway.
        drop(self.control.asks.try_send(ask));
        answered
    }

    /// Loads the routes now; `None` when the gateway is ending.
    pub async fn reload(&self) -> Option<ReloadResult> {
        self.control.reload().await
    }

    /// Opens the files of the access log and of the audit log anew, after they were moved away.
    pub fn reopen_logs(&self) {
        self.logs.access.reopen();
        self.logs.audit.reopen();
    }

    /// Resolves when an operator has asked for the end of the gateway, which is to be stopped then.
    pub fn asked_to_end(&self) -> impl Future<Output = ()> + use<> {
        let mut end = self.end.clone();
        async move {
            if end.wait_for(|end| *end).await.is_err() {
                std::future::pending::<()>().await; // there is no admin API
            }
        }
    }

    /// Resolves when a worker has ended by itself. The gateway must be ended then: the connections
    /// that the kernel hands to the missing worker's sockets would fail.
    pub async fn failed(&mut self) -> WorkerLost {
        self.workers.lost().await
    }

    /// Drains and ends: readiness goes at once, the listeners a moment later, then the requests in
    /// flight have their time to finish.
    pub async fn stop(self) -> Ended {
        let writing = if self.usage.is_some() { WRITING } else { Duration::ZERO };
        service::stopping(self.drain.accept + self.drain.timeout + GRACE * 4 + writing);
        tracing::info!(accept = ?self.drain.accept, timeout = ?self.drain.timeout, "draining");
        self.draining.send_replace(true);
        self.phase.send_replace(Phase::Closing);
        sleep(self.drain.accept).await;
        // Whoever comes from now on finds nobody, or the next gateway.
        drop(self.files);
        self.phase.send_replace(Phase::Draining);
        let cut_off = match self.workers.join(self.drain.timeout + GRACE).await {
            Ok(cut_off) => cut_off,
            Err(left) => {
                tracing::error!(%left, "the workers did not drain; this is a bug, please report it");
                0
            }
        };
        if cut_off > 0 {
            tracing::warn!(cut_off, "connections were cut off at the end of the drain");
        }
        self.tasks.stop(GRACE).await;
        if let Some(usage) = self.usage {
            usage.end(WRITING).await; // behind the last of what was counted
        }
        if !self.logs.access.end(GRACE) {
            tracing::warn!("the access log could not be written to its end");
        }
        if !self.logs.audit.end(GRACE) {
            tracing::warn!("the audit log could not be written to its end");
        }
        tracing::info!("ended");
        Ended { cut_off }
    }
}

/// What the listeners present; what is wrong with any file is told before anything is opened. What
/// the gateway can serve with is a warning.
fn look_outside(gateway: &GatewaySpec) -> Result<Presented, Problems> {
    let presented = Presented::read(&gateway.presenting());
    let other = outside::logs(gateway).into_iter().chain(outside::tokens(gateway));
    let log = Problems::of(other.collect());
    let presented = match (presented, log) {
        (Ok(presented), None) => presented,
        (Ok(_), Some(log)) => return Err(log),
        (Err(mut problems), log) => {
            log.into_iter().for_each(|log| problems.extend(log));
            return Err(problems);
        }
    };
    let folders = outside::state(gateway).into_iter().chain(outside::usage(gateway));
    let others = folders.chain(outside::readable_tokens(gateway));
    for doubt in presented.doubts().iter().cloned().chain(others) {
        tracing::warn!("{}", doubt.in_one_line());
    }
    Ok(presented)
}

/// Takes all addresses, the admin API's being the second.
fn bind(
    gateway: &GatewaySpec,
    mut passed: Passed,
) -> Result<(Sockets, Option<std::net::TcpListener>), StartError> {
    let listeners: Vec<_> = gateway.listeners.iter().collect();
    let sockets = sockets::bind(&listeners, &[], gateway.workers, &mut passed);
    let admin = gateway.admin.as_ref();
    let admin = admin.map(|admin| sockets::listen_alone(admin, &mut passed)).transpose();
    let bound = match (sockets, admin) {
        (Ok(sockets), Ok(admin)) => (sockets, admin),
        (Err(mut problems), Err(more)) => {
            problems.extend(more);
            return Err(problems.in_order().into());
        }
        (Err(problems), Ok(_)) | (Ok(_), Err(problems)) => return Err(problems.into()),
    };
    passed.end()?;
    Ok(bound)
}

/// Starts what takes the workers' counts, and what keeps those of tenants, also with other gateways.
async fn start_counting(
    gateway: &GatewaySpec,
    metrics: &Arc<Metrics>,
    tasks: &mut Tasks,
) -> Result<(mpsc::Sender<Delta>, Option<Export>, sharing::Counted), StartError> {
    let (deltas, counted) = registry::deltas();
    tasks.spawn_vital(|stop| Arc::clone(metrics).run(counted, stop));
    let usage = start_usage(gateway, metrics).await;
    let quotas = quotas::start(gateway.state.as_ref(), tasks).await;
    let fleet = sharing::start(gateway.shared_limits.as_deref(), metrics, tasks)?;
    Ok((deltas, usage, (quotas, fleet)))
}

/// Starts what writes what tenants have used, where somebody wants it.
async fn start_usage(gateway: &GatewaySpec, metrics: &Arc<Metrics>) -> Option<Export> {
    match &gateway.usage {
        Some(spec) => Some(Export::start(spec, metrics).await),
        None if gateway.admin.is_none() => {
            metrics.usage(|usage| usage.off());
            None
        }
        None => None,
    }
}

/// What writes the logs that have files.
#[derive(Debug)]
struct Logs {
    access: AccessLogOwner,
    audit: AuditLogOwner,
}

/// Starts what writes them, and gives what takes their lines.
fn start_logs(
    gateway: &GatewaySpec,
    metrics: &Arc<Metrics>,
) -> Result<((AccessLog, AuditLog), Logs), StartError> {
    let options = translate::access_log(&gateway.access_log);
    let (lines, access) = AccessLog::start(&options, metrics)?;
    let path = gateway.audit_log.as_ref().map(|file| file.path.as_path());
    let (told, audit) = AuditLog::start(path, metrics).map_err(StartError::AuditLog)?;
    Ok(((lines, told), Logs { access, audit }))
}

/// Starts what exports traces, where there is tracing.
fn start_tracing(
    gateway: &GatewaySpec,
    metrics: &Arc<Metrics>,
    tasks: &mut Tasks,
) -> Result<Tracer, ClientTlsError> {
    let Some(spec) = &gateway.tracing else { return Ok(Tracer::off()) };
    let (tracer, ended) = Tracer::start(translate::tracing(spec));
    let mask = translate::mask(&gateway.access_log.mask);
    let traced = (tracer.clone(), ended);
    let exporter = Exporter::new(spec, traced, mask, Arc::clone(metrics))?;
    tasks.spawn(|stop| exporter.run(stop));
    Ok(tracer)
}

/// The tokens of a file, which follow it from now on.
fn open_tokens(
    (file, form): (Option<&NamedPath>, Form),
    control: &Control,
    tasks: &mut Tasks,
) -> Result<Option<Snapshot<Tokens>>, StartError> {
    let Some(NamedPath { path, .. }) = file else { return Ok(None) };
    let read = Tokens::read(path, form)
        .map_err(|error| StartError::Tokens { file: path.display().to_string(), error })?;
    let tokens = Snapshot::new(Arc::new(read));
    let (path, followed, events) = (path.clone(), tokens.clone(), control.files.clone());
    tasks.spawn_vital(|stop| tokens::follow((path, form), followed, events, stop));
    Ok(Some(tokens))
}

/// What all workers are given.
struct Given<'a> {
    gateway: Arc<GatewaySpec>,
    control: &'a Control,
    metrics: &'a Metrics,
    counted: sharing::Counted,
    deltas: mpsc::Sender<Delta>,
    access_log: AccessLog,
    debug_tokens: Option<Snapshot<Tokens>>,
    tracer: Tracer,
    phase: watch::Receiver<Phase>,
}

/// Starts the workers, which beat the pulses.
fn serve(ears: Ears, given: Given<'_>) -> Result<(Workers, Pulses), StartError> {
    let gateway = given.gateway;
    let headcount = Headcount::new(gateway.workers);
    given.metrics.publish_loads(Arc::clone(headcount.loads()));
    let budget = memory::budget(gateway.memory.buffers);
    let share = memory::share(gateway.memory.buffers_per_client, budget);
    let memory = Arc::new(Memory::shared(budget, share, gateway.workers + 1));
    given.metrics.publish_memory(Arc::clone(&memory));
    // An account of its own: no worker's, since all of them use it.
    let account = memory.account(gateway.workers);
    let bytes = gateway.memory.client_limits.0;
    let (quotas, fleet) = given.counted;
    let limits = limits::Shared::with_fleet(bytes, account, quotas, fleet);
    let spools = replay::spools(&gateway);
    let mut pulses = Pulses::default();
    let bodies = ears.into_iter().enumerate().map(|(number, orders)| -> Body {
        let setup = Setup {
            number,
            pulse: pulses.add(),
            gateway: Arc::clone(&gateway),
            table: given.control.table.clone(),
            tenants: given.control.bearers.shown.clone(),
            downs: Arc::clone(&given.control.downs),
            headcount: Arc::clone(&headcount),
            account: memory.account(number),
            limits: Arc::clone(&limits),
            spools: spools.clone(),
            deltas: given.deltas.clone(),
            access_log: given.access_log.clone(),
            debug_tokens: given.debug_tokens.clone(),
            tracer: given.tracer.clone(),
            phase: given.phase.clone(),
        };
        Box::new(move || Box::pin(worker::run(setup, orders)))
    });
    let workers = Workers::start(bodies.collect()).map_err(StartError::Threads)?;
    Ok((workers, pulses))
}

/// Wishes to read `gateway.toml` that may wait; who finds it full waits too.
const WAITING: usize = 16;

/// 2 s: for what ends at once unless the machine is very busy.
const GRACE: Duration = Duration::from_secs(2);

/// 20 s: a hundred thousand lines take one, on a disk that is busy some more.
const WRITING: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests;
