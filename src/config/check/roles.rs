//! Who may do what by the operators' API.

use std::collections::BTreeSet;

use crate::base::role::Role;
use crate::config::faults::Faults;
use crate::config::grants::is_grant;
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
    raw: Option<Vec<At<String>>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<String> {
    let key = key.name("tenant-keys");
    let known = known_keys();
    let mut keys = Vec::new();
    for (index, At { value, start }) in raw.unwrap_or_default().into_iter().enumerate() {
        let first = value.split('.').next().unwrap_or_default();
        if is_grant(first) {
            let what = format!("{first:?} is not a tenant's own to change");
            let hint = "leave it out: it says what the tenant is granted".to_owned();
            faults.add(&key.index(index), start, what, Some(hint));
        } else if !known.contains(first) {
            let near = nearest(first, known.iter().map(String::as_str));
            let hint = match near {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("a tenant has {}", Vec::from_iter(known.clone()).join(", ")),
            };
            let what = format!("there is no key {first:?} of a tenant");
            faults.add(&key.index(index), start, what, Some(hint));
        }
        keys.push(value);
    }
    keys
}

/// The keys that a tenant has, by the schema that editors use.
fn known_keys() -> BTreeSet<String> {
    let schema = schemars::schema_for!(Tenant);
    let properties = schema.get("properties").and_then(|all| all.as_object());
    properties.into_iter().flat_map(|all| all.keys().cloned()).collect()
}
