//! The canary of a split: who gets it besides its share, who gets what while it is rolled back, and what it is known by
//! over generations and restarts.

use std::fmt;
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName};

use crate::config::spec::{
    CanarySpec, HostSpec, RollbackSpec, RouteSpec, SplitBy, SplitSpec, ValueSpec,
};
use crate::model::canary::{Progress, Side};
use crate::model::ids::TenantId;
use crate::pool::Pool;

use super::matcher::has_field;
use super::split::{Split, hash};

/// The canary of a split.
#[derive(Debug)]
pub struct Canary {
    /// What is counted of it, and who it is.
    pub watched: Arc<Watched>,
    headers: Box<[(HeaderName, ValueSpec)]>,
    /// In order.
    tenants: Box<[TenantId]>,
    /// The same split without it.
    rest: Split,
}

/// A canary as control watches it and as requests are counted for it.
#[derive(Debug)]
pub struct Watched {
    /// The pool that is tried.
    pub pool: Arc<Pool>,
    /// The pools that take its requests while it is rolled back.
    others: Box<[Arc<Pool>]>,
    /// The name of its route.
    pub route: Arc<str>,
    /// Its split.
    pub spec: Arc<SplitSpec>,
    /// Tells its route from others of the same owner: a hash of the conditions, so that it stays the same where others come
    /// and go beside it. The same in every process and version.
    place: u64,
    /// Tells its split from another one at the same place, in every process and version.
    pub edition: u64,
    /// Handed on from table to table for as long as the split is the same.
    progress: OnceLock<Arc<Progress>>,
}

/// Whose route a split is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// This tenant's.
    Tenant(Arc<str>),
    /// This route set's.
    RouteSet(Arc<str>),
}

/// Why a request gets the canary whatever the weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// It has the headers.
    ByHeaders,
    /// Its tenant is one of those that are named.
    ByTenant,
}

impl Canary {
    /// The canary of a route's split, where it has one; `None` also where nothing is left without it.
    pub(super) fn of(
        route: &RouteSpec,
        split: &SplitSpec,
        pools: &[(Arc<Pool>, u32)],
    ) -> Option<Box<Self>> {
        let spec = split.canary.as_deref()?;
        let is_canary = |pool: &Arc<Pool>| *pool.label.name == *spec.pool.0;
        let pool = pools.iter().map(|(pool, _)| pool).find(|pool| is_canary(pool))?;
        let mut rest: Vec<_> = pools.iter().filter(|(pool, _)| !is_canary(pool)).cloned().collect();
        if rest.iter().all(|(_, weight)| *weight == 0) {
            // All requests went to the canary: those that went nowhere take them back alike.
            rest.iter_mut().for_each(|(_, weight)| *weight = 1);
        }
        let rest = Split::new(rest, split.by.clone())?;
        let watched = Watched {
            pool: Arc::clone(pool),
            others: rest.pools().cloned().collect(),
            route: Arc::clone(&route.name),
            spec: Arc::new(split.clone()),
            place: hash(place(route).as_bytes()),
            edition: hash(edition(split).as_bytes()),
            progress: OnceLock::new(),
        };
        let (headers, tenants) = (spec.headers.clone().into(), spec.tenants.clone().into());
        Some(Box::new(Self { watched: Arc::new(watched), headers, tenants, rest }))
    }

    /// The split as it is while the canary is rolled back.
    pub fn rest(&self) -> &Split {
        &self.rest
    }

    /// Whether a request gets it whatever the weights are, and why.
    pub fn claims(&self, tenant: &str, headers: &HeaderMap) -> Option<Chosen> {
        let has_headers = !self.headers.is_empty()
            && self.headers.iter().all(|(name, value)| has_field(headers, name, value));
        if has_headers {
            return Some(Chosen::ByHeaders);
        }
        let named = self.tenants.binary_search_by(|id| id.as_str().cmp(tenant));
        named.is_ok().then_some(Chosen::ByTenant)
    }

    /// The pool for a request of this tenant with this key. Who would get the canary while that is rolled back gets
    /// another pool; nobody else moves.
    #[inline(never)] // few splits have one, and all ask for their pools in one place
    pub fn choose<'s>(
        &'s self,
        split: &'s Split,
        (tenant, headers): (&str, &HeaderMap),
        key: &[u8],
    ) -> &'s Arc<Pool> {
        let canary = &self.watched.pool;
        let chosen = match self.claims(tenant, headers) {
            Some(_) => canary,
            None => split.by_weight(key),
        };
        match Arc::ptr_eq(chosen, canary) && self.watched.progress().is_rolled_back() {
            true => self.rest.by_weight(key),
            false => chosen,
        }
    }
}

