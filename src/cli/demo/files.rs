//! The demo's two config files, in a fresh folder.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Where the files of one demo are.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) gateway: PathBuf,
    pub(super) routes: PathBuf,
}

/// The endpoints of the two pools.
#[derive(Clone, Debug)]
pub(super) struct Pools {
    pub(super) shop: Vec<SocketAddr>,
    pub(super) billing: Vec<SocketAddr>,
}

impl Files {
    /// Writes both files to a new folder below `parent` that only this user can read.
    pub(super) fn write(
        parent: &Path,
        listener: SocketAddr,
        admin: SocketAddr,
        pools: &Pools,
    ) -> anyhow::Result<Self> {
        let folder = fresh_folder(parent)?;
        let files =
            Self { gateway: folder.join("gateway.toml"), routes: folder.join("routes.toml") };
        save(&files.gateway, &gateway(listener, admin))?;
        save(&files.routes, &routes(pools))?;
        Ok(files)
    }
}

fn fresh_folder(parent: &Path) -> anyhow::Result<PathBuf> {
    let pid = std::process::id();
    let names = (0..1000).map(|number| match number {
        0 => format!("tenantry-demo-{pid}"),
        _ => format!("tenantry-demo-{pid}-{number}"),
    });
    for folder in names.map(|name| parent.join(name)) {
        // Only a folder that was not there is ours: nobody else has put a link or a file into it.
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make {}", folder.display()));
            }
        }
    }
    anyhow::bail!("cannot make a new folder in {}", parent.display())
}

fn save(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn gateway(listener: SocketAddr, admin: SocketAddr) -> String {
    format!(
        r#"# Read once, when the gateway starts.
routes = "routes.toml"
state = "state"

[admin]
address = "{admin}"

[[listeners]]
address = "{listener}"

[access-log]
file = "access.log"
"#
    )
}

fn routes(pools: &Pools) -> String {
    let list = |endpoints: &[SocketAddr]| {
        let quoted: Vec<String> = endpoints.iter().map(|at| format!("\"{at}\"")).collect();
        quoted.join(", ")
    };
    let shop = list(&pools.shop);
    let billing = list(&pools.billing);
    format!(
        r#"# Watched: save it and the change is live.
[tenant]
from = [{{ header = "X-Tenant-ID" }}, {{ host = "{{tenant}}.localhost" }}]

[pools.shop]
endpoints = [{shop}]
health = {{ http = "/healthz", interval = "1s", timeout = "500ms" }}

[pools.billing]
endpoints = [{billing}]
health = {{ http = "/healthz", interval = "1s", timeout = "500ms" }}

[tenants.acme]
pool = "shop"

[[tenants.acme.routes]]
path = "/billing/*"
pool = "billing"

[tenants.globex]
pool = "billing"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(parent: &Path) -> Files {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let pools = Pools { shop: vec![at(1), at(2)], billing: vec![at(3), at(4)] };
        Files::write(parent, at(8080), at(9900), &pools).unwrap()
    }

    #[test]
    fn each_demo_has_a_folder_of_its_own() {
        let parent = tempfile::tempdir().unwrap();

        let first = written(parent.path());
        let second = written(parent.path());

        assert_ne!(first.routes, second.routes);
        assert!(first.gateway.is_file() && second.routes.is_file());
    }
}
