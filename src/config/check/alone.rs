//! Which tenants a file speaks of, and whether it speaks of anything else: of one that is broken, as far as
//! that can be told.

use std::collections::{BTreeSet, HashMap, HashSet};

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

/// All that a broken text may be about to say of tenants: more than [`spoken_of`] finds, as where a header is misspelt. Of one
/// that is TOML, its keys. Of one that is none, whatever stands there more often than in `good`, what the file said when it was
/// good: a string, a comment or a line may have lost its end anywhere, so no place in it tells what is a header.
pub fn names_in(text: &str, good: &str) -> HashSet<String> {
    if let Ok(table) = DeTable::parse(text) {
        let below = |value: &DeValue<'_>| match value {
            DeValue::Table(entries) => {
                entries.keys().flat_map(|key| owned(key.get_ref())).collect()
            }
            _ => Vec::new(),
        };
        let table = table.get_ref().iter();
        return table
            .flat_map(|(key, value)| owned(key.get_ref()).chain(below(value.get_ref())))
            .collect();
    }
    let mut more: HashMap<&str, isize> = HashMap::new();
    parts_of(text).for_each(|part| *more.entry(part).or_default() += 1);
    parts_of(good).for_each(|part| *more.entry(part).or_default() -= 1);
    more.into_iter().filter(|(_, more)| *more > 0).map(|(part, _)| part.to_owned()).collect()
}

/// Whether it may be in an id without quotes.
fn is_of_id(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || sign == '_' || sign == '-'
}

/// Whether an id may be among such names.
pub fn may_be_among(id: &str, names: &HashSet<String>) -> bool {
    parts_of(id).all(|part| names.contains(part))
}

/// What no sign of TOML separates: an id may have dots of its own, a header has others.
fn parts_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|sign| !is_of_id(sign)).filter(|part| !part.is_empty())
}

fn owned(text: &str) -> impl Iterator<Item = String> {
    parts_of(text).map(str::to_owned)
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
    fn a_tenant_is_found_where_its_header_is_misspelt_or_stands_behind_what_has_no_end() {
        const GOOD: &str = "# as t2 has it\n[tenants.a]\npool = \"x\"\n";
        let may = |id: &str, text: &str| may_be_among(id, &names_in(text, GOOD));

        assert!(may("a", "[tenats.a]\npool = \"x\"\n") && may("a", "[a]\n"));
        assert!(!may("x", GOOD), "a pool is none");
        for broken in [
            "[tenants.a]\npool = \"x\n[tenants.b]\npool = \"y\"\n",
            "[tenants.a]\npool = \"x\"[tenants.b]\npool = \"y\"\n",
            "[tenants.a]\npool = \"x\"tenants.b.pool = \"y\"\n",
            "[tenants.a]\npool = \"x\" # note[tenants.b]\npool = \"y\"\n",
            "[tenants.a]\npool = \"x\"\n# as t2 has it[tenants.b]\npool \"y\"\n",
            "tenants = { a = {pool=\"x\"}, b {pool=\"y\"} }\n",
            "[tenants.a]\npool = \"x\"[tenats.\"b\"]\npool = \"y\"\n",
        ] {
            assert!(DeTable::parse(broken).is_err() && may("b", broken), "{broken}");
            assert!(!may("x", broken) && !may("t2", broken), "it stood there: {broken}");
        }
        assert!(may("b.c-1", "x = '''\n[tenants.\"b.c-1\"]\n"));
        assert!(!may("b", "[tenants.bb]\npool = \n"));
        assert!(may("t2", "# t2 t2\npool = \n"), "more often than before");
    }

    proptest! {
        #[test]
        fn nothing_that_a_file_may_hold_is_too_much(text in "(\\[|\\]|tenants|\\.|a|=|\"|'''|\n|#|pools|é){0,40}") {
            spoken_of(&text);
            names_in(&text, "[tenants.a]");
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
