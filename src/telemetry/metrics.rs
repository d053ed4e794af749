//! Every metric family, one const each: its name, what it tells, its kind and its labels. A new
//! metric is one const here, its row in [`FAMILIES`] and its row in `docs/metrics.md`.
//!
//! Names start with `tenantry_` and end in their unit; the values of labels come from the config
//! or from closed sets, never from a request.

use super::attempts::{
    ATTEMPT_FIRST_BYTE, ATTEMPTS, HEDGES, HEDGES_REFUSED, REPLAY_FILES, REPLAY_SPILLS, RETRIES,
    RETRIES_REFUSED,
};
use super::bearers::{
    TENANT_CERTIFICATE_EXPIRY, TENANT_CERTIFICATE_PROBLEMS, TENANT_CERTIFICATE_RELOADS,
    TENANT_CERTIFICATES, TENANT_CERTIFICATES_EXPIRED,
};
use super::checks::{EJECTIONS_ENDED_EARLY, ENDPOINT_DRAINED, HEALTH_CHECKS};
use super::issuers::{ISSUER_FETCHES, ISSUER_KEYS, ISSUER_KEYS_AT};
use super::keeping::{
    ABOVE_PLAN, ADMIN_REFUSED, AUDIT_LOG_LOST, STORE_DAMAGED, STORED_TENANTS, TENANT_CHANGES,
};
use super::mirrors::{COMPARED, FIRST_BYTE, MIRRORED};
use super::reloads::{
    CONFIG_GENERATION, CONFIG_LAST_SUCCESS, CONFIG_PROBLEMS, CONFIG_QUARANTINED, CONFIG_RELOADS,
    CONFIG_SERVING_LAST_GOOD,
};
use super::sharing::{
    ACCESS_REFUSED, AUTHORIZATION_TIME, AUTHORIZATIONS, EJECTIONS_SPARED, FOLDED_TENANTS,
    HANDED_OVER_TENANTS, LIMIT_WAITS, POOL_CONCURRENCY, POOL_CONCURRENCY_LIMIT,
    POOL_CONCURRENCY_SLOWDOWN, QUEUE_REQUESTS, QUEUE_WAIT, QUEUE_WAITING, STICKY_REQUESTS,
    TENANT_QUEUE_REQUESTS, TENANT_QUEUE_WAIT,
};
use super::splits::{SPLIT_REQUESTS, SPLIT_ROLLBACKS, SPLIT_ROLLED_BACK};
use super::spreading::{
    POOL_DRAINING, POOL_FAILOVER, POOL_LATE, POOL_PANICKING, POOL_WARMING, POOL_ZONE_SPILL,
};
use super::waiting::{WAIT_REQUESTS, WAIT_TIME, WAITING, WAITING_BYTES};
use super::{resilience, shared_limits};

pub use super::sharing::{USAGE_SAVES, USAGE_WAITING};

/// What a scraper may do with a family's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size, with a sum.
    Histogram,
}

/// One metric family.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it tells, in one sentence.
    pub help: &'static str,
    /// What a scraper may do with it.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// Every family, in the order of the docs.
