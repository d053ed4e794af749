//! The words of the routes file.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, Method};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::fair::Class;
use crate::base::network::Peers;
use crate::base::units::{ByteSize, Percent};
use crate::config::spec::{HostSpec, TenantState};
use crate::config::text::{HostPattern, NamePattern, NamingCredential, PathKeep, Written};

use super::access::{Identity, Keys, Kinds};
use super::answers::{ErrorPages, Maintenance};
use super::cors::Cors;
use super::limits::Limits;
use super::plan::Plan;
use super::pool::Pool;
use super::route::Route;
use super::shape::{At, Whole};
use super::tls::TenantCertificate;
use super::tracing::TenantTracing;

/// The routes file, or one file of the routes folder: tenants, routes and pools. It may be edited
/// while the gateway runs.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "Routes")]
#[expect(dead_code, reason = "the schema is made of it; the entries are read one by one")]
pub(in crate::config) struct Routes {
    /// How a request names its tenant. At most one file of a folder has it.
    tenant: Option<Naming>,
    /// How clients show who they are, and how endpoints hear of it. At most one file of a folder has it.
    identity: Option<Identity>,
    /// Pages in place of the gateway's own answers, by status as in `503`, by class as in `5xx` or for `maintenance`, for
    /// tenants that have none of their own. At most one file of a folder has it. Default: none.
    error_pages: Option<ErrorPages>,
    /// Pools by name. Default: none.
    pools: Option<BTreeMap<String, Pool>>,
    /// Route sets by name. Default: none.
    route_sets: Option<BTreeMap<String, RouteSet>>,
    /// Plans by name: what many tenants say alike. Default: none.
    plans: Option<BTreeMap<String, Plan>>,
    /// Tenants by id: 1 to 128 of letters, digits, '.', '_' and '-'. Default: none.
    tenants: Option<BTreeMap<String, Tenant>>,
}

/// What is left of a routes file when the entries of its tables are taken out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct RoutesRest {
    /// How a request names its tenant.
    pub(in crate::config) tenant: Option<At<Naming>>,
    /// How clients show who they are.
    pub(in crate::config) identity: Option<At<Identity>>,
    /// Pages in place of the gateway's own answers.
    pub(in crate::config) error_pages: Option<At<ErrorPages>>,
    /// Is a table unless something is wrong.
    #[serde(rename = "pools")]
    _pools: Option<BTreeMap<String, Pool>>,
    /// Is a table unless something is wrong.
    #[serde(rename = "route-sets")]
    _route_sets: Option<BTreeMap<String, RouteSet>>,
    /// Is a table unless something is wrong.
    #[serde(rename = "plans")]
    _plans: Option<BTreeMap<String, Plan>>,
    /// Is a table unless something is wrong.
    #[serde(rename = "tenants")]
    _tenants: Option<BTreeMap<String, Tenant>>,
}

/// How a request names its tenant.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Naming {
    /// The ways, in order; the first that is present wins. Default:
    /// `[{ header = "X-Tenant-ID" }]`.
    pub(in crate::config) from: Option<At<Vec<At<Way>>>>,
}

/// One way to name a tenant: exactly one of its keys is written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Way {
    /// The header whose value is the id. The first such header also carries it to the endpoint; where
    /// there is none, `X-Tenant-ID` does. Default: none.
    pub(in crate::config) header: Option<Written<HeaderName>>,
    /// A host with `{tenant}` in it, as in `{tenant}.example.com`. Default: none.
    pub(in crate::config) host: Option<Written<HostPattern>>,
    /// The common name in the subject of the client's verified certificate, with `{tenant}` in it.
    /// Default: none.
    pub(in crate::config) certificate_cn: Option<Written<NamePattern>>,
    /// A DNS name of the client's verified certificate, with `{tenant}` in it, as in
    /// `{tenant}.clients.example.com`. Default: none.
    pub(in crate::config) certificate_dns: Option<Written<HostPattern>>,
    /// A URI of the client's verified certificate (a SPIFFE id), with `{tenant}` in it, as in
    /// `spiffe://example.com/tenant/{tenant}`. Default: none.
    pub(in crate::config) certificate_uri: Option<Written<NamePattern>>,
    /// The first segment of the path is the id: `strip` takes it off before routes are matched, `keep`
    /// leaves it in.
    /// Default: none.
    pub(in crate::config) path: Option<Written<PathKeep>>,
    /// The credential that the client shows names the tenant: `api-key` or `jwt`. Default: none.
    pub(in crate::config) credential: Option<Written<NamingCredential>>,
    /// With `true`, the tenant is the one that has the host among its `domains`. Default: none.
    pub(in crate::config) domain: Option<bool>,
    /// The id that is used when no other way named one. Only as the last way.
    /// Default: none.
    pub(in crate::config) default: Option<At<String>>,
}

/// Routes under a name, for many tenants.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct RouteSet {
    /// The routes, at least one. Must be there.
    pub(in crate::config) routes: Option<Vec<At<Route>>>,
}

