//! A whole gateway within the test: real sockets on 127.0.0.1, origins that answer by script and
//! keep the very bytes that they got, clients that send the very bytes they are told to.
//!
//! Nothing here sleeps and hopes: a test waits for what it needs, up to a deadline.

#![expect(clippy::expect_used, reason = "a test that cannot set up its world has failed")]

mod access_log;
mod adaptive;
mod admin;
mod answers;
mod audit;
mod balancing;
mod body_limits;
mod breakers;
mod canary;
mod checks;
mod conformance;
mod cuts;
mod dashboard;
mod deadlines;
mod debug;
mod differential;
mod discovery;
mod drain;
mod errors;
mod flow;
mod forwarded;
mod headers;
mod health;
mod hedges;
mod http2;
mod identity;
mod isolation;
mod kept;
mod lateness;
mod limits;
mod listeners;
mod maintenance;
mod memory;
mod mirror;
mod neighbours;
mod overrun;
mod plans;
mod protocols;
mod proxied;
mod proxy_out;
mod pushback;
mod reload;
mod retries;
mod routing;
mod shared_limits;
mod sharing;
mod smuggling;
mod spills;
mod spreading;
mod streams;
mod subject_limits;
mod tenant_limits;
mod tenants;
mod tls;
mod traces;
mod tunnels;
mod unix;
mod usage;
mod waiting;
mod world;
