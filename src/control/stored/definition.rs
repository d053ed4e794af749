//! What one tenant of the API is: a table, sent as JSON, that means what the same table means in a
//! routes file. It is read and checked as one, from a text in TOML.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::base::tag::tag;
use crate::config::secrets::{MASKED, Secrets, has_fields, has_parameters};
use crate::config::{File, places};

use super::super::generation::Fault;

/// The table of a tenant, as JSON.
pub type Table = Map<String, Value>;

/// The table of a tenant, as it is kept. Clones share its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    json: Arc<str>,
}

impl Definition {
    /// Keeps a table.
    pub fn of(table: Table) -> Self {
        Self { json: Value::Object(table).to_string().into() }
    }

    /// As it was kept in a text; `None` where that is no table.
    pub fn read(json: &str) -> Option<Self> {
        serde_json::from_str::<Table>(json).ok()?;
        Some(Self { json: json.into() })
    }

    /// As it is kept.
    pub(in crate::control) fn text(&self) -> &str {
        &self.json
    }

    /// The table.
    pub fn table(&self) -> Table {
        serde_json::from_str(&self.json).unwrap_or_default() // it was one when it was made
    }

    /// The table as it may be told: `secrets` are `***`.
    pub fn shown(&self, secrets: &Secrets) -> Table {
        let mut table = self.table();
        table.iter_mut().for_each(|(name, value)| mask(name, value, secrets));
        table
    }

    /// Names this state of it, for `If-Match`.
    pub fn tag(&self) -> String {
        tag(self.json.as_bytes())
    }

    /// What a merge patch (RFC 7396) makes of it. A table of which it leaves nothing is none: it would say that there is
    /// something, as limits that limit nothing.
    #[must_use]
    pub fn patched(&self, patch: Table) -> Self {
        let merged = merged(Some(Value::Object(self.table())), Value::Object(patch.clone()));
        let Value::Object(mut table) = merged else {
            return self.clone(); // of two tables comes a table
        };
        leave_out_emptied(&mut table, &patch);
        Self::of(table)
    }

    /// The file that says it.
    ///
    /// # Errors
    /// What of it no file could say, or none of the API may.
    pub(super) fn file(&self, id: &str) -> Result<File, Vec<Fault>> {
        let (table, mut faults) = (self.table(), Vec::new());
        let mut text = format!("[tenants.{}]\n", quoted(id));
        for (name, value) in &table {
            if let Some(value) = to_toml(value, &places::key(&[name]), &mut faults) {
                text += &format!("{} = {value}\n", quoted(name));
            }
        }
        faults.extend(files_named(&table));
        match faults.is_empty() {
            true => Ok(File { path: path(id).into(), text: text.into() }),
            false => Err(placed(faults, id)),
        }
    }
}

/// What of a table that is sent for a tenant, whole or as a patch, is `***`. What is kept already is taken as it is: it was
/// kept before this was asked.
pub(super) fn masked_in(table: &Table, id: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, value) in table {
        masked((name, value), &places::key(&[name]), &mut faults);
    }
    placed(faults, id)
}

fn placed(mut faults: Vec<Fault>, id: &str) -> Vec<Fault> {
    for fault in &mut faults {
        fault.file = path(id);
    }
    faults
}

/// Where problems of a tenant of the API are told, and its values explained.
pub(super) fn path(id: &str) -> PathBuf {
    format!("{PREFIX}{id}").into()
}

/// The tenant whose file this is; `None` for one of the disk.
pub(in crate::control) fn id_of(path: &Path) -> Option<&str> {
    path.to_str()?.strip_prefix(PREFIX)
}

/// The ids of tenants of the API that a text names by the places of their problems.
pub(super) fn ids_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(PREFIX).skip(1).filter_map(|rest| rest.split(':').next())
}

/// A value as TOML has it. `None` where it has none like that, or nothing stands for it.
fn to_toml(value: &Value, key: &str, faults: &mut Vec<Fault>) -> Option<toml::Value> {
    let mut wrong = |what: &str, hint: &str| {
        faults.push(fault(key, what.to_owned(), hint));
        None
    };
    match value {
        Value::Null => wrong("is null", "leave the key out; in a PATCH null takes it away"),
        Value::Bool(truth) => Some((*truth).into()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Some(whole.into()),
            (None, Some(part)) if number.is_f64() => Some(part.into()),
            _ => wrong("is too large a number", "write one below 9223372036854775808"),
        },
        // Variables of the gateway's environment are for those who write its files.
        Value::String(text) => Some(text.replace("${", "$${").into()),
        Value::Array(list) => {
            let each = list.iter().enumerate();
            let list = each.filter_map(|(at, one)| to_toml(one, &format!("{key}[{at}]"), faults));
            Some(toml::Value::Array(list.collect()))
        }
        Value::Object(table) => {
            let each = table.iter().filter_map(|(name, one)| {
                let below = format!("{key}.{}", places::key(&[name]));
                Some((name.clone(), to_toml(one, &below, faults)?))
            });
            Some(toml::Value::Table(each.collect()))
        }
    }
}

