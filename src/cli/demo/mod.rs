//! `tenantry demo`: a gateway with two tenants and four backends of its own, to try things on.

mod answer;
pub mod backend;
mod children;
mod files;
mod guide;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use children::Backend;
use files::{Files, Pools};

/// What `demo` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// The port on 127.0.0.1 that serves the two tenants; 0 takes a free one
    #[arg(long, default_value_t = PORT)]
    pub port: u16,
    /// The port on 127.0.0.1 of the admin API; 0 takes a free one
    #[arg(long, default_value_t = 9900)]
    pub admin_port: u16,
}

/// All but the gateway itself: the backends run and the files are written. Dropping it ends the
/// backends; the files stay.
#[derive(Debug)]
pub struct Demo {
    backends: Vec<Backend>,
    files: Files,
}

impl Demo {
    /// Starts the backends and writes the files.
    ///
    /// # Errors
    /// When a backend cannot be started or a file cannot be written.
    pub fn prepare(args: &DemoArgs) -> anyhow::Result<Self> {
        let backends = BACKENDS
            .into_iter()
            .map(|(name, port)| Backend::start(name, wished_for(port, args.port)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let of = |pool: &str| -> Vec<SocketAddr> {
            let members = backends.iter().filter(|backend| backend.name.starts_with(pool));
            members.map(|backend| backend.address).collect()
        };
        let pools = Pools { shop: of("shop"), billing: of("billing") };
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let parent = std::env::temp_dir();
        let files = Files::write(&parent, at(args.port), at(args.admin_port), &pools)?;
        Ok(Self { backends, files })
    }

    /// The `gateway.toml` to run.
    pub fn config(&self) -> &Path {
        &self.files.gateway
    }

    /// What to print once the gateway listens at these addresses.
    pub fn guide(&self, listener: SocketAddr, admin: SocketAddr) -> String {
        guide::text(&self.files.routes, listener, admin, &self.backends)
    }
}

/// The port of a backend: free ones beside a demo that serves elsewhere. A port that one of its
/// backends has left is still an endpoint there, and would get that demo's requests.
fn wished_for(port: u16, listener: u16) -> u16 {
    if listener == PORT { port } else { 0 }
}

/// The listener's port where nothing else is asked for.
const PORT: u16 = 8080;

/// Name (its pool, then a number) and the port that it takes where that is free.
const BACKENDS: [(&str, u16); 4] =
    [("shop-1", 9101), ("shop-2", 9102), ("billing-1", 9103), ("billing-2", 9104)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_demo_takes_no_port_that_a_killed_backend_of_the_first_has_left() {
        assert_eq!(wished_for(9101, PORT), 9101);
        assert_eq!(wished_for(9101, 8081), 0);
    }
}
