//! From TOML to the raw form: all syntax errors, then all keys and values that do not fit. The
//! deserializer stops at the first misfit, so what it names is taken out and it is asked again.

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use super::faults::{Faults, MAX_PER_FILE};
use super::key::Key;
use super::misplaced;
use super::nearest::nearest;
use super::syntax;
use super::text::HINT;

/// A parsed value with its place.
pub(super) type Node<'a> = Spanned<DeValue<'a>>;

/// Parses a text; `None` when it is no TOML.
pub(super) fn parse<'a>(text: &'a str, file: usize, faults: &mut Faults<'_>) -> Option<Node<'a>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or_default();
        let at = span.start;
        if error.message() == syntax::REPEATED && !faults.is_full(file) {
            if let Some((what, hint)) = syntax::repeated(text, span) {
                faults.add_syntax(file, at, what, &hint);
            }
            continue;
        }
        // A file without end would be looked through for each of errors without end.
        let (what, hint) = match faults.is_full(file) {
            true => (error.message(), ""),
            false => syntax::explain(text, at, error.message()),
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

/// Reads a value that fits whole; `None` for any other. It is used up by that, which a copy for whom tells what does
/// not fit would double.
pub(super) fn read_whole<T: DeserializeOwned>(node: Node<'_>) -> Option<T> {
    let is_array = matches!(node.get_ref(), DeValue::Array(_));
    if is_array || misplaced::find(&node).is_some() {
        return None;
    }
    T::deserialize(ValueDeserializer::from(node)).ok()
}

/// Reads a value, leaving out what does not fit. `None` when nothing of it fits.
pub(super) fn read<T: DeserializeOwned>(
    mut node: Node<'_>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<T> {
    if matches!(node.get_ref(), DeValue::Array(_)) {
        // Every type read here is a struct, which serde would also read from its fields in order.
        let hint = format!("write [{key}], with single brackets");
        faults.add_misfit(
            key,
            node.span().start,
            ("an array does not fit here".into(), Some(hint)),
        );
        return None;
    }
    let mut whole: Option<Node<'_>> = None;
    for _ in 0..MAX_PER_FILE {
        let (span, what, hint) = match misplaced::find(&node) {
            Some((span, what, hint)) => (span, what.to_owned(), Some(hint.to_owned())),
            None => match T::deserialize(ValueDeserializer::from(node.clone())) {
                Ok(value) => return Some(value),
                Err(error) => {
                    let (what, hint) = explain(error.message());
                    (error.span().unwrap_or_else(|| node.span()), what, hint)
                }
            },
        };
        // Keys are told by the value as it was written: what is taken out moves array indexes.
        let whole = whole.get_or_insert_with(|| node.clone());
        let told = visit(whole, &span, key, &mut |key| {
            let hint = double_brackets(key, &what).or_else(|| hint.clone());
            faults.add_misfit(key, span.start, (what.clone(), hint));
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

/// The hint for what stands where each `[[table]]` is one of several.
fn double_brackets(key: &Key<'_>, what: &str) -> Option<String> {
    let key = key.to_string();
    if !what.ends_with(" does not fit here") {
        return None;
    }
    if key.ends_with(".tls.certificates") {
        return Some("write [[listeners.tls.certificates]]".to_owned());
    }
    match key.as_str() {
        "listeners" => Some(LISTENERS.to_owned()),
        "tenant.from" => Some("write from = [{ header = \"X-Tenant-ID\" }]".to_owned()),
        list if list.ends_with(".routes") => {
            Some(format!("write [[{list}]], and below it path = \"/*\""))
        }
        _ => None,
    }
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
    if message.starts_with("invalid length ") {
        let what = "an array does not fit here".to_owned();
        return (what, Some("write a table, as in { key = … }".to_owned()));
    }
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let (name, known) = rest.split_once('`').unwrap_or((rest, ""));
        return (format!("there is no key {name:?} here"), Some(known_keys(name, known)));
    }
    let typed = ["invalid type: ", "invalid value: "];
    if let Some(rest) = typed.iter().find_map(|prefix| message.strip_prefix(prefix))
        && let Some((found, expected)) = rest.rsplit_once(", expected ")
    {
        let hint = match (found.strip_prefix("string "), expected) {
            (Some(text), "a sequence") => format!("write an array: [{text}]"),
            _ => format!("write {}", wanted(expected)),
        };
        return (format!("{} does not fit here", given(found)), Some(hint));
    }
    (message.to_owned(), Some("docs/configuration.md has what may stand here".to_owned()))
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
        other => match other.strip_prefix("struct ") {
            Some(name) => {
                TABLES.iter().find(|(table, _)| *table == name).map_or(TABLE, |(_, hint)| hint)
            }
            None => other,
        },
    }
}

const TABLE: &str = "a table, as in { key = … }";

/// Tables by the name of their type, as the deserializer tells it, with an example of each.
const TABLES: &[(&str, &str)] = &[
    ("AccessLog", "a table, as in { output = \"stdout\" }"),
    ("Admin", "a table, as in { address = \"127.0.0.1:9900\" }"),
    ("Breaker", "a table, as in { failures = \"50%\" }"),
    ("ClientCertificates", "a table, as in { mode = \"required\", authorities = \"ca.pem\" }"),
    ("Connections", "a table, as in { idle = 256 }"),
    ("Downstream", "a table, as in { max-body = \"10MiB\" }"),
    ("Drain", "a table, as in { timeout = \"30s\" }"),
    ("EachLimit", "a table, as in { requests = \"50/s\" }"),
    ("Eject", "a table, as in { failures = 5 }"),
    ("ErrorPage", "a table, as in { body = \"Sorry\" }"),
    ("HeaderEdits", "a table, as in { set = { X-From = \"edge\" } }"),
    ("Health", "a table, as in { http = \"/healthz\" }"),
    ("Listener", "a table, as in { address = \"0.0.0.0:8080\" }"),
    ("ListenerTls", "a table, as in { cert = \"cert.pem\", key = \"key.pem\" }"),
    ("Log", "a table, as in { filter = \"debug\" }"),
    ("Maintenance", "a table, as in { retry-after = \"10m\" }"),
    ("Memory", "a table, as in { buffers = \"512MiB\" }"),
    ("Metrics", "a table, as in { tenants = 1000 }"),
    ("Naming", "a table, as in { from = [{ header = \"X-Tenant-ID\" }] }"),
    ("Pool", "a table, as in { endpoints = [\"10.0.0.1:8080\"] }"),
    ("ProxyProtocol", "a table, as in { from = [\"10.0.0.0/8\"] }"),
    ("Redirect", "a table, as in { to = \"/new\" }"),
    ("Respond", "a table, as in { status = 404 }"),
    ("Retry", "a table, as in { attempts = 3 }"),
    ("Rewrite", "a table, as in { strip = \"/api\" }"),
    ("Route", "a table, as in { path = \"/*\" }"),
    ("RouteQueue", "a table, as in { priority = \"batch\" }"),
    ("SlowStart", "a table, as in { window = \"30s\" }"),
    ("Tenant", "a table, as in { pool = \"shop\" }"),
    ("TenantLog", "a table, as in { sample = \"10%\" }"),
    ("TenantQueue", "a table, as in { priority = \"batch\" }"),
    ("TenantTracing", "a table, as in { sample = \"10%\" }"),
    ("Timeouts", "a table, as in { total = \"30s\" }"),
    ("Tracing", "a table, as in { exporter = \"otlp-http\" }"),
    ("Way", "a table, as in { header = \"X-Tenant-ID\" }"),
    ("Zones", "a table, as in { spill-above = 16 }"),
];

/// Which key was meant, from what serde lists behind the name of an unknown one.
fn known_keys(name: &str, listed: &str) -> String {
    let known: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
    let is_meant = |(old, beside, _): &&(&str, &str, &str)| {
        *old == name && (beside.is_empty() || known.contains(beside))
    };
    if let Some((_, _, hint)) = TOMBSTONES.iter().find(is_meant) {
        return (*hint).to_owned();
    }
    if known == ["from"] {
        return format!("known here: from; a tenant is written [tenants.{name}]");
    }
    let longer = || known.iter().find(|known| name.starts_with(**known)).copied();
    match nearest(name, known.iter().copied()).or_else(longer) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// Keys that people expect, a key that is known where they expect them (none: anywhere), and what
/// to write instead.
const TOMBSTONES: &[(&str, &str, &str)] = &[
    ("rate-limit", "", "write limits = { requests = \"100/s\" }"),
    ("rate", "concurrency", "write requests = \"100/s\""),
    ("key", "quota", SUBJECT),
    ("api-key", "quota", SUBJECT),
    ("keys", "quota", SUBJECT),
    ("max-body", "redirect", MAX_BODY),
    ("max-body", "replay-memory", MAX_BODY),
    ("priority", "redirect", PRIORITY),
    ("priority", "replay-memory", PRIORITY),
    ("max-concurrency", "", "write limits = { concurrency = 64 }"),
    ("endpoint", "", "write endpoints = [\"10.0.0.1:8080\"]"),
    (
        "weight",
        "",
        "weights belong to endpoints = [{ address = \"…\", weight = 2 }] or to split.pools",
    ),
    ("retries", "", "write retry = { attempts = 3 }"),
    ("sources", "", "write endpoints, dns, srv or file, one or several of them"),
    ("path", "http", "write http = \"/healthz\""),
    ("level", "filter", "write filter = \"debug\""),
    ("header", "from", "write from = [{ header = \"X-Tenant-ID\" }]"),
    ("host", "from", "write from = [{ host = \"{tenant}.example.com\" }]"),
    ("listen", "listeners", LISTENERS),
    ("port", "listeners", LISTENERS),
    ("port", "token-file", "write address = \"127.0.0.1:9900\""),
    ("tls", "listeners", "it belongs to a listener: [listeners.tls], below its [[listeners]]"),
    ("timeout", "panic-below", "write timeouts = { total = \"30s\" }"),
    ("regex", "rewrite", "there are no regular expressions; write path = \"/a/*\" or \"/a/{id}\""),
    ("prefix", "request-headers", "write path = \"/a/*\" for /a and all below it"),
    ("pools", "listeners", ROUTES),
    ("tenant", "listeners", ROUTES),
    ("tenants", "listeners", ROUTES),
    ("route-sets", "listeners", ROUTES),
    ("listeners", "pools", GATEWAY),
    ("admin", "pools", GATEWAY),
    ("log", "pools", GATEWAY),
    ("access-log", "pools", GATEWAY),
    ("workers", "pools", GATEWAY),
    ("downstream", "pools", GATEWAY),
    ("drain", "pools", GATEWAY),
    ("memory", "pools", GATEWAY),
    ("metrics", "pools", GATEWAY),
    ("retry", "replay-memory", RULES),
    ("timeout", "replay-memory", RULES),
    ("timeouts", "replay-memory", RULES),
];
const SUBJECT: &str = "write subject = { requests = \"50/s\" }, which holds for each API key";
const MAX_BODY: &str = "write limits = { max-body = \"1MiB\" }";
const PRIORITY: &str = "write queue = { priority = \"batch\" }";
const LISTENERS: &str = "write [[listeners]], and below it address = \"0.0.0.0:8080\"";
const RULES: &str = "it belongs to a pool, [pools.NAME], or to a route, [[tenants.ID.routes]]";
const ROUTES: &str = "it belongs into the file or folder that routes = \"routes.toml\" names";
const GATEWAY: &str = "it belongs into gateway.toml";

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

    #[test]
    fn a_key_of_the_other_file_is_sent_there() {
        let (_, hint) = explain("unknown field `listeners`, expected one of `tenant`, `pools`");

        assert_eq!(hint.as_deref(), Some(GATEWAY));
    }

    /// `path` is right in a route, so it is not explained away there.
    #[test]
    fn a_key_is_explained_only_where_people_expect_it() {
        let hint = |known: &str| explain(&format!("unknown field `path`, {known}")).1;

        assert_eq!(hint("expected `http`").as_deref(), Some("write http = \"/healthz\""));
        assert_eq!(hint("expected `dns`").as_deref(), Some("known here: dns"));
    }
}
