//! What a change makes otherwise: values of the table, and routes.

use std::collections::BTreeMap;

use crate::config::leaves::Leaf;
use crate::config::secrets::Secrets;
use crate::config::spec::{RouteSpec, TenantSpec};
use crate::config::{Files, leaves, places};
use crate::model::ids::TenantId;

use super::Entry;

/// One value that is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueChange {
    /// As in `routes[/billing/*].timeout`.
    pub key: String,
    /// As it was; `None` = it was not there.
    pub before: Option<String>,
    /// As it is; `None` = it is not there.
    pub now: Option<String>,
}

/// Routes by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteChanges {
    /// New ones.
    pub added: Vec<String>,
    /// Those that do something else.
    pub changed: Vec<String>,
    /// Those that are gone.
    pub removed: Vec<String>,
}

/// The values of a tenant that are others; what is among `secrets` is not told.
pub(super) fn values(
    (id, secrets): (&TenantId, &Secrets),
    before: Option<&Entry>,
    now: Option<&Entry>,
) -> Vec<ValueChange> {
    let table = places::key(&["tenants", id.as_str()]) + ".";
    let said = |entry: Option<&Entry>| -> BTreeMap<String, Leaf> {
        let files = entry.map(|entry| Files::of_text(&*entry.file.path, &entry.file.text));
        let leaves = files.map(|files| leaves::leaves(&files, secrets)).unwrap_or_default();
        let own = leaves.into_iter();
        own.filter_map(|(key, leaf)| Some((key.strip_prefix(&table)?.to_owned(), leaf))).collect()
    };
    let told = |leaf: &Leaf| leaf.shown().replace("$${", "${");
    let (before, now) = (said(before), said(now));
    let is_same = |key: &str, leaf: &Leaf| now.get(key).is_some_and(|now| now.value == leaf.value);
    let mut changes: Vec<ValueChange> = before
        .iter()
        .filter(|(key, leaf)| !is_same(key, leaf))
        .map(|(key, leaf)| ValueChange {
            key: key.clone(),
            before: Some(told(leaf)),
            now: now.get(key).map(told),
        })
        .collect();
    let new = now.iter().filter(|(key, _)| !before.contains_key(*key));
    changes.extend(new.map(|(key, leaf)| ValueChange {
        key: key.clone(),
        before: None,
        now: Some(told(leaf)),
    }));
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    changes
}

/// The routes of a tenant that are others. Those of one name are told once.
pub(super) fn routes(before: Option<&TenantSpec>, now: Option<&TenantSpec>) -> RouteChanges {
    let by_name = |tenant: Option<&TenantSpec>| {
        let mut routes: BTreeMap<String, Vec<RouteSpec>> = BTreeMap::new();
        for route in tenant.iter().flat_map(|tenant| tenant.routes.iter()) {
            routes.entry(route.name.to_string()).or_default().push(route.clone());
        }
        routes
    };
    let (before, now) = (by_name(before), by_name(now));
    let mut changes = RouteChanges::default();
    for (name, routes) in &now {
        match before.get(name) {
            None => changes.added.push(name.clone()),
            Some(old) if old != routes => changes.changed.push(name.clone()),
            Some(_) => {}
        }
    }
    let gone = before.into_keys().filter(|name| !now.contains_key(name));
    changes.removed.extend(gone);
    changes
}
