//! Which pool of a split a request goes to.

use std::sync::Arc;

use http::request::Parts;

use crate::config::spec::SplitBy;
use crate::pool::Pool;
use crate::routing::canary::Chosen;
use crate::routing::split::Split;

/// The pool for a request of this tenant, where that hangs on what it says alone, and what becomes of it.
pub(super) fn act<'t>(
    split: &'t Split,
    tenant: &str,
    head: &Parts,
) -> (Option<&'t Arc<Pool>>, String) {
    let of = (tenant, &head.headers);
    let by_header = match &split.by {
        SplitBy::Header(name) => head.headers.get(name).map(|value| (name, value)),
        SplitBy::RequestId => None,
    };
    let canary = split.canary.as_deref();
    let gone = canary.filter(|canary| canary.watched.progress().is_rolled_back());
    let aside = if gone.is_some() { " (its canary is rolled back)" } else { "" };
    let claimed = match gone {
        None => canary.and_then(|canary| canary.claims(tenant, &head.headers)),
        Some(_) => None,
    };
    match (claimed, by_header) {
        (Some(chosen), _) => {
            let why = match chosen {
                Chosen::ByHeaders => "it has the headers of the canary",
                Chosen::ByTenant => "its tenant is one of the canary's",
            };
            (Some(split.choose(of, b"")), format!("is forwarded, since {why}, to the pool"))
        }
        (None, Some((name, value))) => {
            let pool = split.choose(of, value.as_bytes());
            (Some(pool), format!("is forwarded by its header {name}{aside} to the pool"))
        }
        (None, None) => {
            let is_there = |pool: &&Arc<Pool>| {
                gone.is_none_or(|canary| !Arc::ptr_eq(pool, &canary.watched.pool))
            };
            let pools = split.pools().filter(is_there);
            let names: Vec<&str> = pools.map(|pool| pool.label.name.as_ref()).collect();
            (None, format!("is forwarded, by its id{aside}, to one of {}", names.join(", ")))
        }
    }
}
