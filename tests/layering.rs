//! The house rules that a compiler does not check: who may import whom, who may spawn, how large a
//! file gets. Each rule is a function over text with its own tests, so that it is known to fail.

#![expect(clippy::expect_used, reason = "a test that cannot read the tree has nothing to say")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Top floor first. Folders on one line are siblings and never import each other.
const FLOORS: &[&[&str]] = &[
    &["cli"],
    &["app"],
    &["admin"],
    &["proxy", "control"],
    &["routing"],
    &["pool", "discovery", "health", "resilience", "limits", "auth", "export"],
    &["upstream"],
    &["tls", "http1", "http2"],
    &["config", "telemetry"],
    &["model"],
    &["base"],
];

/// Who may start a task or a thread, and by which word. A path that ends in `/` is a folder.
const SPAWNERS: &[(&str, &str)] = &[
    ("base/tasks.rs", "JoinSet"),
    ("base/tasks.rs", "spawn_blocking"),
    ("app/workers.rs", "thread::Builder"),
    ("telemetry/", "thread::Builder"),
    ("control/", "spawn_blocking"),
    ("admin/dashboard/watchers.rs", "spawn_blocking"),
    ("admin/reply.rs", "spawn_blocking"),
];

/// Lines of code, without comments, blank lines and tests.
const LONGEST_FILE: usize = 400;

/// The only place that dependencies come from.
const CANONICAL_SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// One file below `src/`.
struct Source {
    /// Its path below `src/`, with `/` between the parts.
    path: String,
    text: String,
    /// Whether the whole file is compiled for tests only.
    test_only: bool,
}

impl Source {
    /// The folder right below `src/`; empty for `lib.rs` and `main.rs`.
    fn folder(&self) -> &str {
        self.path.split_once('/').map_or("", |(folder, _)| folder)
    }

    /// How many modules deep the file is: 1 for `pool/mod.rs`, 2 for `pool/eligible.rs`.
    fn depth(&self) -> usize {
        module_of(&self.path).len()
    }

    fn production(&self) -> Vec<Token> {
        if self.test_only { Vec::new() } else { without_tests(&tokens(&self.text)) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    text: String,
    line: usize,
}

// The rules, over the tree as it is.

#[test]
fn a_folder_imports_only_lower_floors() {
    check(|file| {
        let imports = crate_imports(&tokens(&file.text), file.depth());
        upward(file.folder(), &imports)
    });
}

#[test]
fn every_folder_has_a_floor() {
    check(|file| match file.folder() {
        "" => Vec::new(),
        folder if floor(folder).is_some() => Vec::new(),
        folder => vec![format!("the folder {folder} is not in FLOORS")],
    });
}

#[test]
fn every_file_says_what_it_is() {
    check(|file| {
        let says = file.text.starts_with("//! ");
        if says { Vec::new() } else { vec!["does not start with a //! line".to_owned()] }
    });
}

#[test]
fn nothing_is_spawned_but_by_its_owner() {
    check(|file| foreign_spawns(&file.path, &file.production()));
}

#[test]
fn production_code_imports_by_name() {
    check(|file| glob_imports(&file.production()));
}

#[test]
fn no_file_is_too_long_to_read() {
    check(|file| {
        let lines: BTreeSet<_> = file.production().iter().map(|token| token.line).collect();
        let long = lines.len() > LONGEST_FILE;
        if long { vec![format!("{} lines of code", lines.len())] } else { Vec::new() }
    });
}

#[test]
fn the_crate_root_holds_modules_only() {
    let root = fs::read_to_string(source_root().join("lib.rs")).expect("read lib.rs");

    assert_eq!(beside_modules(&tokens(&root)), Vec::<String>::new());
}

#[test]
fn the_tree_names_no_machine_and_no_other_registry() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    for path in files_below(root) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        for fault in machine_paths(&text).into_iter().chain(foreign_registries(&name, &text)) {
            faults.push(format!("{name}: {fault}"));
        }
    }

    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

// How each rule is decided.

/// Nobody would notice: such a build is good, and a tenth slower.
#[test]
fn the_profile_of_releases_knows_what_they_are_built_of() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).expect("read a file of the tree");
    let [recorded, lock, manifest] = ["pgo/recorded.toml", "Cargo.lock", "Cargo.toml"].map(read);
    let unknown = unknown_to_profile(&recorded, &lock, &manifest);
    assert!(unknown.is_empty(), "run pgo/train, the profile is of others: {unknown:#?}");
}