impl Watched {
    /// What is counted, and whether it is rolled back.
    pub fn progress(&self) -> &Arc<Progress> {
        self.progress.get_or_init(Arc::default)
    }

    /// Goes on where another one is. Only before a table has it: later, it is on its own way.
    pub fn follow(&self, progress: &Arc<Progress>) {
        drop(self.progress.set(Arc::clone(progress)));
    }

    /// Whether there is anybody to roll back to: another pool with endpoints that are not used for want of better ones.
    pub fn has_way_back(&self) -> bool {
        self.others.iter().any(|pool| {
            let set = pool.members.load();
            !set.eligible.endpoints.is_empty() && !set.eligible.panicking
        })
    }

    /// On which side a pool of the split is.
    pub fn side_of(&self, pool: &Arc<Pool>) -> Side {
        match Arc::ptr_eq(pool, &self.pool) {
            true => Side::Canary,
            false => Side::Stable,
        }
    }

    /// When it is taken back; `None` = people see to that.
    pub fn rollback(&self) -> Option<&RollbackSpec> {
        self.spec.canary.as_ref()?.rollback.as_ref()
    }

    /// What it is known by where this one's route it is of: the same in every process and version, and for every edition of
    /// the split.
    pub fn id(&self, owner: &Owner) -> u64 {
        hash(format!("{owner} {:016x}", self.place).as_bytes())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(id) => write!(f, "tenants.{id}"),
            Self::RouteSet(name) => write!(f, "route-sets.{name}"),
        }
    }
}

/// A route's conditions. Written out here, as what `Debug` says of types may be another text in another version.
fn place(route: &RouteSpec) -> String {
    let host = match &route.host {
        None => String::new(),
        Some(HostSpec::Exact(host)) => host.clone(),
        Some(HostSpec::Below(host)) => format!("*.{host}"),
    };
    let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
    let mut text = format!("{host:?} {:?} {methods:?}", route.path.text);
    let headers = route.headers.iter().map(|(name, value)| (name.as_str(), value));
    let query = route.query.iter().map(|(name, value)| (name.as_str(), value));
    conditions(&mut text, headers);
    conditions(&mut text, query);
    text
}

/// All of a split that may be edited, in the same way.
fn edition(split: &SplitSpec) -> String {
    let SplitSpec { pools, by, canary } = split;
    let mut text = match by {
        SplitBy::RequestId => "request-id".to_owned(),
        SplitBy::Header(name) => format!("header {name}"),
    };
    for (pool, weight) in pools {
        text.push_str(&format!(" {:?}={weight}", pool.0));
    }
    let Some(CanarySpec { pool, headers, tenants, rollback }) = canary.as_deref() else {
        return text;
    };
    text.push_str(&format!(" {:?}", pool.0));
    conditions(&mut text, headers.iter().map(|(name, value)| (name.as_str(), value)));
    tenants.iter().for_each(|tenant| text.push_str(&format!(" {tenant}")));
    if let Some(rule) = rollback {
        let RollbackSpec {
            errors,
            errors_factor,
            latency,
            latency_factor,
            percentile,
            requests,
            window,
        } = rule;
        let errors = errors.map(|share| share.share());
        let latency = latency.map(|time| time.as_micros());
        text.push_str(&format!(
            " {errors:?} {errors_factor:?} {latency:?} {latency_factor:?} {percentile} {requests} {}",
            window.as_micros()
        ));
    }
    text
}

