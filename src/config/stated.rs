//! What the doc comments of the words state in fixed forms: `Default: …`, `Built in: …` and
//! `Must be there`. The schemas and the tables of the reference are made of it.

use serde_json::Value;

/// What is said of a key, in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// What it is for.
    pub meaning: String,
    /// What holds where it is not written, in words; `None` = nothing is said of that.
    pub default: Option<String>,
    /// It must be written wherever its table is.
    pub required: bool,
}

/// Takes a description apart.
pub fn read(description: &str) -> Stated {
    let text = description.split_whitespace().collect::<Vec<_>>().join(" ");
    let found = MARKS.iter().find_map(|mark| Some((mark, start(&text, mark)?)));
    let Some((mark, at)) = found else {
        return Stated { meaning: text, default: None, required: false };
    };
    let said = at + mark.len();
    let end = end(&text, said);
    let rest = text.get(end + 1..).unwrap_or_default().trim_start();
    let words = text.get(said..end).unwrap_or_default();
    let (default, required) = match *mark {
        REQUIRED => (format!("must be there{words}"), words.is_empty()),
        _ => (words.to_owned(), false),
    };
    let meaning = format!("{} {rest}", text.get(..at).unwrap_or_default().trim_end());
    Stated { meaning: meaning.trim().to_owned(), default: Some(default), required }
}

/// The value that a default begins with, where it is one, in the type that the key's schema asks for.
pub fn literal(default: &str, property: &Value) -> Option<Value> {
    let kind = property.get("type").and_then(Value::as_str);
    let span = default.strip_prefix('`').and_then(|rest| rest.split('`').next());
    match (kind, span) {
        (Some("integer"), _) => default.parse::<u64>().ok().map(Value::from),
        (Some("array"), Some(span)) if !span.starts_with('[') => {
            Some(default.split('`').skip(1).step_by(2).map(Value::from).collect())
        }
        (Some("array"), Some(span)) => {
            let table: toml::Table = format!("value = {span}").parse().ok()?;
            serde_json::to_value(table.get("value")?).ok()
        }
        (Some("string"), Some(span)) => Some(Value::from(span)),
        (_, Some("true")) => Some(Value::Bool(true)),
        (_, Some("false")) => Some(Value::Bool(false)),
        (_, Some(span)) => Some(Value::from(span.trim_matches('"'))),
        (_, None) => None,
    }
}

/// Puts what descriptions state into the keywords that editors read, everywhere in a schema.
pub(super) fn put_in(schema: &mut Value) {
    match schema {
        Value::Array(values) => values.iter_mut().for_each(put_in),
        Value::Object(object) => {
            object.values_mut().for_each(put_in);
            let Some(Value::Object(keys)) = object.get_mut("properties") else { return };
            let required: Vec<Value> =
                keys.iter_mut().filter_map(|(key, property)| describe(key, property)).collect();
            if !required.is_empty() {
                object.insert("required".to_owned(), Value::Array(required));
            }
        }
        _ => {}
    }
}

/// Puts the default of one key into its schema; gives its name where it must be there.
fn describe(key: &str, property: &mut Value) -> Option<Value> {
    let stated = read(property.get("description")?.as_str()?);
    if let Some(value) = stated.default.and_then(|default| literal(&default, property)) {
        property.as_object_mut()?.insert("default".to_owned(), value);
    }
    stated.required.then(|| Value::from(key))
}

/// Where a sentence begins with this mark.
fn start(text: &str, mark: &str) -> Option<usize> {
    let begins =
        |at: &usize| *at == 0 || text.get(..*at).is_some_and(|before| before.ends_with(' '));
    text.match_indices(mark).map(|(at, _)| at).find(begins)
}

/// The full stop that ends the sentence, not one within `code`.
fn end(text: &str, from: usize) -> usize {
    let mut in_code = false;
    let rest = text.get(from..).unwrap_or_default();
    for (at, c) in rest.char_indices() {
        in_code ^= c == '`';
        let last =
            rest.get(at + 1..).is_none_or(|after| after.is_empty() || after.starts_with(' '));
        if c == '.' && last && !in_code {
            return from + at;
        }
    }
    text.len()
}

const REQUIRED: &str = "Must be there";
const MARKS: [&str; 3] = ["Default: ", "Built in: ", REQUIRED];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parts(description: &str) -> (String, Option<String>, bool) {
        let stated = read(description);
        (stated.meaning, stated.default, stated.required)
    }

    #[test]
    fn a_description_comes_apart_at_its_default() {
        let (meaning, default, _) = parts("How long.\nDefault: `1.5s`, or so. Only with `x`.");

        assert_eq!(meaning, "How long. Only with `x`.");
        assert_eq!(default.as_deref(), Some("`1.5s`, or so"));
        assert_eq!(parts("Default: `a. b`.").1.as_deref(), Some("`a. b`"));
        assert_eq!(parts("No word of it.").1, None);
    }

    #[test]
    fn what_must_be_there_with_another_key_is_not_required() {
        assert_eq!(parts("A key. Must be there."), text("A key.", "must be there", true));
        let with = parts("A key. Must be there with `cert`.");
        assert_eq!(with, text("A key.", "must be there with `cert`", false));
    }

    fn text(meaning: &str, default: &str, required: bool) -> (String, Option<String>, bool) {
        (meaning.to_owned(), Some(default.to_owned()), required)
    }

    #[test]
    fn defaults_have_the_type_of_their_key() {
        let of = |default: &str, kind: &str| literal(default, &json!({ "type": kind }));

        assert_eq!(of("8192", "integer"), Some(json!(8192)));
        assert_eq!(of("one for each core", "integer"), None);
        assert_eq!(of("`0660`", "string"), Some(json!("0660")));
        assert_eq!(of("`true`", "boolean"), Some(json!(true)));
        assert_eq!(of("`connect`, `502`", "array"), Some(json!(["connect", "502"])));
        assert_eq!(of("`[{ header = \"A\" }]`", "array"), Some(json!([{ "header": "A" }])));
        assert_eq!(literal("`\"200-399\"`", &json!({ "anyOf": [] })), Some(json!("200-399")));
        assert_eq!(of("half of `total`", "string"), None);
    }
}