/// Puts `***` in the place of each secret of what has this name.
fn mask(name: &str, value: &mut Value, secrets: &Secrets) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|one| mask(name, one, secrets)),
        Value::Object(table) => {
            for (field, value) in table {
                match value {
                    Value::String(text) if secrets.hide([name, field]) => {
                        MASKED.clone_into(text);
                    }
                    other => mask(field, other, secrets),
                }
            }
        }
        _ => {}
    }
}

/// Secrets that come back as they are shown: who sends what it was told would lose them. No other value of a field or a
/// parameter looks so.
fn masked((name, value): (&str, &Value), key: &str, faults: &mut Vec<Fault>) {
    match value {
        Value::Array(list) => {
            for (at, one) in list.iter().enumerate() {
                masked((name, one), &format!("{key}[{at}]"), faults);
            }
        }
        Value::Object(table) => {
            for (field, value) in table {
                let below = format!("{key}.{}", places::key(&[field]));
                if (has_fields(name) || has_parameters(name)) && value == MASKED {
                    let what = "is what a secret is shown as, and not the secret".to_owned();
                    let hint = "send the value itself, or PATCH the other keys alone";
                    faults.push(fault(&below, what, hint));
                }
                masked((field, value), &below, faults);
            }
        }
        _ => {}
    }
}

/// A key as TOML writes it, in quotes where it needs them.
fn quoted(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match !name.is_empty() && name.bytes().all(is_bare) {
        true => name.to_owned(),
        // What JSON escapes TOML does in the same way, and one character more.
        false => Value::from(name).to_string().replace('\u{7f}', "\\u007f"),
    }
}

/// A file that the table names is a file of the gateway's machine, which is nobody's of the API.
fn files_named(table: &Table) -> Vec<Fault> {
    let pages = table.get("error-pages").and_then(Value::as_object).into_iter().flatten();
    let named = pages.filter(|(_, page)| page.get("file").is_some());
    let told = named.map(|(page, _)| {
        let what = "names a file, which a tenant of the API may not".to_owned();
        fault(&places::key(&["error-pages", page, "file"]), what, "write the page itself as `body`")
    });
    let certificates = table.get("certificates").map(|_| {
        let what = "name files, which a tenant of the API may not".to_owned();
        fault("certificates", what, "define the tenant in a file of the routes")
    });
    told.chain(certificates).collect()
}

fn fault(key: &str, what: String, hint: &str) -> Fault {
    Fault {
        file: PathBuf::new(),
        line: None,
        column: None,
        key: Some(key.to_owned()),
        what,
        hint: Some(hint.to_owned()),
    }
}

/// What a patch makes of a value (RFC 7396 §2).
fn merged(target: Option<Value>, patch: Value) -> Value {
    let Value::Object(patch) = patch else { return patch };
    let mut table = match target {
        Some(Value::Object(table)) => table,
        _ => Map::new(),
    };
    for (name, value) in patch {
        let before = table.remove(&name);
        if !value.is_null() {
            table.insert(name, merged(before, value));
        }
    }
    Value::Object(table)
}

/// Takes out the tables from which a patch has taken something, and in which nothing is left.
fn leave_out_emptied(table: &mut Table, patch: &Table) {
    for (name, patch) in patch {
        let (Some(Value::Object(inner)), Value::Object(patch)) = (table.get_mut(name), patch)
        else {
            continue;
        };
        leave_out_emptied(inner, patch);
        if inner.is_empty() && !patch.is_empty() {
            table.remove(name);
        }
    }
}

/// 256 KiB: a tenant of a thousand routes.
pub const LARGEST: usize = 256 << 10;

