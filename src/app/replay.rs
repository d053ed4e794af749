//! The folder for what of requests' bodies is kept for a retry.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use crate::base::spool::Spools;
use crate::config::spec::GatewaySpec;

/// Its files, and what of one body is kept in memory. A folder that cannot be made costs requests their
/// retries, and is no reason not to serve.
pub(super) fn spools(gateway: &GatewaySpec) -> Option<(Arc<Spools>, u64)> {
    let spec = gateway.replay.as_ref()?;
    let folder = spec.folder.path.clone();
    // Bodies are nobody else's business.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    let spools = Spools::new(folder, spec.files, spec.space.0);
    if let Err(error) = made.and_then(|()| spools.probe()) {
        let folder = spec.folder.path.display();
        tracing::warn!(%folder, %error, "no body can be kept for a retry in the folder for them");
    }
    Some((spools, spec.memory.0))
}