/// One tenant.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Tenant {
    /// The plan, one of `[plans]`, that says what the tenant does not say itself. Default: none.
    pub(in crate::config) plan: Option<At<String>>,
    /// `active`; `maintenance`: every request is answered 503; or `suspended`: every request is
    /// answered 403. Default: `active`.
    pub(in crate::config) state: Option<Written<TenantState>>,
    /// What is answered while `state` is `maintenance`.
    pub(in crate::config) maintenance: Option<Maintenance>,
    /// The pool of requests that no route matches, and of routes that name none. Default: none, such
    /// requests are answered 404.
    pub(in crate::config) pool: Option<At<String>>,
    /// Hosts of the tenant's own, as in `["shop.example.com", "*.example.org"]`, which name it where `[tenant] from`
    /// has `{ domain = true }`. A star stands for one label. Default: none.
    pub(in crate::config) domains: Option<At<Vec<At<Written<HostSpec>>>>>,
    /// Certificates for its `domains`, which listeners with TLS show to who asks for these (SNI). Default: none, the
    /// listeners' own.
    pub(in crate::config) certificates: Option<At<Vec<At<TenantCertificate>>>>,
    /// Names of route sets that the tenant uses. Default: none.
    #[serde(rename = "use")]
    pub(in crate::config) route_sets: Option<Vec<At<String>>>,
    /// What may be asked of it, over all of its routes. Default: anything.
    pub(in crate::config) limits: Option<At<Limits>>,
    /// Pages in place of the gateway's own answers, by status as in `503`, by class as in `5xx` or for `maintenance`;
    /// before those for all tenants. Default: none.
    pub(in crate::config) error_pages: Option<ErrorPages>,
    /// The tenant's own routes. Default: none.
    pub(in crate::config) routes: Option<Vec<At<Route>>>,
    /// What of its requests is logged.
    pub(in crate::config) access_log: Option<TenantLog>,
    /// Which of its requests leave spans, where `gateway.toml` has `[tracing]`.
    pub(in crate::config) tracing: Option<TenantTracing>,
    /// Memory that copies of request bodies kept for retries may take at once. Default: `16MiB`.
    pub(in crate::config) replay_memory: Option<Written<ByteSize>>,
    /// Kinds of credentials, `api-key`, `jwt` and `client-certificate`, of which a client must show one. Default:
    /// nobody is asked.
    pub(in crate::config) authenticate: Option<Kinds>,
    /// The service of `[identity.authorizers]` that is asked for each request whether it may go on, once its
    /// credential is one that will do. Default: nobody is asked.
    pub(in crate::config) authorize: Option<At<String>>,
    /// API keys of the tenant, by names of your choice. Default: none.
    pub(in crate::config) keys: Option<Keys>,
    /// Networks of clients that may come, as in `10.0.0.0/8`, or `unix`. Default: any.
    pub(in crate::config) allow: Option<At<Vec<Written<Peers>>>>,
    /// Networks of clients that may not, whatever `allow` says. Default: none.
    pub(in crate::config) deny: Option<Vec<Written<Peers>>>,
    /// Methods that are served, as in `["GET", "POST"]`; `HEAD` is with `GET`. Others are answered 405. Default:
    /// any.
    pub(in crate::config) methods: Option<At<Vec<Written<Method>>>>,
    /// Which pages of other origins may use the tenant's answers. Default: that is left to the endpoints.
    pub(in crate::config) cors: Option<At<Cors>>,
    /// Its share of pools that have reached their `concurrency`.
    pub(in crate::config) queue: Option<TenantQueue>,
    /// Keys of the tenant that its own token (`tenant:ID`) may change, as in `["routes", "cors.origins"]`; with a key all
    /// that is below it. In place of those of `[admin]` in `gateway.toml`; of an empty list, none. Default: the plan's, else
    /// those of `[admin]`.
    pub(in crate::config) tenant_keys: Option<Vec<At<String>>>,
}

/// A tenant's share of pools that have reached their `concurrency`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct TenantQueue {
    /// Its share beside other tenants of the same priority, from 1 to 1000. Default: 1.
    pub(in crate::config) weight: Option<Whole<1, 1000>>,
    /// `critical`: before the others; `normal`; or `batch`: after them. Each keeps a share that the
    /// others cannot take: 90, 9 and 1 %. A route may say another one, but none before this.
    /// Default: the plan's, else `normal`.
    pub(in crate::config) priority: Option<Written<Class>>,
    /// Its requests of each priority that may wait at once for one pool, from 0 to 100000. Default: the
    /// pool's.
    pub(in crate::config) length: Option<Whole<0, 100_000>>,
    /// How long its requests may wait, above 0. Default: the pool's.
    pub(in crate::config) wait: Option<At<Written<Duration>>>,
}

/// What of a tenant's requests is logged.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct TenantLog {
    /// The share of its requests that leave a line, from `0%` to `100%`. Default: the
    /// gateway's.
    pub(in crate::config) sample: Option<Written<Percent>>,
}
