//! Which tenants a file speaks of, and whether it speaks of anything else: of one that is broken, as far as
//! that can be told.

use std::collections::{BTreeSet, HashSet};

use toml::de::{DeTable, DeValue};

use crate::config::statements::{Kind, Statements};

/// What a file speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// The ids of tenants, and what stands in their place.
    pub tenants: BTreeSet<String>,
    /// Whether it has nothing that holds for tenants of other files.
    pub is_of_tenants_alone: bool,
}

/// Looks through a text, whether it is TOML or not.
pub fn spoken_of(text: &str) -> Spoken {
    match DeTable::parse(text) {
        Ok(table) => parsed(table.get_ref()),
        Err(_) => guessed(text),
    }
}

/// All that may be meant to be the id of a tenant, or parts of one: more than [`spoken_of`] finds, as where
/// a header is misspelt, or stands behind a string without an end. What is said of a tenant, or for people, is no id.
pub fn names_in(text: &str) -> HashSet<String> {
    let mut names = HashSet::new();
    match DeTable::parse(text) {
        Ok(table) => {
            for (key, value) in table.get_ref() {
                names.extend(parts_of(key.get_ref()));
                if let DeValue::Table(entries) = value.get_ref() {
                    names.extend(entries.keys().flat_map(|key| parts_of(key.get_ref())));
                }
            }
        }
        Err(_) => names.extend(text.split(['\n', '\r']).flat_map(keys_in).flat_map(parts_of)),
    }
    names
}

/// Where keys and headers may stand in a line of a text that is no TOML: not in comments, and not in values, but
/// for what may be the keys of tables in these, and what may have been put behind them.
fn keys_in(line: &str) -> Vec<&str> {
    let line = line.trim_start();
    if line.starts_with('#') {
        return header_behind(line).into_iter().collect();
    }
    if line.starts_with('[') {
        return vec![line];
    }
    let mut pieces = line.split('=');
    let key = pieces.next().unwrap_or_default();
    let values: Vec<&str> = pieces.collect();
    let last = values.len().saturating_sub(1);
    let among = values.into_iter().enumerate();
    let among = among.filter_map(|(at, piece)| key_among(piece, at == last));
    std::iter::once(key).chain(among).collect()
}

/// What of a value, or of what is between two `=`, may be a key or a header: more rather than less.
fn key_among(piece: &str, is_last: bool) -> Option<&str> {
    let piece = piece.trim_start();
    if piece.contains(TENANTS) {
        return Some(piece);
    }
    // A list has a bracket of its own.
    let header = piece.char_indices().skip(1).find(|(_, sign)| *sign == '[').map(|(at, _)| at);
    let table = piece.find(['{', '}', ',']);
    match header.into_iter().chain(table).min() {
        Some(from) => piece.get(from..),
        None if is_last => None, // a value, or its end
        None => Some(piece),     // `a = "x"b = "y"`: its end may be a key
    }
}

/// A header that was put behind a comment without an end of its line.
fn header_behind(comment: &str) -> Option<&str> {
    let is_behind = |at: &usize| {
        let before = comment.get(..*at).and_then(|before| before.chars().next_back());
        before.is_some_and(|sign| !sign.is_whitespace() && sign != '#')
    };
    let at = comment.match_indices('[').map(|(at, _)| at).find(is_behind)?;
    comment.get(at..)
}

/// The ids that a text which is no TOML has behind something else in a line, as where a file was put behind
/// one that did not end its last line: they may be those of tenants.
pub fn put_behind(text: &str) -> BTreeSet<String> {
    if DeTable::parse(text).is_ok() {
        return BTreeSet::new();
    }
    let mut found = BTreeSet::new();
    for line in text.split(['\n', '\r']) {
        let line = line.trim_start();
        let line = match line.starts_with('#') {
            true => header_behind(line).unwrap_or_default(),
            false => line,
        };
        for (at, name) in line.match_indices(TENANTS) {
            let rest = line.get(at + name.len()..).unwrap_or_default();
            let rest = rest.trim_start_matches(['"', '\'', ' ', '\t']).strip_prefix('.');
            found.extend(rest.and_then(|rest| first_name(rest.trim_start())));
        }
    }
    found
}

