//! What the files say, value by value, under keys that do not move when something is put before
//! them: to compare two versions of them.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::files::Files;
use super::key::push_name;
use super::lines::Lines;
use super::secrets::{MASKED, Secrets};

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// As TOML writes it.
    pub value: String,
    /// As in `routes.toml:12`.
    pub place: String,
    /// The entry that it is part of, as in `tenants` and `acme`; the second is empty for what is not
    /// of an entry.
    pub entry: (String, String),
    /// It is nobody's to know.
    is_secret: bool,
}

impl Leaf {
    /// As it may be told: a secret as `***`, but for the name of the variable that has it.
    pub fn shown(&self) -> &str {
        if self.is_secret { MASKED } else { &self.value }
    }
}

/// All values of the files by their keys, as in `tenants.acme.routes[/billing/*].timeout`. An entry
/// that says nothing is there under its own key, as `{}`. What is among `secrets` is marked as one.
pub fn leaves(files: &Files, secrets: &Secrets) -> BTreeMap<String, Leaf> {
    let mut leaves = BTreeMap::new();
    for file in &files.files {
        let Ok(table) = DeTable::parse(&file.text) else { continue };
        let lines = Lines::of(&file.text);
        let place = |at: usize| format!("{}:{}", file.path.display(), lines.place(at).0);
        let mut walk =
            Walk { place: &place, leaves: &mut leaves, entry: Default::default(), secrets };
        walk.table(("", ""), table.get_ref(), 0);
    }
    leaves
}

struct Walk<'w> {
    place: &'w dyn Fn(usize) -> String,
    leaves: &'w mut BTreeMap<String, Leaf>,
    entry: (String, String),
    secrets: &'w Secrets,
}

impl Walk<'_> {
    /// A table by its key and its own name.
    fn table(&mut self, (key, table_name): (&str, &str), table: &DeTable<'_>, depth: usize) {
        for (name, value) in table {
            let at = name.span().start;
            let name: &str = name.get_ref();
            let mut below = key.to_owned();
            push_name(&mut below, name);
            match depth {
                0 => self.entry = (name.to_owned(), String::new()),
                1 => name.clone_into(&mut self.entry.1),
                _ => {}
            }
            self.value((below.as_str(), [table_name, name]), at, value, depth + 1);
        }
    }

    /// A value by its key, and by the names that are the last two of it: those may have dots in them.
    fn value(
        &mut self,
        (key, names): (&str, [&str; 2]),
        at: usize,
        value: &Spanned<DeValue<'_>>,
        depth: usize,
    ) {
        match value.get_ref() {
            DeValue::Table(table) if !table.is_empty() => self.table((key, names[1]), table, depth),
            DeValue::Array(array) if array.iter().any(is_table) => {
                self.array((key, names), array, depth);
            }
            other => {
                let (value, place, entry) = (text(other), (self.place)(at), self.entry.clone());
                // `$${` stands for the two characters: the value is there itself.
                let has_variable = value.replace("$${", "").contains("${");
                let is_secret = self.hides(names) && !has_variable;
                self.leaves.insert(key.to_owned(), Leaf { value, place, entry, is_secret });
            }
        }
    }

    /// Whether the value of this name in a table is a secret: that of a field or a parameter, or the keys of cookies.
    fn hides(&self, names: [&str; 2]) -> bool {
        self.secrets.hide(names) || names == ["sticky", "keys"]
    }

    /// Elements by what tells them apart; those that nothing does, by their number.
    fn array(&mut self, (key, names): (&str, [&str; 2]), array: &DeArray<'_>, depth: usize) {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for element in array {
            let label = label(element.get_ref());
            let count = seen.entry(label.clone()).or_default();
            *count += 1;
            let key = match *count {
                1 => format!("{key}[{label}]"),
                more => format!("{key}[{label} #{more}]"),
            };
            self.value((key.as_str(), names), element.span().start, element, depth.max(2) + 1);
        }
    }
}

fn is_table(value: &Spanned<DeValue<'_>>) -> bool {
    matches!(value.get_ref(), DeValue::Table(_))
}

