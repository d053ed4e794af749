//! What applies to a request that is forwarded: each value, and which level set it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::answers::{ErrorPagesSpec, MaintenanceSpec, PageFor, PageSpec};
use crate::config::places::{self, Steps};
use crate::config::spec::{
    AccessSpec, CheckTlsSpec, PoolSpec, ProbeSpec, Protocol, ProxyVersion, QueueSpec, RetrySpec,
    RouteSpec, TenantSpec, TimeoutsSpec, WaitSpec,
};
use crate::pool::Pool;
use crate::resilience::deadline::Deadlines;

use super::words::{certificates, edited, networks};
use super::{ejection, limits, retrying, spreading};

/// One value that applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// As in `timeouts.total`.
    pub key: String,
    /// As in `5s`.
    pub value: String,
    /// `route`, `tenant`, `plan`, `pool`, `all tenants`, `gateway` or `built in`.
    pub set_by: String,
    /// As in `routes.toml:12`.
    pub place: Option<String>,
}

/// The levels that a value may be set at.
pub(super) struct Levels<'l> {
    pub(super) tenant: (&'l str, &'l TenantSpec),
    /// With its place in the files.
    pub(super) route: Option<(&'l RouteSpec, Steps)>,
    /// Where the request goes, if to any.
    pub(super) pool: Option<&'l Arc<Pool>>,
    /// Pages of tenants that have none of their own.
    pub(super) pages: &'l ErrorPagesSpec,
    /// What holds for all requests.
    pub(super) gateway: &'l [Setting],
}

/// What applies to a request, and which level set it. `find` tells where values are.
pub(super) fn of(
    levels: Levels<'_>,
    find: impl Fn(&[Steps]) -> Vec<Option<String>>,
) -> Vec<Setting> {
    let Levels { tenant: (id, tenant), route, pool, pages, gateway } = levels;
    let (route, at) = route.unzip();
    let name = pool.map_or("", |pool| pool.label.name.as_ref());
    let (at, plan) = (at.unwrap_or_default(), tenant.plan.as_deref());
    let mut list = List { at, tenant: id, plan, pool: name, rows: Vec::new() };
    if let Some(pool) = pool {
        let unsaid = (&TimeoutsSpec::UNSAID, &RetrySpec::UNSAID);
        let (timeouts, retry) = route.map_or(unsaid, |route| (&route.timeouts, &route.retry));
        list.pool(&pool.spec);
        list.timeouts(timeouts, &pool.spec.timeouts);
        list.retry(retry, &pool.spec.retry);
        list.of_tenant("replay-memory", tenant.replay_memory.to_string());
        list.sharing(tenant.queue.as_deref(), route, &pool.spec);
    }
    if let Some(route) = route {
        list.edits(route);
    }
    if let Some(access) = &tenant.access {
        list.access(access, route);
    }
    if !tenant.certificates().is_empty() {
        list.of_tenant("certificates", certificates(tenant));
    }
    list.limits(tenant, route);
    list.maintenance(tenant, route);
    list.pages(tenant, pages);
    let shares = [("access-log.sample", tenant.sample), ("tracing.sample", tenant.trace_sample)];
    let is_used = |key: &str| gateway.iter().any(|setting| setting.key == key);
    for (key, share) in shares {
        if let Some(share) = share.filter(|_| is_used(key)) {
            list.of_tenant(key, share.to_string());
        }
    }
    let mut settings = list.placed(find);
    let is_free = |own: &&Setting| {
        let stands_in = |key: &str| key == own.key || (key == MAX_BODY && own.key == OF_ALL);
        !settings.iter().any(|setting| stands_in(&setting.key))
    };
    let others: Vec<Setting> = gateway.iter().filter(is_free).cloned().collect();
    settings.extend(others);
    settings
}

struct Row {
    key: Cow<'static, str>,
    value: String,
    set_by: SetBy,
    /// Where a file may say it; the first that does counts.
    places: Vec<Steps>,
}

#[derive(Clone, Copy)]
enum SetBy {
    /// It is known which level.
    Level(&'static str),
    /// The level of the first place where a file says it, else it is built in.
    IfWritten(&'static [&'static str]),
}

struct List<'l> {
    at: Steps,
    tenant: &'l str,
    plan: Option<&'l str>,
    pool: &'l str,
    rows: Vec<Row>,
}

