//! `tenantry run`: load, start, wait for a signal, drain.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::app::front::GatewayFile;
use crate::app::passed::Passed;
use crate::app::signals::{Signal, Signals};
use crate::app::{App, Outset, StartError, nofile, service, translate};
use crate::base::tasks;
use crate::config::spec::GatewaySpec;
use crate::control::generation::ReloadResult;
use crate::telemetry::registry::Metrics;
use crate::telemetry::tracing::install;

use super::demo::{Demo, DemoArgs};

/// Serves what the file at `path` says until a signal ends it.
///
/// # Errors
/// When the gateway cannot start or a worker is lost.
pub fn run(path: &Path) -> anyhow::Result<ExitCode> {
    serve(GatewayFile::read(path)?, |_| Ok(()))
}

/// Serves the demo until a signal ends it.
///
/// # Errors
/// When its parts or the gateway cannot start, or a worker is lost.
pub fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let demo = Demo::prepare(args)?;
    let served = serve(GatewayFile::read(demo.config())?, |app| {
        let listener = app.addresses().first().copied();
        let (Some(listener), Some(admin)) = (listener, app.admin_address()) else {
            return Ok(());
        };
        super::print(&demo.guide(listener, admin))
    });
    // Its files are nobody's to mend.
    served.map_err(|error| match error.downcast::<StartError>() {
        Ok(StartError::Outside(problems)) => {
            let told: Vec<&str> = problems.iter().map(|problem| problem.what.as_str()).collect();
            anyhow!("{}; choose others by --port and --admin-port", told.join(", and "))
        }
        Ok(other) => other.into(),
        Err(error) => error,
    })
}

/// Serves what `file` says until a signal ends it; calls `ready` once it does.
///
/// # Errors
/// When the gateway cannot start, `ready` fails, or a worker is lost.
pub fn serve(
    file: GatewayFile,
    ready: impl FnOnce(&App) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let passed = Passed::take().map_err(StartError::Passed)?; // first: it changes the environment, which threads read
    let mut gateway = file.spec.clone();
    let metrics = Arc::new(Metrics::new());
    let log = install(&translate::log(&gateway.log), &metrics)?;
    let open_files = nofile::raise();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), ?open_files, "starting");
    fit(&mut gateway.downstream.max_connections, open_files);
    tasks::end_with_a_lost_thread();
    let runtime = Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .on_thread_start(tasks::step_back)
        .on_thread_park(tasks::note_parking)
        .enable_all()
        .build()
        .context("cannot start the control threads")?;
    let outset = Outset { file: Some(file), passed, levels: Some(log.levels()) };
    let done = runtime.block_on(Box::pin(live(outset, gateway, metrics, ready)));
    // What is still busy there (a look-up, a check of a large file) must not hold up the end.
    runtime.shutdown_background();
    log.end(LOG_LIMIT);
    done
}

/// Clients get three quarters of the open files: a client beyond that would leave none for its
/// endpoint, the logs and the admin API.
fn fit(max_connections: &mut usize, open_files: Option<u64>) {
    let Some(open_files) = open_files else { return };
    let most = usize::try_from(open_files / 4 * 3).unwrap_or(usize::MAX).max(1);
    if *max_connections > most {
        tracing::info!(
            open_files,
            max_connections = most,
            "downstream.max-connections is lowered to what the limit of open files allows; raise \
             the limit (LimitNOFILE= of the service, ulimit -n) above twice max-connections"
        );
        *max_connections = most;
    }
}

async fn live(
    outset: Outset,
    gateway: GatewaySpec,
    metrics: Arc<Metrics>,
    ready: impl FnOnce(&App) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen().context("cannot listen to signals")?;
    let mut app = tokio::select! {
        app = App::start_from(outset, gateway, metrics) => app?,
        () = signals.stop() => return Ok(ExitCode::SUCCESS),
    };
    ready(&app)?;
    service::ready(app.control());
    let mut reload = None;
    let asked_to_end = app.asked_to_end();
    tokio::pin!(asked_to_end);
    loop {
        let signal = tokio::select! {
            signal = signals.next() => signal,
            lost = app.failed() => return Err(lost.into()),
            () = asked_to_end.as_mut() => Signal::Stop,
            () = end(&mut reload) => {
                reload = None;
                service::ready(app.control());
                continue;
            }
        };
        match signal {
            Signal::Stop => break,
            Signal::Reload => {
                app.reopen_logs();
                service::reloading();
                reload = Some(app.ask_to_reload());
            }
        }
    }
    tokio::select! {
        _ = app.stop() => Ok(ExitCode::SUCCESS),
        () = second(&mut signals) => {
            tracing::warn!("a second signal ends the drain; what is in flight is cut off");
            Ok(ExitCode::from(CUT_SHORT))
        }
    }
}

/// The end of a reload, good or bad; never, where there is none.
async fn end(reload: &mut Option<oneshot::Receiver<ReloadResult>>) {
    match reload {
        Some(answer) => drop(answer.await),
        None => std::future::pending().await,
    }
}

/// The second wish to stop. Some senders (`timeout`, supervisors) signal the process and its group
/// in one go: that is one wish.
async fn second(signals: &mut Signals) {
    let first = Instant::now();
    while first.elapsed() < ONE_WISH {
        signals.stop().await;
    }
}

/// Two: one that compiles routes must not hold up health checks.
const CONTROL_THREADS: usize = 2;

/// 50 ms: longer than a sender takes for two signals, shorter than two strokes of Ctrl-C.
const ONE_WISH: Duration = Duration::from_millis(50);

/// As a shell reports a program that Ctrl-C has ended.
const CUT_SHORT: u8 = 130;

/// 2 s: the last lines of the log tell why the process ends.
const LOG_LIMIT: Duration = Duration::from_secs(2);
