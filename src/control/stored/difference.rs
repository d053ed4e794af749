//! What a change makes otherwise: values of the table, and routes.

use std::collections::BTreeMap;

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

/// The values of a tenant that are others.
pub(super) fn values(
    id: &TenantId,
    before: Option<&Entry>,
    now: Option<&Entry>,
) -> Vec<ValueChange> {
    let table = places::key(&["tenants", id.as_str()]) + ".";
    let said = |entry: Option<&Entry>| -> BTreeMap<String, String> {
        let files = entry.map(|entry| Files::of_text(&*entry.file.path, &entry.file.text));
        let leaves = files.map(|files| leaves::leaves(&files)).unwrap_or_default();
        let own = |(key, leaf): (String, leaves::Leaf)| {
            let key = key.strip_prefix(&table).map(ToOwned::to_owned)?;
            Some((key, leaf.value.replace("$${", "${")))
        };
        leaves.into_iter().filter_map(own).collect()
    };
    let (before, now) = (said(before), said(now));
    let mut changes: Vec<ValueChange> = before
        .iter()
        .filter(|(key, value)| now.get(*key) != Some(value))
        .map(|(key, value)| ValueChange {
            key: key.clone(),
            before: Some(value.clone()),
            now: now.get(key).cloned(),
        })
        .collect();
    let new = now.into_iter().filter(|(key, _)| !before.contains_key(key));
    changes.extend(new.map(|(key, value)| ValueChange { key, before: None, now: Some(value) }));
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
