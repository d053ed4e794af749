//! `tenantry diff`: what an edit of the routes would change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use crate::config::leaves::{Leaf, leaves};
use crate::config::secrets::Secrets;
use crate::config::spec::{PoolSpec, RouteSpec, RoutesSpec, SourceSpec};
use crate::config::{self, Known};
use crate::control::stored;
use crate::pool::balancer;

/// Which files.
#[derive(Args, Debug)]
pub(super) struct DiffArgs {
    /// The routes as they are: a file or a folder
    old: PathBuf,
    /// The routes as they would be
    new: PathBuf,
    /// The gateway's `state` folder: the tenants that the API keeps there are compared, too
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// End with 1 where something changes
    #[arg(long)]
    exit_code: bool,
}

/// One value that changes.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Change {
    /// As in `tenants.acme.routes[/billing/*].timeout`.
    key: String,
    /// What is said now; `None` where nothing is.
    old: Option<String>,
    /// What would be said; `None` where nothing would be.
    new: Option<String>,
    /// Where: in the new files, or in the old ones for what is gone.
    place: String,
}

/// What is to be printed, and how the command ends.
pub(super) fn diff(args: &DiffArgs) -> anyhow::Result<(String, ExitCode)> {
    let state = args.state.as_deref();
    let (old, new) = (Version::read(&args.old, state)?, Version::read(&args.new, state)?);
    let changes = changes(&old, &new);
    let text = match (args.json, state) {
        (true, _) => serde_json::to_string_pretty(&changes)? + "\n",
        (false, Some(_)) => text(&changes),
        (false, None) => text(&changes) + LEFT_OUT,
    };
    let differs = args.exit_code && !changes.is_empty();
    Ok((text, if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS }))
}

/// One version of the routes.
struct Version {
    spec: RoutesSpec,
    leaves: BTreeMap<String, Leaf>,
}

impl Version {
    /// With the tenants that the API keeps in a folder beside it.
    fn read(path: &Path, state: Option<&Path>) -> anyhow::Result<Self> {
        let mut files = config::read_routes(path)?;
        if let Some(folder) = state {
            // Who looks in the wrong place would be told that there are none.
            if !folder.is_dir() {
                bail!("--state {} is no folder", folder.display());
            }
            (files, _) = stored::beside(files, folder)?;
        }
        let mut spec = config::check_routes(
            &files,
            &Known { balancers: balancer::names(), keyed: balancer::keyed_names() },
        )?;
        let folder = if path.is_dir() { Some(path) } else { path.parent() };
        if let Some(folder) = folder {
            spec.pools.values_mut().for_each(|pool| as_written(Arc::make_mut(pool), folder));
        }
        // What a gateway masks besides stands in its `gateway.toml`, which is not at hand here.
        Ok(Self { spec, leaves: leaves(&files, &Secrets::default()) })
    }
}

/// Has the paths of a pool start at the folder of the routes again: the two versions may be in two.
fn as_written(pool: &mut PoolSpec, folder: &Path) {
    let relative = |path: &mut PathBuf| {
        if let Ok(own) = path.strip_prefix(folder) {
            *path = own.to_owned();
        }
    };
    for source in &mut pool.sources {
        if let SourceSpec::File(path) = source {
            relative(path);
        }
    }
    let Some(tls) = &mut pool.tls else { return };
    if let Some(ca) = &mut tls.ca {
        relative(&mut ca.path);
    }
    if let Some(identity) = &mut tls.identity {
        relative(&mut identity.certificate);
        relative(&mut identity.key);
    }
}