pub static FAMILIES: &[&Family] = &[
    &REQUESTS,
    &REQUEST_DURATION,
    &BODY_BYTES,
    &FOLDED_TENANTS,
    &HANDED_OVER_TENANTS,
    &REQUESTS_IN_FLIGHT,
    &GATEWAY_ANSWERS,
    &AUTHORIZATIONS,
    &AUTHORIZATION_TIME,
    &LIMIT_WAITS,
    &shared_limits::UP,
    &shared_limits::CALLS,
    &shared_limits::CALL_SECONDS,
    &shared_limits::LATE_SECONDS,
    &shared_limits::REQUESTS,
    &shared_limits::IN_USE,
    &ATTEMPTS,
    &ATTEMPT_FIRST_BYTE,
    &RETRIES,
    &RETRIES_REFUSED,
    &HEDGES,
    &HEDGES_REFUSED,
    &REPLAY_FILES,
    &REPLAY_SPILLS,
    &resilience::EJECTIONS,
    &EJECTIONS_SPARED,
    &STICKY_REQUESTS,
    &EJECTIONS_ENDED_EARLY,
    &HEALTH_CHECKS,
    &resilience::OUTLIER_EJECTIONS,
    &resilience::POOL_OVERRUN,
    &resilience::POOL_OVERRUNS,
    &resilience::TRIALS,
    &resilience::BREAKER_TRANSITIONS,
    &resilience::BREAKERS,
    &resilience::POOL_BREAKER_TRANSITIONS,
    &resilience::POOL_BREAKER,
    &ENDPOINT_UP,
    &ENDPOINT_DRAINED,
    &ADMIN_REFUSED,
    &ENDPOINT_IN_FLIGHT,
    &POOL_MEMBERS,
    &POOL_PANICKING,
    &POOL_FAILOVER,
    &POOL_ZONE_SPILL,
    &POOL_WARMING,
    &POOL_LATE,
    &POOL_DRAINING,
    &POOL_CONCURRENCY,
    &POOL_CONCURRENCY_LIMIT,
    &POOL_CONCURRENCY_SLOWDOWN,
    &WAITING,
    &WAITING_BYTES,
    &WAIT_REQUESTS,
    &WAIT_TIME,
    &QUEUE_WAITING,
    &QUEUE_WAIT,
    &QUEUE_REQUESTS,
    &TENANT_QUEUE_REQUESTS,
    &TENANT_QUEUE_WAIT,
    &MIRRORED,
    &COMPARED,
    &FIRST_BYTE,
    &SPLIT_REQUESTS,
    &SPLIT_ROLLED_BACK,
    &SPLIT_ROLLBACKS,
    &DISCOVERY_UPDATES,
    &ISSUER_KEYS,
    &ISSUER_KEYS_AT,
    &ISSUER_FETCHES,
    &UPSTREAM_CONNECTIONS,
    &UPSTREAM_OPENED,
    &UPSTREAM_REUSED,
    &DOWNSTREAM_CONNECTIONS,
    &DOWNSTREAM_OPENED,
    &DOWNSTREAM_REJECTED,
    &DOWNSTREAM_RETIRED,
    &FORWARDED_FAULTS,
    &DEBUG_REQUESTS,
    &ACCESS_REFUSED,
    &WORKER_CONNECTIONS,
    &DOWNSTREAM_MOVED,
    &BUFFERS_BYTES,
    &BUFFERS_LIMIT,
    &BUFFERS_REFUSED,
    &CONFIG_GENERATION,
    &CONFIG_LAST_SUCCESS,
    &CONFIG_RELOADS,
    &CONFIG_PROBLEMS,
    &CONFIG_QUARANTINED,
    &CONFIG_SERVING_LAST_GOOD,
    &STORED_TENANTS,
    &ABOVE_PLAN,
    &STORE_DAMAGED,
    &TENANT_CHANGES,
    &GATEWAY_RELOADS,
    &CERTIFICATE_EXPIRY,
    &CERTIFICATE_RELOADS,
    &CERTIFICATE_PROBLEMS,
    &TENANT_CERTIFICATES,
    &TENANT_CERTIFICATES_EXPIRED,
    &TENANT_CERTIFICATE_EXPIRY,
    &TENANT_CERTIFICATE_RELOADS,
    &TENANT_CERTIFICATE_PROBLEMS,
    &TENANTS,
    &ROUTES_IN_MAINTENANCE,
    &ACCESS_LOG_DROPPED,
    &ACCESS_LOG_ERRORS,
    &AUDIT_LOG_LOST,
    &LOG_DROPPED,
    &TRACE_SPANS,
    &TRACE_EXPORTS,
    &TRACE_QUEUE,
    &USAGE_SAVES,
    &USAGE_WAITING,
    &ADMIN_WATCHERS,
    &ADMIN_WATCHERS_REFUSED,
    &TASK_PANICS,
    &BUILD_INFO,
];

