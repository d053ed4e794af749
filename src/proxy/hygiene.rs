//! What may pass through a gateway: hop-by-hop fields end here, fields that only the gateway may
//! set are set once, and what only looks like them is dropped.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode, Version};

use crate::config::spec::{NameFrom, NamingSpec};
use crate::model::fields::{OWN, is_no_token, is_odd, is_spaced, look_alike};
use crate::upstream::Fields;

use super::connection::Peer;
use super::forwarded::Told;

/// Names of fields that the gateway itself sets on requests. A client's own, and any spelling of
/// them that an application might take for the same, is never forwarded.
#[derive(Debug)]
pub struct OwnedNames {
    names: Box<[HeaderName]>,
    /// The one that names the tenant to endpoints: [`name_tenant`] sees to it.
    replaced: HeaderName,
    /// One of the names has a mark other than `-`, so that a plain name may be its look-alike.
    odd: bool,
    /// Of all that [`clean_request`] takes away.
    lengths: Lengths,
}

/// The lengths of some names, by their first characters: nearly all other names are told from them,
/// and from their look-alikes, by these two alone.
#[derive(Clone, Debug)]
struct Lengths([u64; FIRSTS]);

/// The protocol that a client asks to switch to, and what else its `Connection` field says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The value of `Upgrade`, where `Connection` names it.
    pub upgrade: Option<HeaderValue>,
    /// It takes trailers.
    pub trailers: bool,
    /// The fields that `Connection` names: trailers of these names end here, too.
    pub nominated: Vec<HeaderName>,
}

/// What of an answer's head ends here and is asked for later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The protocol that the endpoint would switch to.
    pub protocol: Option<HeaderValue>,
    /// As [`Wishes::nominated`].
    pub nominated: Vec<HeaderName>,
}

impl OwnedNames {
    /// The gateway's own names and those that name the tenant.
    pub fn of(naming: &NamingSpec) -> Self {
        let tenant = naming.from.iter().filter_map(|way| match way {
            NameFrom::Header(name) => Some(name.clone()),
            _ => None,
        });
        let forwarded = [naming.forward_as.clone()];
        let told = naming.identity.told().cloned();
        let names = OWN.into_iter().chain(tenant).chain(forwarded).chain(told);
        let names: Box<[HeaderName]> = names.collect();
        let odd = names.iter().any(|name| is_odd(name.as_str()));
        let lengths = names.iter().chain(&FRAMING).chain(&HOP_BY_HOP).chain(&REQUEST_ONLY);
        let lengths = lengths.fold(Lengths::NONE, |all, name| all.and(name.as_str()));
        Self { names, replaced: naming.forward_as.clone(), odd, lengths }
    }

    fn owns(&self, name: &HeaderName) -> bool {
        self.names.contains(name) || self.looks_like_one(name.as_str())
    }

    /// Whether it is one of the names but for its marks.
    fn looks_like_one(&self, name: &str) -> bool {
        let odd = is_odd(name);
        (odd && FRAMING.iter().any(|own| look_alike(own.as_str(), name)))
            || ((odd || self.odd) && self.names.iter().any(|own| look_alike(own.as_str(), name)))
    }
}

impl Lengths {
    const NONE: Self = Self([0; FIRSTS]);

    const fn and(mut self, name: &str) -> Self {
        self.0[Self::first(name)] |= Self::bit(name.len());
        self
    }

    fn have(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        self.0[Self::first(name)] & Self::bit(name.len()) != 0
    }

    /// Those from 63 on share one.
    const fn bit(length: usize) -> u64 {
        1 << if length < 63 { length } else { 63 }
    }

    /// All marks share one, since look-alikes have others; so do all digits.
    const fn first(name: &str) -> usize {
        match name.as_bytes() {
            [letter @ b'a'..=b'z', ..] => (*letter - b'a') as usize,
            [digit, ..] if digit.is_ascii_digit() => FIRSTS - 2,
            _ => FIRSTS - 1,
        }
    }
}

/// The letters of names, which are in lower case; digits; marks.
const FIRSTS: usize = 26 + 2;

