//! Signed cookies that keep a client on one endpoint.
//!
//! What a cookie says is the tag of the endpoint, which is a keyed digest of its address and tells nobody
//! what that is, and when it was signed. It is signed for one tenant and one pool, and is worth nothing at
//! others. Nothing is kept of it here: every gateway with the same keys knows it, also after a restart.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{HeaderMap, HeaderValue};

use crate::config::spec::{Secret, StickySpec};
use crate::model::endpoint::Endpoint;
use crate::model::members::{MemberSet, Members};

use super::cookies;
use super::derived::Derived;
use super::{InFlight, Pool};

/// The cookie of a pool.
#[derive(Debug)]
pub(super) struct Sticky {
    pool: Box<str>,
    spec: StickySpec,
    keys: Box<[Known]>,
}

/// A key and, once a cookie that it has signed comes, the tags of all members by it.
#[derive(Debug)]
struct Known {
    key: Key,
    tags: Derived<Tags>,
}

/// What a client's cookie says that is good here.
#[derive(Clone, Debug)]
pub struct Pin {
    /// The endpoint that it names; `None` = that one is gone, or out.
    endpoint: Option<Arc<Endpoint>>,
    /// Nothing is gained by a new cookie for the same endpoint.
    is_fresh: bool,
    /// When it was signed, in seconds since 1970.
    signed: u32,
}

impl Pin {
    /// Counts one more request in flight at the endpoint, where it takes one. It is looked at anew, as the
    /// request may have waited since its cookie was read, and the address may be somebody else's by now.
    pub fn enter(&self, members: &Members) -> Option<InFlight> {
        let own = self.endpoint.as_ref()?;
        let set = members.load();
        let at =
            set.all.binary_search_by(|member| member.endpoint.address.cmp(&own.address)).ok()?;
        let is_member = set.all.get(at).is_some_and(|member| member.endpoint.id == own.id);
        let takes = is_member && keeps_clients(&set, own);
        takes.then(|| InFlight::enter(Arc::clone(own)))
    }

    /// Whether it names an endpoint that is there.
    pub fn names_one(&self) -> bool {
        self.endpoint.is_some()
    }

    /// Whether requests of this tenant may come to the endpoint.
    pub fn is_of(&self, pool: &Pool, tenant: &str) -> bool {
        let own = self.endpoint.as_ref();
        own.is_some_and(|own| own.is_drained() || pool.may_serve(tenant, own.id) != Some(false))
    }

    /// Whether this is the endpoint.
    pub fn is_at(&self, endpoint: &Endpoint) -> bool {
        self.endpoint.as_ref().is_some_and(|own| own.id == endpoint.id)
    }
}

/// The tags of all members, in their order.
#[derive(Debug)]
struct Tags(Box<[(Tag, Arc<Endpoint>)]>);

type Tag = [u8; TAG];

/// What a cookie says.
struct Token {
    tag: Tag,
    /// When it was signed, in seconds since 1970.
    signed: u32,
    mac: [u8; MAC],
}

impl Sticky {
    /// For the pool of this name.
    pub(super) fn of(pool: &str, spec: &StickySpec) -> Self {
        let known = |key: &Secret| Known {
            key: Key::new(HMAC_SHA256, key.0.as_bytes()),
            tags: Derived::default(),
        };
        let keys = spec.keys.iter().map(known).collect();
        Self { pool: pool.into(), spec: spec.clone(), keys }
    }

    /// What the request's cookie says; `None` where it has none that is good here. The cookie is taken out:
    /// it is for the gateway alone.
    pub(super) fn read(
        &self,
        (tenant, now): (&str, u32),
        members: &Members,
        headers: &mut HeaderMap,
    ) -> Option<Pin> {
        let values = cookies::values(headers, &self.spec.cookie).take(MOST_COOKIES);
        let pins = values.filter_map(Token::read).filter_map(|token| {
            let at = self.signer(tenant, &token)?;
            let set = members.load();
            let endpoint = self.find(&set, self.keys.get(at)?, &token.tag);
            let endpoint = endpoint.filter(|own| keeps_clients(&set, own));
            let is_fresh = at == 0 && !self.is_due(&token, now);
            Some(Pin { endpoint, is_fresh, signed: token.signed })
        });
        // A good cookie for an endpoint that is there comes before others, then the newest one: an older one
        // was set for another path.
        let pin = pins.max_by_key(|pin| (pin.endpoint.is_some(), pin.signed));
        self.take_out(headers);
        pin
    }