/// `tenantry_requests_total`
pub static REQUESTS: Family = Family {
    name: "tenantry_requests_total",
    help: "Requests that ended, by the class of the answer's status; no pool where the gateway itself answered before it chose one",
    kind: Kind::Counter,
    labels: &["tenant", "pool", "class"],
};

/// `tenantry_request_duration_seconds`
pub static REQUEST_DURATION: Family = Family {
    name: "tenantry_request_duration_seconds",
    help: "Time from a request's head to the end of its answer",
    kind: Kind::Histogram,
    labels: &["tenant"],
};

/// `tenantry_body_bytes_total`
pub static BODY_BYTES: Family = Family {
    name: "tenantry_body_bytes_total",
    help: "Bytes of bodies: of requests as read, of responses as sent",
    kind: Kind::Counter,
    labels: &["tenant", "direction"],
};

/// `tenantry_requests_in_flight`
pub static REQUESTS_IN_FLIGHT: Family = Family {
    name: "tenantry_requests_in_flight",
    help: "Requests whose answers have not ended",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_gateway_answers_total`
pub static GATEWAY_ANSWERS: Family = Family {
    name: "tenantry_gateway_answers_total",
    help: "Answers that the gateway itself made, by the name of their problem type",
    kind: Kind::Counter,
    labels: &["problem"],
};

/// `tenantry_endpoint_up`
pub static ENDPOINT_UP: Family = Family {
    name: "tenantry_endpoint_up",
    help: "Whether an endpoint may be picked: 1 unless it is down, waits for its first check, is ejected or drained",
    kind: Kind::Gauge,
    labels: &["pool", "endpoint"],
};

/// `tenantry_endpoint_in_flight_requests`
pub static ENDPOINT_IN_FLIGHT: Family = Family {
    name: "tenantry_endpoint_in_flight_requests",
    help: "Requests that an endpoint is busy with",
    kind: Kind::Gauge,
    labels: &["pool", "endpoint"],
};

/// `tenantry_pool_members`
pub static POOL_MEMBERS: Family = Family {
    name: "tenantry_pool_members",
    help: "Members of a pool by state; each is counted once",
    kind: Kind::Gauge,
    labels: &["pool", "state"],
};

/// `tenantry_discovery_updates_total`
pub static DISCOVERY_UPDATES: Family = Family {
    name: "tenantry_discovery_updates_total",
    help: "Answers of the sources that name a pool's members, by result",
    kind: Kind::Counter,
    labels: &["pool", "source", "result"],
};

/// `tenantry_upstream_connections`
pub static UPSTREAM_CONNECTIONS: Family = Family {
    name: "tenantry_upstream_connections",
    help: "Open connections to the endpoints of a pool",
    kind: Kind::Gauge,
    labels: &["pool"],
};

/// `tenantry_upstream_connections_opened_total`
pub static UPSTREAM_OPENED: Family = Family {
    name: "tenantry_upstream_connections_opened_total",
    help: "Connections opened to the endpoints of a pool",
    kind: Kind::Counter,
    labels: &["pool"],
};

/// `tenantry_upstream_connections_reused_total`
pub static UPSTREAM_REUSED: Family = Family {
    name: "tenantry_upstream_connections_reused_total",
    help: "Attempts that found an open connection",
    kind: Kind::Counter,
    labels: &["pool"],
};

/// `tenantry_downstream_connections`
pub static DOWNSTREAM_CONNECTIONS: Family = Family {
    name: "tenantry_downstream_connections",
    help: "Open connections of clients",
    kind: Kind::Gauge,
    labels: &["listener"],
};

/// `tenantry_downstream_connections_total`
pub static DOWNSTREAM_OPENED: Family = Family {
    name: "tenantry_downstream_connections_total",
    help: "Connections accepted from clients",
    kind: Kind::Counter,
    labels: &["listener"],
};

/// `tenantry_downstream_rejected_connections_total`
pub static DOWNSTREAM_REJECTED: Family = Family {
    name: "tenantry_downstream_rejected_connections_total",
    help: "Connections of clients that were not taken or were cut off, by reason",
    kind: Kind::Counter,
    labels: &["reason"],
};

/// `tenantry_downstream_forwarded_faults_total`
pub static FORWARDED_FAULTS: Family = Family {
    name: "tenantry_downstream_forwarded_faults_total",
    help: "Requests of trusted proxies whose chain of addresses could not be read to its end, by reason",
    kind: Kind::Counter,
    labels: &["reason"],
};

/// `tenantry_debug_requests_total`
pub static DEBUG_REQUESTS: Family = Family {
    name: "tenantry_debug_requests_total",
    help: "Requests that asked what becomes of them, by whether they had a debug token",
    kind: Kind::Counter,
    labels: &["result"],
};

/// `tenantry_downstream_retired_connections_total`
pub static DOWNSTREAM_RETIRED: Family = Family {
    name: "tenantry_downstream_retired_connections_total",
    help: "Connections of clients that had served their time and were ended in good order, by reason",
    kind: Kind::Counter,
    labels: &["reason"],
};

/// `tenantry_worker_connections`
pub static WORKER_CONNECTIONS: Family = Family {
    name: "tenantry_worker_connections",
    help: "Open connections of clients, by the number of the worker that serves them",
    kind: Kind::Gauge,
    labels: &["worker"],
};

/// `tenantry_downstream_moved_connections_total`
pub static DOWNSTREAM_MOVED: Family = Family {
    name: "tenantry_downstream_moved_connections_total",
    help: "Connections of clients that are served by another worker than the one that they came to",
    kind: Kind::Counter,
    labels: &[],
};

/// `tenantry_buffers_bytes`
pub static BUFFERS_BYTES: Family = Family {
    name: "tenantry_buffers_bytes",
    help: "Memory that is held for clients and endpoints: connections, requests under way, bodies that wait",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_buffers_limit_bytes`
pub static BUFFERS_LIMIT: Family = Family {
    name: "tenantry_buffers_limit_bytes",
    help: "Memory that may be held for clients and endpoints",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_buffers_refused_total`
pub static BUFFERS_REFUSED: Family = Family {
    name: "tenantry_buffers_refused_total",
    help: "What was not granted since the memory for clients and endpoints was used up",
    kind: Kind::Counter,
    labels: &["what"],
};

/// `tenantry_gateway_reloads_total`
pub static GATEWAY_RELOADS: Family = Family {
    name: "tenantry_gateway_reloads_total",
    help: "Changes of the listeners in gateway.toml, by result",
    kind: Kind::Counter,
    labels: &["result"],
};

/// `tenantry_certificate_expiry_timestamp_seconds`
pub static CERTIFICATE_EXPIRY: Family = Family {
    name: "tenantry_certificate_expiry_timestamp_seconds",
    help: "When a certificate that is in use ends, in Unix time, by its file and what it is for",
    kind: Kind::Gauge,
    labels: &["file", "use"],
};

/// `tenantry_certificate_reloads_total`
pub static CERTIFICATE_RELOADS: Family = Family {
    name: "tenantry_certificate_reloads_total",
    help: "Readings of changed certificates of the listeners, by result",
    kind: Kind::Counter,
    labels: &["result"],
};

/// `tenantry_certificate_problems`
pub static CERTIFICATE_PROBLEMS: Family = Family {
    name: "tenantry_certificate_problems",
    help: "Problems that the last reading of the listeners' certificates found; above 0 some that are in use are older than their files",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_tenants`
pub static TENANTS: Family = Family {
    name: "tenantry_tenants",
    help: "Tenants of the routes that are live, by state",
    kind: Kind::Gauge,
    labels: &["state"],
};

/// `tenantry_routes_in_maintenance`
pub static ROUTES_IN_MAINTENANCE: Family = Family {
    name: "tenantry_routes_in_maintenance",
    help: "Routes whose requests are answered 503 because they are worked on",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_access_log_dropped_total`
pub static ACCESS_LOG_DROPPED: Family = Family {
    name: "tenantry_access_log_dropped_total",
    help: "Access log lines that found the queue full",
    kind: Kind::Counter,
    labels: &[],
};

/// `tenantry_access_log_errors_total`
pub static ACCESS_LOG_ERRORS: Family = Family {
    name: "tenantry_access_log_errors_total",
    help: "Writes of the access log that failed; their lines are lost",
    kind: Kind::Counter,
    labels: &[],
};

/// `tenantry_log_dropped_total`
pub static LOG_DROPPED: Family = Family {
    name: "tenantry_log_dropped_total",
    help: "Lines of the gateway's own log that found the queue full or could not be written",
    kind: Kind::Counter,
    labels: &[],
};

/// `tenantry_trace_spans_total`
pub static TRACE_SPANS: Family = Family {
    name: "tenantry_trace_spans_total",
    help: "Spans by what became of them: exported, or lost and why",
    kind: Kind::Counter,
    labels: &["result"],
};

/// `tenantry_trace_exports_total`
pub static TRACE_EXPORTS: Family = Family {
    name: "tenantry_trace_exports_total",
    help: "Requests to the collector of traces, by result; one that may succeed later is made again",
    kind: Kind::Counter,
    labels: &["result"],
};

/// `tenantry_trace_queue_traces`
pub static TRACE_QUEUE: Family = Family {
    name: "tenantry_trace_queue_traces",
    help: "Traces that wait to be exported",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_admin_watchers`
pub static ADMIN_WATCHERS: Family = Family {
    name: "tenantry_admin_watchers",
    help: "Dashboards and terminals that follow /api/v1/events",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_admin_watchers_refused_total`
pub static ADMIN_WATCHERS_REFUSED: Family = Family {
    name: "tenantry_admin_watchers_refused_total",
    help: "Readers of /api/v1/events that were turned away (limit) or dropped (slow)",
    kind: Kind::Counter,
    labels: &["reason"],
};

/// `tenantry_task_panics_total`
pub static TASK_PANICS: Family = Family {
    name: "tenantry_task_panics_total",
    help: "Tasks of workers that panicked; each is a bug",
    kind: Kind::Counter,
    labels: &[],
};

/// `tenantry_build_info`
pub static BUILD_INFO: Family = Family {
    name: "tenantry_build_info",
    help: "Always 1; the labels tell what is running",
    kind: Kind::Gauge,
    labels: &["version"],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_product_and_counters_their_suffix() {
        for family in FAMILIES {
            let name = family.name;
            assert!(name.starts_with("tenantry_"), "{name}");
            assert_eq!(name.ends_with("_total"), family.kind == Kind::Counter, "{name}");
            assert!(!family.help.ends_with('.') && !family.help.is_empty(), "{name}");
        }
    }

    #[test]
    fn every_const_has_its_row() {
        let sources = [
            include_str!("metrics.rs"),
            include_str!("attempts.rs"),
            include_str!("reloads.rs"),
            include_str!("sharing.rs"),
            include_str!("spreading.rs"),
            include_str!("keeping.rs"),
            include_str!("shared_limits.rs"),
            include_str!("bearers.rs"),
            include_str!("issuers.rs"),
            include_str!("checks.rs"),
            include_str!("mirrors.rs"),
            include_str!("splits.rs"),
            include_str!("resilience.rs"),
            include_str!("waiting.rs"),
        ];
        let lines = sources.iter().flat_map(|source| source.lines());
        let consts = lines.filter(|line| line.contains(": Family = Family {")).count();

        assert_eq!(consts, FAMILIES.len() + 1, "this test's own line counts as one");
    }

    #[test]
    fn every_family_is_in_the_docs_with_its_kind_and_labels() {
        let docs = include_str!("../../docs/metrics.md");
        for family in FAMILIES {
            let row = docs.lines().find(|line| line.contains(&format!("`{}`", family.name)));
            let row =
                row.unwrap_or_else(|| panic!("docs/metrics.md has no row of {}", family.name));
            let kind = format!("{:?}", family.kind).to_lowercase();
            assert!(row.contains(&kind), "{}: {kind}", family.name);
            for label in family.labels {
                assert!(row.contains(&format!("`{label}`")), "{}: {label}", family.name);
            }
        }
    }
}