/// The name that a key begins with.
fn first_name(key: &str) -> Option<String> {
    let name = match key.chars().next()? {
        quote @ ('"' | '\'') => key.get(1..)?.split(quote).next(),
        _ => key.split(|sign: char| !is_of_id(sign)).next(),
    };
    name.filter(|name| !name.is_empty()).map(ToOwned::to_owned)
}

/// Whether it may be in an id without quotes.
fn is_of_id(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || sign == '_' || sign == '-'
}

/// Whether an id may be among such names.
pub fn may_be_among(id: &str, names: &HashSet<String>) -> bool {
    parts_of(id).all(|part| names.contains(&part))
}

/// What no sign of TOML separates: an id may have dots of its own, a header has others.
fn parts_of(text: &str) -> impl Iterator<Item = String> {
    text.split(|sign| !is_of_id(sign)).filter(|part| !part.is_empty()).map(str::to_owned)
}

fn parsed(table: &DeTable<'_>) -> Spoken {
    let mut tenants = BTreeSet::new();
    if let Some(DeValue::Table(entries)) = table.get(TENANTS).map(|value| value.get_ref()) {
        tenants.extend(entries.keys().map(|id| id.get_ref().to_string()));
    }
    let is_shared = |key: &&str| table.contains_key(*key);
    Spoken { tenants, is_of_tenants_alone: !SHARED.iter().any(is_shared) }
}

/// By the headers and keys up to where the text cannot be told apart any more.
fn guessed(text: &str) -> Spoken {
    let mut spoken = Spoken { tenants: BTreeSet::new(), is_of_tenants_alone: true };
    // Whether the keys that follow are ids, or of the whole file.
    let (mut are_ids, mut is_top) = (false, true);
    for statement in Statements::of(text) {
        let [first, second] = statement.names.map(|name| name.map(|name| name.text));
        let first = first.unwrap_or_default();
        let is_header = statement.kind != Kind::Value;
        if is_header || is_top {
            spoken.is_of_tenants_alone &= !SHARED.contains(&&*first);
            if first == TENANTS {
                spoken.tenants.extend(second.as_ref().map(ToString::to_string));
            }
        } else if are_ids {
            spoken.tenants.insert(first.to_string());
        }
        if is_header {
            (are_ids, is_top) = (first == TENANTS && second.is_none(), false);
        }
    }
    spoken
}

const TENANTS: &str = "tenants";

