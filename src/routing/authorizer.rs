//! Services that are asked whether a request may go on, with their pools.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use rustls::pki_types::ServerName;

use crate::config::spec::{AuthorizerSpec, IdentitiesSpec, PoolSpec, SourceSpec};
use crate::model::ids::PoolId;
use crate::pool::Pool;

/// A service that is asked whether a request may go on.
#[derive(Clone, Debug)]
pub struct Authorizer {
    /// How it is asked.
    pub spec: Arc<AuthorizerSpec>,
    /// Who is asked.
    pub pool: Arc<Pool>,
    /// The host that it is asked as; `None` = the address of each endpoint.
    pub host: Option<HeaderValue>,
    /// The generation from which on it is asked like this. With its name, this tells it from all that it ever was:
    /// what was said before a change is used no more after it.
    pub since: u64,
}

/// Services by name.
pub(super) type Authorizers = BTreeMap<Arc<str>, Authorizer>;

/// Those of a table. One whose pool is not there is left out: nobody can ask it.
pub(super) fn bind(
    identity: &IdentitiesSpec,
    pools: &BTreeMap<PoolId, Arc<Pool>>,
    (previous, generation): (Option<&Authorizers>, u64),
) -> Authorizers {
    let bound = |spec: &Arc<AuthorizerSpec>| {
        let pool = pools.get(&spec.pool)?;
        let before = previous.and_then(|before| before.get(&spec.name));
        let same = |before: &&Authorizer| before.spec == *spec && Arc::ptr_eq(&before.pool, pool);
        let since = before.filter(same).map_or(generation, |before| before.since);
        let host = spec.host.clone().or_else(|| host_of(&pool.spec));
        let (spec, pool) = (Arc::clone(spec), Arc::clone(pool));
        Some((Arc::clone(&spec.name), Authorizer { spec, pool, host, since }))
    };
    identity.authorizers.iter().filter_map(bound).collect()
}

/// The host that a pool is known by: what its certificates must name, else the name that its endpoints are found by.
fn host_of(pool: &PoolSpec) -> Option<HeaderValue> {
    let secured = pool.tls.as_ref().and_then(|tls| tls.server_name.as_ref());
    if let Some(ServerName::DnsName(name)) = secured {
        return HeaderValue::from_str(name.as_ref()).ok();
    }
    match &*pool.sources {
        [SourceSpec::Dns { name, port }] => {
            let name = name.strip_suffix('.').unwrap_or(name);
            HeaderValue::from_str(&format!("{name}:{port}")).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::uri::PathAndQuery;

    use crate::config::spec::{AskedPart, OnError, UpstreamTlsSpec};
    use crate::pool::samples;

    use super::*;

    fn identity(pool: &str, path: &'static str) -> IdentitiesSpec {
        let spec = AuthorizerSpec {
            name: "login".into(),
            pool: PoolId(pool.into()),
            path: PathAndQuery::from_static(path),
            host: None,
            timeout: Duration::from_secs(1),
            cache: Duration::from_secs(1),
            cache_key: AskedPart::ALL.to_vec(),
            on_error: OnError::Deny,
            headers: Vec::new(),
            tell: Vec::new(),
            subject: None,
            tenant: None,
        };
        IdentitiesSpec { authorizers: vec![Arc::new(spec)], ..IdentitiesSpec::default() }
    }

    #[test]
    fn a_service_is_another_once_it_or_its_pool_is_another() {
        let pools = samples::pools(&["a", "b"]);
        let bound = |pools, pool, path, before: Option<&Authorizers>, generation| {
            bind(&identity(pool, path), pools, (before, generation))
        };
        let since = |authorizers: &Authorizers| authorizers["login"].since;
        let first = bound(&pools, "a", "/", None, 3);
        assert_eq!(since(&first), 3);

        let same = bound(&pools, "a", "/", Some(&first), 4);
        assert_eq!(since(&same), 3);
        assert_eq!(since(&bound(&pools, "a", "/other", Some(&same), 5)), 5);
        assert_eq!(since(&bound(&pools, "b", "/", Some(&same), 5)), 5);
        let anew = samples::pools(&["a", "b"]);
        assert_eq!(since(&bound(&anew, "a", "/", Some(&same), 5)), 5, "a pool of that name");
        assert!(bound(&pools, "c", "/", Some(&same), 5).is_empty(), "there is no such pool");
    }

    #[test]
    fn its_host_is_what_its_certificate_names_else_what_it_is_found_by() {
        let dns = || vec![SourceSpec::Dns { name: "login.internal.".into(), port: 8080 }];
        let tls = |name: &'static str| {
            let server_name = Some(ServerName::try_from(name).unwrap());
            Some(UpstreamTlsSpec { ca: None, identity: None, server_name })
        };
        let host = |sources, tls| {
            let pool = PoolSpec { sources, tls, ..PoolSpec::default() };
            host_of(&pool).map(|host| host.to_str().unwrap().to_owned())
        };

        assert_eq!(host(dns(), None).as_deref(), Some("login.internal:8080"));
        assert_eq!(host(dns(), tls("login.example")).as_deref(), Some("login.example"));
        assert_eq!(host(Vec::new(), tls("login.example")).as_deref(), Some("login.example"));
        assert_eq!(host(Vec::new(), tls("10.0.0.7")), None);
        assert_eq!(host(Vec::new(), None), None);
    }
}
