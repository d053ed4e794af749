//! The routes that are live, in the order in which they are asked.

use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, extract};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::asked::{Asked, Page, bad_query};
use crate::admin::openapi::{Operation, Schemas};
use crate::admin::{State, reply};
use crate::config::secrets::{MASKED, Secrets};
use crate::config::spec::{ActionSpec, HostSpec, SplitBy, TenantSpec, TenantState, ValueSpec};
use crate::control::generation::Live;
use crate::routing::explain::{self, Placed};

use super::Endpoint;

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/api/v1/routes", methods: || get(list), operations };

fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    let what = "The routes that are live: all, of one route set, or as one tenant is served";
    vec![
        Operation::get("list_routes", what)
            .query::<Wanted>(schemas)
            .answers::<Routes>(schemas, StatusCode::OK, "A page of them, first asked first")
            .refuses(StatusCode::BAD_REQUEST, "The query cannot be read")
            .refuses(StatusCode::NOT_FOUND, "There is no such tenant or route set")
            .refuses(StatusCode::SERVICE_UNAVAILABLE, "No routes are live yet"),
    ]
}

/// Which routes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Those that requests of this tenant are matched with, of its own and of its route sets.
    tenant: Option<String>,
    /// Those of this route set; beside `tenant`, as far as the tenant uses it.
    set: Option<String>,
    /// As many at most.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
    /// Those that follow: the `next` of the page before.
    after: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Routes {
    /// The table that they are of.
    generation: u64,
    /// The tenant that was asked for.
    tenant: Option<Tenant>,
    routes: Vec<Route>,
    /// To ask for the next page with, as `after`; `null` = there is none.
    next: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RoutedTenant")]
struct Tenant {
    name: String,
    /// `active`, `maintenance` or `suspended`.
    state: &'static str,
    /// Where requests go that no route takes.
    pool: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Route {
    name: String,
    /// The table that holds it: `tenants.acme` or `route-sets.shared`.
    of: String,
    /// Its place among the routes there, from 0.
    index: usize,
    path: String,
    /// `null` = any.
    host: Option<String>,
    /// None = any.
    methods: Vec<String>,
    /// All must hold.
    headers: Vec<Condition>,
    /// All must hold.
    query: Vec<Condition>,
    action: Action,
    /// The pool that gets copies of its requests; `null` = none.
    mirror: Option<String>,
    maintenance: bool,
}

/// A header or a parameter that must be there.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RouteCondition")]
struct Condition {
    name: String,
    /// `null` = any; `***` = it is a secret.
    value: Option<String>,
}

/// What a route does.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RouteAction")]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Action {
    /// Forwards to this pool.
    Pool {
        /// Its name.
        pool: String,
    },
    /// Forwards to the tenant's own pool.
    TenantPool {
        /// The one of the tenant that was asked for.
        pool: Option<String>,
    },
    /// Forwards to one of several pools.
    Split {
        /// Each with its weight.
        pools: Vec<Share>,
        /// The header that decides; `null` = the request's id.
        by_header: Option<String>,
    },
    /// Answers with another location.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// The location, with its placeholders.
        to: String,
    },
    /// Answers itself.
    Respond {
        /// The status.
        status: u16,
    },
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SplitShare")]
struct Share {
    pool: String,
    weight: u32,
}

async fn list(
    extract::State(state): extract::State<State>,
    Asked(wanted): Asked<Wanted>,
) -> Response {
    let (live, kept) = (state.live.load(), state.stored.kept.load());
    reply::in_background(move || listed(&live, &kept.secrets, wanted)).await
}

fn listed(live: &Live, secrets: &Secrets, wanted: Wanted) -> Response {
    let Some(spec) = live.spec() else {
        let what = "no routes are live yet".to_owned();
        return reply::problem(StatusCode::SERVICE_UNAVAILABLE, "not-ready", what);
    };
    let page = match Page::new(wanted.limit, wanted.after) {
        Ok(page) => page,
        Err(why) => return bad_query(&why),
    };
    let (mut tenant, by_place) =
        (None, |Placed { of, index, .. }: &Placed<'_>| format!("{of}\t{index:08}"));
    let (routes, next) = match (wanted.tenant.as_deref(), wanted.set.as_deref()) {
        (Some(id), set) => {
            let Some(found) = spec.tenant(id) else { return unknown("tenant", id) };
            tenant = Some((id, found));
            let set = set.map(|name| format!("route-sets.{name}"));
            let routes = explain::in_order(spec, (id, found)).into_iter().enumerate();
            let routes =
                routes.filter(|(_, route)| set.as_ref().is_none_or(|set| *set == route.of));
            page.of(routes.map(|(place, route)| (format!("{place:08}"), route)))
        }
        (None, Some(name)) => {
            let Some(set) = spec.route_sets.get(name) else { return unknown("route-set", name) };
            let routes = explain::placed("route-sets", name, &set.routes);
            page.of(routes.map(|route| (by_place(&route), route)))
        }
        (None, None) => {
            let sets = spec.route_sets.iter();
            let sets =
                sets.flat_map(|(name, set)| explain::placed("route-sets", name, &set.routes));
            let own = spec.tenants.iter();
            let own =
                own.flat_map(|(id, one)| explain::placed("tenants", id.as_str(), &one.routes));
            page.of(sets.chain(own).map(|route| (by_place(&route), route)))
        }
    };
    let pool = tenant.and_then(|(_, tenant)| pool(tenant));
    Json(Routes {
        generation: live.generation,
        routes: routes.iter().map(|route| shown(route, pool.as_deref(), secrets)).collect(),
        tenant: tenant.map(|(id, tenant)| self::tenant(id, tenant)),
        next,
    })
    .into_response()
}

fn unknown(what: &str, name: &str) -> Response {
    let told = what.replace('-', " ");
    let kind = format!("unknown-{what}");
    reply::problem(StatusCode::NOT_FOUND, &kind, format!("there is no {told} {name:?}"))
}

fn tenant(id: &str, spec: &TenantSpec) -> Tenant {
    let state = match spec.state {
        TenantState::Active => "active",
        TenantState::Maintenance => "maintenance",
        TenantState::Suspended => "suspended",
        TenantState::Quarantined => "quarantined",
    };
    Tenant { name: id.to_owned(), state, pool: pool(spec) }
}

fn pool(spec: &TenantSpec) -> Option<String> {
    spec.pool.as_ref().map(ToString::to_string)
}

fn shown(placed: &Placed<'_>, own_pool: Option<&str>, secrets: &Secrets) -> Route {
    let route = placed.route;
    let condition = |table: &str, name: &str, value: &ValueSpec| {
        condition(name, value, secrets.hide([table, name]))
    };
    Route {
        name: route.name.to_string(),
        of: placed.of.clone(),
        index: placed.index,
        path: route.path.text.to_string(),
        host: route.host.as_ref().map(|host| match host {
            HostSpec::Exact(host) => host.clone(),
            HostSpec::Below(host) => format!("*.{host}"),
        }),
        methods: route.methods.iter().map(ToString::to_string).collect(),
        headers: route
            .headers
            .iter()
            .map(|(name, value)| condition("headers", name.as_str(), value))
            .collect(),
        query: route.query.iter().map(|(name, value)| condition("query", name, value)).collect(),
        action: action(&route.action, own_pool),
        mirror: route.mirror.as_ref().map(|mirror| mirror.pool.to_string()),
        maintenance: route.maintenance.is_some(),
    }
}

fn condition(name: &str, value: &ValueSpec, is_secret: bool) -> Condition {
    let value = match value {
        ValueSpec::Present => None,
        ValueSpec::Is(_) if is_secret => Some(MASKED.to_owned()),
        ValueSpec::Is(text) => Some(text.clone()),
    };
    Condition { name: name.to_owned(), value }
}

fn action(spec: &ActionSpec, own_pool: Option<&str>) -> Action {
    match spec {
        ActionSpec::Pool(id) => Action::Pool { pool: id.to_string() },
        ActionSpec::TenantPool => Action::TenantPool { pool: own_pool.map(str::to_owned) },
        ActionSpec::Split(split) => Action::Split {
            pools: split
                .pools
                .iter()
                .map(|(pool, weight)| Share { pool: pool.to_string(), weight: *weight })
                .collect(),
            by_header: match &split.by {
                SplitBy::RequestId => None,
                SplitBy::Header(name) => Some(name.to_string()),
            },
        },
        ActionSpec::Redirect(redirect) => {
            Action::Redirect { status: redirect.status.as_u16(), to: redirect.to.clone() }
        }
        ActionSpec::Respond(respond) => Action::Respond { status: respond.status.as_u16() },
    }
}
