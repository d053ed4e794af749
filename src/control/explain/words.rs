//! Settings that are told in a few words: what stands in the files is too much, or secret.

use crate::config::spec::{HeaderEditsSpec, TenantCertificateSpec, TenantSpec};

/// The files of a tenant's certificates, and the names that are written for them; never their keys.
pub(super) fn certificates(tenant: &TenantSpec) -> String {
    let one = |one: &TenantCertificateSpec| {
        let file = one.certificate.display();
        let hosts: Vec<String> = one.hosts.iter().map(ToString::to_string).collect();
        match hosts.is_empty() {
            true => file.to_string(),
            false => format!("{file} for {}", hosts.join(" and ")),
        }
    };
    tenant.certificates().iter().map(one).collect::<Vec<String>>().join(", ")
}

/// How many networks there are.
pub(super) fn networks(count: usize) -> String {
    match count {
        0 => "nobody".to_owned(),
        1 => "1 network".to_owned(),
        count => format!("{count} networks"),
    }
}

/// The names of the fields that are edited: values may be secrets.
pub(super) fn edited(edits: &HeaderEditsSpec) -> String {
    let removed = edits.remove.iter().map(|name| format!("remove {name}"));
    let set = edits.set.iter().map(|(name, _)| format!("set {name}"));
    let added = edits.add.iter().map(|(name, _)| format!("add {name}"));
    removed.chain(set).chain(added).collect::<Vec<_>>().join(", ")
}