fn floor(folder: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&folder))
}

/// The imports that do not go down. The crate root stands above all floors.
fn upward(folder: &str, imports: &BTreeSet<String>) -> Vec<String> {
    let Some(here) = floor(folder) else { return Vec::new() };
    imports
        .iter()
        .filter(|target| *target != folder)
        .filter(|target| floor(target).is_none_or(|there| there <= here))
        .map(|target| format!("{folder} -> {target}"))
        .collect()
}

/// The folders that a file names by `crate::x`, `crate::{x, …}` or enough `super::`s, in `use`
/// lines and in the middle of code alike. `depth` is the number of modules around the file.
fn crate_imports(tokens: &[Token], depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut inline = Vec::new();
    let mut braces = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" => {
                braces += 1;
                if at >= 2 && tokens[at - 2].text == "mod" {
                    inline.push(braces);
                }
            }
            "}" => {
                if inline.last() == Some(&braces) {
                    inline.pop();
                }
                braces -= 1;
            }
            "crate" => first_names(&tokens[at + 1..], &mut found),
            "super" if at == 0 || tokens[at - 1].text != "::" => {
                let (ups, rest) = supers(&tokens[at..]);
                if ups == depth + inline.len() {
                    first_names(rest, &mut found);
                }
            }
            _ => {}
        }
    }
    found
}

/// How many `super`s a path starts with, and what follows the last one.
fn supers(path: &[Token]) -> (usize, &[Token]) {
    let mut ups = 1;
    let mut rest = &path[1..];
    while let [colons, up, ..] = rest
        && colons.text == "::"
        && up.text == "super"
    {
        ups += 1;
        rest = &rest[2..];
    }
    (ups, rest)
}

/// The first names after a `::`: one, or one for each branch of a `{…}` tree.
fn first_names(rest: &[Token], found: &mut BTreeSet<String>) {
    let [colons, first, tree @ ..] = rest else { return };
    if colons.text != "::" {
        return;
    }
    if first.text != "{" {
        found.insert(first.text.clone());
        return;
    }
    let mut depth = 0;
    let mut expected = true;
    for token in tree {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth == 0 => return,
            "}" => depth -= 1,
            "," if depth == 0 => expected = true,
            name if expected && depth == 0 => {
                found.insert(name.to_owned());
                expected = false;
            }
            _ => {}
        }
    }
}

