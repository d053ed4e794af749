//! Who may do what by the operators' API.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::base::role::Role;
use crate::config::faults::Faults;
use crate::config::grants::{has_keys_to_open, is_grant, parts};
use crate::config::key::Key;
use crate::config::nearest::nearest;
use crate::config::raw::{At, Pairs, Tenant};
use crate::config::spec::ListenerTlsSpec;
use crate::config::text::Written;

/// Roles by names of certificates.
pub(super) fn of_certificates(
    raw: Option<Pairs<String, Written<Role>>>,
    tls: Option<&ListenerTlsSpec>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<(String, Role)> {
    let pairs = raw.map(|pairs| pairs.0).unwrap_or_default();
    let asks = tls.is_some_and(|tls| {
        tls.default.iter().chain(&tls.certificates).any(|one| one.clients.is_some())
    });
    if let (Some((first, _)), false) = (pairs.first(), asks) {
        let what = "no client is asked for a certificate";
        let hint = "write client-certificates into the tls of [admin]".to_owned();
        faults.add(&key.name("certificates"), first.start, what, Some(hint));
    }
    pairs.into_iter().map(|(name, role)| (name.value, role.0)).collect()
}

/// Keys of a tenant that its own token may change.
pub(super) fn tenant_keys(
    raw: Vec<At<String>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<Vec<String>> {
    // It is made of all that a tenant may say, for each of a hundred thousand that may have a list of its own.
    static KNOWN: LazyLock<Known> = LazyLock::new(Known::of_tenant);
    let key = key.name("tenant-keys");
    let mut keys = Vec::new();
    for (index, At { value, start }) in raw.into_iter().enumerate() {
        let parts = parts(&value).ok_or_else(|| {
            let what = format!("{value:?} is not written as a key");
            (what, "write its parts with dots between, as in error-pages.\"5xx\".body".to_owned())
        });
        let fault = match &parts {
            Ok(parts) => wrong(parts, &KNOWN),
            Err(fault) => Some(fault.clone()),
        };
        if let Some((what, hint)) = fault {
            faults.add(&key.index(index), start, what, Some(hint));
        }
        keys.extend(parts);
    }
    keys
}

/// The same of a tenant or of a plan; `plan` is what holds where it says nothing.
pub(super) fn of_tenant(
    raw: Option<Vec<At<String>>>,
    plan: Option<&Arc<[Vec<String>]>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Arc<[Vec<String>]>> {
    let own = raw.map(|raw| tenant_keys(raw, key, faults).into());
    own.or_else(|| plan.cloned())
}

/// What is wrong with one of them, and what to write instead.
fn wrong(parts: &[String], known: &Known) -> Option<(String, String)> {
    let first = parts.first().map(String::as_str).unwrap_or_default();
    let is_whole = parts.len() < 2;
    if is_grant(first) && (is_whole || !has_keys_to_open(first)) {
        let what = format!("{first:?} is not a tenant's own to change");
        let hint = match has_keys_to_open(first) {
            true => format!(
                "leave it out, or name those of its keys that may be the tenant's own, as in \
                 {first}.{}",
                known.one_of(first)
            ),
            false => "leave it out: it says what the tenant is granted".to_owned(),
        };
        return Some((what, hint));
    }
    let Some((at, there)) = known.missing(parts) else {
        // Below one that is opened everything is; below others a grant is one at any depth.
        let is_below = |(at, part): &(usize, &String)| *at > 0 && is_grant(part);
        let (at, grant) = parts.iter().enumerate().find(is_below).filter(|_| !is_grant(first))?;
        let above = parts.get(..at).unwrap_or_default().join(".");
        let what = format!("{grant:?} of {above:?} is not a tenant's own to change");
        return Some((what, "leave it out: it says what the tenant is granted".to_owned()));
    };
    let part = parts.get(at).map(String::as_str).unwrap_or_default();
    let near = nearest(part, there.iter().map(String::as_str));
    let above = parts.get(..at).unwrap_or_default().join(".");
    let (what, of) = match at {
        0 => (format!("there is no key {part:?} of a tenant"), "a tenant".to_owned()),
        _ if there.is_empty() => {
            let what = format!("{above:?} has no keys that could be named");
            return Some((what, format!("name it as a whole: {above:?}")));
        }
        _ => (format!("there is no key {part:?} of {above:?}"), above),
    };
    let hint = match near {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("{of} has {}", Vec::from_iter(there).join(", ")),
    };
    Some((what, hint))
}

/// The keys that a tenant has, by the schema that editors use.
struct Known {
    schema: Value,
}

impl Known {
    fn of_tenant() -> Self {
        Self { schema: schemars::schema_for!(Tenant).to_value() }
    }

    /// The place of the first part that is nobody's, and those that there are; `None` = all are there.
    fn missing(&self, parts: &[String]) -> Option<(usize, BTreeSet<String>)> {
        let mut tables = vec![&self.schema];
        for (at, part) in parts.iter().enumerate() {
            let mut shapes = Vec::new();
            tables.iter().for_each(|table| self.shapes(table, &mut shapes, DEEPEST));
            let below: Vec<&Value> = shapes.iter().filter_map(|shape| below(shape, part)).collect();
            if below.is_empty() {
                let names = shapes.iter().filter_map(|shape| shape.get("properties")?.as_object());
                return Some((at, names.flat_map(|all| all.keys().cloned()).collect()));
            }
            tables = below;
        }
        None
    }

    /// One of the keys of one, for people.
    fn one_of(&self, part: &str) -> String {
        let there = self
            .missing(&[part.to_owned(), String::new()])
            .map(|(_, there)| there)
            .unwrap_or_default();
        let usual = there.get("requests").or_else(|| there.first());
        usual.cloned().unwrap_or_default()
    }

    /// All that a schema says of what may stand there, behind its references and choices.
    fn shapes<'s>(&'s self, schema: &'s Value, found: &mut Vec<&'s Value>, deep: usize) {
        let Some(deep) = deep.checked_sub(1) else { return };
        found.push(schema);
        let referred = schema.get("$ref").and_then(Value::as_str);
        if let Some(there) = referred.and_then(|name| self.schema.pointer(name.strip_prefix('#')?))
        {
            self.shapes(there, found, deep);
        }
        for choice in ["anyOf", "oneOf", "allOf"] {
            let all = schema.get(choice).and_then(Value::as_array).into_iter().flatten();
            all.for_each(|one| self.shapes(one, found, deep));
        }
    }
}

/// What a schema says of a key of its table; names of the files' own are any.
fn below<'s>(shape: &'s Value, part: &str) -> Option<&'s Value> {
    let named = shape.get("properties").and_then(|all| all.get(part));
    let patterns = shape.get("patternProperties").and_then(Value::as_object);
    let other = shape.get("additionalProperties").filter(|other| other.is_object());
    let other = other.or_else(|| patterns?.values().next());
    named.or(other.filter(|_| !part.is_empty()))
}

/// 16: references and choices behind each other.
const DEEPEST: usize = 16;
