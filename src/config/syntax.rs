//! What to write in place of a text that is no TOML. The parser says what it stumbled over; people
//! stumble over their habits from other formats.

use std::ops::Range;

/// What is wrong and what to write, from the parser's message and the byte that it names.
pub(super) fn explain<'a>(text: &str, at: usize, message: &'a str) -> (&'a str, &'static str) {
    if text.trim_start().starts_with('{') {
        return (message, "this is JSON; in TOML write [pools.shop] and below it key = \"value\"");
    }
    let line = line_of(text, at);
    if is_yaml(line) {
        return (
            message,
            "this is YAML; in TOML write key = \"value\", below a line like [pools.shop]",
        );
    }
    if message.starts_with("string values must be quoted") {
        return ("the text is not in quotes", QUOTES);
    }
    let is_bare = ["invalid float", "invalid integer", "invalid boolean", "invalid number"];
    if is_bare.iter().any(|start| message.starts_with(start)) {
        return ("the value is neither a number nor true or false", QUOTES);
    }
    let known = HABITS.iter().find(|(start, _)| message.starts_with(start));
    (message, known.map_or("see https://toml.io for how TOML is written", |(_, hint)| hint))
}

/// How messages of the parser begin, and what to write.
const HABITS: [(&str, &str); 12] = [
    ("invalid basic string", END),
    ("invalid literal string", END),
    ("unclosed table", "close the name of the table with ], in the same line"),
    ("unclosed array", CLOSE),
    ("missing comma between array", CLOSE),
    ("unexpected `=` in array", CLOSE),
    ("unclosed inline table", "close the table with }"),
    ("missing comma between key-value", "put a comma between the keys, or close the table with }"),
    ("extra `=`", "write one = between a key and its value"),
    (
        "unexpected key or value",
        "end the line behind the value: nothing else stands there, no comma either",
    ),
    (
        "key with no value",
        "write key = \"value\"; a table has its name in brackets, as in [pools.shop]",
    ),
    (
        "invalid unquoted key",
        "put a key with other characters than letters, digits, - and _ in quotes",
    ),
];
const END: &str = "end the text on the same line with the quote that it starts with";
const CLOSE: &str = "put a comma between the values, and ] behind the last one";

/// What is said of a key or table that is there twice; `None` where that follows from its whole
/// table being there twice.
pub(super) fn repeated(text: &str, span: Range<usize>) -> Option<(String, String)> {
    let (before, _) = text.split_at_checked(span.start)?;
    let name = text.get(span.clone()).unwrap_or_default();
    let line = line_of(text, span.start);
    // The last one is what stands before it in its own line.
    let mut above: Vec<&str> = before.split('\n').map(str::trim).collect();
    above.pop();
    if line.starts_with('[') {
        let first = above.iter().position(|other| *other == line);
        return Some((format!("{line} is there twice"), keep_one(first)));
    }
    let header = above.iter().rposition(|line| line.starts_with('['));
    let is_repeated = |at: usize| !above[at].starts_with("[[") && above[..at].contains(&above[at]);
    if header.is_some_and(is_repeated) {
        return None;
    }
    let own = header.map_or(0, |at| at + 1);
    let first = above.iter().skip(own).position(|other| sets(other, name));
    Some((format!("the key {name} is there twice"), keep_one(first.map(|at| own + at))))
}

/// Whether a line is `name = …`.
fn sets(line: &str, name: &str) -> bool {
    line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
}

/// `first` counts lines from 0.
fn keep_one(first: Option<usize>) -> String {
    match first {
        Some(first) => format!("keep one of them; the other is in line {}", first + 1),
        None => "keep one of them".to_owned(),
    }
}

/// The parser's word for a key or table that is there twice.
pub(super) const REPEATED: &str = "duplicate key";

/// The line that holds a byte.
fn line_of(text: &str, at: usize) -> &str {
    let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let end = after.find('\n').map_or(text.len(), |end| before.len() + end);
    text.get(start..end).unwrap_or_default().trim()
}

/// Whether a line is `key: value`, `key:` or `- value`.
fn is_yaml(line: &str) -> bool {
    let key = |c: char| c.is_ascii_alphanumeric() || "-_.\"'".contains(c);
    let Some((name, rest)) = line.split_once(':') else { return line.starts_with("- ") };
    let is_key = !name.is_empty() && name.chars().all(key);
    line.starts_with("- ") || (is_key && (rest.is_empty() || rest.starts_with(' ')))
}

const QUOTES: &str = "write text in straight double quotes, as in \"shop\" or \"10.0.0.1:8080\"";

#[cfg(test)]
mod tests {
    use super::*;

    /// The hint of each problem of a text.
    fn hints(text: &str) -> Vec<&'static str> {
        let (_, errors) = toml::de::DeTable::parse_recoverable(text);
        let at = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        errors.iter().map(|error| explain(text, at(error), error.message()).1).collect()
    }

    #[test]
    fn what_is_there_twice_is_named_and_the_first_one_told() {
        let told = |text: &str| -> Vec<(String, String)> {
            let (_, errors) = toml::de::DeTable::parse_recoverable(text);
            let span = |error: &toml::de::Error| error.span().unwrap_or_default();
            errors.iter().filter_map(|error| repeated(text, span(error))).collect()
        };
        let whole = told("[a]\nx = 1\n[b]\n[a]\nx = 2\n");
        let key = told("[a]\nx = 1\n[b]\ny = 1\n y=2\n");
        let inline = told("a = { x = 1, x = 2 }\n");

        let hint = |line: u8| format!("keep one of them; the other is in line {line}");
        assert_eq!(whole, [("[a] is there twice".to_owned(), hint(1))]);
        assert_eq!(key, [("the key y is there twice".to_owned(), hint(4))]);
        let alone = "keep one of them".to_owned();
        assert_eq!(inline, [("the key x is there twice".to_owned(), alone)]);
    }

    #[test]
    fn habits_from_yaml_and_json_are_told_by_name() {
        for text in ["pools:\n  web:\n    endpoints:\n    - 1\n", "[pools.a]\ndns: \"a:1\"\n"] {
            let hints = hints(text);
            assert!(hints.iter().all(|hint| hint.starts_with("this is YAML")), "{hints:?}");
        }
        assert!(hints("{\"pools\": {}}").iter().all(|hint| hint.starts_with("this is JSON")));
    }

    #[test]
    fn text_without_its_quotes_is_told_to_have_them() {
        for value in ["web", "[127.0.0.1:80]", "10.0.0.1", "True", "“web”", "30s", "localhost:1"]
        {
            assert_eq!(hints(&format!("a = {value}\n")).first(), Some(&QUOTES), "{value}");
        }
    }

    #[test]
    fn a_text_that_does_not_end_is_told_where_to_end() {
        assert!(hints("a = \"web\nb = 1\n").iter().any(|hint| hint.starts_with("end the text")));
    }
}
