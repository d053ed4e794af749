//! From TOML to the raw form: all syntax errors, then all keys and values that do not fit. The
//! deserializer stops at the first misfit, so what it names is taken out and it is asked again.

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use super::faults::{Faults, MAX_PER_FILE};
use super::key::Key;
use super::nearest::nearest;
use super::text::HINT;

/// A parsed value with its place.
pub(super) type Node<'a> = Spanned<DeValue<'a>>;

/// Parses a text; `None` when it is no TOML.
pub(super) fn parse<'a>(text: &'a str, file: usize, faults: &mut Faults<'_>) -> Option<Node<'a>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        let (what, hint) = match error.message() {
            "duplicate key" => ("the key or table is there twice", "keep one of them"),
            other => (other, "see https://toml.io for how TOML is written"),
        };
        faults.add_syntax(file, at, what.to_owned(), hint);
    }
    let span = table.span();
    errors.is_empty().then(|| Spanned::new(span, DeValue::Table(table.into_inner())))
}

/// Takes a table of named entries out of a table, so that each is read by itself.
pub(super) fn take_entries<'a>(root: &mut Node<'a>, name: &str) -> Option<DeTable<'a>> {
    let DeValue::Table(table) = root.get_mut() else { return None };
    if !matches!(table.get(name).map(Spanned::get_ref), Some(DeValue::Table(_))) {
        return None;
    }
    match table.remove(name).map(Spanned::into_inner) {
        Some(DeValue::Table(entries)) => Some(entries),
        _ => None,
    }
}

/// Reads a value, leaving out what does not fit. `None` when nothing of it fits.
pub(super) fn read<T: DeserializeOwned>(
    mut node: Node<'_>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<T> {
    let mut whole: Option<Node<'_>> = None;
    for _ in 0..MAX_PER_FILE {
        let error = match T::deserialize(ValueDeserializer::from(node.clone())) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let span = error.span().unwrap_or_else(|| node.span());
        // Keys are told by the value as it was written: what is taken out moves array indexes.
        let whole = whole.get_or_insert_with(|| node.clone());
        let (what, hint) = explain(error.message());
        let told = visit(whole, &span, key, &mut |key| {
            faults.add_misfit(key, span.start, (what.clone(), hint.clone()));
            faults.note_hole(key);
        });
        if !told {
            faults.add_misfit(key, span.start, (what, hint));
        }
        if !remove(&mut node, &span) {
            return None;
        }
    }
    None
}

type Span = std::ops::Range<usize>;

/// Calls `found` with the path of the key or value at `span`; `false` when there is none.
fn visit(node: &Node<'_>, span: &Span, key: &Key<'_>, found: &mut dyn FnMut(&Key<'_>)) -> bool {
    match node.get_ref() {
        DeValue::Table(table) => table.iter().any(|(name, value)| {
            let key = key.name(name.get_ref());
            if name.span() == *span {
                found(&key);
                return true;
            }
            visit(value, span, &key, found) || (value.span() == *span && tell(&key, found))
        }),
        DeValue::Array(array) => array.iter().enumerate().any(|(index, value)| {
            let key = key.index(index);
            visit(value, span, &key, found) || (value.span() == *span && tell(&key, found))
        }),
        _ => false,
    }
}

fn tell(key: &Key<'_>, found: &mut dyn FnMut(&Key<'_>)) -> bool {
    found(key);
    true
}

/// Takes out the key or value at `span`; `false` when there is none.
fn remove(node: &mut Node<'_>, span: &Span) -> bool {
    match node.get_mut() {
        DeValue::Table(table) => {
            let mut doomed = None;
            for (name, value) in table.iter_mut() {
                if name.span() == *span {
                    doomed = Some(name.get_ref().to_string());
                    break;
                }
                if remove(value, span) {
                    return true;
                }
                if value.span() == *span {
                    doomed = Some(name.get_ref().to_string());
                    break;
                }
            }
            doomed.is_some_and(|name| table.remove(name.as_str()).is_some())
        }
        DeValue::Array(array) => {
            let mut doomed = None;
            for (index, value) in array.iter_mut().enumerate() {
                if remove(value, span) {
                    return true;
                }
                if value.span() == *span {
                    doomed = Some(index);
                    break;
                }
            }
            if let Some(doomed) = doomed {
                let elements = std::mem::replace(array, DeArray::new()).into_iter().enumerate();
                *array = elements.filter(|(at, _)| *at != doomed).map(|(_, value)| value).collect();
            }
            doomed.is_some()
        }
        _ => false,
    }
}

/// Says in our words what serde says in its own.
fn explain(message: &str) -> (String, Option<String>) {
    if let Some((what, hint)) = message.split_once(HINT) {
        return (what.to_owned(), Some(hint.to_owned()));
    }
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let (name, known) = rest.split_once('`').unwrap_or((rest, ""));
        return (format!("there is no key {name:?} here"), Some(known_keys(name, known)));
    }
    let typed = ["invalid type: ", "invalid value: "];
    if let Some(rest) = typed.iter().find_map(|prefix| message.strip_prefix(prefix))
        && let Some((found, expected)) = rest.rsplit_once(", expected ")
    {
        let hint = format!("write {}", wanted(expected));
        return (format!("{} does not fit here", given(found)), Some(hint));
    }
    (message.to_owned(), None)
}

/// What was found, in the words of TOML.
fn given(found: &str) -> String {
    let found = found.replace('`', "");
    match found.split_once(' ').unwrap_or((found.as_str(), "")) {
        ("string", text) => format!("the text {text}"),
        ("integer", number) => format!("the number {number}"),
        ("floating", rest) => format!("the number {}", rest.trim_start_matches("point ")),
        ("boolean", word) => word.to_owned(),
        ("sequence", _) => "an array".to_owned(),
        ("map", _) => "a table".to_owned(),
        _ => found,
    }
}

/// What was expected, in the words of TOML.
fn wanted(expected: &str) -> &str {
    match expected {
        "a sequence" => "an array, as in [\"…\"]",
        "a string" => "text, as in \"…\"",
        "a boolean" => "true or false",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table, as in { key = … }",
        other => other,
    }
}

/// Which key was meant, from what serde lists behind the name of an unknown one.
fn known_keys(name: &str, listed: &str) -> String {
    let known: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
    if let Some((_, hint)) = TOMBSTONES.iter().find(|(old, _)| *old == name) {
        return (*hint).to_owned();
    }
    let longer = || known.iter().find(|known| name.starts_with(**known)).copied();
    match nearest(name, known.iter().copied()).or_else(longer) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// Keys that people expect and what to write instead.
const TOMBSTONES: &[(&str, &str)] = &[
    ("limits", "limits are not a part of this version; take the key out"),
    ("endpoint", "write endpoints = [\"10.0.0.1:8080\"]"),
    ("weight", "weights belong to endpoints = [{ address = \"…\", weight = 2 }] or to split.pools"),
    ("retries", "write retry = { attempts = 3 }"),
    ("sources", "write endpoints, dns, srv or file, one or several of them"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_the_one_that_was_meant() {
        let message = "unknown field `balanse`, expected one of `balance`, `dns`";

        let (what, hint) = explain(message);

        assert_eq!(what, "there is no key \"balanse\" here");
        assert_eq!(hint.as_deref(), Some("did you mean \"balance\"?"));
    }

    #[test]
    fn a_wrong_type_says_what_to_write() {
        let (what, hint) = explain("invalid type: integer `5`, expected a duration");

        assert_eq!(what, "the number 5 does not fit here");
        assert_eq!(hint.as_deref(), Some("write a duration"));
    }
}