/// No path of the disk: what is read from there is a folder's or begins with a slash.
const PREFIX: &str = "api:tenants/";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn definition(table: Value) -> Definition {
        Definition::of(table.as_object().unwrap().clone())
    }

    /// RFC 7396, Appendix A.
    #[test]
    fn a_patch_merges_as_the_rfc_has_it() {
        for (target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(merged(Some(target.clone()), patch.clone()), expected, "{target} {patch}");
        }
    }

    #[test]
    fn a_table_of_which_a_patch_leaves_nothing_is_none() {
        let limits = json!({"limits": {"requests": "5/s", "client": {"requests": "1/s"}}});
        for (before, patch, expected) in [
            (
                &limits,
                json!({"limits": {"requests": null}}),
                json!({"limits": {"client": {"requests": "1/s"}}}),
            ),
            (
                &limits,
                json!({"limits": {"client": {"requests": null}}}),
                json!({"limits": {"requests": "5/s"}}),
            ),
            (
                &limits,
                json!({"limits": {"requests": null, "client": {"requests": null}}}),
                json!({}),
            ),
            (&json!({}), json!({"limits": {"requests": null}}), json!({})),
            (&json!({"cors": {}}), json!({"limits": {}}), json!({"cors": {}, "limits": {}})),
        ] {
            let patched = definition(before.clone()).patched(patch.as_object().unwrap().clone());
            let again = patched.patched(patch.as_object().unwrap().clone());

            assert_eq!(Value::Object(patched.table()), expected, "{patch}");
            assert_eq!(patched, again, "a second time changes nothing");
        }
    }

    #[test]
    fn what_no_file_can_say_is_told_by_its_key() {
        let table = json!({"pool": null, "limits": {"a b": [1, null]}, "n": 18446744073709551615_u64,
            "error-pages": {"503": {"file": "/etc/passwd"}}});

        let faults = definition(table).file("acme").unwrap_err();

        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_deref().unwrap()).collect();
        assert_eq!(keys, ["limits.\"a b\"[1]", "n", "pool", "error-pages.503.file"]);
        assert!(faults.iter().all(|fault| fault.file == path("acme") && fault.hint.is_some()));
    }

    #[test]
    fn secrets_are_not_shown_and_what_is_shown_is_not_kept_in_their_place() {
        let table = |secret: &str| {
            let set = json!({"Authorization": secret, "X-A": "told"});
            json!({"pool": "a", "routes": [{"path": "/", "request-headers": {"set": set}}]})
        };
        let kept = definition(table("Basic one"));

        assert_eq!(Value::Object(kept.shown(&Secrets::default())), table(MASKED));
        assert_eq!(Value::Object(kept.table()), table("Basic one"));
        assert!(kept.file("acme").is_ok());
        assert!(definition(table(MASKED)).file("acme").is_ok(), "what is kept is served");
        let faults = masked_in(&definition(table(MASKED)).table(), "acme");
        assert!(faults.iter().all(|fault| fault.file == path("acme")));
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_deref().unwrap()).collect();
        assert_eq!(keys, ["routes[0].request-headers.set.Authorization"]);
    }

    #[test]
    fn what_the_access_log_masks_is_neither_shown_nor_taken_as_it_is_shown() {
        let table = |field: &str, parameter: &str| {
            json!({"pool": "a", "routes": [{
                "path": "/", "headers": {"X-Invite": field, "x-a": true},
                "query": {"my-code": parameter, "page": "1"},
            }]})
        };
        let mask = crate::config::spec::MaskSpec {
            query: vec!["my_code".to_owned()],
            headers: vec![http::HeaderName::from_static("x-invite")],
        };
        let kept = definition(table("one", "two"));

        let shown = kept.shown(&Secrets::of(&mask));

        assert_eq!(Value::Object(shown.clone()), table(MASKED, MASKED));
        assert_eq!(Value::Object(kept.shown(&Secrets::default())), table("one", "two"));
        let faults = masked_in(&shown, "acme");
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_deref().unwrap()).collect();
        assert_eq!(keys, ["routes[0].headers.X-Invite", "routes[0].query.my-code"]);
    }

    #[test]
    fn a_file_of_the_api_is_known_by_its_path() {
        assert_eq!(id_of(&path("a.b")), Some("a.b"));
        assert_eq!(id_of(Path::new("config/api:tenants/a")), None);
        let text = "as api:tenants/a:3:1 and api:tenants/b.c:1:1 have";
        assert!(ids_in(text).eq(["a", "b.c"]));
    }

    /// JSON of a few levels, without what TOML has not.
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
            any::<String>().prop_map(Value::from),
            "[$={\"'\\\\\n\t]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|table| Value::Object(table.into_iter().collect())),
            ]
        })
    }

    /// TOML as JSON, with variables where a file has them.
    fn back(value: &toml::Value) -> Value {
        match value {
            toml::Value::String(text) => text.replace("$${", "${").into(),
            toml::Value::Array(list) => list.iter().map(back).collect(),
            toml::Value::Table(table) => {
                Value::Object(table.iter().map(|(name, one)| (name.clone(), back(one))).collect())
            }
            other => serde_json::to_value(other).unwrap(),
        }
    }

    fn names_no_variable(value: &toml::Value) -> bool {
        match value {
            toml::Value::String(text) => !text.replace("$${", " ").contains("${"),
            toml::Value::Array(list) => list.iter().all(names_no_variable),
            toml::Value::Table(table) => table.iter().all(|(_, one)| names_no_variable(one)),
            _ => true,
        }
    }

    proptest! {
        #[test]
        fn the_file_says_what_was_sent_and_names_no_variable(
            table in proptest::collection::btree_map("[a-z-]{1,8}|\\PC{0,4}", values(), 0..4),
            id in "[A-Za-z0-9._-]{1,20}",
        ) {
            let table: Table = table.into_iter().filter(|(name, _)| name != "error-pages").collect();

            let file = Definition::of(table.clone()).file(&id).unwrap();

            let read: toml::Table = toml::from_str(&file.text).unwrap();
            prop_assert_eq!(read.keys().collect::<Vec<_>>(), ["tenants"]);
            prop_assert_eq!(back(&read["tenants"][&id]), Value::Object(table));
            prop_assert!(names_no_variable(&read["tenants"][&id]));
        }
    }
}