/// Takes away what ends at this hop (RFC 9110 §7.6.1) and what only the gateway may say, and tells
/// what the client wishes of the connection. One pass over the names: most requests have nothing to
/// take away.
pub fn clean_request(headers: &mut HeaderMap, owned: &OwnedNames) -> Wishes {
    let mut ends: Vec<HeaderName> = Vec::new();
    for name in headers.keys().filter(|name| owned.lengths.have(name)) {
        let foreign = *name != owned.replaced && owned.owns(name);
        if foreign || HOP_BY_HOP.contains(name) || REQUEST_ONLY.contains(name) {
            ends.push(name.clone());
        }
    }
    if ends.is_empty() {
        return Wishes::default();
    }
    let mut wishes = Wishes {
        // Never HTTP/2: what a client then says to the endpoint would pass by all of this.
        upgrade: nominates(headers, "upgrade")
            .then(|| headers.get(header::UPGRADE).cloned())
            .flatten()
            .filter(|protocol| !has_token(protocol, "h2c") && !has_token(protocol, "h2")),
        trailers: headers.get_all(header::TE).iter().any(|value| has_token(value, "trailers")),
        nominated: Vec::new(),
    };
    wishes.nominated = remove_nominated(headers);
    for name in ends {
        headers.remove(name);
    }
    wishes
}

/// Whether a message has no transfer coding but `chunked`. RFC 9112 §6.1: another one ends at this
/// hop, and without it whoever comes next would take coded bytes for the body.
pub(super) fn is_chunked_at_most(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
}

/// Makes one field of a cookie that came in crumbs: HTTP/2 may split it, HTTP/1 must not
/// (RFC 9113 §8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() < 2 {
        return;
    }
    // Valid values stay valid when "; " joins them.
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, cookie);
    }
}

/// Who sent a request, as the endpoint is told.
#[derive(Debug)]
pub(super) struct Sender<'p> {
    pub(super) peer: &'p Peer,
    /// For whom, at a listener with trusted proxies.
    pub(super) told: Option<&'p Told>,
    /// The host that was asked for.
    pub(super) host: Option<HeaderValue>,
    pub(super) request_id: HeaderValue,
}

/// Tells the endpoint on behalf of which tenant it is asked, once. The client's own field stands
/// where it says just that.
pub(super) fn name_tenant(headers: &mut HeaderMap, name: &HeaderName, id: &str) {
    let mut sent = headers.get_all(name).iter();
    if sent.next().is_some_and(|sent| sent.as_bytes() == id.as_bytes()) && sent.next().is_none() {
        return;
    }
    // An id is plain ASCII, so that it is a valid value; the fallback is never taken.
    let id = HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static(""));
    headers.insert(name, id);
}

/// The fields that tell the endpoint who asked, for what host and by which way. They come after the
/// request's own, of which [`clean_request`] has left none of the same name, save `Via`.
pub(super) fn introduce(received: Version, sender: Sender<'_>) -> Fields {
    let mut fields = Vec::with_capacity(5);
    if let Some(told) = sender.told {
        told.introduce(sender.host, &mut fields);
    } else {
        fields.push((X_FORWARDED_FOR, sender.peer.client.clone()));
        fields.push((X_FORWARDED_PROTO, sender.peer.scheme_value()));
        if let Some(host) = sender.host {
            fields.push((X_FORWARDED_HOST, host));
        }
    }
    fields.push((X_REQUEST_ID, sender.request_id));
    fields.push((header::VIA, via(received)));
    fields
}

/// Takes away what ends at this hop, and says who passed the answer on.
pub fn clean_answer<B>(answer: &mut Response<B>) -> Ended {
    let received = answer.version();
    // RFC 9110 §8.6: neither may say a length, and an endpoint's is no reason to.
    let lengthless =
        answer.status() == StatusCode::NO_CONTENT || answer.status().is_informational();
    let headers = answer.headers_mut();
    let (ended, coded) = remove_hop_by_hop(headers);
    // RFC 9112 §6.3: beside a coding it is not what the body was read by, so the client must not either.
    if coded || lengthless {
        headers.remove(header::CONTENT_LENGTH);
    }
    headers.append(header::VIA, via(received));
    ended
}

/// Trailers may add to a body, never to the framing, the routing or what the gateway said
/// (RFC 9110 §6.5.1). Those that the head's `Connection` field has `nominated` end here.
pub(super) fn clean_trailers(
    trailers: &mut HeaderMap,
    nominated: &[HeaderName],
    owned: &OwnedNames,
) {
    clean_answer_trailers(trailers, nominated);
    let is_alike =
        |name: &HeaderName, ended: &HeaderName| look_alike(ended.as_str(), name.as_str());
    let is_foreign = |name: &&HeaderName| {
        owned.owns(name) || nominated.iter().any(|ended| is_alike(name, ended))
    };
    let foreign: Vec<HeaderName> = trailers.keys().filter(is_foreign).cloned().collect();
    for name in foreign {
        trailers.remove(name);
    }
}

