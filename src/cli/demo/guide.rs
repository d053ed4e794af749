//! What the demo prints: lines to paste into another terminal.

use std::net::SocketAddr;
use std::path::Path;

use super::children::Backend;

/// The whole text. `listener` and `admin` are the addresses that are really listened on.
pub(super) fn text(
    routes: &Path,
    listener: SocketAddr,
    admin: SocketAddr,
    backends: &[Backend],
) -> String {
    let list: String = backends.iter().map(backend).collect();
    let victim = backends.first().map_or(0, Backend::pid);
    let routes = quoted(routes);
    let program = std::env::current_exe().unwrap_or_else(|_| "tenantry".into());
    let program = quoted(&program);
    let port = listener.port();
    format!(
        r#"Tenantry is serving two tenants. Paste these into another terminal.

backends (four small web servers, two to a pool)
{list}
tenant acme, its pool shop; and its route to the pool billing
  curl -H 'X-Tenant-ID: acme' http://{listener}/
  curl -H 'X-Tenant-ID: acme' http://{listener}/billing/invoices

tenant globex, its pool billing; in a browser: http://globex.localhost:{port}/
  curl -H 'X-Tenant-ID: globex' http://{listener}/

no tenant: the gateway answers 400 and says why
  curl -i http://{listener}/

edit the routes: acme moves to the pool billing, half a second later
  sed -i 's/pool = "shop"/pool = "billing"/' {routes}
  sleep 0.5; curl -H 'X-Tenant-ID: acme' http://{listener}/
  sed -i '/tenants.acme\]/,/pool/ s/"billing"/"shop"/' {routes}

kill a backend: every request is still answered 200
  kill {victim}
  for i in $(seq 50); do curl -s -o /dev/null -w '%{{http_code}} ' -H 'X-Tenant-ID: acme' http://{listener}/; done; echo

backends that fail or are slow: each one that is asked obeys, so the last answer is passed on
  curl -i -H 'X-Tenant-ID: globex' 'http://{listener}/?fail=503'
  curl -H 'X-Tenant-ID: globex' 'http://{listener}/?slow=2s'

what goes on, live: the dashboard in a browser, or the same in a terminal (q ends it)
  http://{admin}/
  {program} top --admin http://{admin}

what the gateway knows and has counted
  curl http://{admin}/api/v1/status
  curl http://{admin}/api/v1/pools
  curl http://{admin}/metrics

the routes file is {routes}
Ctrl-C drains and ends.
"#
    )
}

/// A path as a shell reads it: a folder for temporary files may have a name with spaces.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

fn backend(backend: &Backend) -> String {
    format!("  {:10} http://{}  process {}\n", backend.name, backend.address, backend.pid())
}
