//! Certificates of tenants that came into use: a line of the log for each.

use std::sync::Arc;

use crate::model::ids::TenantId;
use crate::tls::tenants::reading::InUse;

use super::Held;

/// What has become of the certificates of one tenant.
pub(super) struct News {
    pub(super) tenant: TenantId,
    pub(super) before: Option<Arc<Held>>,
    pub(super) now: Arc<Held>,
}

/// One line for each certificate that is new, as far as they are not too many.
pub(super) fn tell_new(news: &[News]) {
    let new: Vec<(&TenantId, &InUse, bool)> = news.iter().flat_map(new_of).collect();
    if new.len() > LOGGED {
        return tracing::info!(certificates = new.len(), "certificates of tenants are in use");
    }
    for (tenant, one, is_renewed) in new {
        let file = one.file().display();
        match is_renewed {
            true => tracing::info!(%tenant, %file, "a renewed certificate of a tenant is in use"),
            false => tracing::info!(%tenant, %file, "a certificate of a tenant is in use"),
        }
    }
}

/// Those that are new, and whether each takes the place of another one of its file.
fn new_of(news: &News) -> impl Iterator<Item = (&TenantId, &InUse, bool)> {
    let before = || news.before.iter().flat_map(|before| before.in_use());
    news.now.in_use().iter().filter_map(move |one| {
        let mut of_file = before().filter(|old| old.file() == one.file()).peekable();
        let was_there = of_file.peek().is_some();
        let is_new = !of_file.any(|old| old.leaf() == one.leaf());
        is_new.then_some((&news.tenant, one, was_there))
    })
}

/// 20: more of them are told in one line.
const LOGGED: usize = 20;
