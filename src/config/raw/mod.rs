//! The files' words: every key that may be written, unknown ones refused, nothing filled in. What
//! a doc comment says here is what editors show, by way of the JSON schema.

mod access;
mod adaptive;
mod affinity;
mod answers;
mod authorizer;
mod breaker;
mod canary;
mod cors;
mod gateway;
mod health;
mod issuer;
mod limits;
mod mirror;
mod outliers;
mod plan;
mod pool;
mod replay;
mod route;
mod routes;
mod shape;
mod shared_limits;
mod spread;
mod tls;
mod tracing;
mod usage;
mod waiting;

pub(super) use access::{ApiKey, Identity, Keys, Kinds};
pub(super) use adaptive::{Adaptive, Concurrency};
pub(super) use affinity::{HashKeys, Sticky};
pub(super) use answers::{ErrorPage, ErrorPages, Maintenance};
pub(super) use authorizer::{Authorizer, Authorizers};
pub(super) use breaker::Breaker;
pub(super) use canary::{Canary, Rollback};
pub(super) use cors::Cors;
pub(super) use gateway::{
    AccessLog, Admin, Dns, Downstream, Drain, Gateway, Listener, Log, Mask, Memory, ProxyProtocol,
    TrustedProxies,
};
pub(super) use health::{Grpc, Health};
pub(super) use issuer::{Fetch, Issuer, Issuers};
pub(super) use limits::{EachLimit, Limits};
pub(super) use mirror::Mirror;
pub(super) use outliers::{Latency, SuccessRate, Switch};
pub(super) use plan::Plan;
pub(super) use pool::{Connections, Eject, Hedge, Pool, Queue, Retry, Timeouts, UpstreamTls};
pub(super) use replay::ReplayFiles;
pub(super) use route::{HeaderEdits, Redirect, Respond, Rewrite, Route, Split, SplitBy, Value};
pub(super) use routes::{Naming, RouteSet, Routes, RoutesRest, Tenant, TenantQueue, Way};
pub(super) use shape::{At, Decimal, Pairs, Whole};
pub(super) use shared_limits::SharedLimits;
pub(super) use spread::{Endpoint, SlowStart, Zones};
pub(super) use tls::{Certificate, ClientCertificates, ListenerTls, TenantCertificate};
pub(super) use tracing::Tracing;
pub(super) use usage::Usage;
pub(super) use waiting::Wait;