/// The tables of a routes file that are not of one tenant. A test holds them against the schema.
const SHARED: [&str; 6] = ["error-pages", "identity", "plans", "pools", "route-sets", "tenant"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> (Vec<String>, bool) {
        let Spoken { tenants, is_of_tenants_alone } = spoken_of(text);
        (tenants.into_iter().collect(), is_of_tenants_alone)
    }

    fn of(ids: &[&str], alone: bool) -> (Vec<String>, bool) {
        (ids.iter().map(ToString::to_string).collect(), alone)
    }

    #[test]
    fn the_tables_that_are_shared_are_those_of_the_schema() {
        let schema = crate::config::schema::routes();
        let keys = schema["properties"].as_object().unwrap().keys();

        let shared: Vec<&str> = keys.map(String::as_str).filter(|key| *key != TENANTS).collect();
        assert_eq!(shared, SHARED);
    }

    #[test]
    fn a_file_that_is_toml_is_told_by_its_tables() {
        assert_eq!(told("tenants = { a = {}, b.pool = 1 }\nx = 1\n"), of(&["a", "b"], true));
        assert_eq!(told("[tenants.a]\n[plans.p]\n"), of(&["a"], false));
        assert_eq!(told("tenants.a.pool = \"[pools.x]\"\n"), of(&["a"], true));
    }

    #[test]
    fn a_file_that_is_no_toml_is_told_by_what_can_be_read_of_it() {
        assert_eq!(told("[tenants.a]\npool = \n[[tenants.b.routes]]\n"), of(&["a", "b"], true));
        assert_eq!(told("[tenants]\na = { pool = x }\nb.pool = 1\n"), of(&["a", "b"], true));
        assert_eq!(told("tenants.a.pool = = 1\n[pools.x]\n"), of(&["a"], false));
        assert_eq!(told("[tenants.a]\npool = = \"x\"\ntenant = 1\n"), of(&["a"], true));
        assert_eq!(told("this is = = no TOML"), of(&[], true));
        assert_eq!(told("[tenants.a]\nx = '''\n[pools.x]\n"), of(&["a"], true));
    }

    #[test]
    fn a_tenant_is_found_where_its_header_is_misspelt_or_within_a_string() {
        let may = |id: &str, text: &str| may_be_among(id, &names_in(text));

        assert!(may("a", "[tenats.a]\npool = \"x\"\n") && may("a", "[a]\n"));
        assert!(may("b", "[tenants.a]\npool = \"x\n[tenants.b]\npool = \"y\"\n"));
        assert!(may("b.c-1", "x = '''\n[tenants.\"b.c-1\"]\n"));
        assert!(!may("x", "[tenants.a]\npool = \"x\"\n"), "a pool is none");
        assert!(!may("x", "[tenants.a]\npool = \"x\n"), "nor is one whose string has no end");
        assert!(!may("b", "# [tenants.b]\n[tenants.a\npool = \"p\" # as b\n"), "comments are none");
        assert!(may("b", "[tenants]\na = { pool = \"x }\nb = { pool = \"y\" }\n"));
        assert!(may("b", "tenants = { a = { pool = \"x\" , b = { pool = \"y\" }\n"));
        assert!(may("b", "[tenants]\nb { pool = \"y\" }\n") && may("b", "tenants.b]\npool = 1\n"));
        assert!(!may("b", "[tenants.bb]\npool = \n"));
    }

    #[test]
    fn a_tenant_is_found_that_was_put_behind_the_last_line_of_another_file() {
        let may = |id: &str, text: &str| may_be_among(id, &names_in(text));

        for glued in [
            "pool = \"x\"[tenants.b]\npool = \"y\"\n",
            "pool = \"x\"[tenants.\"b\"]\npool = \"y\"\n",
            "pool = \"x\"[[tenants.b.routes]]\npath = \"/\"\n",
            "use = [\"s\"][tenants.b]\npool = \"y\"\n",
            "use = []tenants.b.pool = \"y\"\n",
            "pool = \"x\"tenants.b.pool = \"y\"\n",
            "pool = \"x\" # note[tenants.b]\npool = \"y\"\n",
            "pool = \"x\"\n# end[tenants.b]\npool = \"y\"\n",
        ] {
            let text = format!("[tenants.a]\n{glued}");
            assert!(DeTable::parse(&text).is_err() && may("b", &text), "{text}");
            assert!(put_behind(&text).contains("b"), "{text}");
        }
        for tables in [
            "tenants = { a = {pool=\"x\"}, b {pool=\"y\"} }\n",
            "tenants = { a = {pool=\"x\"} b = {pool=\"y\"} }\n",
            "tenants = { a = {pool=\"x\"}, b {pool \"y\"} }\n",
            "[tenants.a]\npool = \"x\"[tenats.b]\npool = \"y\"\n",
            "tenants.a.pool = \"x\"b = \"y\"\n",
        ] {
            assert!(DeTable::parse(tables).is_err() && may("b", tables), "{tables}");
        }
        let comment = "# as t2 and [tenants.b]\n#[tenants.b]\n[tenants.a]\npool = \n";
        assert!(!may("b", comment) && !put_behind(comment).contains("b"));
        assert!(put_behind("# x[tenants.b]\n[tenants.a]\n").is_empty(), "it is TOML");
    }

    proptest! {
        #[test]
        fn nothing_that_a_file_may_hold_is_too_much(text in "(\\[|\\]|tenants|\\.|a|=|\"|'''|\n|#|pools|é){0,40}") {
            spoken_of(&text);
            names_in(&text);
            put_behind(&text);
        }

        #[test]
        fn what_is_guessed_of_a_good_file_is_so(parts in proptest::collection::vec(0_usize..7, 0..8)) {
            const PARTS: [&str; 7] = [
                "[tenants.a]\npool = \"x\"\n", "[tenants.\"b c\".limits]\nrequests = 5\n",
                "[[tenants.d.routes]]\npath = [\n1,\n]\n", "[tenants]\ne.pool = \"x\"\nf = {}\n",
                "[pools.p]\ntenants = 1\n", "[plans.q]\nlist = [{}, {}]\n", "# [tenants.z]\n",
            ];
            let text: String = parts.iter().map(|part| PARTS[*part]).collect();
            if let Ok(table) = DeTable::parse(&text) {
                prop_assert_eq!(guessed(&text), parsed(table.get_ref()));
            }
        }
    }
}