impl List<'_> {
    /// A value of the pool alone; whether a file says it is found out with its place.
    fn of_pool(&mut self, key: &'static str, value: impl ToString) {
        let places = vec![self.in_pool(key)];
        self.rows.push(Row {
            key: key.into(),
            value: value.to_string(),
            set_by: SetBy::IfWritten(&["pool"]),
            places,
        });
    }

    /// A value of the tenant, or of its plan.
    fn of_tenant(&mut self, key: impl Into<Cow<'static, str>>, value: String) {
        let key = key.into();
        let in_table = |table: [&str; 2]| {
            let parts: Vec<&str> = table.into_iter().chain(key.split('.')).collect();
            places::names(&parts)
        };
        let of_plan = self.plan.map(|plan| in_table(["plans", plan]));
        let places = [in_table(["tenants", self.tenant])].into_iter().chain(of_plan).collect();
        self.rows.push(Row { key, value, set_by: SetBy::IfWritten(&["tenant", "plan"]), places });
    }

    /// A value of a route, else of its pool, else built in.
    fn of_both(&mut self, key: &'static str, value: String, in_route: bool, in_pool: bool) {
        let (set_by, places) = match (in_route, in_pool) {
            // The short form of the one deadline that most routes need.
            (true, _) if key == "timeouts.total" => {
                ("route", vec![self.in_route(key), self.in_route("timeout")])
            }
            (true, _) => ("route", vec![self.in_route(key)]),
            (false, true) => ("pool", vec![self.in_pool(key)]),
            (false, false) => (BUILT_IN, Vec::new()),
        };
        self.rows.push(Row { key: key.into(), value, set_by: SetBy::Level(set_by), places });
    }

    fn pool(&mut self, spec: &PoolSpec) {
        self.of_pool("protocol", if spec.protocol == Protocol::H1 { "h1" } else { "h2" });
        self.of_pool("tls", if spec.tls.is_some() { "on" } else { "off" });
        self.of_pool(
            "proxy-protocol",
            match spec.proxy_protocol {
                None => "none",
                Some(ProxyVersion::V1) => "v1",
                Some(ProxyVersion::V2) => "v2",
            },
        );
        self.of_pool("balance", &spec.balance);
        let told = spec.deadline_header.as_ref().map_or("none", HeaderName::as_str);
        self.of_pool("deadline-header", told);
        if !spec.hash.is_empty() {
            let by: Vec<String> = spec.hash.iter().map(ToString::to_string).collect();
            self.of_pool("hash", by.join(", "));
        }
        if let Some(sticky) = &spec.sticky {
            self.of_pool("sticky.cookie", &sticky.cookie);
        }
        self.of_pool("panic-below", spec.panic_below);
        self.waiting(spec.wait.as_ref());
        for (key, value) in spreading::rows(&spec.spread) {
            self.of_pool(key, value);
        }
        match &spec.health {
            None => self.of_pool("health", "none"),
            Some(health) => {
                match &health.probe {
                    ProbeSpec::Http(http) => self.of_pool("health.http", &http.path),
                    ProbeSpec::Grpc { service, .. } if service.is_empty() => {
                        self.of_pool("health.grpc", true);
                    }
                    ProbeSpec::Grpc { service, .. } => self.of_pool("health.grpc", service),
                    ProbeSpec::Tcp => self.of_pool("health.tcp", true),
                }
                if let Some(port) = health.port {
                    self.of_pool("health.port", port);
                }
                let is_plain = health.tls == CheckTlsSpec::None;
                self.of_pool("health.tls", if is_plain { "off" } else { "on" });
                self.of_pool("health.interval", span(health.interval));
                self.of_pool("health.fast-interval", span(health.fast_interval));
                self.of_pool("health.timeout", span(health.timeout));
                self.of_pool("health.rise", health.rise);
                self.of_pool("health.fall", health.fall);
            }
        }
        for (key, value) in ejection::told(spec) {
            self.of_pool(key, value);
        }
        self.of_pool("connections.idle", spec.connections.idle);
        self.of_pool("connections.idle-timeout", span(spec.connections.idle_timeout));
        self.of_pool("connections.max-age", span(spec.connections.max_age));
        self.of_pool("connections.per-tenant", spec.per_tenant);
    }

    /// How requests wait while the pool has no endpoint.
    fn waiting(&mut self, wait: Option<&WaitSpec>) {
        let Some(wait) = wait else {
            return self.of_pool("wait", "none");
        };
        self.of_pool("wait.time", span(wait.time));
        self.of_pool("wait.length", wait.length);
        self.of_pool("wait.memory", wait.memory);
        self.of_pool("wait.at-once", wait.at_once);
    }

    /// How many requests the pool has at once, and how others wait.
    fn sharing(&mut self, own: Option<&QueueSpec>, route: Option<&RouteSpec>, pool: &PoolSpec) {
        let Some(pool) = pool.concurrency else {
            return self.of_pool("concurrency", pool.overrun.map_or("unlimited", |_| "any"));
        };
        let own = own.unwrap_or(&QueueSpec::UNSAID);
        match pool.adaptive {
            None => self.of_pool("concurrency", pool.limit),
            Some(adaptive) => {
                self.of_pool("concurrency", "adaptive");
                self.of_pool("concurrency.min", adaptive.min);
                self.of_pool("concurrency.max", adaptive.max);
                self.of_pool("concurrency.tolerance", adaptive.tolerance);
            }
        }
        self.of_tenant("queue.weight", own.weight.to_string());
        let asked = route.and_then(|route| route.priority);
        let class = own.class(asked);
        match asked == Some(class) {
            true => self.of_both(PRIORITY, class.as_str().to_owned(), true, false),
            false => self.of_tenant(PRIORITY, class.as_str().to_owned()),
        }
        match own.length {
            Some(length) => self.of_tenant("queue.length", length.to_string()),
            None => self.of_pool("queue.length", pool.length),
        }
        match own.wait {
            Some(wait) => self.of_tenant("queue.wait", span(wait)),
            None => self.of_pool("queue.wait", span(pool.wait)),
        }
    }

    /// What the route changes, where it changes anything.
    fn edits(&mut self, route: &RouteSpec) {
        let mut rewrites = Vec::new();
        if let Some((prefix, with)) = &route.rewrite.prefix {
            rewrites.push(match with.is_empty() {
                true => format!("strip {prefix}"),
                false => format!("{prefix} becomes {with}"),
            });
        }
        let host = route.rewrite.host.as_ref();
        rewrites.extend(host.map(|host| format!("host {}", host.to_str().unwrap_or("?"))));
        let mirror = route.mirror.as_ref();
        let mirror = mirror.map(|mirror| format!("{} of them to {}", mirror.share, mirror.pool));
        let edits = [
            ("authorize", if route.authorize { String::new() } else { "false".to_owned() }),
            ("rewrite", rewrites.join(", ")),
            ("request-headers", edited(&route.request_headers)),
            ("response-headers", edited(&route.response_headers)),
            ("mirror", mirror.unwrap_or_default()),
        ];
        for (key, value) in edits.into_iter().filter(|(_, value)| !value.is_empty()) {
            let places = vec![self.in_route(key)];
            let set_by = SetBy::Level("route");
            self.rows.push(Row { key: key.into(), value, set_by, places });
        }
    }

    /// Who may come to the tenant. Of keys their names are told, and nothing else.
    fn access(&mut self, access: &AccessSpec, route: Option<&RouteSpec>) {
        let asked =
            access.authorize.as_deref().filter(|_| route.is_none_or(|route| route.authorize));
        let kinds: Vec<&str> = access.authenticate.iter().map(|kind| kind.as_str()).collect();
        let keys: Vec<&str> = access.keys.iter().map(|key| &*key.name).collect();
        let methods: Vec<&str> = access.methods.iter().map(http::Method::as_str).collect();
        let mut rows = vec![
            ("authenticate", kinds.join(" or ")),
            ("authorize", asked.unwrap_or_default().to_owned()),
            ("keys", keys.join(", ")),
            ("methods", methods.join(", ")),
        ];
        for (key, networks) in [("allow", &access.allow), ("deny", &access.deny)] {
            rows.push((
                key,
                if networks.is_empty() { String::new() } else { self::networks(networks.len()) },
            ));
        }
        if let Some(cors) = &access.cors {
            let origins: Vec<String> = cors.origins.iter().map(ToString::to_string).collect();
            rows.push(("cors.origins", origins.join(", ")));
            rows.push(("cors.credentials", cors.credentials.to_string()));
        }
        for (key, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
            self.of_tenant(key, value);
        }
    }

    /// How much may be asked for, of the tenant and of the route.
    fn limits(&mut self, tenant: &TenantSpec, route: Option<&RouteSpec>) {
        for (key, value) in tenant.limits.as_deref().map(limits::told).unwrap_or_default() {
            self.of_tenant(key, value);
        }
        let own = route.and_then(|route| route.limits.as_deref());
        let mut of_route = own.map(limits::told).unwrap_or_default();
        let (body_of_route, body_of_tenant) = limits::max_body(tenant, route);
        of_route.extend(body_of_route.map(|size| (MAX_BODY, size)));
        if let Some(size) = body_of_tenant {
            self.of_tenant(MAX_BODY, size);
        }
        for (key, value) in of_route {
            let places = vec![self.in_route(key)];
            let set_by = SetBy::IfWritten(&["route"]);
            self.rows.push(Row { key: key.into(), value, set_by, places });
        }
    }

    /// What is answered while somebody works on it.
    fn maintenance(&mut self, tenant: &TenantSpec, route: Option<&RouteSpec>) {
        let of_route = route.and_then(|route| route.maintenance.as_deref());
        let own = tenant.maintenance.as_deref().or(of_route);
        let Some(MaintenanceSpec { retry_after, allow }) = own else { return };
        let rows = [
            ("maintenance.retry-after", span(*retry_after)),
            ("maintenance.allow", networks(allow.len())),
        ];
        for (key, value) in rows {
            match tenant.maintenance {
                Some(_) => self.of_tenant(key, value),
                None => {
                    let places = vec![self.in_route(key)];
                    let set_by = SetBy::IfWritten(&["route"]);
                    self.rows.push(Row { key: key.into(), value, set_by, places });
                }
            }
        }
    }

    /// In place of which answers of the gateway there are pages. Each is said at a level of its own; those for
    /// all tenants stand in for what the tenant has none for.
    fn pages(&mut self, tenant: &TenantSpec, pages: &ErrorPagesSpec) {
        let shown = |page: &PageSpec| page.content_type.to_str().unwrap_or("a page").to_owned();
        let own = tenant.error_pages.iter().flat_map(|own| &own.pages);
        let mut met = Vec::new();
        for (occasion, page) in own {
            self.of_tenant(format!("error-pages.{occasion}"), shown(page));
            met.push(*occasion);
        }
        let is_met = |occasion: &PageFor| match occasion {
            PageFor::Status(status) => met.contains(&PageFor::Class(status.as_u16() / 100)),
            // A tenant's own page for the status wins over one for all tenants.
            PageFor::Maintenance => {
                met.contains(&PageFor::Status(StatusCode::SERVICE_UNAVAILABLE))
                    || met.contains(&PageFor::Class(5))
            }
            PageFor::Class(_) => false,
        };
        for (occasion, page) in &pages.pages {
            if met.contains(occasion) || is_met(occasion) {
                continue;
            }
            self.rows.push(Row {
                key: format!("error-pages.{occasion}").into(),
                value: shown(page),
                set_by: SetBy::Level("all tenants"),
                places: vec![places::names(&["error-pages", &occasion.to_string()])],
            });
        }
    }

    fn timeouts(&mut self, route: &TimeoutsSpec, pool: &TimeoutsSpec) {
        let all = Deadlines::resolve(route, pool);
        let mut row =
            |key, value: Option<Duration>, route: Option<Duration>, pool: Option<Duration>| {
                let value = value.map_or("none".to_owned(), span);
                self.of_both(key, value, route.is_some(), pool.is_some());
            };
        row("timeouts.total", all.total, route.total, pool.total);
        row("timeouts.attempt", all.attempt, route.attempt, pool.attempt);
        row("timeouts.first-byte", all.first_byte, route.first_byte, pool.first_byte);
        row("timeouts.idle", Some(all.idle), route.idle, pool.idle);
        row("timeouts.connect", Some(all.connect), route.connect, pool.connect);
        row("timeouts.tls", Some(all.tls), route.tls, pool.tls);
    }

    fn retry(&mut self, route: &RetrySpec, pool: &RetrySpec) {
        for (key, value, in_route, in_pool) in retrying::rows(route, pool) {
            self.of_both(key, value, in_route, in_pool);
        }
    }

    fn in_route(&self, key: &str) -> Steps {
        let parts: Vec<&str> = key.split('.').collect();
        self.at.iter().cloned().chain(places::names(&parts)).collect()
    }

    fn in_pool(&self, key: &str) -> Steps {
        let parts: Vec<&str> = ["pools", self.pool].into_iter().chain(key.split('.')).collect();
        places::names(&parts)
    }

    fn placed(self, find: impl Fn(&[Steps]) -> Vec<Option<String>>) -> Vec<Setting> {
        let wanted: Vec<Steps> = self.rows.iter().flat_map(|row| row.places.clone()).collect();
        let mut found = find(&wanted).into_iter();
        let settings = self.rows.into_iter().map(|row| {
            let own: Vec<Option<String>> = found.by_ref().take(row.places.len()).collect();
            let first = own.iter().position(Option::is_some);
            let set_by = match row.set_by {
                SetBy::Level(level) => level,
                SetBy::IfWritten(levels) => {
                    first.and_then(|first| levels.get(first)).copied().unwrap_or(BUILT_IN)
                }
            };
            let place = own.into_iter().flatten().next();
            let set_by = set_by.to_owned();
            Setting { key: row.key.into_owned(), value: row.value, set_by, place }
        });
        settings.collect()
    }
}

const PRIORITY: &str = "queue.priority";
/// Stands in for the next one.
const MAX_BODY: &str = "limits.max-body";
const OF_ALL: &str = "downstream.max-body";

/// The level of what nobody says.
pub(super) const BUILT_IN: &str = "built in";

pub(super) fn span(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}