    /// Takes the cookie out, unread.
    pub(super) fn take_out(&self, headers: &mut HeaderMap) {
        cookies::take_out(headers, &self.spec.cookie);
    }

    /// The value of `Set-Cookie` that keeps the client on this endpoint; `None` where its own does.
    pub(super) fn renewed(
        &self,
        pin: Option<&Pin>,
        (tenant, now): (&str, u32),
        endpoint: &Endpoint,
        is_secure: bool,
    ) -> Option<HeaderValue> {
        if pin.is_some_and(|pin| pin.is_fresh && pin.is_at(endpoint)) {
            return None;
        }
        let key = &self.keys.first()?.key;
        let tag = self.tag(key, endpoint);
        let token = Token { tag, signed: now, mac: self.mac(key, tenant, &tag, now) };
        let StickySpec { cookie, path, max_age, same_site, secure, .. } = &self.spec;
        let age =
            max_age.map(|age| format!("; Max-Age={}", age.as_secs().max(1))).unwrap_or_default();
        let secure = if secure.unwrap_or(is_secure) { "; Secure" } else { "" };
        let (token, same_site) = (token.write(), same_site.as_str());
        let cookie =
            format!("{cookie}={token}; Path={path}{age}; HttpOnly{secure}; SameSite={same_site}");
        HeaderValue::try_from(cookie).ok()
    }

    /// Which key a token was signed with, for this tenant and pool.
    fn signer(&self, tenant: &str, token: &Token) -> Option<usize> {
        self.keys.iter().position(|known| {
            let mac = self.mac(&known.key, tenant, &token.tag, token.signed);
            verify_slices_are_equal(&mac, &token.mac).is_ok()
        })
    }

    /// Whether half of its time is over.
    fn is_due(&self, token: &Token, now: u32) -> bool {
        let age = Duration::from_secs(now.saturating_sub(token.signed).into());
        self.spec.max_age.is_some_and(|most| age >= most / 2)
    }

    /// The member with this tag. Where another request has met newer members, it is one of those.
    fn find(&self, set: &MemberSet, known: &Known, tag: &Tag) -> Option<Arc<Endpoint>> {
        let of =
            || set.all.iter().fold(0, |of, member| super::hash::mixed(of, member.endpoint.id.0));
        let build = |last: Option<&Tags>| self.tags_of(set, &known.key, last);
        let tags = known.tags.at(set.eligible.version, of, build);
        let tags = &tags.as_ref()?.value.0;
        let at = tags.binary_search_by(|(known, _)| known.cmp(tag)).ok()?;
        tags.get(at).map(|(_, endpoint)| Arc::clone(endpoint))
    }

    /// A digest for each member that was none before.
    fn tags_of(&self, set: &MemberSet, key: &Key, last: Option<&Tags>) -> Tags {
        let last = last.into_iter().flat_map(|last| &last.0);
        let last: HashMap<_, _> = last.map(|(tag, endpoint)| (endpoint.id, *tag)).collect();
        let endpoints = set.all.iter().map(|member| &member.endpoint);
        let tag = |endpoint: &Endpoint| {
            last.get(&endpoint.id).copied().unwrap_or_else(|| self.tag(key, endpoint))
        };
        let mut tags: Vec<_> =
            endpoints.map(|endpoint| (tag(endpoint), Arc::clone(endpoint))).collect();
        tags.sort_by_key(|(one, _)| *one);
        Tags(tags.into())
    }

    fn tag(&self, key: &Key, endpoint: &Endpoint) -> Tag {
        digest(key, &[b"endpoint", self.pool.as_bytes(), endpoint.label.as_bytes()])
    }

    fn mac(&self, key: &Key, tenant: &str, tag: &Tag, signed: u32) -> [u8; MAC] {
        let (tenant, pool) = (tenant.as_bytes(), self.pool.as_bytes());
        digest(key, &[b"cookie", tenant, pool, tag, &signed.to_be_bytes()])
    }
}

