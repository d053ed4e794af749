//! Edits of heads, and the fields that nobody but the gateway writes.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderName, HeaderValue};

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{HeaderEdits, Pairs};
use crate::config::spec::{HeaderEditsSpec, NameFrom, NamingSpec};
use crate::config::text::Written;
use crate::model::fields::{OWN, look_alike};

/// Whose head is edited.
#[derive(Clone, Copy)]
pub(super) enum Whose<'a> {
    /// The request's; one of these fields of it carries the tenant to the endpoint, and the others
    /// may name it.
    Request(&'a NamingSpec),
    /// The answer's.
    Answer,
}

/// Checks the edits of one head.
pub(super) fn check(
    raw: Option<HeaderEdits>,
    whose: Whose<'_>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> HeaderEditsSpec {
    let Some(raw) = raw else { return HeaderEditsSpec::default() };
    let mut remove = Vec::new();
    let remove_key = key.name("remove");
    for (index, name) in raw.remove.unwrap_or_default().into_iter().enumerate() {
        refuse(&name.value.0, name.start, whose, &remove_key.index(index), faults);
        remove.push(name.value.0);
    }
    HeaderEditsSpec {
        remove,
        set: pairs(raw.set, whose, &key.name("set"), faults),
        add: pairs(raw.add, whose, &key.name("add"), faults),
    }
}

fn pairs(
    raw: Option<Pairs<HeaderName, Written<HeaderValue>>>,
    whose: Whose<'_>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut pairs = Vec::new();
    for (name, value) in raw.map(|raw| raw.0).unwrap_or_default() {
        refuse(&name.value, name.start, whose, &key.name(name.value.as_str()), faults);
        pairs.push((name.value, value.0));
    }
    pairs
}

/// Tells of a field that nobody but the gateway writes.
pub(super) fn refuse(
    name: &HeaderName,
    at: usize,
    whose: Whose<'_>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) {
    let framing = "take it out: the gateway writes it for each connection";
    let hint = match whose {
        Whose::Request(naming) if names_tenant(naming, name) => {
            "it carries the tenant; use another name"
        }
        Whose::Request(naming) if names_subject(naming, name) => {
            "it tells endpoints who the client is; use another name"
        }
        Whose::Request(_) if alike(&HOST, name) => "write rewrite = { host = \"…\" }",
        Whose::Request(_) if OWN.iter().chain([&VIA]).any(|own| alike(own, name)) => {
            "take it out: the gateway writes it, and endpoints may trust what it says"
        }
        Whose::Request(_) if OWNED.iter().any(|own| alike(own, name)) => framing,
        Whose::Answer if OWNED.contains(name) => framing,
        _ => return,
    };
    let what = format!("the header {name} belongs to the gateway");
    faults.add(key, at, what, Some(hint.to_owned()));
}

/// Whether an endpoint might take the field for one that names the tenant.
fn names_tenant(naming: &NamingSpec, name: &HeaderName) -> bool {
    let ways = naming.from.iter().filter_map(|way| match way {
        NameFrom::Header(tenant) => Some(tenant),
        _ => None,
    });
    ways.chain([&naming.forward_as]).any(|tenant| alike(tenant, name))
}

/// Whether an endpoint might take the field for the one that tells who the client is.
fn names_subject(naming: &NamingSpec, name: &HeaderName) -> bool {
    naming.identity.told().any(|told| alike(told, name))
}

fn alike(own: &HeaderName, name: &HeaderName) -> bool {
    look_alike(own.as_str(), name.as_str())
}

/// Fields that only the two ends of one connection read.
pub(super) const OF_THE_CONNECTION: [HeaderName; 4] = [
    CONNECTION,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Fields that frame a message or belong to one connection.
pub(super) const OWNED: [HeaderName; 10] = [
    CONNECTION,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    TE,
    TRAILER,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
