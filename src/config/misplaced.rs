//! Values that the deserializer would take for something else: it reads a table also from an array of
//! its values in their order, and a date from a table of its own.

use toml::de::DeValue;

use super::tree::Node;

type Span = std::ops::Range<usize>;

/// The first such value: its place, what is wrong, and what to write.
pub(super) fn find(node: &Node<'_>) -> Option<(Span, &'static str, &'static str)> {
    match node.get_ref() {
        DeValue::Datetime(_) => Some((
            node.span(),
            "a date does not fit here",
            "write a text in quotes, as in \"…\"; no key takes a date",
        )),
        DeValue::Array(array) => array.iter().find_map(|value| match value.get_ref() {
            DeValue::Array(_) => {
                let hint = "take the inner brackets away; no key takes an array of arrays";
                Some((value.span(), "an array does not fit here", hint))
            }
            _ => find(value),
        }),
        DeValue::Table(table) => table.iter().find_map(|(name, value)| {
            let is_array = matches!(value.get_ref(), DeValue::Array(_));
            match is_array && TABLES.binary_search(&name.get_ref().as_ref()).is_ok() {
                true => Some((
                    value.span(),
                    "an array does not fit here",
                    "write a table, as in { key = … }",
                )),
                false => find(value),
            }
        }),
        _ => None,
    }
}

/// Keys whose value is a table and never an array, sorted. A test holds them against the schemas.
const TABLES: &[&str] = &[
    "access-log",
    "admin",
    "breaker",
    "by",
    "canary",
    "client",
    "client-certificates",
    "concurrency",
    "connections",
    "cors",
    "downstream",
    "drain",
    "eject",
    "fetch",
    "health",
    "hedge",
    "identity",
    "latency",
    "limits",
    "log",
    "maintenance",
    "mask",
    "memory",
    "metrics",
    "mirror",
    "proxy-protocol",
    "queue",
    "redirect",
    "replay-files",
    "request-headers",
    "respond",
    "response-headers",
    "retry",
    "rewrite",
    "rollback",
    "shared-limits",
    "slow-start",
    "split",
    "sticky",
    "subject",
    "success-rate",
    "tenant",
    "tenant-changes",
    "timeouts",
    "tls",
    "tracing",
    "usage",
    "wait",
    "zones",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::config::schema;

    use super::*;

    /// Of each key of a schema: whether a table fits, and whether an array does.
    fn keys(schema: &Value, root: &Value, found: &mut Vec<(String, bool, bool)>) {
        let properties = schema["properties"].as_object();
        for (name, value) in properties.into_iter().flatten() {
            found.push((name.clone(), fits("object", value, root), fits("array", value, root)));
        }
        let inner = schema.as_object().map(|object| object.values());
        inner.into_iter().flatten().for_each(|value| keys(value, root, found));
        let list = schema.as_array();
        list.into_iter().flatten().for_each(|value| keys(value, root, found));
    }

    /// Whether a value of this kind fits. A table whose keys are chosen by its writer is read as one.
    fn fits(kind: &str, schema: &Value, root: &Value) -> bool {
        if let Some(path) = schema["$ref"].as_str() {
            return root.pointer(&path[1..]).is_some_and(|to| fits(kind, to, root));
        }
        let any = ["anyOf", "oneOf", "allOf"].iter().filter_map(|word| schema[*word].as_array());
        if any.flatten().any(|one| fits(kind, one, root)) {
            return true;
        }
        let is_kind = |value: &Value| value.as_str() == Some(kind);
        let right = is_kind(&schema["type"])
            || schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(is_kind));
        right && (kind == "array" || schema["properties"].is_object())
    }

    #[test]
    fn the_keys_of_tables_are_those_of_the_schemas() {
        let mut found = Vec::new();
        for schema in [schema::gateway(), schema::routes()] {
            let schema = serde_json::to_value(&schema).unwrap();
            keys(&schema, &schema, &mut found);
        }
        let arrays: BTreeSet<&str> =
            found.iter().filter(|(_, _, array)| *array).map(|(name, _, _)| name.as_str()).collect();
        let tables: BTreeSet<&str> =
            found.iter().filter(|(_, table, _)| *table).map(|(name, _, _)| name.as_str()).collect();

        let tables: Vec<&str> = tables.difference(&arrays).copied().collect();
        assert_eq!(TABLES, tables, "TABLES, above, has the keys of all tables in their order");
    }

    #[test]
    fn what_would_be_read_as_something_else_is_found() {
        let told = |text: &str| {
            let table = toml::de::DeTable::parse(text).unwrap();
            let node = toml::Spanned::new(table.span(), DeValue::Table(table.into_inner()));
            find(&node).map(|(span, what, _)| (text[span].to_owned(), what))
        };

        let array = "an array does not fit here";
        assert_eq!(told("timeouts = [\"5s\"]"), Some(("[\"5s\"]".to_owned(), array)));
        assert_eq!(told("routes = [[\"a\"]]"), Some(("[\"a\"]".to_owned(), array)));
        let date = "a date does not fit here";
        assert_eq!(told("a = [{ b = 1979-05-27 }]"), Some(("1979-05-27".to_owned(), date)));
        assert_eq!(told("endpoints = [\"a\"]\ntimeouts = { total = \"5s\" }"), None);
    }
}
