//! Which tenants files define, told by a lexer alone: for who has others that may not stand in their place.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::files::File;
use super::statements::{Kind, Statements};

/// The ids of tenants that a file defines and that are wanted. Of a text that is no TOML, as far as it
/// goes.
pub fn tenants(file: &File, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut add = |id: &str| {
        if wanted(id) {
            found.insert(id.to_owned());
        }
    };
    let (mut is_top, mut is_below) = (true, false);
    for statement in Statements::of(&file.text) {
        let [first, second] = statement.names;
        let is_tenants = first.as_ref().is_some_and(|name| name.text == TABLE);
        match (statement.kind, first, second) {
            (Kind::Table | Kind::List, _, second) => {
                (is_top, is_below) = (false, is_tenants && second.is_none());
                if let Some(id) = second.filter(|_| is_tenants) {
                    add(&id.text);
                }
            }
            (Kind::Value, _, Some(id)) if is_top && is_tenants => add(&id.text),
            (Kind::Value, _, None) if is_top && is_tenants => as_one_value(&file.text, &mut add),
            (Kind::Value, Some(id), _) if is_below => add(&id.text),
            (Kind::Value, _, _) => {}
        }
    }
    found
}

/// All tenants of a text that has them in one value.
fn as_one_value(text: &str, add: &mut impl FnMut(&str)) {
    let Ok(root) = DeTable::parse(text) else { return };
    if let Some(DeValue::Table(tenants)) = root.get_ref().get(TABLE).map(|table| table.get_ref()) {
        tenants.keys().for_each(|id| add(id.get_ref()));
    }
}

const TABLE: &str = "tenants";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let file = File { path: Path::new("r.toml").into(), text: text.into() };

        let found = tenants(&file, |id| id != "unwanted");

        assert!(found.iter().eq(expected), "{text:?}: {found:?}");
    }

    #[test]
    fn a_tenant_is_found_in_whatever_way_it_is_written() {
        check(
            "[tenants.a]\npool = \"x\"\n[tenants.\"b.c\".limits]\n[tenants.unwanted]\n",
            &["a", "b.c"],
        );
        check("[[tenants.a.routes]]\n[pools.b]\nc = 1\n", &["a"]);
        check("[tenants]\na.pool = \"x\"\nb = {}\n[pools]\nc = {}\n", &["a", "b"]);
        check("tenants.a.pool = \"x\"\n[tenants.b]\n", &["a", "b"]);
        check("tenants = { a = {}, b.pool = \"x\" }\n", &["a", "b"]);
        check("[pools.tenants]\na = 1\n# [tenants.a]\nx = '''\n[tenants.b]\n'''\n", &[]);
        check("[tenants.a]\n]]] = \n", &["a"]);
        check("tenants = {", &[]);
        check("", &[]);
    }
}
