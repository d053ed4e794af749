//! The built program as an operator meets it: started as a process, asked with curl, loaded with
//! wrk, scraped as promtool sees it, fed by a real DNS server, between a real web application and a
//! real browser. `tests/run` installs these tools.
//!
//! Nothing here sleeps and hopes: a test waits for what it needs, up to a deadline.

#![expect(clippy::expect_used, reason = "a test that cannot set up its world has failed")]
#![expect(clippy::disallowed_methods, reason = "real processes are waited for in real time")]

mod admin;
mod bad_input;
mod browser;
mod check;
mod comments;
mod dashboard;
mod demo;
mod deploy;
mod discovery;
mod editors;
mod explain;
mod files;
mod grpc;
mod healthcheck;
mod hostile;
mod idle;
mod lifecycle;
mod load;
mod memory;
mod metrics;
mod monitoring;
mod profile;
mod secrets;
mod serving;
mod systemd;
mod testssl;
mod tls;
mod usage;
mod websockets;
mod world;
