//! Whom a request is for where proxies in front pass it on: the client's address, and the scheme and
//! host that it asked by. Believed only of a peer that is a trusted proxy; whoever else connects is
//! the client, whatever it says.

pub mod chain;
pub mod elements;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName, HeaderValue};
use http::request::Parts;

use crate::config::spec::{ChainField, TrustedProxiesSpec};
use crate::model::fields::X_TENANTRY_MIRROR;
use crate::routing::host;
use crate::upstream::Fields;

use super::connection::Peer;
use super::hygiene::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use super::worker::Worker;

use chain::{Chain, End};

/// What a listener with trusted proxies makes of one peer.
#[derive(Debug)]
pub(super) struct Trust {
    proxies: Arc<TrustedProxiesSpec>,
    /// The peer is one of them.
    is_proxy: bool,
}

/// For whom a request is, and what its endpoint is told of that.
#[derive(Debug)]
pub(super) struct Told {
    /// The client's address; `None` = it is on a Unix socket.
    pub(super) client: Option<IpAddr>,
    /// What a proxy says ends before somebody who is no proxy: who the client is nobody knows, and it
    /// may have seen to that itself. The address is then that of a proxy.
    pub(super) hides_client: bool,
    /// The scheme that the client used: `http` or `https`.
    pub(super) scheme: &'static str,
    /// The host that the client asked for, where a proxy says another one than the request.
    pub(super) host: Option<HeaderValue>,
    port: Option<HeaderValue>,
    /// The value of `X-Forwarded-For`.
    chain: HeaderValue,
    /// The value of `Forwarded`.
    elements: Option<HeaderValue>,
    /// It is a copy, which a gateway in front has made: nobody waits for its answer.
    pub(super) is_copy: bool,
}

impl Trust {
    /// What is made of a peer of this address; `None` where the listener trusts nobody.
    pub(super) fn of(
        proxies: Option<&Arc<TrustedProxiesSpec>>,
        peer: Option<IpAddr>,
    ) -> Option<Self> {
        let proxies = Arc::clone(proxies?);
        Some(Self { is_proxy: proxies.trusts(peer), proxies })
    }
}

/// For whom a request is; `None`: for the peer, at a listener without trusted proxies.
pub(super) fn told(worker: &Worker, peer: &Peer, head: &Parts) -> Option<Box<Told>> {
    let trust = peer.trust.as_ref()?;
    let (told, end) = read(trust, peer, head);
    match end {
        End::Whole => {}
        End::Malformed => worker.meter.forwarded_fault("malformed"),
        End::TooLong => worker.meter.forwarded_fault("too_long"),
    }
    Some(Box::new(told))
}

fn read(trust: &Trust, peer: &Peer, head: &Parts) -> (Told, End) {
    let headers = &head.headers;
    let field = trust.proxies.field;
    let chain = match field {
        _ if !trust.is_proxy => Chain::empty(),
        ChainField::XForwardedFor => chain::addresses(lines(headers, &X_FORWARDED_FOR)),
        ChainField::Forwarded => elements::elements(lines(headers, &FORWARDED)),
    };
    let is_trusted = |address| trust.proxies.trusts(Some(address));
    let (client, told) = (chain.client(is_trusted), chain.asked_by(is_trusted));
    let (scheme, asked, port) = match field {
        _ if !trust.is_proxy => (None, None, None),
        ChainField::XForwardedFor => (
            last(headers, &X_FORWARDED_PROTO),
            last(headers, &X_FORWARDED_HOST),
            last(headers, &X_FORWARDED_PORT).filter(|port| is_port(port)),
        ),
        // The proxy that wrote of the client wrote in the same element what the client asked by.
        ChainField::Forwarded => (
            told.and_then(|hop| hop.scheme.as_deref()),
            told.and_then(|hop| hop.host.as_deref()),
            None,
        ),
    };
    let is_found = client.is_some_and(|hop| hop.address.is_some_and(|at| !is_trusted(at)));
    let is_cut = chain.end != End::Whole || chain.hops.iter().any(|hop| hop.address.is_none());
    let asked = asked.filter(|host| std::str::from_utf8(host).is_ok_and(host::is_valid));
    let told = Told {
        client: client.and_then(|hop| hop.address).or(peer.address),
        hides_client: is_cut && !is_found,
        scheme: scheme.and_then(scheme_of).unwrap_or(peer.scheme()),
        host: asked.and_then(|host| HeaderValue::from_bytes(host).ok()),
        port: port.and_then(|port| HeaderValue::from_bytes(port).ok()),
        chain: with_peer(&chain, field, peer),
        elements: (field == ChainField::Forwarded).then(|| with_own_element(&chain, peer, head)),
        is_copy: trust.is_proxy && headers.contains_key(&X_TENANTRY_MIRROR),
    };
    (told, chain.end)
}

