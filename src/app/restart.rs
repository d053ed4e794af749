//! Which keys of `gateway.toml` are read at the start alone.

use std::path::Path;

use crate::config::spec::{
    AccessLogOutput, AccessLogSpec, AdminSpec, CertificateSpec, ClientCertificatesMode,
    GatewaySpec, HostSpec, NamedPath, PasswordSpec, ReplaySpec, SharedLimitsSpec, UsageSpec,
};

/// The keys that say something else now and take effect at the next start.
pub(super) fn needed(running: &GatewaySpec, now: &GatewaySpec) -> Vec<&'static str> {
    // Whole, so that a new key cannot be forgotten here.
    let GatewaySpec {
        listeners: _they_change_while_it_runs,
        admin,
        audit_log,
        routes,
        state,
        workers,
        debug_tokens,
        zone,
        dns,
        log,
        access_log,
        metrics,
        tracing,
        usage,
        replay,
        shared_limits,
        downstream,
        memory,
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
        (
            "admin",
            !is_same_admin(admin.as_ref(), now.admin.as_ref())
                || path(audit_log) != path(&now.audit_log),
        ),
        ("routes", *routes != now.routes),
        ("state", path(state) != path(&now.state)),
        ("workers", *workers != now.workers),
        ("debug-token-file", path(debug_tokens) != path(&now.debug_tokens)),
        ("zone", *zone != now.zone),
        ("dns", *dns != now.dns),
        ("log", *log != now.log),
        ("access-log", access_log_differs),
        ("metrics", *metrics != now.metrics),
        ("tracing", *tracing != now.tracing),
        ("usage", !is_same_usage(usage.as_ref(), now.usage.as_ref())),
        ("replay-files", !is_same_replay(replay.as_ref(), now.replay.as_ref())),
        ("shared-limits", !is_same_sharing(shared_limits.as_deref(), now.shared_limits.as_deref())),
        ("downstream", *downstream != now.downstream),
        ("memory", *memory != now.memory),
        ("drain", *drain != now.drain),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

/// Where a path is written is of no matter here.
fn is_same_usage(running: Option<&UsageSpec>, now: Option<&UsageSpec>) -> bool {
    let parts = |spec: &UsageSpec| {
        let UsageSpec { folder, gateway, flush_interval, keep_hours } = spec;
        (folder.path.clone(), gateway.clone(), *flush_interval, *keep_hours)
    };
    running.map(parts) == now.map(parts)
}

/// Nor here.
fn is_same_replay(running: Option<&ReplaySpec>, now: Option<&ReplaySpec>) -> bool {
    let parts = |spec: &ReplaySpec| {
        let ReplaySpec { folder, memory, space, files } = spec;
        (folder.path.clone(), *memory, *space, *files)
    };
    running.map(parts) == now.map(parts)
}

/// Nor here.
fn is_same_sharing(running: Option<&SharedLimitsSpec>, now: Option<&SharedLimitsSpec>) -> bool {
    let file = |spec: &SharedLimitsSpec| match &spec.password {
        Some(PasswordSpec::File(file)) => Some(file.path.clone()),
        _ => None,
    };
    let parts = |spec: &SharedLimitsSpec| {
        let password = spec.password.clone().filter(|_| file(spec).is_none());
        (file(spec), SharedLimitsSpec { password, ..spec.clone() })
    };
    running.map(parts) == now.map(parts)
}

/// Where a path is written is of no matter here either.
fn is_same_admin(running: Option<&AdminSpec>, now: Option<&AdminSpec>) -> bool {
    let (Some(running), Some(now)) = (running, now) else {
        return running.is_none() == now.is_none();
    };
    let tokens = |spec: &AdminSpec| spec.token_file.as_ref().map(|file| file.path.clone());
    running.address == now.address
        && running.public_metrics == now.public_metrics
        && running.certificates == now.certificates
        && running.tenant_keys == now.tenant_keys
        && running.tenant_changes == now.tenant_changes
        && running.tls.is_some() == now.tls.is_some()
        && tokens(running) == tokens(now)
        && certificates(running).eq(certificates(now))
}

/// What the admin API presents: whether by default, the files, the names.
fn certificates(spec: &AdminSpec) -> impl Iterator<Item = (bool, Vec<&Path>, Vec<&HostSpec>)> {
    let default = spec.tls.iter().flat_map(|tls| &tls.default).map(|one| (true, one));
    let named = spec.tls.iter().flat_map(|tls| &tls.certificates).map(|one| (false, one));
    default.chain(named).map(|(is_default, one): (bool, &CertificateSpec)| {
        let clients = one.clients.as_ref();
        let required = clients.map(|clients| match clients.mode {
            ClientCertificatesMode::Required => Path::new("required"),
            ClientCertificatesMode::Optional => Path::new("optional"),
        });
        let authorities = clients.map(|clients| clients.authorities.path.as_path());
        let files = [Some(one.certificate.path.as_path()), Some(one.key.path.as_path())];
        let files = files.into_iter().chain([required, authorities]).flatten().collect();
        (is_default, files, one.hosts.iter().map(|named| &named.host).collect())
    })
}