/// The words that start a task or a thread, where this file may not say them.
fn foreign_spawns(path: &str, production: &[Token]) -> Vec<String> {
    let words = [
        "tokio::spawn",
        "task::spawn",
        "thread::spawn",
        "thread::Builder",
        "thread::scope",
        "spawn_local",
        "spawn_blocking",
        "JoinSet",
    ];
    let allowed = |word: &str| {
        SPAWNERS.iter().any(|(owner, their)| {
            let owns = if owner.ends_with('/') { path.starts_with(owner) } else { path == *owner };
            owns && (word == *their || path == "base/tasks.rs")
        })
    };
    words
        .into_iter()
        .filter(|word| !allowed(word))
        .flat_map(|word| {
            let parts = tokens(word);
            production
                .windows(parts.len())
                .filter(move |window| {
                    window.iter().zip(&parts).all(|(have, want)| have.text == want.text)
                })
                .map(move |window| format!("line {}: {word}", window[0].line))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// `use …::*` lines.
fn glob_imports(production: &[Token]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut within_use = false;
    for pair in production.windows(2) {
        match (pair[0].text.as_str(), pair[1].text.as_str()) {
            ("use", _) => within_use = true,
            (";", _) => within_use = false,
            ("::" | "{" | ",", "*") if within_use => {
                faults.push(format!("line {}: a glob import", pair[1].line));
            }
            _ => {}
        }
    }
    faults
}

/// What stands in the crate root beside `pub mod x;`.
fn beside_modules(root: &[Token]) -> Vec<String> {
    root.split_inclusive(|token| token.text == ";")
        .map(|item| item.iter().map(|token| token.text.as_str()).collect::<Vec<_>>())
        .filter(|item| !matches!(item.as_slice(), ["pub", "mod", _, ";"]))
        .map(|item| item.join(" "))
        .collect()
}

/// Absolute paths that exist on somebody's machine only.
/// What the profile was recorded with and is not built with now.
fn unknown_to_profile(recorded: &str, lock: &str, manifest: &str) -> Vec<String> {
    let [recorded, lock, manifest] =
        [recorded, lock, manifest].map(|text| text.parse::<toml::Table>().expect("TOML"));
    let text = |value: &toml::Value| value.as_str().map(str::to_owned).expect("a text");
    let locked: BTreeSet<(String, String)> = lock["package"]
        .as_array()
        .expect("the packages")
        .iter()
        .map(|package| (text(&package["name"]), text(&package["version"])))
        .collect();
    let crates = recorded["crates"].as_table().expect("the crates");
    let mut unknown: Vec<String> = crates
        .iter()
        .map(|(name, version)| (name.clone(), text(version)))
        .filter(|one| !locked.contains(one))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let rustc = text(&recorded["rustc"]);
    if !rustc.starts_with(&text(&manifest["package"]["rust-version"])) {
        unknown.push(format!("rustc {rustc}"));
    }
    unknown
}

fn machine_paths(text: &str) -> Vec<String> {
    // Written in two parts, so that this file passes its own rule.
    let homes = [["/ro", "ot/"], ["/ho", "me/"], ["/wo", "rk/"]];
    homes
        .into_iter()
        .map(|parts| parts.concat())
        .flat_map(|home| {
            text.lines()
                .enumerate()
                .filter(|(_, line)| names_path(line, &home))
                .map(|(number, _)| format!("line {}: {home}", number + 1))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Whether `home` stands at the start of a path in `line`, not within one.
fn names_path(line: &str, home: &str) -> bool {
    line.match_indices(home).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"._-}*)~".contains(c))
    })
}

/// Settings that take dependencies from elsewhere than crates.io.
fn foreign_registries(name: &str, text: &str) -> Vec<String> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let wanted: fn(&str) -> bool = match file {
        "Cargo.lock" => |line| {
            line.strip_prefix("source = ")
                .is_none_or(|source| source.trim_matches('"') == CANONICAL_SOURCE)
        },
        "Cargo.toml" | "config.toml" => |line| {
            let words = ["[source", "replace-with", "[registries", "registry =", "git ="];
            !words.iter().any(|word| line.contains(word))
        },
        _ => return Vec::new(),
    };
    text.lines()
        .filter(|line| !wanted(line))
        .map(|line| format!("another registry: {line}"))
        .collect()
}

// Reading: words of code, without comments and texts.

/// Splits Rust code into words and signs. Comments go; a literal text becomes one `"` token.
fn tokens(code: &str) -> Vec<Token> {
    let chars: Vec<char> = code.chars().collect();
    let mut found = Vec::new();
    let mut line = 1;
    let mut at = 0;
    while at < chars.len() {
        let end = token_end(&chars, at);
        let text: String = chars[at..end].iter().collect();
        let kept = match chars[at] {
            c if c.is_whitespace() => None,
            '/' if text.len() > 1 => None,
            _ if text.contains('"') => Some("\"".to_owned()),
            _ => Some(text.clone()),
        };
        found.extend(kept.map(|text| Token { text, line }));
        line += text.matches('\n').count();
        at = end;
    }
    found
}

/// Where the token that starts at `at` ends.
fn token_end(chars: &[char], at: usize) -> usize {
    let next = |offset: usize| chars.get(at + offset).copied();
    match chars[at] {
        '/' if next(1) == Some('/') => position(chars, at, |c| c == '\n'),
        '/' if next(1) == Some('*') => block_comment_end(chars, at),
        '"' => text_end(chars, at),
        '\'' => quote_end(chars, at),
        ':' if next(1) == Some(':') => at + 2,
        c if c.is_alphanumeric() || c == '_' => word_end(chars, at),
        _ => at + 1,
    }
}

/// The end of a word, or of the literal text that it prefixes: `b"…"`, `r#"…"#`.
fn word_end(chars: &[char], at: usize) -> usize {
    let end = position(chars, at, |c| !c.is_alphanumeric() && c != '_');
    let word: String = chars[at..end].iter().collect();
    match word.as_str() {
        "b" | "c" if chars.get(end) == Some(&'"') => text_end(chars, end),
        "r" | "br" | "cr" => {
            let quote = position(chars, end, |c| c != '#');
            if chars.get(quote) == Some(&'"') {
                raw_text_end(chars, quote, quote - end)
            } else {
                end
            }
        }
        _ => end,
    }
}

fn position(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    (from..chars.len()).find(|at| wanted(chars[*at])).unwrap_or(chars.len())
}

fn text_end(chars: &[char], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

fn raw_text_end(chars: &[char], quote: usize, hashes: usize) -> usize {
    let closes = |at: usize| {
        chars[at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes
    };
    (quote + 1..chars.len()).find(|at| closes(*at)).map_or(chars.len(), |at| at + 1 + hashes)
}

/// The end of a character literal, or of the quote alone where it starts a lifetime.
fn quote_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => position(chars, at + 3, |c| c == '\'') + 1,
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') if depth == 1 => return at + 2,
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    chars.len()
}

/// Leaves out each item behind `#[cfg(test)]`.
fn without_tests(all: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut rest = all;
    while let Some(first) = rest.first() {
        match after_test_mark(rest) {
            Some(item) => rest = &item[item_length(item)..],
            None => {
                kept.push(first.clone());
                rest = &rest[1..];
            }
        }
    }
    kept
}

fn after_test_mark(rest: &[Token]) -> Option<&[Token]> {
    let mark = tokens("#[cfg(test)]");
    let marked = rest.len() > mark.len()
        && rest.iter().zip(&mark).all(|(have, want)| have.text == want.text);
    marked.then(|| &rest[mark.len()..])
}

/// How many tokens an item has: up to its `;`, or to the end of its first block.
fn item_length(item: &[Token]) -> usize {
    let mut depth = 0;
    for (at, token) in item.iter().enumerate() {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" if depth == 1 => return at + 1,
            "}" | ")" | "]" => depth -= 1,
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

/// The names of `#[cfg(test)] mod x;` lines: files that are compiled for tests only.
fn test_modules(all: &[Token]) -> Vec<String> {
    let marked = (0..all.len()).filter_map(|at| after_test_mark(&all[at..]));
    marked
        .map(|item| item[..item_length(item)].iter().map(|token| token.text.as_str()))
        .filter_map(|item| match item.collect::<Vec<_>>().as_slice() {
            [.., "mod", name, ";"] => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

/// The modules of a path below `src/`: `pool/balancer/mod.rs` is `["pool", "balancer"]`.
fn module_of(path: &str) -> Vec<String> {
    let stem = path.trim_end_matches(".rs");
    let parts = stem.split('/').map(str::to_owned);
    parts.filter(|part| !matches!(part.as_str(), "mod" | "lib" | "main")).collect()
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn source_files() -> Vec<Source> {
    let root = source_root();
    let mut files: Vec<Source> = files_below(&root)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("read a source file");
            let below = path.strip_prefix(&root).expect("a path below src");
            let path = below.to_string_lossy().replace('\\', "/");
            Source { path, text, test_only: false }
        })
        .collect();
    let test_only: Vec<Vec<String>> = files
        .iter()
        .flat_map(|file| {
            let around = module_of(&file.path);
            let modules = test_modules(&tokens(&file.text));
            modules.into_iter().map(move |name| around.iter().cloned().chain([name]).collect())
        })
        .collect();
    for file in &mut files {
        let module = module_of(&file.path);
        file.test_only = test_only.iter().any(|test| module.starts_with(test));
    }
    files
}

/// Every file below `root`, but what git ignores or owns.
fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("read a folder").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let skipped = [".git", "target", "state"].iter().any(|skip| name == *skip);
            if path.is_dir() && !skipped {
                folders.push(path);
            } else if path.is_file() && !skipped {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn check(rule: impl Fn(&Source) -> Vec<String>) {
    let files = source_files();
    assert!(files.len() > 10, "the source files were not found");

    let faults: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let named = move |fault: String| format!("src/{}: {fault}", file.path);
            rule(file).into_iter().map(named)
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Each rule fails where it should.
mod rules {
    use super::*;

    fn imports(code: &str, depth: usize) -> Vec<String> {
        crate_imports(&tokens(code), depth).into_iter().collect()
    }

    fn production(code: &str) -> Vec<Token> {
        without_tests(&tokens(code))
    }

    #[test]
    fn imports_are_found_in_use_lines_trees_and_code() {
        assert_eq!(imports("use crate::pool::Pool;", 1), ["pool"]);
        assert_eq!(
            imports("use {crate::tls::Certs, std::fmt, crate::base::net};", 1),
            ["base", "tls"]
        );
        assert_eq!(
            imports("use crate::{pool::{Pool, inner::x}, model, base::{self}};", 1),
            ["base", "model", "pool"]
        );
        assert_eq!(imports("fn f() { let x = crate::admin::start(); }", 1), ["admin"]);
        assert_eq!(imports("pub(crate) fn f(x: crate::model::Id) {}", 1), ["model"]);
    }

    #[test]
    fn a_way_out_by_super_is_an_import_too() {
        assert_eq!(imports("use super::health::Probe;", 1), ["health"]);
        assert_eq!(imports("use super::health::Probe;", 2), Vec::<String>::new());
        assert_eq!(imports("use super::super::health::Probe;", 2), ["health"]);
        assert_eq!(imports("mod tests { use super::health; }", 1), Vec::<String>::new());
        assert_eq!(imports("mod tests { use super::super::health; }", 1), ["health"]);
    }

    #[test]
    fn comments_and_texts_import_nothing() {
        let code = r##"
            // crate::a
            /* crate::b /* crate::c */ crate::d */
            /// [`crate::e`]
            const X: &str = "crate::f \" crate::g";
            const Y: &str = r#"crate::h " crate::i"#;
            fn f<'a>(x: &'a str) -> char { '"' }
            use crate::real::X;
        "##;

        assert_eq!(imports(code, 1), ["real"]);
    }

    #[test]
    fn only_a_lower_floor_may_be_imported() {
        let breaches =
            |folder: &str, target: &str| upward(folder, &BTreeSet::from([target.to_owned()])).len();

        assert_eq!(breaches("proxy", "pool"), 0);
        assert_eq!(breaches("pool", "pool"), 0);
        assert_eq!(breaches("pool", "proxy"), 1);
        assert_eq!(breaches("pool", "health"), 1);
        assert_eq!(breaches("base", "model"), 1);
        assert_eq!(breaches("cli", "nowhere"), 1);
    }

    #[test]
    fn a_foreign_spawn_is_found_and_an_owner_is_not() {
        let check = |path: &str, code: &str| foreign_spawns(path, &production(code)).len();

        assert_eq!(check("pool/mod.rs", "fn f() { tokio::spawn(x()); }"), 1);
        assert_eq!(check("pool/mod.rs", "fn f() { tokio::task::spawn_local(x()); }"), 1);
        assert_eq!(check("pool/mod.rs", "fn f() { std::thread::spawn(x); }"), 1);
        assert_eq!(check("control/load.rs", "fn f() { std::thread::Builder::new(); }"), 1);
        assert_eq!(check("control/load.rs", "fn f() { tokio::task::spawn_blocking(x); }"), 0);
        assert_eq!(check("telemetry/log.rs", "fn f() { std::thread::Builder::new(); }"), 0);
        assert_eq!(check("base/tasks.rs", "struct T { a: JoinSet<()> }"), 0);
        assert_eq!(check("pool/mod.rs", "fn f() { tasks.spawn(x); }"), 0);
        assert_eq!(
            check("pool/mod.rs", "#[cfg(test)] mod tests { fn f() { tokio::spawn(x) } }"),
            0
        );
    }

    #[test]
    fn a_glob_import_is_found_outside_tests() {
        let check = |code: &str| glob_imports(&production(code)).len();

        assert_eq!(check("use crate::model::*;"), 1);
        assert_eq!(check("use crate::{base::*, model::ids::*};"), 2);
        assert_eq!(check("fn f() { let x = 2 * 3; use a::b; }"), 0);
        assert_eq!(check("#[cfg(test)]\nmod tests { use super::*; }"), 0);
        assert_eq!(check("#[cfg(test)] mod tests { } use a::*;"), 1);
    }

    #[test]
    fn the_root_may_hold_nothing_but_modules() {
        let check = |code: &str| beside_modules(&tokens(code)).len();

        assert_eq!(check("//! Docs.\n\n/// Words.\npub mod base;\npub mod model;"), 0);
        assert_eq!(check("pub mod base;\npub use base::units;"), 1);
        assert_eq!(check("pub mod base;\nmod hidden;"), 1);
    }

    #[test]
    fn a_file_is_test_only_by_its_mod_line() {
        let code = "#[cfg(test)]\nmod laws;\nmod real;\n#[cfg(test)] pub(crate) mod world;";

        assert_eq!(test_modules(&tokens(code)), ["laws", "world"]);
    }

    #[test]
    fn tests_do_not_count_as_production() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { if x {} }\n}\nfn c() {}";
        let words: Vec<String> = production(code).into_iter().map(|token| token.text).collect();

        assert!(words.contains(&"a".to_owned()) && words.contains(&"c".to_owned()));
        assert!(!words.contains(&"b".to_owned()));
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        let home = ["/ho", "me/"].concat();
        let check = |text: &str| machine_paths(text).len();

        assert_eq!(check(&format!("cd {home}anna/tenantry")), 1);
        assert_eq!(check(&format!("a\n\"{home}anna\"")), 1);
        assert_eq!(check(&format!("https://example.com{home}page")), 0);
        assert_eq!(check("path = \"/home\""), 0);
    }

    #[test]
    fn what_a_profile_was_recorded_with_and_is_no_more_is_named() {
        let recorded = "rustc = \"1.95.0\"\n[crates]\ntokio = \"1.2.3\"\n";
        let lock =
            |version: &str| format!("[[package]]\nname = \"tokio\"\nversion = \"{version}\"\n");
        let manifest = |rust: &str| format!("[package]\nrust-version = \"{rust}\"\n");
        let unknown = |version, rust| unknown_to_profile(recorded, &lock(version), &manifest(rust));
        assert!(unknown("1.2.3", "1.95").is_empty());
        assert_eq!(unknown("1.2.4", "1.96"), ["tokio 1.2.3", "rustc 1.95.0"]);
    }

    #[test]
    fn another_registry_is_found() {
        let canonical = format!("source = \"{CANONICAL_SOURCE}\"");
        let mirror = "source = \"sparse+https://mirror.example/index/\"";

        assert_eq!(foreign_registries("Cargo.lock", &canonical).len(), 0);
        assert_eq!(foreign_registries("Cargo.lock", mirror).len(), 1);
        assert_eq!(foreign_registries(".cargo/config.toml", "[source.crates-io]").len(), 1);
        assert_eq!(foreign_registries("Cargo.toml", "x = { git = \"…\" }").len(), 1);
    }
}