impl Told {
    /// Tells the endpoint. `asked` is the host of the request itself.
    pub(super) fn introduce(&self, asked: Option<HeaderValue>, fields: &mut Fields) {
        fields.push((X_FORWARDED_FOR, self.chain.clone()));
        fields.push((X_FORWARDED_PROTO, HeaderValue::from_static(self.scheme)));
        if let Some(host) = self.host.clone().or(asked) {
            fields.push((X_FORWARDED_HOST, host));
        }
        if let Some(port) = &self.port {
            fields.push((X_FORWARDED_PORT, port.clone()));
        }
        if let Some(elements) = &self.elements {
            fields.push((FORWARDED, elements.clone()));
        }
        if self.client.is_some() {
            fields.push((X_REAL_IP, address_value(self.client)));
        }
        if self.is_copy {
            fields.push((X_TENANTRY_MIRROR, HeaderValue::from_static("1")));
        }
    }
}

/// An address as a field's value; in the words of RFC 7239 where there is none.
pub(super) fn address_value(address: Option<IpAddr>) -> HeaderValue {
    let value = address.and_then(|address| HeaderValue::try_from(address.to_string()).ok());
    value.unwrap_or_else(|| HeaderValue::from_static("unknown"))
}

/// `X-Forwarded-For`: the hops as they were written, up to the first without an address, and the
/// peer.
fn with_peer(chain: &Chain<'_>, field: ChainField, peer: &Peer) -> HeaderValue {
    let hops = chain.hops.iter().map_while(|hop| Some((hop.address?, hop.text)));
    let texts = hops.map(|(address, text)| match field {
        ChainField::XForwardedFor => Cow::Borrowed(text),
        ChainField::Forwarded => Cow::Owned(address.to_string().into_bytes()),
    });
    let texts: Vec<Cow<'_, [u8]>> = texts.collect();
    join(texts.iter().map(AsRef::as_ref), peer.client.as_bytes())
}

/// `Forwarded`: the elements as they were written, and our own.
fn with_own_element(chain: &Chain<'_>, peer: &Peer, head: &Parts) -> HeaderValue {
    let from = match peer.address {
        Some(IpAddr::V6(address)) => format!("\"[{address}]\""),
        Some(IpAddr::V4(address)) => address.to_string(),
        None => "unknown".to_owned(),
    };
    // The host of a request has neither quotation marks nor backslashes: it would be none.
    let host = host::authority(head).filter(|host| !host.contains(['"', '\\']));
    let host = host.map(|host| format!(";host=\"{host}\"")).unwrap_or_default();
    let own = format!("for={from}{host};proto={}", peer.scheme());
    join(chain.hops.iter().map(|hop| hop.text), own.as_bytes())
}

/// A list of what stands here nearest first, and of what comes last.
fn join<'t>(nearest_first: impl DoubleEndedIterator<Item = &'t [u8]>, last: &[u8]) -> HeaderValue {
    let mut list = Vec::with_capacity(128);
    for text in nearest_first.rev() {
        list.extend_from_slice(text);
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(last);
    // Parts of valid values make a valid value; the fallback is never taken.
    HeaderValue::from_maybe_shared(bytes::Bytes::from(list))
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

fn lines<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    headers.get_all(name).into_iter().rev().map(HeaderValue::as_bytes)
}

/// What the peer itself says: proxies before it may have left something on the left of it.
fn last<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let line = headers.get_all(name).into_iter().next_back()?.as_bytes();
    line.rsplit(|byte| *byte == b',').next().map(<[u8]>::trim_ascii)
}

/// Some proxies tell a WebSocket by its scheme.
fn scheme_of(text: &[u8]) -> Option<&'static str> {
    let known = [("http", "http"), ("https", "https"), ("ws", "http"), ("wss", "https")];
    let is = |name: &str| text.eq_ignore_ascii_case(name.as_bytes());
    known.into_iter().find_map(|(name, scheme)| is(name).then_some(scheme))
}

fn is_port(text: &[u8]) -> bool {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.starts_with(['+', '0']));
    text.is_some_and(|text| text.parse::<u16>().is_ok())
}

const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
