//! What may pass through a gateway: hop-by-hop fields end here, fields that only the gateway may
//! set are set once, and what only looks like them is dropped.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, Version, request};

use crate::config::spec::{NameFrom, NamingSpec};

use super::connection::Peer;

/// Names of fields that the gateway itself sets on requests. A client's own, and any spelling of
/// them with underscores that an application might take for the same, is never forwarded.
#[derive(Debug)]
pub(super) struct OwnedNames {
    names: Box<[HeaderName]>,
}

/// The protocol that a client asks to switch to, and what else its `Connection` field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wishes {
    /// The value of `Upgrade`, where `Connection` names it.
    pub(super) upgrade: Option<HeaderValue>,
    /// It takes trailers.
    pub(super) trailers: bool,
}

impl OwnedNames {
    /// The gateway's own names and those that name the tenant.
    pub(super) fn of(naming: &NamingSpec) -> Self {
        let tenant = naming.from.iter().filter_map(|way| match way {
            NameFrom::Header(name) => Some(name.clone()),
            _ => None,
        });
        let own = [
            header::FORWARDED,
            X_FORWARDED_FOR,
            X_FORWARDED_HOST,
            X_FORWARDED_PROTO,
            HeaderName::from_static("x-forwarded-port"),
            HeaderName::from_static("x-forwarded-prefix"),
            HeaderName::from_static("x-real-ip"),
        ];
        let forwarded = [naming.forward_as.clone()];
        Self { names: own.into_iter().chain(tenant).chain(forwarded).collect() }
    }

    fn owns(&self, name: &HeaderName) -> bool {
        self.names.contains(name) || self.looks_like_one(name.as_str())
    }

    /// Whether it is one of the names with `_` for `-`: CGI, WSGI and Rack cannot tell them apart.
    fn looks_like_one(&self, name: &str) -> bool {
        if !name.contains('_') {
            return false;
        }
        let same = |own: &HeaderName| {
            let own = own.as_str().bytes();
            own.len() == name.len()
                && own
                    .zip(name.bytes())
                    .all(|(own, name)| own == name || (own, name) == (b'-', b'_'))
        };
        self.names.iter().any(same) || FRAMING_LOOKALIKES.contains(&name)
    }
}

/// Takes away what ends at this hop (RFC 9110 §7.6.1) and what only the gateway may say, and tells
/// what the client wishes of the connection. One pass over the names: most requests have nothing to
/// take away.
pub(super) fn clean_request(headers: &mut HeaderMap, owned: &OwnedNames) -> Wishes {
    let mut ends: Vec<HeaderName> = Vec::new();
    for name in headers.keys() {
        if HOP_BY_HOP.contains(name) || REQUEST_ONLY.contains(name) || owned.owns(name) {
            ends.push(name.clone());
        }
    }
    if ends.is_empty() {
        return Wishes { upgrade: None, trailers: false };
    }
    let wishes = Wishes {
        upgrade: nominates(headers, "upgrade")
            .then(|| headers.get(header::UPGRADE).cloned())
            .flatten(),
        trailers: headers.get_all(header::TE).iter().any(|value| has_token(value, "trailers")),
    };
    remove_nominated(headers);
    for name in ends {
        headers.remove(name);
    }
    wishes
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
    /// The host that was asked for.
    pub(super) host: Option<&'p HeaderValue>,
    pub(super) request_id: HeaderValue,
}

/// Tells the endpoint who asked, for what host, on behalf of which tenant, and by which way.
pub(super) fn introduce(
    head: &mut request::Parts,
    sender: Sender<'_>,
    tenant: (HeaderName, HeaderValue),
) {
    let received = head.version;
    let headers = &mut head.headers;
    headers.insert(X_FORWARDED_FOR, sender.peer.client.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(sender.peer.scheme));
    if let Some(host) = sender.host {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
    headers.insert(X_REQUEST_ID, sender.request_id);
    headers.insert(tenant.0, tenant.1);
    append_via(headers, received);
}

/// How many fields [`introduce`] sets at most.
pub(super) const INTRODUCED: usize = 7;

/// Takes away what ends at this hop, and says who passed the answer on. Gives the protocol that
/// the endpoint would switch to.
pub(super) fn clean_answer<B>(answer: &mut Response<B>) -> Option<HeaderValue> {
    let received = answer.version();
    let headers = answer.headers_mut();
    let protocol = headers.get(header::UPGRADE).cloned();
    remove_hop_by_hop(headers);
    append_via(headers, received);
    protocol
}

/// Trailers may add to a body, never to the framing, the routing or what the gateway said
/// (RFC 9110 §6.5.1).
pub(super) fn clean_trailers(trailers: &mut HeaderMap, owned: &OwnedNames) {
    clean_answer_trailers(trailers);
    let foreign: Vec<HeaderName> =
        trailers.keys().filter(|name| owned.owns(name)).cloned().collect();
    for name in foreign {
        trailers.remove(name);
    }
}

/// As [`clean_trailers`], for an answer.
pub(super) fn clean_answer_trailers(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers);
    for name in NEVER_TRAILERS {
        trailers.remove(name);
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let ends: Vec<HeaderName> =
        headers.keys().filter(|name| HOP_BY_HOP.contains(name)).cloned().collect();
    if ends.is_empty() {
        return;
    }
    remove_nominated(headers);
    for name in ends {
        headers.remove(name);
    }
}

/// Removes the fields that `Connection` names, save those that the message cannot do without.
fn remove_nominated(headers: &mut HeaderMap) {
    let nominations: Vec<HeaderValue> =
        headers.get_all(header::CONNECTION).iter().cloned().collect();
    for token in nominations.iter().flat_map(tokens) {
        if PROTECTED.iter().any(|name| token.eq_ignore_ascii_case(name)) {
            continue;
        }
        if let Ok(name) = HeaderName::from_bytes(token.as_bytes()) {
            headers.remove(name);
        }
    }
}

fn nominates(headers: &HeaderMap, token: &str) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| has_token(value, token))
}

/// Whether a comma-separated field holds a token, in any case.
pub(super) fn has_token(value: &HeaderValue, token: &str) -> bool {
    tokens(value).any(|found| found.eq_ignore_ascii_case(token))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|token| !token.is_empty())
}

fn append_via(headers: &mut HeaderMap, received: Version) {
    let own = match received {
        Version::HTTP_2 => "2.0 tenantry",
        Version::HTTP_10 => "1.0 tenantry",
        _ => "1.1 tenantry",
    };
    headers.append(header::VIA, HeaderValue::from_static(own));
}

/// RFC 9110 §7.6.1: fields of one connection.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
];

/// Fields that are for the gateway itself.
const REQUEST_ONLY: [HeaderName; 2] =
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

const NEVER_TRAILERS: [HeaderName; 8] = [
    header::CONTENT_LENGTH,
    header::HOST,
    header::AUTHORIZATION,
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    header::CONTENT_RANGE,
    header::TRAILER,
    header::SET_COOKIE,
];

const FRAMING_LOOKALIKES: [&str; 2] = ["content_length", "transfer_encoding"];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Names one exchange in the answer, the logs and at the endpoint.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