/// What differs in meaning: an entry that says the same in other words does not.
fn changes(old: &Version, new: &Version) -> Vec<Change> {
    let same = |entry: &(String, String)| {
        let (table, name) = (entry.0.as_str(), entry.1.as_str());
        let (old, new) = (&old.spec, &new.spec);
        match table {
            "tenant" => old.naming == new.naming,
            "pools" => old.pools.get(name) == new.pools.get(name),
            "route-sets" => old.route_sets.get(name) == new.route_sets.get(name),
            "plans" => old.plans.get(name) == new.plans.get(name),
            "tenants" => old.tenants.get(name) == new.tenants.get(name),
            "error-pages" => old.error_pages == new.error_pages,
            _ => false, // what is not known here is told by its words
        }
    };
    let mut changes = Vec::new();
    // Entries that differ in nothing that is written.
    let mut silent = BTreeMap::new();
    for (key, leaf) in &new.leaves {
        if same(&leaf.entry) {
            continue;
        }
        let before = old.leaves.get(key);
        let is_new = before.is_none_or(|before| before.value != leaf.value);
        let told = silent.entry(&leaf.entry).or_insert((true, &leaf.place));
        told.0 &= !is_new;
        if is_new {
            let (key, new) = (key.clone(), Some(leaf.shown().to_owned()));
            let old = before.map(|before| before.shown().to_owned());
            changes.push(Change { key, old, new, place: leaf.place.clone() });
        }
    }
    for (key, leaf) in &old.leaves {
        if !new.leaves.contains_key(key) && !same(&leaf.entry) {
            silent.remove(&leaf.entry);
            let (key, old) = (key.clone(), Some(leaf.shown().to_owned()));
            changes.push(Change { key, old, new: None, place: leaf.place.clone() });
        }
    }
    let silent = silent.into_iter().filter(|(_, (is_silent, _))| *is_silent);
    let mut told = BTreeSet::new();
    for ((table, name), (_, place)) in silent {
        // What follows from another plan is told of that.
        if table == "tenants"
            && new.spec.tenant(name).is_some_and(|now| new.spec.has_another_plan(now, &old.spec))
        {
            continue;
        }
        // Pages for all are one entry, whatever they are for.
        let name = if table == "error-pages" { "" } else { name.as_str() };
        let key = format!("{table}.{name}");
        let key = key.trim_end_matches('.').to_owned();
        if !told.insert(key.clone()) {
            continue;
        }
        // Of routes that are equally specific the first one wins.
        let is_order = is_reordered(routes(&old.spec, table, name), routes(&new.spec, table, name));
        let (before, after) = match is_order {
            true => ("routes in their order", "routes in another order"),
            false => ("files as they are", "files that say something else"),
        };
        let (old, new, place) = (Some(before.into()), Some(after.into()), place.clone());
        changes.push(Change { key, old, new, place });
    }
    changes.sort_by(|left, right| left.key.cmp(&right.key));
    changes
}

fn routes<'s>(spec: &'s RoutesSpec, table: &str, name: &str) -> &'s [RouteSpec] {
    match table {
        "route-sets" => spec.route_sets.get(name).map_or(&[], |set| &set.routes),
        "tenants" => spec.tenant(name).map_or(&[], |tenant| &tenant.routes),
        _ => &[],
    }
}

fn is_reordered(old: &[RouteSpec], new: &[RouteSpec]) -> bool {
    old != new && old.len() == new.len() && old.iter().all(|route| new.contains(route))
}

fn text(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "nothing would change\n".to_owned();
    }
    let mut text = String::new();
    let mut counts = [0; 3];
    for change in changes {
        let Change { key, old, new, place } = change;
        let (at, line) = match (old, new) {
            (Some(old), Some(new)) => (1, format!("~ {key}: {old} -> {new}  ({place})\n")),
            (Some(old), None) => (2, format!("- {key} = {old}  ({place})\n")),
            (None, new) => {
                (0, format!("+ {key} = {}  ({place})\n", new.as_deref().unwrap_or_default()))
            }
        };
        counts[at] += 1;
        text += &line;
    }
    let [added, changed, removed] = counts;
    text + &format!("{added} added, {changed} changed, {removed} removed\n")
}