/// Whether an endpoint goes on with the clients that it has. One that is drained does, until it is gone:
/// their sessions are there. So does each that is picked although it is not healthy, since none is known to be.
/// One on trial gets its requests one by one.
fn keeps_clients(set: &MemberSet, endpoint: &Endpoint) -> bool {
    (endpoint.is_healthy() && !endpoint.is_on_trial())
        || set.eligible.endpoints.iter().any(|own| own.id == endpoint.id)
}

/// The first bytes of a keyed digest of parts, each behind its length, so that nothing of one can be
/// taken for another's.
fn digest<const LENGTH: usize>(key: &Key, parts: &[&[u8]]) -> [u8; LENGTH] {
    let mut context = Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut first = [0; LENGTH];
    first.iter_mut().zip(context.sign().as_ref()).for_each(|(own, byte)| *own = *byte);
    first
}

impl Token {
    fn read(value: &[u8]) -> Option<Self> {
        let mut bytes = [0; TOKEN];
        let length = URL_SAFE_NO_PAD.decode_slice(value, &mut bytes).ok()?;
        let (&version, rest) = bytes.get(..length)?.split_first()?;
        let (tag, rest) = rest.split_first_chunk()?;
        let (signed, rest) = rest.split_first_chunk()?;
        let mac = rest.try_into().ok()?;
        let token = Self { tag: *tag, signed: u32::from_be_bytes(*signed), mac };
        (version == VERSION).then_some(token)
    }

    fn write(&self) -> String {
        let signed = self.signed.to_be_bytes();
        URL_SAFE_NO_PAD.encode([&[VERSION][..], &self.tag, &signed, &self.mac].concat())
    }
}

/// Another form of tokens will have another number.
const VERSION: u8 = 1;
/// 8 bytes: no two members of a pool have the same.
const TAG: usize = 8;
/// 16 bytes of HMAC-SHA-256, which is as much as anybody could guess at.
const MAC: usize = 16;
const TOKEN: usize = 1 + TAG + 4 + MAC;
/// Clients that have cookies for several paths send more than one of a name; more than 4 are no use of it.
const MOST_COOKIES: usize = 4;

#[cfg(test)]
mod tests {
    use http::header::COOKIE;
    use proptest::prelude::*;

    use super::*;
    use crate::config::spec::SameSite;
    use crate::model::drains::Drained;
    use crate::model::endpoint::Health;
    use crate::model::members::Found;

    const ONE: &str = "0123456789abcdef0123456789abcdef";
    const TWO: &str = "fedcba9876543210fedcba9876543210";
    const NOW: u32 = 1_800_000_000;

    fn spec(keys: &[&str]) -> StickySpec {
        StickySpec {
            cookie: "stay".into(),
            keys: keys.iter().map(|key| Secret((*key).to_owned())).collect(),
            max_age: Some(Duration::from_secs(3600)),
            path: "/".into(),
            same_site: SameSite::Lax,
            secure: None,
        }
    }

    fn sticky(keys: &[&str]) -> Sticky {
        Sticky::of("shop", &spec(keys))
    }

    fn members(last: &[u8]) -> Members {
        let members = Members::new(1, Health::Unchecked, 0.5);
        replace(&members, last);
        members
    }

    fn replace(members: &Members, last: &[u8]) {
        let found = |last: &u8| Found::new(([10, 0, 0, *last], 80), "test");
        members.replace(&last.iter().map(found).collect::<Vec<_>>());
    }

    fn endpoint(members: &Members, place: usize) -> Arc<Endpoint> {
        Arc::clone(&members.load().all[place].endpoint)
    }

    /// The token that a new client of `acme` gets for this endpoint.
    fn token(sticky: &Sticky, endpoint: &Endpoint) -> String {
        let cookie = sticky.renewed(None, ("acme", NOW), endpoint, false).unwrap();
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        pair.strip_prefix("stay=").unwrap().to_owned()
    }

