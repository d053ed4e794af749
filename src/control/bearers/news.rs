//! Certificates of tenants that came into use: a line of the log for each.

use std::sync::Arc;

use crate::model::ids::TenantId;

use super::{Held, Wish};

/// What has become of the certificates of one tenant.
pub(super) struct News {
    pub(super) tenant: TenantId,
    pub(super) before: Option<Arc<Held>>,
    pub(super) now: Arc<Held>,
}

/// One line for each certificate that is new, as far as they are not too many.
pub(super) fn tell_new(news: &[News], wish: Wish) {
    let total: usize = news.iter().map(|news| news.now.in_use().len()).sum();
    if total > LOGGED {
        return tracing::info!(certificates = total, "certificates of tenants are in use");
    }
    for News { tenant, before, now } in news {
        for one in now.in_use() {
            let file = one.file();
            let mut of_file = before
                .iter()
                .flat_map(|before| before.in_use())
                .filter(|old| old.file() == file)
                .peekable();
            let was_there = of_file.peek().is_some();
            if of_file.any(|old| old.leaf() == one.leaf()) {
                continue;
            }
            let file = file.display();
            match was_there && wish == Wish::Changed {
                true => {
                    tracing::info!(%tenant, %file, "a renewed certificate of a tenant is in use")
                }
                false => tracing::info!(%tenant, %file, "a certificate of a tenant is in use"),
            }
        }
    }
}

/// 20: more of them are told in one line.
const LOGGED: usize = 20;