/// As [`clean_trailers`], for an answer.
pub(super) fn clean_answer_trailers(trailers: &mut HeaderMap, nominated: &[HeaderName]) {
    remove_hop_by_hop(trailers);
    for name in nominated {
        trailers.remove(name);
    }
    let none = |name: &HeaderName, value: &HeaderValue| {
        is_no_token(name.as_str()) || is_spaced(value.as_bytes())
    };
    let malformed = trailers.iter().filter(|(name, value)| none(name, value));
    let malformed: Vec<HeaderName> = malformed.map(|(name, _)| name.clone()).collect();
    for name in malformed {
        trailers.remove(name);
    }
    for name in &NEVER_TRAILERS {
        trailers.remove(name);
    }
}

/// Gives what was asked for of the connection, and whether a transfer coding was among it.
fn remove_hop_by_hop(headers: &mut HeaderMap) -> (Ended, bool) {
    let mut ends = [false; HOPS];
    for name in headers.keys().filter(|name| HOP_LENGTHS.have(name)) {
        if let Some(place) = HOP_BY_HOP.iter().position(|ends| ends == name) {
            ends[place] = true;
        }
    }
    if ends == [false; HOPS] {
        return (Ended::default(), false); // as nearly always
    }
    let protocol = headers.get(header::UPGRADE).cloned();
    let nominated = if ends[CONNECTION_PLACE] { remove_nominated(headers) } else { Vec::new() };
    for (name, _) in HOP_BY_HOP.iter().zip(ends).filter(|(_, ends)| *ends) {
        headers.remove(name);
    }
    (Ended { protocol, nominated }, ends[CODING_PLACE])
}

/// Removes the fields that `Connection` names, save those that the message cannot do without. Gives
/// their names.
fn remove_nominated(headers: &mut HeaderMap) -> Vec<HeaderName> {
    let mut values = headers.get_all(header::CONNECTION).iter();
    if values.all(|value| tokens(value).all(|token| is_among(token, &OPTIONS))) {
        return Vec::new(); // as nearly always
    }
    let values = headers.get_all(header::CONNECTION).iter();
    let nominated: Vec<HeaderName> = values
        .flat_map(tokens)
        .filter(|token| !is_among(token, &PROTECTED))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .collect();
    for name in &nominated {
        headers.remove(name);
    }
    nominated
}

/// Whether a field ends here since `Connection` names it.
pub(super) fn is_nominated(headers: &HeaderMap, name: &HeaderName) -> bool {
    !is_among(name.as_str().as_bytes(), &PROTECTED) && nominates(headers, name.as_str())
}

fn is_among(token: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| token.eq_ignore_ascii_case(name.as_bytes()))
}

fn nominates(headers: &HeaderMap, token: &str) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| has_token(value, token))
}

/// Whether a comma-separated field holds a token, in any case.
pub(super) fn has_token(value: &HeaderValue, token: &str) -> bool {
    tokens(value).any(|found| found.eq_ignore_ascii_case(token.as_bytes()))
}

/// Bytes, not text: one byte that is no ASCII must not hide the other tokens.
pub(super) fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let parts = value.as_bytes().split(|byte| *byte == b',');
    parts.map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// RFC 9110 §7.6.3.
fn via(received: Version) -> HeaderValue {
    // Constants, so that nobody looks at their bytes for each request.
    const HTTP_10: HeaderValue = HeaderValue::from_static("1.0 tenantry");
    const HTTP_11: HeaderValue = HeaderValue::from_static("1.1 tenantry");
    const HTTP_2: HeaderValue = HeaderValue::from_static("2.0 tenantry");
    match received {
        Version::HTTP_2 => HTTP_2,
        Version::HTTP_10 => HTTP_10,
        _ => HTTP_11,
    }
}

/// RFC 9110 §7.6.1: fields of one connection.
static HOP_BY_HOP: [HeaderName; HOPS] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"), // RFC 9110 §11.7.3
];

const HOPS: usize = 8;
/// Of these.
static HOP_LENGTHS: Lengths = Lengths::NONE
    .and("connection")
    .and("keep-alive")
    .and("proxy-connection")
    .and("te")
    .and("transfer-encoding")
    .and("upgrade")
    .and("proxy-authenticate")
    .and("proxy-authentication-info");
/// Where `Connection` is among them.
const CONNECTION_PLACE: usize = 0;
/// Where `Transfer-Encoding` is.
const CODING_PLACE: usize = 4;

/// What `Connection` says that names no field but those which go anyway.
const OPTIONS: [&str; 4] = ["keep-alive", "close", "upgrade", "te"];

/// Fields that are for the gateway itself.
static REQUEST_ONLY: [HeaderName; 2] =
    [header::PROXY_AUTHORIZATION, HeaderName::from_static("http2-settings")];

/// Fields that `Connection` may not take from a message: its framing, its target, who it is for.
const PROTECTED: [&str; 7] = [
    "host",
    "content-length",
    "transfer-encoding",
    "content-type",
    "authorization",
    "cookie",
    "via",
];

