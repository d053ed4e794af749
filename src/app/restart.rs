//! Which keys of `gateway.toml` are read at the start alone.

use crate::config::spec::{AccessLogOutput, AccessLogSpec, GatewaySpec};

/// The keys that say something else now and take effect at the next start.
pub(super) fn needed(running: &GatewaySpec, now: &GatewaySpec) -> Vec<&'static str> {
    // Whole, so that a new key cannot be forgotten here.
    let GatewaySpec {
        listeners: _they_change_while_it_runs,
        admin,
        routes,
        state,
        workers,
        dns,
        log,
        access_log,
        metrics,
        tracing,
        downstream,
        buffers,
        drain,
    } = running;
    // Where a path is written is of no matter.
    let folder = |spec: &GatewaySpec| spec.state.as_ref().map(|state| state.path.clone());
    let output = |spec: &GatewaySpec| match &spec.access_log.output {
        AccessLogOutput::File(file) => Err(file.path.clone()),
        other => Ok(other.clone()),
    };
    let AccessLogSpec { output: _compared_above, format, sample, errors, mask, queue } = access_log;
    let of_now = &now.access_log;
    let access_log_differs = output(running) != output(now)
        || *format != of_now.format
        || *sample != of_now.sample
        || *errors != of_now.errors
        || *mask != of_now.mask
        || *queue != of_now.queue;
    let state_differs = state.is_some() != now.state.is_some() || folder(running) != folder(now);
    let keys = [
        ("admin", *admin != now.admin),
        ("routes", *routes != now.routes),
        ("state", state_differs),
        ("workers", *workers != now.workers),
        ("dns", *dns != now.dns),
        ("log", *log != now.log),
        ("access-log", access_log_differs),
        ("metrics", *metrics != now.metrics),
        ("tracing", *tracing != now.tracing),
        ("downstream", *downstream != now.downstream),
        ("memory", *buffers != now.buffers),
        ("drain", *drain != now.drain),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}
