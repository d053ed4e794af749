//! Texts that many tests put into their files.

use std::net::SocketAddr;

/// A pool of these endpoints, and a tenant `acme` that has it: most tests need no more.
pub(crate) fn one_tenant(endpoints: &[SocketAddr]) -> String {
    format!("{}\n[tenants.acme]\npool = \"app\"\n", pool("app", endpoints, ""))
}

/// As [`one_tenant`], with further keys of the pool.
pub(crate) fn one_tenant_with(endpoints: &[SocketAddr], keys: &str) -> String {
    format!("{}\n[tenants.acme]\npool = \"app\"\n", pool("app", endpoints, keys))
}

/// A pool with these endpoints and further keys, one a line.
pub(crate) fn pool(name: &str, endpoints: &[SocketAddr], keys: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|at| format!("\"{at}\"")).collect();
    format!("[pools.{name}]\nendpoints = [{}]\n{keys}\n", endpoints.join(", "))
}

/// A key that switches retries off, so that one request is one attempt.
pub(crate) const NO_RETRY: &str = "retry = { attempts = 1 }";
