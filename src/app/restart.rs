//! Which keys of `gateway.toml` are read at the start alone.

use crate::config::spec::{AccessLogOutput, AccessLogSpec, GatewaySpec, NamedPath};

/// The keys that say something else now and take effect at the next start.
pub(super) fn needed(running: &GatewaySpec, now: &GatewaySpec) -> Vec<&'static str> {
    // Whole, so that a new key cannot be forgotten here.
    let GatewaySpec {
        listeners: _they_change_while_it_runs,
        admin,
        routes,
        state,
        workers,
        debug_tokens,
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
    let path = |named: &Option<NamedPath>| named.as_ref().map(|named| named.path.clone());
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
    let keys = [
        ("admin", *admin != now.admin),
        ("routes", *routes != now.routes),
        ("state", path(state) != path(&now.state)),
        ("workers", *workers != now.workers),
        ("debug-token-file", path(debug_tokens) != path(&now.debug_tokens)),
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
