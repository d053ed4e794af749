//! What the documents say exists: links, files, and the README's configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn every_link_leads_to_a_file() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).expect("read a document");
        let folder = document.parent().expect("a document's folder");
        for link in links(&text) {
            if !folder.join(link).exists() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }

    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_file_that_the_architecture_names_is_there() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("read ARCHITECTURE.md");

    let missing: Vec<&str> = paths(&text)
        .into_iter()
        .filter(|path| !root().join("src").join(path).exists() && !root().join(path).exists())
        .collect();

    assert!(missing.is_empty(), "named in ARCHITECTURE.md and not there: {missing:?}");
}

#[test]
fn the_readme_s_configuration_passes_the_check() {
    let text = fs::read_to_string(root().join("README.md")).expect("read README.md");
    let blocks = blocks(&text, "toml");
    let [gateway, routes] = blocks.as_slice() else {
        panic!("the README shows gateway.toml, then routes.toml; found {} blocks", blocks.len());
    };
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("gateway.toml"), gateway).expect("write gateway.toml");
    fs::write(folder.path().join("routes.toml"), routes).expect("write routes.toml");

    let checked = Command::new(env!("CARGO_BIN_EXE_tenantry"))
        .arg("check")
        .arg("--config")
        .arg(folder.path().join("gateway.toml"))
        .output()
        .expect("run the check");

    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
}

#[test]
fn every_test_that_the_table_of_duties_names_exists() {
    let text = fs::read_to_string(root().join("docs/http.md")).expect("read docs/http.md");
    let named = tests_named(&text);

    let missing: Vec<&str> = named.iter().copied().filter(|name| !is_a_test(name)).collect();

    assert!(named.len() > 80, "the table has lost its rows: {} are left", named.len());
    assert!(missing.is_empty(), "named in docs/http.md and no test: {missing:#?}");
}

#[test]
fn every_test_that_the_duties_of_http2_name_exists() {
    let text = fs::read_to_string(root().join("docs/http2.md")).expect("read docs/http2.md");
    let quoted = text.split('`').skip(1).step_by(2);
    let named: Vec<&str> = quoted.filter(|text| text.contains("::")).collect();

    let exists = |name: &&str| is_a_test(name) || is_a_test(&format!("http2::{name}"));
    let missing: Vec<&str> = named.iter().copied().filter(|name| !exists(name)).collect();

    assert!(named.len() > 20, "the table has lost its rows: {} are left", named.len());
    assert!(missing.is_empty(), "named in docs/http2.md and no test: {missing:#?}");
}

#[test]
fn every_test_that_the_limits_name_exists() {
    let text = fs::read_to_string(root().join("docs/limits.md")).expect("read docs/limits.md");
    let quoted = text.split('`').skip(1).step_by(2);
    let named: Vec<&str> = quoted.filter(|text| text.contains("::")).collect();

    let missing: Vec<&str> = named.iter().copied().filter(|name| !is_a_test(name)).collect();

    assert!(named.len() > 20, "the tables have lost their rows: {} are left", named.len());
    assert!(missing.is_empty(), "named in docs/limits.md and no test: {missing:#?}");
}

#[test]
fn every_test_that_the_mistakes_name_exists() {
    let text = fs::read_to_string(root().join("docs/mistakes.md")).expect("read docs/mistakes.md");
    let quoted = text.split('`').skip(1).step_by(2);
    let named: Vec<&str> = quoted.filter(|text| text.contains("::")).collect();

    let missing: Vec<&str> = named.iter().copied().filter(|name| !is_a_test(name)).collect();

    assert!(named.len() > 9, "the table has lost its rows: {} are left", named.len());
    assert!(missing.is_empty(), "named in docs/mistakes.md and no test: {missing:#?}");
}

#[test]
fn every_limit_of_a_client_has_its_row() {
    let text = fs::read_to_string(root().join("docs/limits.md")).expect("read docs/limits.md");
    let schema = root().join("config/schema/gateway.schema.json");
    let schema = fs::read_to_string(schema).expect("read the schema");
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("a schema");

    let keys = schema["$defs"]["Downstream"]["properties"].as_object().expect("the keys");
    let missing: Vec<&String> =
        keys.keys().filter(|key| !text.contains(&format!("`{key}`"))).collect();

    assert!(keys.len() > 10 && missing.is_empty(), "not in docs/limits.md: {missing:?}");
}

/// The last cell of each row of a table that begins with a section.
fn tests_named(text: &str) -> Vec<&str> {
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| §"));
    let cells = rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next());
    cells.map(|cell| cell.trim_matches('`')).collect()
}

/// Whether `folder::file::name` is a test: beside the code where its file is below `src`.
fn is_a_test(name: &str) -> bool {
    let Some((file, name)) = name.rsplit_once("::") else {
        return false;
    };
    let file = file.replace("::", "/");
    let places = ["tests/it", "tests/e2e", "src"].map(|folder| root().join(folder).join(&file));
    let files = places.iter().flat_map(|place| {
        [place.with_extension("rs"), place.join("mod.rs"), place.join("tests.rs")]
    });
    files.filter_map(|file| fs::read_to_string(file).ok()).any(|text| {
        text.split(&format!("fn {name}(")).next().is_some_and(|before| {
            let above = before.trim_end_matches("async ").trim_end();
            let mark = above.lines().next_back().unwrap_or_default().trim();
            before.len() < text.len() && matches!(mark, "#[test]" | "#[tokio::test]")
        })
    })
}

/// The targets of `](…)` that are files: no addresses, no anchors.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|link| !link.is_empty() && !link.contains("://"))
        .collect()
}

/// The words in `code` that are paths: with a slash or the ending of a Rust file.
fn paths(text: &str) -> Vec<&str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| !word.starts_with('/') && !word.contains([' ', '\n', ':']))
        .filter(|word| word.contains('/') || word.ends_with(".rs"))
        .collect()
}

/// The fenced blocks of one language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let folders = ["", "docs", "docs/configuration", "docs/deploy", "certs", "config", "benches"];
    let folders = folders.map(|folder| root().join(folder));
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let files = entries.flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// Each reader reads what it should.
mod readers {
    use super::*;

    #[test]
    fn links_to_files_are_found_and_others_are_not() {
        let text = "[a](docs/a.md) [b](https://example.com) [c](#part) [d](d.md#part)";

        assert_eq!(links(text), ["docs/a.md", "d.md"]);
    }

    #[test]
    fn paths_are_told_from_other_code() {
        let text = "see `proxy/mod.rs` and `lib.rs`, not `GET /x`, `/metrics` or `model::ids`";

        assert_eq!(paths(text), ["proxy/mod.rs", "lib.rs"]);
    }

    #[test]
    fn the_test_of_a_row_is_its_last_cell() {
        let text = "| § | Duty | Test |\n|---|---|---|\n| 1 | a `b` | `c::d` |\ntext | `e`\n";

        assert_eq!(tests_named(text), ["c::d"]);
        assert!(is_a_test("smuggling::a_connect_is_refused_in_http2_too"));
        assert!(!is_a_test("smuggling::saw_smuggled") && !is_a_test("smuggling::nothing"));
    }

    #[test]
    fn blocks_of_a_language_are_found() {
        let text = "```toml\na = 1\n```\n```sh\nls\n```\n```toml\nb = 2\n```";

        assert_eq!(blocks(text, "toml"), ["a = 1\n", "b = 2\n"]);
    }
}
