//! Reads every file of the routes and merges them: who defines what, and who does so twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::config::faults::Faults;
use crate::config::files::Files;
use crate::config::key::Key;
use crate::config::raw::{At, Naming, Pool, RouteSet, RoutesRest, Tenant};
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
    /// Pools by name.
    pub(super) pools: Entries<Pool>,
    /// Route sets by name.
    pub(super) route_sets: Entries<RouteSet>,
    /// Tenants by id.
    pub(super) tenants: Entries<Tenant>,
}

/// Reads and merges the files.
pub(super) fn gather(files: &Files, lookup: Lookup<'_>, faults: &mut Faults<'_>) -> Gathered {
    let mut all = Gathered::default();
    for (index, file) in files.files.iter().enumerate() {
        let Some(mut root) = parse(&file.text, index, faults) else { continue };
        let key = Key::root(index);
        substitute(&mut root, &key, lookup, faults);
        merge(&mut root, "pools", &key, &mut all.pools, faults);
        merge(&mut root, "route-sets", &key, &mut all.route_sets, faults);
        merge(&mut root, "tenants", &key, &mut all.tenants, faults);
        let naming = read::<RoutesRest>(root, &key, faults).and_then(|rest| rest.tenant);
        match (naming, &all.naming) {
            (Some(naming), None) => all.naming = Some((index, naming)),
            (Some(naming), Some((first, other))) => {
                let hint = format!("it is there already: {}", faults.place(*first, other.start));
                let what = "the table [tenant] is in two files";
                faults.add(&key.name("tenant"), naming.start, what, Some(hint));
            }
            (None, _) => {}
        }
    }
    all
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
    for (name, node) in entries {
        let at = name.span().start;
        let name: Arc<str> = Arc::from(name.get_ref().as_ref());
        let key = key.name(&name);
        if let Some(first) = all.get(&name) {
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
