//! The tenants' ids and hosts as one text, for a search that reads it from end to end: a hundred
//! thousand of them in less than a millisecond.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use memchr::memmem::Finder;

use crate::config::spec::{
    HostSpec, NameFrom, RouteSetSpec, RouteSpec, RoutesSpec, TenantSpec, TenantState,
};
use crate::routing::table::Table;

/// The tenants of one generation, in the order of their ids. It holds nothing of the table, so
/// that it keeps no old one alive.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) generation: u64,
    pub(super) rows: Vec<Row>,
    /// The ids as they are written, one after the other.
    ids: String,
    /// A line for each: id and hosts in lower case, each with a tab behind it.
    text: String,
}

/// One tenant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) slot: u32,
    pub(super) state: TenantState,
    id: u32,
    line: u32,
}

impl Index {
    /// Of the tenants of `spec` that `table` was made from.
    pub(super) fn new(spec: &RoutesSpec, table: &Table) -> Self {
        let mut index = Self {
            generation: table.generation,
            rows: Vec::with_capacity(spec.tenants.len()),
            ids: String::new(),
            text: String::new(),
        };
        let hosts = Hosts::new(spec);
        for (id, tenant) in &spec.tenants {
            // None is missing: the table was made from these.
            let Some(live) = table.tenant(id.as_str()) else { continue };
            let at = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX);
            let (slot, state) = (live.label().slot, tenant.state);
            index.rows.push(Row { slot, state, id: at(&index.ids), line: at(&index.text) });
            index.ids.push_str(id.as_str());
            let lower = id.as_str().to_ascii_lowercase();
            for text in std::iter::once(lower).chain(hosts.of(id.as_str(), tenant)) {
                index.text.push_str(&text);
                index.text.push('\t');
            }
            index.text.push('\n');
        }
        index
    }

    /// The id of the tenant at this place.
    pub(super) fn id(&self, place: usize) -> &str {
        let start = |place: usize| self.rows.get(place).map(|row| row.id as usize);
        let end = start(place + 1).unwrap_or(self.ids.len());
        start(place).and_then(|start| self.ids.get(start..end)).unwrap_or_default()
    }

    /// The place of the tenant with this id, or where it would be.
    pub(super) fn place(&self, id: &str) -> Result<usize, usize> {
        let mut places = 0..self.rows.len();
        while !places.is_empty() {
            let middle = places.start + places.len() / 2;
            match self.id(middle).cmp(id) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => places.start = middle + 1,
                std::cmp::Ordering::Greater => places.end = middle,
            }
        }
        Err(places.start)
    }

    /// The places of the tenants that have this text in their id or in a host, in any case.
    pub(super) fn search(&self, text: &str) -> Vec<usize> {
        if text.is_empty() {
            return (0..self.rows.len()).collect();
        }
        if text.contains(['\t', '\n']) {
            return Vec::new();
        }
        let text = text.to_ascii_lowercase();
        let finder = Finder::new(&text);
        let (mut found, mut from) = (Vec::new(), 0);
        while let Some(at) = self.text.as_bytes().get(from..).and_then(|rest| finder.find(rest)) {
            let at = from + at;
            let next = self.rows.partition_point(|row| row.line as usize <= at);
            found.push(next - 1);
            from = match self.rows.get(next) {
                Some(row) => row.line as usize,
                None => break,
            };
        }
        found
    }
}

/// The hosts that tenants are reached by: those that name them, those of their routes and those of
/// the route sets that they use. At most [`HOSTS`] each.
#[derive(Debug)]
pub(super) struct Hosts<'s> {
    spec: &'s RoutesSpec,
    /// Many tenants use the same sets: each is read once.
    sets: BTreeMap<&'s str, BTreeSet<String>>,
}

impl<'s> Hosts<'s> {
    /// Of the tenants of `spec`.
    pub(super) fn new(spec: &'s RoutesSpec) -> Self {
        let sets = spec.route_sets.iter();
        let of_set = |(name, set): (&'s Arc<str>, &'s Arc<RouteSetSpec>)| {
            (name.as_ref(), bounded(set.routes.iter().filter_map(host)))
        };
        Self { spec, sets: sets.map(of_set).collect() }
    }

    /// Those of one tenant, in lower case and in order.
    pub(super) fn of(&self, id: &str, tenant: &TenantSpec) -> BTreeSet<String> {
        let naming = self.spec.naming.from.iter().filter_map(|way| match way {
            NameFrom::Host { prefix, suffix } => Some(format!("{prefix}{id}{suffix}")),
            _ => None,
        });
        let sets = tenant.route_sets.iter().filter_map(|name| self.sets.get(name.as_ref()));
        let domains = tenant.domains().iter().map(text);
        let own = tenant.routes.iter().filter_map(host);
        bounded(naming.chain(domains).chain(own).chain(sets.flatten().cloned()))
    }
}

fn bounded(hosts: impl Iterator<Item = String>) -> BTreeSet<String> {
    let mut bounded = BTreeSet::new();
    for host in hosts {
        if bounded.len() >= HOSTS {
            break;
        }
        bounded.insert(host.to_ascii_lowercase());
    }
    bounded
}

fn host(route: &RouteSpec) -> Option<String> {
    route.host.as_ref().map(text)
}

fn text(host: &HostSpec) -> String {
    match host {
        HostSpec::Exact(host) => host.clone(),
        HostSpec::Below(host) => format!("*.{host}"),
    }
}

/// 64: a set of many hosts that all tenants use must not be written for each of them.
const HOSTS: usize = 64;
