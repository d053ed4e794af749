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
            let divided = gone.map_or(split, |canary| canary.rest());
            let without = match &split.by {
                SplitBy::Header(name) => format!(", as it has no {name}"),
                SplitBy::RequestId => String::new(),
            };
            let mut pools = divided.pools();
            match (pools.next(), pools.next()) {
                (Some(only), None) => (Some(only), format!("is forwarded{aside} to the pool")),
                _ => {
                    let shares = shares(divided);
                    (None, format!("is forwarded, by its id{without}{aside}, to {shares}"))
                }
            }
        }
    }
}

/// As in `stable (95%) or next (5%)`.
fn shares(split: &Split) -> String {
    let share = |(pool, share): (&Arc<Pool>, f64)| {
        let percent = format!("{:.1}", share * 100.0);
        format!("{} ({}%)", pool.label.name, percent.trim_end_matches(".0"))
    };
    split.shares().map(share).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use crate::pool::samples::pool;

    use super::*;

    #[test]
    fn who_is_divided_by_id_is_told_the_shares() {
        let pools = [("stable", 189), ("next", 10), ("old", 0), ("lab", 1)];
        let pools = pools.map(|(name, weight)| (pool(name), weight)).into();
        let split = Split::new(pools, SplitBy::RequestId).unwrap();
        let (head, ()) = Request::get("/").body(()).unwrap().into_parts();

        let (chosen, what) = act(&split, "acme", &head);

        assert!(chosen.is_none());
        let by = SplitBy::Header(http::HeaderName::from_static("x-user"));
        let by_header = Split::new(vec![(pool("a"), 1), (pool("b"), 1)], by).unwrap();
        let (_, told) = act(&by_header, "acme", &head);
        assert_eq!(told, "is forwarded, by its id, as it has no x-user, to a (50%) or b (50%)");
        let alone = Split::new(vec![(pool("a"), 7)], SplitBy::RequestId).unwrap();
        let (only, told) = act(&alone, "acme", &head);
        assert_eq!((only.is_some(), told.as_str()), (true, "is forwarded to the pool"));
        assert_eq!(what, "is forwarded, by its id, to stable (94.5%) or next (5%) or lab (0.5%)");
    }
}
