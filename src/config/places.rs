//! Where the files say what they say, by key: for whoever asks where a value comes from.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::files::Files;
use super::key::push_name;
use super::lines::Lines;
use super::problem::Place;

/// One step from a table or an array to what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A key of a table.
    Name(Arc<str>),
    /// An element of an array, from 0.
    Index(usize),
}

/// The way to a value, as in `pools`, `shop`, `timeouts`, `total`.
pub type Steps = Vec<Step>;

/// Steps that are names alone.
pub fn names(names: &[&str]) -> Steps {
    names.iter().map(|name| Step::Name(Arc::from(*name))).collect()
}

/// Where each of these values is, as `file:line`; `None` for what no file says. Each file is read
/// through once.
pub fn find(files: &Files, wanted: &[Steps]) -> Vec<Option<String>> {
    let mut found = vec![None; wanted.len()];
    for file in &files.files {
        let text = file.text.as_ref();
        let Ok(table) = DeTable::parse(text) else { continue };
        let at: Vec<Option<usize>> =
            wanted.iter().map(|steps| walk(table.get_ref(), steps)).collect();
        if at.iter().all(Option::is_none) {
            continue;
        }
        let lines = Lines::of(text);
        for (found, at) in found.iter_mut().zip(at) {
            let place = |at: usize| format!("{}:{}", file.path.display(), lines.place(at).0);
            *found = found.take().or_else(|| at.map(place));
        }
    }
    found
}

/// The place of the key that these names lead to; the start of the files where none says it.
pub fn place(files: &Files, path: &[&str]) -> Place {
    let steps = names(path);
    let mut key = String::new();
    path.iter().for_each(|name| push_name(&mut key, name));
    let found = files.files.iter().find_map(|file| {
        let at = walk(DeTable::parse(&file.text).ok()?.get_ref(), &steps)?;
        Some((file, Lines::of(&file.text).place(at)))
    });
    let (path, (line, column)) = found.map_or((&files.root, (1, 1)), |(file, at)| (&file.path, at));
    Place { file: path.display().to_string().into(), line, column, key }
}

/// The byte at which the value's key stands, or the element itself.
fn walk(root: &DeTable<'_>, steps: &[Step]) -> Option<usize> {
    let (Step::Name(name), rest) = steps.split_first()? else { return None };
    let (key, value) = root.get_key_value(name.as_ref())?;
    rest.iter()
        .try_fold((key.span().start, value), |(_, value), step| next(value, step))
        .map(|(at, _)| at)
}

fn next<'v, 't>(
    value: &'v Spanned<DeValue<'t>>,
    step: &Step,
) -> Option<(usize, &'v Spanned<DeValue<'t>>)> {
    match (value.get_ref(), step) {
        (DeValue::Table(table), Step::Name(name)) => {
            let (key, value) = table.get_key_value(name.as_ref())?;
            Some((key.span().start, value))
        }
        (DeValue::Array(array), Step::Index(index)) => {
            let value = array.get(*index)?;
            Some((value.span().start, value))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_place_where_it_stands_or_the_start_of_the_files() {
        let files = Files::of_text("r.toml", "# first\n[pools.\"a.b\"]\n  tls = true\n");
        let told = |path: &[&str]| {
            let Place { file, line, column, key } = place(&files, path);
            format!("{file}:{line}:{column}: {key}")
        };

        assert_eq!(told(&["pools", "a.b", "tls"]), "r.toml:3:3: pools.\"a.b\".tls");
        assert_eq!(told(&["pools", "c"]), "r.toml:1:1: pools.c");
    }

    #[test]
    fn a_value_is_found_in_the_file_and_line_of_its_key() {
        let text = "[pools.a]\nendpoints = []\ntimeouts = { total = \"5s\" }\n\n\
                    [tenants.x]\n[[tenants.x.routes]]\npath = \"/a\"\n[[tenants.x.routes]]\npath = \"/b\"\n";
        let files = Files::of_text("r.toml", text);
        let route = |index| {
            let mut steps = names(&["tenants", "x", "routes"]);
            steps.push(Step::Index(index));
            steps
        };
        let mut path = route(1);
        path.extend(names(&["path"]));

        let found = find(
            &files,
            &[
                names(&["pools", "a", "timeouts", "total"]),
                names(&["pools", "b"]),
                route(0),
                route(1),
                path,
                route(2),
            ],
        );

        let lines: Vec<Option<&str>> = found.iter().map(Option::as_deref).collect();
        let expected =
            [Some("r.toml:3"), None, Some("r.toml:6"), Some("r.toml:8"), Some("r.toml:9"), None];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_folder_is_looked_through_file_by_file() {
        let mut files = Files::of_text("a.toml", "[pools.a]\n");
        files.files.extend(Files::of_text("b.toml", "# two\n[pools.b]\n").files);

        let found = find(&files, &[names(&["pools", "b"]), names(&["pools", "a"])]);

        assert_eq!(found, [Some("b.toml:2".to_owned()), Some("a.toml:1".to_owned())]);
    }
}