/// RFC 9110 §6.5.1: fields that say how a message is framed, routed, authenticated, read or stored.
static NEVER_TRAILERS: [HeaderName; 28] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    header::CONTENT_RANGE,
    header::TRAILER,
    header::HOST,
    header::MAX_FORWARDS,
    header::EXPECT,
    header::RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::WWW_AUTHENTICATE,
    header::COOKIE,
    header::SET_COOKIE,
    header::CACHE_CONTROL,
    header::PRAGMA,
    header::AGE,
    header::EXPIRES,
    header::DATE,
    header::LOCATION,
    header::RETRY_AFTER,
    header::VARY,
    header::VIA,
];

static FRAMING: [HeaderName; 2] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Names one exchange in the answer, the logs and at the endpoint.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "x-the-tenant-of-this-request-by-a-name-that-is-longer-than-63-bytes";

    fn owned(tenant: &'static str) -> OwnedNames {
        let forward_as = HeaderName::from_static(tenant);
        OwnedNames::of(&NamingSpec {
            from: vec![NameFrom::Header(forward_as.clone())],
            forward_as,
            identity: Default::default(),
        })
    }

    fn cleaned(tenant: &'static str, fields: &[(&str, &[u8])]) -> (Vec<String>, Wishes) {
        let field = |(name, value): &(&str, &[u8])| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value).unwrap())
        };
        let mut headers: HeaderMap = fields.iter().map(field).collect();
        let wishes = clean_request(&mut headers, &owned(tenant));
        (headers.keys().map(ToString::to_string).collect(), wishes)
    }

    #[test]
    fn no_name_that_ends_here_is_passed_over_for_its_length() {
        assert!(HOP_BY_HOP.iter().all(|name| HOP_LENGTHS.have(name)));
        let all = owned("x-tenant-id");
        let long = owned(LONG);
        let names = OWN.into_iter().chain([HeaderName::from_static(LONG)]);
        assert!(names.chain(REQUEST_ONLY.clone()).all(|name| long.lengths.have(&name)));
        assert!(!all.lengths.have(&header::HOST) && !HOP_LENGTHS.have(&header::DATE));
    }

    #[test]
    fn no_look_alike_of_a_name_that_the_gateway_sets_is_forwarded() {
        for name in ["x_tenant_id", "x-tenant_id", "x.tenant.id", "x!tenant~id", "x_request_id"] {
            assert_eq!(cleaned("x-tenant-id", &[(name, b"b")]).0, [""; 0], "{name}");
        }
        assert_eq!(cleaned("x_tenant_id", &[("x-tenant-id", b"b")]).0, [""; 0]);
        assert_eq!(cleaned("x-tenant-id", &[("transfer_encoding", b"chunked")]).0, [""; 0]);
        let kept = cleaned("x-tenant-id", &[("content-length", b"1"), ("x_tenant", b"1")]).0;
        assert_eq!(kept, ["content-length", "x_tenant"]);
    }

    #[test]
    fn a_byte_that_is_no_ascii_hides_no_nomination() {
        let fields: &[(&str, &[u8])] = &[("connection", b"x-hop, \xe9"), ("x-hop", b"1")];
        assert_eq!(cleaned("x-tenant-id", fields).0, [""; 0]);
    }

    #[test]
    fn an_upgrade_to_http2_is_not_passed_on() {
        let asked = |protocol: &[u8]| {
            let fields: &[(&str, &[u8])] = &[("connection", b"Upgrade"), ("upgrade", protocol)];
            cleaned("x-tenant-id", fields).1.upgrade
        };
        assert_eq!(asked(b"h2c"), None);
        assert_eq!(asked(b"websocket, H2C"), None);
        assert!(asked(b"websocket").is_some());
    }

    #[test]
    fn an_answer_with_two_lengths_keeps_neither() {
        let mut answer = Response::new(());
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
        answer.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        clean_answer(&mut answer);
        assert!(!answer.headers().contains_key(header::CONTENT_LENGTH));
        assert!(!answer.headers().contains_key(header::TRANSFER_ENCODING));
    }

    #[test]
    fn a_trailer_that_is_malformed_or_was_nominated_is_dropped() {
        let field = |name: &'static [u8], value: &'static str| {
            (HeaderName::from_lowercase(name).unwrap(), HeaderValue::from_static(value))
        };
        let mut trailers = HeaderMap::from_iter([
            field(b"x-\"a", "1"),
            field(b"x-before", " 1"),
            field(b"x-after", "1\t"),
            field(b"x-hop", "1"),
            field(b"x-kept", "1 2"),
        ]);
        clean_answer_trailers(&mut trailers, &[HeaderName::from_static("x-hop")]);
        assert_eq!(trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }
}
