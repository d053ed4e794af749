//! When a second attempt goes beside a slow one. Pure.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::config::spec::HedgeSpec;

/// The rule of one exchange, all levels resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgeRule<'s> {
    /// The share of first attempts of late, in per cent, that brought an answer in less time.
    pub after: u8,
    /// A second attempt never goes earlier than this.
    pub floor: Duration,
    /// What is sent twice.
    methods: &'s [Method],
}

impl<'s> HedgeRule<'s> {
    /// Resolves the levels, key by key: `route` over `pool` over what is built in. `None`: there is no
    /// second attempt.
    pub fn resolve(route: Option<&'s HedgeSpec>, pool: Option<&'s HedgeSpec>) -> Option<Self> {
        route.or(pool)?;
        let (own, pool) = (route.unwrap_or(&HedgeSpec::UNSAID), pool.unwrap_or(&HedgeSpec::UNSAID));
        let after = own.after.or(pool.after).unwrap_or(AFTER);
        (after > 0).then_some(Self {
            after,
            floor: own.floor.or(pool.floor).unwrap_or(FLOOR),
            methods: own.methods.as_deref().or(pool.methods.as_deref()).unwrap_or(&SAFE),
        })
    }

    /// Whether a request of this method may be under way twice at once. That it may be sent again, one after
    /// the other, does not say so: of two at once an endpoint may refuse one as a conflict.
    pub fn allows(&self, method: &Method) -> bool {
        self.methods.contains(method)
    }
}

/// Whether an answer with this status is no reason to give up another attempt that is under way: a fast
/// failure says nothing of what the other one would bring.
pub fn is_poor(status: StatusCode) -> bool {
    status.as_u16() >= 500 || status == StatusCode::TOO_MANY_REQUESTS
}

const AFTER: u8 = 95;
/// 10 ms: below that a second attempt costs more than what it could win.
const FLOOR: Duration = Duration::from_millis(10);
/// RFC 9110 §9.2.1.
static SAFE: [Method; 3] = [Method::GET, Method::HEAD, Method::OPTIONS];

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_route_that_says_one_key_leaves_the_others_to_its_pool() {
        let pool = HedgeSpec { after: Some(99), methods: Some(vec![Method::PUT]), floor: None };
        let route = HedgeSpec { floor: Some(20 * MS), ..HedgeSpec::UNSAID };
        let rule = HedgeRule::resolve(Some(&route), Some(&pool)).unwrap();
        assert_eq!((rule.after, rule.floor), (99, 20 * MS));
        assert!(rule.allows(&Method::PUT) && !rule.allows(&Method::GET));

        let off = HedgeSpec { after: Some(0), ..HedgeSpec::UNSAID };
        assert_eq!(HedgeRule::resolve(Some(&off), Some(&pool)), None);
        assert_eq!(HedgeRule::resolve(Some(&route), Some(&off)), None);
        assert_eq!(HedgeRule::resolve(None, None), None);
    }

    #[test]
    fn what_is_not_safe_is_not_under_way_twice_unless_it_is_listed() {
        let rule = HedgeRule::resolve(Some(&HedgeSpec::UNSAID), None).unwrap();
        assert_eq!((rule.after, rule.floor), (AFTER, FLOOR));
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS];
        let other = [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::TRACE];
        assert!(safe.iter().all(|method| rule.allows(method)));
        assert!(!other.iter().any(|method| rule.allows(method)));
    }

    #[test]
    fn a_fast_failure_is_no_reason_to_give_up_the_other_attempt() {
        for (status, poor) in [
            (200, false),
            (304, false),
            (404, false),
            (429, true),
            (500, true),
            (501, true),
            (599, true),
        ] {
            assert_eq!(is_poor(StatusCode::from_u16(status).unwrap()), poor, "{status}");
        }
    }
}
