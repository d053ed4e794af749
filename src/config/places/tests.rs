//! What is found in pieces is what is found in the whole.

use std::fs;
use std::path::Path;

use super::*;
use crate::config::lines::Lines;

fn lines(files: &Files, wanted: &[Steps]) -> Vec<Option<String>> {
    Places::of(files).find(files, wanted)
}

/// The ways to all values of a table, tables and lists among them.
fn all_of(table: &DeTable<'_>, above: &[Step], all: &mut Vec<Steps>) {
    for (name, value) in table {
        let way = [above, &[Step::Name(Arc::from(name.get_ref().as_ref()))]].concat();
        all_of_value(value.get_ref(), way, all);
    }
}

fn all_of_value(value: &DeValue<'_>, way: Steps, all: &mut Vec<Steps>) {
    match value {
        DeValue::Table(table) => all_of(table, &way, all),
        DeValue::Array(array) => {
            for (index, element) in array.iter().enumerate() {
                let way = [&way[..], &[Step::Index(index)]].concat();
                all_of_value(element.get_ref(), way, all);
            }
        }
        _ => {}
    }
    if way.len() > 1 {
        all.push(way);
    }
}

/// Asserts that each value of a text is found alone, and that all are found together, where they are
/// found in the whole of it. Tells how many there are.
fn check(text: &str) -> usize {
    let table = DeTable::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let mut wanted = Vec::new();
    all_of(table.get_ref(), &[], &mut wanted);
    let line = |at: usize| format!("r.toml:{}", Lines::of(text).place(at).0);
    let expected: Vec<Option<String>> =
        wanted.iter().map(|steps| walk(table.get_ref(), steps).map(line)).collect();
    let files = Files::of_text("r.toml", text);
    let places = Places::of(&files);

    assert_eq!(places.find(&files, &wanted), expected, "{text}");
    for (steps, expected) in wanted.iter().zip(&expected) {
        let found = places.find(&files, std::slice::from_ref(steps));
        assert_eq!(found, std::slice::from_ref(expected), "{steps:?} in {text}");
    }
    wanted.len()
}

#[test]
fn what_is_found_in_pieces_is_what_is_found_in_the_whole() {
    for text in [
        "",
        "# nothing\n",
        "a.b.c = 1\na.d = 2\nx = { y = { z = 3 } }",
        "[tenants]\na = { pool = \"x\" }\nb.pool = \"y\" # [tenants.c]\nb.state = \"z\"\n[tenants.c]\npool = 1\n",
        "[tenants.a]\ntext = \"\"\"\n[tenants.b]\npool = 1\n\"\"\"\nx = '''\n\n[pools.c]\n'''\n[tenants.b]\ny = 2\n",
        "[tenants . \"a.b\" ]\nx = 1\n[tenants.'a b']\nx = 2\n[tenants.\"\\u00e4\"]\nx = 3\n",
        "[[tenants.a.routes]]\np = 1\n[pools.b]\nx = [\n  1, # one ]\n  { y = 2 },\n]\n[[tenants.a.routes]]\np = 2\n[tenants.a.routes.q]\nr = 3\n[tenants.a.log]\ns = 4\n",
        "\u{feff}[pools.a]\r\nx = 1\r\n\r\n  [pools.b]\r\n  y = 2\r\n",
        "[[listeners]]\naddress = 1\n[listeners.tls]\ncert = 2\n[[listeners]]\naddress = 3\n[drain]\naccept = 4\n",
        "[pools.a]\nx = 1\n[pools.b]\nx = 1\n[pools.a.y]\nz = 1 # the end has no line break",
        "[a]\n[a.b]\n[a.b.c]\nd = 1\n[a.e]\n",
    ] {
        check(text);
    }
}

#[test]
fn every_file_that_comes_along_is_split_as_it_should_be() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut values = 0;
    for folder in ["config", "config/examples", "tests/config", "deploy/config"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let is_toml = path.extension().is_some_and(|ending| ending == "toml");
            let Ok(text) = fs::read_to_string(&path) else { continue };
            if is_toml && DeTable::parse(&text).is_ok() {
                values += check(&text);
            }
        }
    }
    assert!(values > 1000, "only {values} values were looked for");
}

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
    let timeout = names(&["pools", "a", "timeouts", "total"]);

    let wanted = [timeout, names(&["pools", "b"]), route(0), route(1), path, route(2)];
    let found = lines(&files, &wanted);

    let found: Vec<Option<&str>> = found.iter().map(Option::as_deref).collect();
    let expected =
        [Some("r.toml:3"), None, Some("r.toml:6"), Some("r.toml:8"), Some("r.toml:9"), None];
    assert_eq!(found, expected);
}

#[test]
fn a_folder_is_looked_through_file_by_file() {
    let mut files = Files::of_text("a.toml", "[pools.a]\n");
    files
        .files
        .insert(Files::of_text("b.toml", "# two\n[pools.b]\n").files.nth(0).unwrap().clone());

    let found = lines(&files, &[names(&["pools", "b"]), names(&["pools", "a"])]);

    assert_eq!(found, [Some("b.toml:2".to_owned()), Some("a.toml:1".to_owned())]);
}

#[test]
fn what_is_read_for_an_entry_does_not_grow_with_the_others() {
    let entry = |number: u32| {
        format!("[tenants.t{number}]\npool = \"a\"\n[[tenants.t{number}.routes]]\npath = \"/\"\n")
    };
    let all = |count: u32| {
        let text: String = (0..count).map(entry).collect();
        Files::of_text("r.toml", &text)
    };
    let read = |files: &Files| {
        let places = Places::of(files);
        let own = Entry::of("tenants", Some("t7"));
        let pieces: Vec<&Piece> = places.pieces.iter().filter(|one| one.entry == own).collect();
        Part::of(files.files.nth(0).unwrap(), pieces.into_iter()).text
    };

    assert_eq!(read(&all(10)), entry(7));
    assert_eq!(read(&all(1000)), entry(7));
}