fn conditions<'v>(text: &mut String, values: impl Iterator<Item = (&'v str, &'v ValueSpec)>) {
    text.push_str(" [");
    for (name, value) in values {
        text.push_str(&match value {
            ValueSpec::Present => format!("{name:?},"),
            ValueSpec::Is(value) => format!("{name:?}={value:?},"),
        });
    }
    text.push(']');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::model::ids::PoolId;
    use crate::pool::samples::pool;
    use crate::routing::samples;

    use super::*;

    fn spec(headers: &[(&str, ValueSpec)], tenants: &[&str], weights: [u32; 3]) -> SplitSpec {
        let header = |(name, value): &(&str, ValueSpec)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), value.clone())
        };
        let canary = CanarySpec {
            pool: PoolId("canary".into()),
            headers: headers.iter().map(header).collect(),
            tenants: tenants.iter().map(|id| TenantId::new(id).unwrap()).collect(),
            rollback: None,
        };
        let names = ["stable", "canary", "old"];
        let pools = names.iter().zip(weights);
        SplitSpec {
            pools: pools.map(|(name, weight)| (PoolId((*name).into()), weight)).collect(),
            by: SplitBy::RequestId,
            canary: Some(Box::new(canary)),
        }
    }

    fn split(spec: &SplitSpec) -> Split {
        let pools: Vec<_> = spec.pools.iter().map(|(id, weight)| (pool(&id.0), *weight)).collect();
        let canary = Canary::of(&samples::route("", "/x"), spec, &pools);
        let mut split = Split::new(pools, spec.by.clone()).unwrap();
        split.canary = canary;
        split
    }

    fn name<'s>(split: &'s Split, tenant: &str, headers: &HeaderMap, key: &str) -> &'s str {
        &split.choose((tenant, headers), key.as_bytes()).label.name
    }

    fn roll_back(split: &Split) {
        split.canary.as_ref().unwrap().watched.progress().roll_back();
    }

    #[test]
    fn who_has_the_headers_or_is_named_gets_the_canary_whatever_its_weight() {
        let (is, none) = (|text: &str| ValueSpec::Is(text.into()), HeaderMap::new());
        let conditions = [("x-canary", is("yes")), ("x-beta", ValueSpec::Present)];
        let split = split(&spec(&conditions, &["acme", "globex"], [1, 0, 0]));
        let headers = |values: &[(&'static str, &'static str)]| -> HeaderMap {
            let value = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), value.parse().unwrap())
            };
            values.iter().map(value).collect()
        };
        let both = headers(&[("x-canary", "yes"), ("x-beta", "1")]);
        let one = headers(&[("x-canary", "yes")]);
        let other = headers(&[("x-canary", "no"), ("x-beta", "1")]);

        assert_eq!(name(&split, "initech", &both, "k"), "canary");
        assert_eq!(name(&split, "initech", &one, "k"), "stable", "all of them must be there");
        assert_eq!(name(&split, "initech", &other, "k"), "stable");
        assert_eq!(name(&split, "globex", &none, "k"), "canary");
        assert_eq!(name(&split, "glob", &none, "k"), "stable");
        roll_back(&split);
        assert_eq!(name(&split, "initech", &both, "k"), "stable");
        assert_eq!(name(&split, "acme", &none, "k"), "stable");
    }

    #[test]
    fn without_headers_nobody_has_them() {
        let split = split(&spec(&[], &[], [1, 0, 0]));
        assert_eq!(name(&split, "acme", &HeaderMap::new(), "k"), "stable");
    }

    #[test]
    fn what_is_kept_of_a_roll_back_is_found_by_every_version() {
        let owner = Owner::Tenant("acme".into());
        let spec = spec(&[("x-canary", ValueSpec::Present)], &["acme"], [95, 5, 0]);
        let text =
            "request-id \"stable\"=95 \"canary\"=5 \"old\"=0 \"canary\" [\"x-canary\",] acme";
        assert_eq!(edition(&spec), text);
        assert_eq!(
            place(&samples::route("*.a.example", "/x/*")),
            "\"*.a.example\" \"/x/*\" [] [] []"
        );
        assert_eq!(
            (owner.to_string(), hash(b"acme")),
            ("tenants.acme".to_owned(), 0x3a25_b665_6ba9_cfc6)
        );
    }

    proptest! {
        /// A roll-back moves those alone who had the canary.
        #[test]
        fn nobody_else_moves_when_a_canary_is_rolled_back(
            weights in [0_u32..100, 1_u32..100, 0_u32..100],
            keys in prop::collection::vec(any::<String>(), 1..100),
        ) {
            let (split, headers) = (split(&spec(&[], &[], weights)), HeaderMap::new());
            let before: Vec<String> =
                keys.iter().map(|key| name(&split, "acme", &headers, key).to_owned()).collect();
            roll_back(&split);
            for (key, before) in keys.iter().zip(before) {
                let now = name(&split, "acme", &headers, key);
                prop_assert_ne!(now, "canary");
                prop_assert!(before == "canary" || before == now);
            }
        }
    }
}