/// What is told where nobody has said where they are.
const LEFT_OUT: &str =
    "tenants that the API keeps are left out; --state FOLDER compares them, too\n";

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "[pools.a]\nendpoints = [\"10.0.0.1:80\"]\ntimeouts = { total = \"5s\" }\n\
        [pools.b]\nendpoints = [\"10.0.0.2:80\"]\ntimeouts = { total = \"5s\" }\n\
        [tenants.acme]\npool = \"a\"\n[[tenants.acme.routes]]\npath = \"/x\"\npool = \"b\"\n\
        [tenants.gone]\npool = \"a\"\n";

    fn compare(old: &str, new: &str, json: bool) -> (String, bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (old, new) = (path("old.toml", old), path("new.toml", new));
        let (text, code) =
            diff(&DiffArgs { old, new, state: None, json, exit_code: true }).unwrap();
        let text = text.replace(LEFT_OUT, "");
        let text = text.replace(&format!("{}/", folder.path().display()), "");
        (text, code == ExitCode::SUCCESS)
    }

    #[test]
    fn what_changes_is_told_by_key_and_place() {
        let new = OLD
            .replacen("total = \"5s\"", "total = \"7s\"", 1)
            .replacen("[[tenants", "[[tenants.acme.routes]]\npath = \"/new\"\n[[tenants", 1)
            .replace("[tenants.gone]\npool = \"a\"\n", "");

        let (text, same) = compare(OLD, &new, false);

        assert_eq!(
            text,
            "~ pools.a.timeouts.total: \"5s\" -> \"7s\"  (new.toml:3)\n\
             + tenants.acme.routes[/new].path = \"/new\"  (new.toml:10)\n\
             - tenants.gone.pool = \"a\"  (old.toml:13)\n\
             1 added, 1 changed, 1 removed\n"
        );
        assert!(!same);
    }

    #[test]
    fn that_a_secret_changes_is_told_and_no_secret() {
        let header = |value: &str| {
            let field = format!("request-headers.set.Authorization = \"{value}\"\n");
            OLD.replacen("pool = \"b\"\n[tenants.gone]", &format!("{field}[tenants.gone]"), 1)
        };

        let (text, _) = compare(&header("Basic one"), &header("Basic two"), false);
        let (variable, _) = compare(&header("Basic one"), &header("${PATH}"), false);

        let key = "~ tenants.acme.routes[/x].request-headers.set.Authorization: ";
        assert!(text.starts_with(&format!("{key}*** -> ***  (")), "{text}");
        assert!(variable.starts_with(&format!("{key}*** -> \"${{PATH}}\"  (")), "{variable}");
    }

    #[test]
    fn the_same_in_other_words_is_no_change() {
        let new = OLD.replace("\"5s\"", "\"5000ms\"") + "# a comment\n";

        assert_eq!(compare(OLD, &new, false), ("nothing would change\n".to_owned(), true));
        assert_eq!(compare(OLD, &new, true), ("[]\n".to_owned(), true));
    }

    #[test]
    fn routes_in_another_order_are_a_change_where_the_order_decides() {
        let route =
            |name: &str| format!("[[tenants.x.routes]]\nname = \"{name}\"\npath = \"/a\"\n");
        let of = |first, second| {
            format!("{OLD}[tenants.x]\npool = \"a\"\n{}{}", route(first), route(second))
        };
        let conditions = |text: String| {
            text.replacen("path = \"/a\"", "path = \"/a\"\nheaders = { X-A = true }", 1)
                .replace("name = \"2\"\n", "name = \"2\"\nheaders = { X-B = true }\n")
        };
        let old = conditions(of("1", "2"));
        let first = old.find("[[tenants.x").unwrap();
        let second = old.rfind("[[tenants.x").unwrap();
        let new = format!("{}{}{}", &old[..first], &old[second..], &old[first..second]);

        let (text, _) = compare(&old, &new, false);

        let expected =
            "~ tenants.x: routes in their order -> routes in another order  (new.toml:15)\n";
        assert_eq!(text, format!("{expected}0 added, 1 changed, 0 removed\n"));
    }

    #[test]
    fn an_edit_of_a_plan_is_told_of_it_and_not_of_each_of_its_tenants() {
        let plan = |rate: &str| format!("[plans.p]\npool = \"a\"\nlimits.requests = \"{rate}\"\n");
        let tenants = "[tenants.x]\nplan = \"p\"\n[tenants.y]\nplan = \"p\"\n";
        let of = |rate: &str| format!("{OLD}{}{tenants}", plan(rate));

        let (text, _) = compare(&of("5/s"), &of("7/s"), false);

        let expected = "~ plans.p.limits.requests: \"5/s\" -> \"7/s\"  (new.toml:16)\n";
        assert_eq!(text, format!("{expected}0 added, 1 changed, 0 removed\n"));
    }

    #[test]
    fn pages_for_all_are_compared() {
        let page = |text: &str| format!("{OLD}[error-pages.5xx]\nbody = \"{text}\"\n");

        let (text, same) = compare(&page("Sorry"), &page("Back soon"), false);

        assert!(text.starts_with("~ error-pages.5xx.body: \"Sorry\" -> \"Back soon\""), "{text}");
        assert!(!same);
    }

    /// Two folders with the same text differed in all that names a file, as if by another order.
    #[test]
    fn files_that_are_named_are_compared_by_what_they_say() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[error-pages.5xx]\nfile = \"all.html\"\n[pools.a]\nfile = \"list.toml\"\n\
            [tenants.acme]\npool = \"a\"\n[tenants.acme.error-pages.503]\nfile = \"own.html\"\n";
        let version = |name: &str, own: &str, all: &str| {
            let at = folder.path().join(name);
            std::fs::create_dir(&at).unwrap();
            std::fs::write(at.join("routes.toml"), text).unwrap();
            std::fs::write(at.join("own.html"), own).unwrap();
            std::fs::write(at.join("all.html"), all).unwrap();
            at.join("routes.toml")
        };
        let (one, same) = (version("a", "sorry", "oh"), version("b", "sorry", "oh"));
        let other = version("c", "back soon", "no");
        let diff = |old: &Path, new: &Path| {
            let (old, new) = (old.to_owned(), new.to_owned());
            let args = DiffArgs { old, new, state: None, json: false, exit_code: true };
            diff(&args).unwrap().0.replace(LEFT_OUT, "")
        };

        assert_eq!(diff(&one, &same), "nothing would change\n");
        let told = diff(&one, &other);
        let lines: Vec<_> = told.lines().map(|line| line.split("  (").next().unwrap()).collect();
        let files = "files as they are -> files that say something else";
        assert_eq!(
            lines,
            [
                format!("~ error-pages: {files}"),
                format!("~ tenants.acme: {files}"),
                "0 added, 2 changed, 0 removed".to_owned()
            ]
        );
    }

    #[test]
    fn tenants_of_the_api_are_compared_where_their_folder_is_named_and_else_told_to_be_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        stored::keep(&state, "kept", "a").unwrap();
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let old = path("old.toml", OLD);
        let told = |text: &str, state: Option<&Path>| {
            let (old, new, state) = (old.clone(), path("new.toml", text), state.map(Into::into));
            let told = diff(&DiffArgs { old, new, state, json: false, exit_code: false });
            told.map(|(text, _)| text).map_err(|error| error.to_string())
        };

        // The file's takes the place of the API's.
        let filed = format!("{OLD}[tenants.kept]\npool = \"b\"\n");
        let with = told(&filed, Some(&state)).unwrap();
        assert!(with.starts_with("~ tenants.kept.pool: \"a\" -> \"b\""), "{with}");
        let without = told(&filed, None).unwrap();
        assert!(without.starts_with("+ tenants.kept.pool = \"b\""), "{without}");
        assert!(without.ends_with(LEFT_OUT) && !with.contains("left out"), "{without}");
        assert!(told(OLD, Some(&state)).unwrap().starts_with("nothing would change"));
        // What the API's needs is told before it is gone.
        let without_a = OLD.replace("[pools.a]", "[pools.c]").replace("\"a\"", "\"b\"");
        assert!(told(&without_a, None).is_ok());
        let error = told(&without_a, Some(&state)).unwrap_err();
        assert!(error.contains("api:tenants/kept") && error.contains("\"a\""), "{error}");
        assert!(told(OLD, Some(Path::new("/none"))).unwrap_err().contains("is no folder"));
    }

    #[test]
    fn for_machines_it_is_json() {
        let (json, _) = compare(OLD, &OLD.replacen("\"5s\"", "\"7s\"", 1), true);

        let list: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0]["old"], "\"5s\"");
        assert_eq!(list[0]["place"], "new.toml:3");
    }

    #[test]
    fn broken_routes_are_not_compared() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("old.toml");
        std::fs::write(&old, "[tenants.a]\npool = \"none\"\n").unwrap();
        let (new, state) = (old.clone(), None);
        let args = DiffArgs { old, new, state, json: false, exit_code: false };

        let error = diff(&args).unwrap_err().to_string();

        assert!(error.contains("old.toml:2:8: tenants.a.pool"), "{error}");
    }
}