/// What tells an element of a list from the others.
fn label(value: &DeValue<'_>) -> String {
    let DeValue::Table(table) = value else { return text(value) };
    let said = |name: &str| table.get(name).map(|value| bare(value.get_ref()));
    if let Some(name) = said("name").or_else(|| said("address")) {
        return name;
    }
    let parts: Vec<String> =
        ["methods", "host", "path", "pool"].iter().filter_map(|name| said(name)).collect();
    parts.join(" ")
}

/// A text without its quotes.
fn bare(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        other => text(other),
    }
}

fn text(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(array) => {
            let parts: Vec<String> = array.iter().map(|part| text(part.get_ref())).collect();
            format!("[{}]", parts.join(", "))
        }
        DeValue::Table(_) => "{}".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_but_by_their_variable() {
        let text = "[pools.a]\nsticky.keys = [\"k\"]\nhealth.headers.Authorization = \"b\"\n\
                    [tenants.acme]\npool = \"a\"\n[[tenants.acme.routes]]\npath = \"/a\"\n\
                    request-headers.set = { X-Token = \"$${c}\", Cookie = \"${C}\", X-A = \"told\" }\n";

        let all = leaves(&Files::of_text("r.toml", text), &Secrets::default());

        let told: Vec<&str> = all.values().map(Leaf::shown).collect();
        assert_eq!(told, [MASKED, MASKED, "\"a\"", "\"/a\"", "\"${C}\"", "\"told\"", MASKED]);
    }

    #[test]
    fn a_secret_whose_name_has_dots_or_quotes_is_none_less() {
        let text = "[tenants.acme]\npool = \"a\"\n[tenants.acme.request-headers]\n\
                    set = { \"x.api-key\" = \"s\", \"a.\\\"token\" = \"s\", \"set.x\" = \"told\" }\n\
                    [pools.\"a.set\"]\ntoken = \"told\"\n";

        let all = leaves(&Files::of_text("r.toml", text), &Secrets::default());

        let told = all.iter().map(|(key, leaf)| format!("{key} = {}", leaf.shown()));
        let told: Vec<String> = told.collect();
        assert_eq!(
            told,
            [
                "pools.\"a.set\".token = \"told\"",
                "tenants.acme.pool = \"a\"",
                "tenants.acme.request-headers.set.\"a.\\\"token\" = ***",
                "tenants.acme.request-headers.set.\"set.x\" = \"told\"",
                "tenants.acme.request-headers.set.\"x.api-key\" = ***",
            ]
        );
    }

    #[test]
    fn each_value_has_a_key_that_does_not_move_with_its_neighbours() {
        let text = "[tenants.acme]\npool = \"a\"\n[[tenants.acme.routes]]\npath = \"/a\"\ntimeout = \"5s\"\n\
                    [[tenants.acme.routes]]\npath = \"/a\"\nmethods = [\"POST\", \"PUT\"]\n\
                    [[tenants.acme.routes]]\npath = \"/a\"\n[pools.\"a.b\"]\n";

        let all = leaves(&Files::of_text("r.toml", text), &Secrets::default());

        let told: Vec<String> = all
            .iter()
            .map(|(key, leaf)| format!("{key} = {} {} {}", leaf.value, leaf.place, leaf.entry.1))
            .collect();
        assert_eq!(
            told,
            [
                "pools.\"a.b\" = {} r.toml:11 a.b",
                "tenants.acme.pool = \"a\" r.toml:2 acme",
                "tenants.acme.routes[/a #2].path = \"/a\" r.toml:10 acme",
                "tenants.acme.routes[/a].path = \"/a\" r.toml:4 acme",
                "tenants.acme.routes[/a].timeout = \"5s\" r.toml:5 acme",
                "tenants.acme.routes[[\"POST\", \"PUT\"] /a].methods = [\"POST\", \"PUT\"] r.toml:8 acme",
                "tenants.acme.routes[[\"POST\", \"PUT\"] /a].path = \"/a\" r.toml:7 acme",
            ]
        );
    }
}
