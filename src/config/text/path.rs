//! The pattern of a route's path.

use schemars::Schema;

use crate::config::spec::{PathSpec, SegmentSpec, TailSpec};

use super::{Text, Wrong};

impl Text for PathSpec {
    const EXPECTED: &'static str = "a path, as in \"/a/b\", \"/a/*\" or \"/users/{id}/*rest\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let looks_so = is_regular_expression(text);
        match read(text) {
            // It would be matched as it stands, and so never.
            Ok(_) if looks_so == Looks::Surely => {
                let what = format!("{text:?} looks like a regular expression");
                Err(Wrong::new(what, NO_EXPRESSIONS))
            }
            Err(wrong) if looks_so != Looks::No => Err(Wrong::new(wrong.what, NO_EXPRESSIONS)),
            read => read,
        }
    }

    fn schema() -> Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^/|\$\{",
            "examples": ["/a/b", "/a/*", "/users/{id}/*rest"],
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Looks {
    No,
    Maybe,
    Surely,
}

/// Whether somebody who writes this thinks of one.
fn is_regular_expression(text: &str) -> Looks {
    let has = |marks: &[&str]| marks.iter().any(|mark| text.contains(mark));
    let classes = ["[^", "[0-9", "[a-z", "[A-Z", ".+", "(?", ")+", "]+", "]*", ".*"];
    if text.starts_with('^') || text.ends_with('$') || has(&classes) {
        Looks::Surely
    } else if has(&["[", "\\", "|", ")*"]) {
        Looks::Maybe
    } else {
        Looks::No
    }
}

const NO_EXPRESSIONS: &str = "there are no regular expressions here: \"/a/*\" is /a and all below it, \
                              and {id} any one segment, as in \"/users/{id}\"";

fn read(text: &str) -> Result<PathSpec, Wrong> {
    let wrong = |what: &str, hint: String| Err(Wrong::new(format!("{text:?} {what}"), hint));
    let Some(rest) = text.strip_prefix('/') else {
        return wrong("does not start with a slash", format!("write \"/{text}\""));
    };
    if let Some(bad) = rest.chars().find(|c| !c.is_ascii_graphic() || "?#\\\"<>".contains(*c)) {
        let what = format!("has {bad:?}, which no path of a request has");
        return wrong(&what, "write it percent-encoded; a query goes into query = { … }".into());
    }
    let parts: Vec<&str> = rest.split('/').collect();
    let (last, tail) = match parts.split_last() {
        Some((last, before)) if last.starts_with('*') => (before, TailSpec::Any),
        _ => (parts.as_slice(), TailSpec::Nothing),
    };
    if last.len() > MAX_SEGMENTS {
        return wrong("has more than 32 segments", "end it sooner with \"/*\"".into());
    }
    if tail == TailSpec::Any {
        let name = parts.last().map_or("", |last| last.trim_start_matches('*'));
        if !name.is_empty() && !is_name(name) || parts.last().is_some_and(|l| l.starts_with("**")) {
            return wrong("has a bad tail", "end it with \"/*\" or \"/*rest\"".into());
        }
    }
    let mut segments = Vec::with_capacity(last.len());
    for (at, part) in last.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        segments.push(
            segment(part, is_last)
                .map_err(|(what, hint)| Wrong::new(format!("{text:?} {what}"), hint))?,
        );
    }
    Ok(PathSpec { text: text.into(), segments, tail })
}

fn segment(part: &str, is_last: bool) -> Result<SegmentSpec, (&'static str, &'static str)> {
    if part.is_empty() && !is_last {
        return Err(("has an empty segment", "take one of the two slashes out"));
    }
    if matches!(part, "." | "..") {
        return Err(("has a dot segment", "write the path that it leads to"));
    }
    if let Some(name) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        return match name {
            "" => Err(("has a parameter without a name", "write \"{id}\"")),
            name if is_name(name) => Ok(SegmentSpec::Parameter(name.to_owned())),
            _ => Err((
                "has a parameter with a bad name",
                "a name is of letters, digits, '_' and '-', as in \"{id}\"",
            )),
        };
    }
    if part.contains(['{', '}']) {
        return Err((
            "has a brace within a segment",
            "a parameter is a whole segment, as in \"/{id}/\"",
        ));
    }
    if part.contains('*') {
        return Err((
            "has a star that is not the last segment",
            "end it with \"/*\" or \"/*rest\"",
        ));
    }
    Ok(SegmentSpec::Literal(part.to_owned()))
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// 32: deeper than any API, and a bound on the work of a match.
const MAX_SEGMENTS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, segments: &[&str], tail: TailSpec) {
        let path = PathSpec::read(text).map_err(|wrong| wrong.what).unwrap();
        let shown: Vec<String> = path
            .segments
            .iter()
            .map(|segment| match segment {
                SegmentSpec::Literal(text) => text.clone(),
                SegmentSpec::Parameter(name) => format!("{{{name}}}"),
            })
            .collect();

        assert_eq!((shown, path.tail), (segments.iter().map(|s| (*s).to_owned()).collect(), tail));
    }

    #[test]
    fn a_path_is_exact_or_open_at_its_end() {
        check("/", &[""], TailSpec::Nothing);
        check("/*", &[], TailSpec::Any);
        check("/a/b", &["a", "b"], TailSpec::Nothing);
        check("/a/b/", &["a", "b", ""], TailSpec::Nothing);
        check("/a/*", &["a"], TailSpec::Any);
        check("/users/{id}/*rest", &["users", "{id}"], TailSpec::Any);
    }

    #[test]
    fn who_writes_a_regular_expression_is_told_that_there_are_none() {
        for bad in [
            "^/a$",
            "/a/(.*)",
            "/[0-9]+",
            "/a/([^/]+)/b",
            "/a$",
            "/a/\\d+",
            "/(a|b)/*x*",
            "/a.*",
            "^/a",
        ] {
            let told = PathSpec::read(bad).map_err(|wrong| wrong.hint).unwrap_err();
            assert!(told.starts_with("there are no regular expressions here"), "{bad}: {told}");
        }
        for other in ["a", "/a/*/b", "/a b"] {
            let told = PathSpec::read(other).map_err(|wrong| wrong.hint).unwrap_err();
            assert!(!told.contains("regular"), "{other}: {told}");
        }
    }

    #[test]
    fn a_path_that_could_never_match_is_refused() {
        let deep = "/a".repeat(33);
        for bad in [
            "",
            "a",
            "/a//b",
            "/a/../b",
            "/./a",
            "/{}",
            "/{a b}",
            "/a{b}",
            "/a/*/b",
            "/a*",
            "/**",
            "/*a*",
            "/a?b",
            "/a#b",
            "/a b",
            "/ä",
            deep.as_str(),
        ] {
            assert!(PathSpec::read(bad).is_err(), "{bad:?} was taken");
        }
    }
}