    fn read(sticky: &Sticky, tenant: &str, members: &Members, token: &str) -> Option<Pin> {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::try_from(format!("a=1; stay={token}")).unwrap());
        let pin = sticky.read((tenant, NOW), members, &mut headers);
        assert_eq!(headers.get(COOKIE).unwrap(), "a=1", "the endpoint does not see it");
        pin
    }

    fn home(sticky: &Sticky, tenant: &str, members: &Members, token: &str) -> Option<String> {
        let pin = read(sticky, tenant, members, token)?;
        pin.endpoint.map(|endpoint| endpoint.label.to_string())
    }

    #[test]
    fn a_cookie_keeps_a_client_over_restarts_and_at_all_gateways() {
        let (here, there) = (members(&[1, 2, 3]), members(&[0, 2, 3]));
        let token = token(&sticky(&[ONE]), &endpoint(&here, 1));

        for members in [&here, &there] {
            let home = home(&sticky(&[ONE]), "acme", members, &token);
            assert_eq!(home.as_deref(), Some("10.0.0.2:80"));
        }
    }

    #[test]
    fn a_cookie_is_worth_nothing_at_another_tenant_pool_or_key() {
        let members = members(&[1, 2, 3]);
        let own = sticky(&[ONE]);
        let token = token(&own, &endpoint(&members, 1));

        assert!(home(&own, "globex", &members, &token).is_none());
        assert!(home(&own, "acm", &members, &token).is_none());
        assert!(home(&Sticky::of("shop2", &spec(&[ONE])), "acme", &members, &token).is_none());
        assert!(home(&sticky(&[TWO]), "acme", &members, &token).is_none());
    }

    #[test]
    fn a_key_may_be_rotated_and_clients_stay() {
        let members = members(&[1, 2, 3]);
        let (before, during, after) = (sticky(&[ONE]), sticky(&[TWO, ONE]), sticky(&[TWO]));
        let old = token(&before, &endpoint(&members, 1));

        let pin = read(&during, "acme", &members, &old).unwrap();
        let own = endpoint(&members, 1);
        assert!(pin.is_at(&own));
        let renewed = during.renewed(Some(&pin), ("acme", NOW), &own, false);
        assert!(renewed.is_some(), "signed by the first key");
        let new = token(&during, &own);

        assert_eq!(home(&after, "acme", &members, &new).as_deref(), Some("10.0.0.2:80"));
        assert!(home(&after, "acme", &members, &old).is_none());
        // Gateways that have the new key as the second one until all know it.
        let first = sticky(&[ONE, TWO]);
        assert_eq!(home(&first, "acme", &members, &new).as_deref(), Some("10.0.0.2:80"));
    }

    #[test]
    fn an_endpoint_that_is_lost_loses_its_clients_and_a_drained_one_keeps_them() {
        let members = members(&[1, 2, 3]);
        let sticky = sticky(&[ONE]);
        let own = endpoint(&members, 1);
        let token = token(&sticky, &own);
        let is_home = || {
            let pin = read(&sticky, "acme", &members, &token).expect("the cookie is good");
            pin.endpoint.is_some()
        };

        let set = |health| {
            own.set_health(health, None);
            members.refresh();
        };
        set(Health::Pending);
        assert!(!is_home(), "it is new beside others that are known");
        set(Health::Down);
        assert!(!is_home());
        let all = members.load().all.clone();
        for word in [Health::Down, Health::Pending] {
            all.iter().for_each(|member| member.endpoint.set_health(word, None));
            members.refresh();
            assert!(is_home(), "all are picked: their checks are broken, or the gateway is new");
        }
        all.iter().for_each(|member| member.endpoint.set_health(Health::Up, None));
        members.refresh();
        own.eject(Duration::from_secs(10));
        members.refresh();
        assert!(!is_home());
        own.readmit();
        members.refresh();
        let drained = Drained { since: std::time::SystemTime::UNIX_EPOCH, reason: None };
        members.drains().insert(&own.address, &drained);
        members.refresh();
        assert!(is_home());
        replace(&members, &[1, 3]);
        assert!(!is_home());
        replace(&members, &[1, 2, 3]);
        assert!(is_home(), "it is back under its address");
    }

    #[test]
    fn a_cookie_is_renewed_when_half_its_time_is_over_and_for_another_endpoint() {
        let members = members(&[1, 2]);
        let sticky = sticky(&[ONE]);
        let (own, other) = (endpoint(&members, 0), endpoint(&members, 1));
        let token = token(&sticky, &own);
        let renewed = |now: u32, endpoint: &Endpoint| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::try_from(format!("stay={token}")).unwrap());
            let pin = sticky.read(("acme", now), &members, &mut headers);
            sticky.renewed(pin.as_ref(), ("acme", now), endpoint, false).is_some()
        };

        assert!(!renewed(NOW, &own) && !renewed(NOW + 1_799, &own) && !renewed(NOW - 9, &own));
        assert!(renewed(NOW + 1_800, &own));
        assert!(renewed(NOW, &other));
    }

    #[test]
    fn its_attributes_are_as_the_pool_says() {
        let members = members(&[1]);
        let written = |spec: &StickySpec, is_secure| {
            let sticky = Sticky::of("shop", spec);
            let cookie = sticky.renewed(None, ("acme", NOW), &endpoint(&members, 0), is_secure);
            let cookie = cookie.unwrap().to_str().unwrap().to_owned();
            assert!(!cookie.contains("10.0"), "{cookie}");
            cookie.split_once("; ").unwrap().1.to_owned()
        };
        let lax = spec(&[ONE]);
        let strict = StickySpec {
            max_age: None,
            path: "/shop".into(),
            same_site: SameSite::Strict,
            secure: Some(true),
            ..lax.clone()
        };

        assert_eq!(written(&lax, false), "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
        assert_eq!(written(&lax, true), "Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax");
        assert_eq!(written(&strict, false), "Path=/shop; HttpOnly; Secure; SameSite=Strict");
    }

    #[test]
    fn of_several_cookies_the_good_one_counts() {
        let members = members(&[1, 2]);
        let sticky = sticky(&[ONE]);
        let token = token(&sticky, &endpoint(&members, 1));
        let mut headers = HeaderMap::new();
        let field = format!("stay=; stay=x; stay={token}; b=2");
        headers.insert(COOKIE, HeaderValue::try_from(field).unwrap());

        let pin = sticky.read(("acme", NOW), &members, &mut headers);

        assert!(pin.unwrap().is_at(&endpoint(&members, 1)));
        assert_eq!(headers.get(COOKIE).unwrap(), "b=2");
    }

    #[test]
    fn of_two_good_cookies_the_newer_one_counts_wherever_it_stands() {
        let members = members(&[1, 2]);
        let sticky = sticky(&[ONE]);
        let token = |place, now| {
            let own = endpoint(&members, place);
            let cookie = sticky.renewed(None, ("acme", now), &own, false).unwrap();
            cookie.to_str().unwrap().split(';').next().unwrap().to_owned()
        };
        let (old, new) = (token(0, NOW - 3_000), token(1, NOW - 10));
        for field in [format!("{old}; {new}"), format!("{new}; {old}")] {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::try_from(field).unwrap());
            let pin = sticky.read(("acme", NOW), &members, &mut headers).unwrap();
            let own = endpoint(&members, 1);
            assert!(pin.is_at(&own));
            assert!(sticky.renewed(Some(&pin), ("acme", NOW), &own, false).is_none());
        }
    }

    #[test]
    fn a_request_that_waited_does_not_go_to_an_endpoint_that_was_lost_meanwhile() {
        let members = members(&[1, 2, 3]);
        let sticky = sticky(&[ONE]);
        let own = endpoint(&members, 1);
        let pin = read(&sticky, "acme", &members, &token(&sticky, &own)).unwrap();
        assert!(pin.enter(&members).is_some());

        own.set_health(Health::Down, None);
        members.refresh();
        assert!(pin.enter(&members).is_none());
        own.set_health(Health::Up, None);
        members.refresh();
        assert!(pin.enter(&members).is_some());
        replace(&members, &[1, 3]);
        assert!(pin.enter(&members).is_none());
        replace(&members, &[1, 2, 3]);
        assert!(pin.enter(&members).is_none(), "somebody else has the address");
        assert_eq!(own.in_flight(), 0);
    }

    proptest! {
        #[test]
        fn no_other_token_is_good(change in 0usize..39, byte in 0u8..64, any in "[ -~]{0,60}") {
            let members = members(&[1, 2]);
            let sticky = sticky(&[ONE]);
            let token = token(&sticky, &endpoint(&members, 1));
            let mut changed = token.clone().into_bytes();
            prop_assert_eq!(changed.len(), 39);
            let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            changed[change] = letters[usize::from(byte)];
            let changed = String::from_utf8(changed).unwrap();

            if changed != token {
                prop_assert!(home(&sticky, "acme", &members, &changed).is_none());
            }
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::try_from(format!("stay={any}")).unwrap());
            prop_assert!(sticky.read(("acme", NOW), &members, &mut headers).is_none());
        }
    }
}
