//! The key of a request, for balancers that keep equal keys on one endpoint.

use std::hash::Hasher;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use http::header::{HOST, HeaderMap, HeaderValue};

use crate::base::network::owner;
use crate::config::spec::HashBy;

use super::balancer::PickKey;
use super::cookies;
use super::hash::hasher;

/// What a request tells that may be its key. The head is the client's, without what ends at the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'r> {
    /// The tenant that it is for.
    pub tenant: &'r str,
    /// The path as the client has sent it, without the query.
    pub path: &'r str,
    /// The host that its target names: all that HTTP/2 has of a `Host` field.
    pub host: Option<&'r str>,
    /// Its fields.
    pub headers: &'r HeaderMap,
    /// Who sent it; `None` = nobody knows.
    pub client: Option<IpAddr>,
}

/// How the keys of a pool's requests are made.
#[derive(Debug)]
pub(super) struct Keys {
    by: Box<[HashBy]>,
    /// Of the pool's own hash, so that what falls together in one pool does not in another.
    seed: (u64, u64),
}

impl Keys {
    /// For the pool of this name; `None` where nothing is hashed.
    pub(super) fn of(pool: &str, by: &[HashBy]) -> Option<Self> {
        if by.is_empty() {
            return None;
        }
        let digest = digest(&SHA256, [b"tenantry pool ", pool.as_bytes()].concat().as_slice());
        let half = |from: usize| {
            let bytes = digest.as_ref().iter().skip(from).take(8);
            bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        Some(Self { by: by.into(), seed: (half(0), half(8)) })
    }

    /// The key: of the first part that the request has. Keys of two tenants are never the same.
    pub(super) fn key(&self, asking: &Asking<'_>) -> PickKey {
        self.by.iter().find_map(|by| self.key_by(by, asking)).unwrap_or_default()
    }

    fn key_by(&self, by: &HashBy, asking: &Asking<'_>) -> Option<PickKey> {
        let mut hasher = hasher(self.seed);
        hasher.write(asking.tenant.as_bytes());
        match by {
            HashBy::Tenant => {}
            HashBy::Path => add(&mut hasher, 1, asking.path.as_bytes()),
            HashBy::ClientAddress => {
                add(&mut hasher, 2, &owner(asking.client?).to_be_bytes());
            }
            HashBy::Header(name) => {
                let host = asking.host.filter(|_| name == HOST).map(str::as_bytes);
                let field = || asking.headers.get(name).map(HeaderValue::as_bytes);
                add(&mut hasher, 3, host.or_else(field).filter(|value| !value.is_empty())?);
            }
            HashBy::Cookie(name) => {
                let value =
                    cookies::values(asking.headers, name).find(|value| !value.is_empty())?;
                add(&mut hasher, 4, value);
            }
        }
        Some(PickKey::of(hasher.finish()))
    }
}

/// Adds a part of some sort, behind a byte that no tenant's id has.
fn add(hasher: &mut impl Hasher, sort: u8, part: &[u8]) {
    hasher.write(&[0, sort]);
    hasher.write(part);
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    fn asking(headers: &HeaderMap) -> Asking<'_> {
        let client = Some([10, 0, 0, 1].into());
        Asking { tenant: "acme", path: "/a", host: None, headers, client }
    }

    fn key(by: &[HashBy], asking: &Asking<'_>) -> PickKey {
        Keys::of("shop", by).unwrap().key(asking)
    }

    #[test]
    fn each_part_makes_a_key_of_its_own_and_of_its_tenant() {
        let mut headers = HeaderMap::new();
        headers.insert("x-user", HeaderValue::from_static("/a"));
        headers.insert(COOKIE, HeaderValue::from_static("b=1; session=/a"));
        let parts = [
            HashBy::Tenant,
            HashBy::Path,
            HashBy::ClientAddress,
            HashBy::Header("x-user".parse().unwrap()),
            HashBy::Cookie("session".into()),
        ];
        let one = asking(&headers);
        let other = Asking { tenant: "globex", ..one };

        let mut keys: Vec<Option<u64>> = Vec::new();
        for part in &parts {
            let by = std::slice::from_ref(part);
            keys.extend([key(by, &one).hash(), key(by, &other).hash()]);
            assert_ne!(key(by, &one), Keys::of("other", by).unwrap().key(&one), "{part}");
        }

        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 10);
        assert!(keys.iter().all(Option::is_some));
    }

    #[test]
    fn the_first_part_that_is_there_is_the_key_and_without_any_there_is_none() {
        let by = [HashBy::Header("x-user".parse().unwrap()), HashBy::Cookie("session".into())];
        let mut headers = HeaderMap::new();
        assert_eq!(key(&by, &asking(&headers)), PickKey::default());
        headers.insert("x-user", HeaderValue::from_static(""));
        headers.insert(COOKIE, HeaderValue::from_static("session="));
        assert_eq!(key(&by, &asking(&headers)), PickKey::default(), "nothing is in them");

        headers.insert(COOKIE, HeaderValue::from_static("session=1"));
        let by_cookie = key(&by, &asking(&headers));
        assert_eq!(by_cookie, key(&by[1..], &asking(&headers)));
        headers.insert("x-user", HeaderValue::from_static("1"));

        assert_eq!(key(&by, &asking(&headers)), key(&by[..1], &asking(&headers)));
        assert_ne!(key(&by, &asking(&headers)), by_cookie);
    }

    #[test]
    fn a_client_is_its_network_of_ipv6_and_one_that_nobody_knows_has_no_key() {
        let headers = HeaderMap::new();
        let of = |client: Option<&str>| {
            let client = client.map(|client| client.parse().unwrap());
            key(&[HashBy::ClientAddress], &Asking { client, ..asking(&headers) })
        };

        assert_eq!(of(Some("2001:db8::1")), of(Some("2001:db8::2")));
        assert_ne!(of(Some("2001:db8::1")), of(Some("2001:db8:0:1::1")));
        assert_eq!(of(Some("10.0.0.1")), of(Some("::ffff:10.0.0.1")));
        assert_eq!(of(None), PickKey::default());
    }

    #[test]
    fn a_host_is_the_same_key_in_every_version_of_http() {
        let by = [HashBy::Header(HOST)];
        let (none, mut one) = (HeaderMap::new(), HeaderMap::new());
        one.insert(HOST, HeaderValue::from_static("a.example"));
        let in_target = Asking { host: Some("a.example"), ..asking(&none) };

        assert_ne!(key(&by, &in_target), PickKey::default());
        assert_eq!(key(&by, &in_target), key(&by, &asking(&one)));
        // RFC 9112 §3.2.2: the target's word counts.
        let both = Asking { host: Some("b.example"), ..asking(&one) };
        assert_ne!(key(&by, &both), key(&by, &asking(&one)));
    }

    /// A change would send the keys of running gateways elsewhere than those of new ones.
    #[test]
    fn keys_are_the_same_in_every_version() {
        let headers = HeaderMap::new();
        assert_eq!(
            key(&[HashBy::Tenant], &asking(&headers)).hash(),
            Some(12_049_553_135_001_658_081)
        );
        assert_eq!(key(&[HashBy::Path], &asking(&headers)).hash(), Some(6_113_016_482_818_275_740));
    }
}
