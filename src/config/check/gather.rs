//! Reads every file of the routes and merges them: who defines what, and who does so twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::base::stretch::Stretch;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{
    At, ErrorPages, Identity, Naming, Plan, Pool, RouteSet, RoutesRest, Tenant,
};
use crate::config::substitute::{Lookup, substitute};
use crate::config::tree::{Node, parse, read, take_entries};

/// A named table of one of the files.
pub(super) struct Entry<T> {
    /// Index of the file.
    pub(super) file: usize,
    /// First byte of its name.
    pub(super) at: usize,
    /// What it says; `None` when nothing of it could be read.
    pub(super) raw: Option<T>,
}

/// Named tables of all files.
pub(super) type Entries<T> = BTreeMap<Arc<str>, Entry<T>>;

/// All files' words.
#[derive(Default)]
pub(super) struct Gathered {
    /// The naming and the index of its file.
    pub(super) naming: Option<(usize, At<Naming>)>,
    /// How clients show who they are, and the index of its file.
    pub(super) identity: Option<(usize, At<Identity>)>,
    /// The pages for all tenants and the index of their file.
    pub(super) error_pages: Option<(usize, At<ErrorPages>)>,
    /// Pools by name.
    pub(super) pools: Entries<Pool>,
    /// Route sets by name.
    pub(super) route_sets: Entries<RouteSet>,
    /// Plans by name.
    pub(super) plans: Entries<Plan>,
    /// Tenants by id.
    pub(super) tenants: Entries<Tenant>,
}

/// Reads and merges the files, of which these are the texts.
pub(super) fn gather<'t>(
    texts: impl Iterator<Item = &'t str>,
    lookup: Lookup<'_>,
    faults: &mut Faults<'_>,
) -> Gathered {
    let mut all = Gathered::default();
    for (index, text) in texts.enumerate() {
        let Some(mut root) = parse(text, index, faults) else { continue };
        let key = Key::root(index);
        substitute(&mut root, &key, lookup, faults);
        merge(&mut root, "pools", &key, &mut all.pools, faults);
        merge(&mut root, "route-sets", &key, &mut all.route_sets, faults);
        merge(&mut root, "plans", &key, &mut all.plans, faults);
        merge(&mut root, "tenants", &key, &mut all.tenants, faults);
        let Some(rest) = read::<RoutesRest>(root, &key, faults) else { continue };
        once(rest.tenant, "tenant", &key, &mut all.naming, faults);
        once(rest.identity, "identity", &key, &mut all.identity, faults);
        once(rest.error_pages, "error-pages", &key, &mut all.error_pages, faults);
    }
    all
}

/// Keeps a table that only one of the files may have.
fn once<T>(
    found: Option<At<T>>,
    table: &str,
    key: &Key<'_>,
    kept: &mut Option<(usize, At<T>)>,
    faults: &mut Faults<'_>,
) {
    match (found, &kept) {
        (Some(found), None) => *kept = Some((key.file, found)),
        (Some(found), Some((first, other))) => {
            let hint = format!("it is there already: {}", faults.place(*first, other.start));
            let what = format!("the table [{table}] is in two files");
            faults.add(&key.name(table), found.start, what, Some(hint));
        }
        (None, _) => {}
    }
}

fn merge<T: DeserializeOwned>(
    root: &mut Node<'_>,
    table: &'static str,
    key: &Key<'_>,
    all: &mut Entries<T>,
    faults: &mut Faults<'_>,
) {
    let Some(entries) = take_entries(root, table) else { return };
    let key = key.name(table);
    let stretch = Stretch::begin();
    for (name, node) in entries {
        stretch.step();
        let at = name.span().start;
        let name: Arc<str> = Arc::from(name.get_ref().as_ref());
        let key = key.name(&name);
        if let Some(first) = all.get(&name) {
            faults.note_between();
            if !faults.is_full(key.file) {
                let hint = format!("it is there already: {}", faults.place(first.file, first.at));
                faults.add(&key, at, "is defined in two files", Some(hint));
            }
            continue;
        }
        let raw = read(node, &key, faults);
        let file = key.file;
        all.insert(name, Entry { file, at, raw });
    }
}
