//! Redirects: the location as a template that is parsed once.

use http::StatusCode;

use crate::config::spec::RedirectSpec;

/// A redirect.
#[derive(Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    parts: Box<[Part]>,
}

/// What the parts of a location stand for.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The host with its port, as [`super::host::authority`] gives it.
    pub host: &'a str,
    /// The path as the client sent it.
    pub path: &'a str,
    /// The query without its `?`.
    pub query: Option<&'a str>,
    /// The tenant's id.
    pub tenant: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Scheme,
    Host,
    Path,
    Query,
    Tenant,
}

impl Redirect {
    /// Parses the template. A placeholder that is not known stays as it is written.
    pub fn new(spec: &RedirectSpec) -> Self {
        Self { status: spec.status, parts: parse(&spec.to).into() }
    }

    /// The location for one request: printable ASCII whatever the values hold. It leads to another
    /// host only where the template says so: a path such as `//evil.example` does not.
    pub fn render(&self, values: &Values<'_>) -> String {
        let mut location = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => push(&mut location, text),
                Part::Scheme => push(&mut location, values.scheme),
                Part::Host => push(&mut location, values.host),
                Part::Path => push(&mut location, values.path),
                Part::Query => {
                    if let Some(query) = values.query {
                        location.push('?');
                        push(&mut location, query);
                    }
                }
                Part::Tenant => push(&mut location, values.tenant),
            }
        }
        self.stay_on_host(location)
    }

    /// Browsers take a leading `//` as the start of another host.
    fn stay_on_host(&self, location: String) -> String {
        let meant = matches!(self.parts.first(), Some(Part::Text(text)) if text.starts_with("//"));
        if meant || !location.starts_with("//") {
            return location;
        }
        format!("/{}", location.trim_start_matches('/'))
    }
}

fn parse(mut text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    while let Some(next) = text.chars().next() {
        let found = PLACEHOLDERS.into_iter().find(|(name, _)| text.starts_with(name));
        if let Some((name, part)) = found {
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(part);
            text = text.get(name.len()..).unwrap_or_default();
        } else {
            literal.push(next);
            text = text.get(next.len_utf8()..).unwrap_or_default();
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal.into()));
    }
    parts
}

/// Appends `text` with every byte escaped that has no place in a URI, line ends and the backslash
/// (which browsers read as a slash) among them.
fn push(location: &mut String, text: &str) {
    for byte in text.bytes() {
        let plain = byte.is_ascii_graphic()
            && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}');
        if plain {
            location.push(char::from(byte));
        } else {
            location.push('%');
            location.push(hex(byte >> 4));
            location.push(hex(byte & 15));
        }
    }
}

fn hex(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase()
}

const PLACEHOLDERS: [(&str, Part); 5] = [
    ("{scheme}", Part::Scheme),
    ("{host}", Part::Host),
    ("{path}", Part::Path),
    ("{query}", Part::Query),
    ("{tenant}", Part::Tenant),
];

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'_> = Values {
        scheme: "http",
        host: "a.example.com:8080",
        path: "/x/y",
        query: Some("k=v"),
        tenant: "acme",
    };

    fn render(to: &str, values: &Values<'_>) -> String {
        let spec = RedirectSpec { status: StatusCode::PERMANENT_REDIRECT, to: to.into() };
        Redirect::new(&spec).render(values)
    }

    #[test]
    fn placeholders_stand_for_the_parts_of_the_request() {
        let check = |to: &str, expected: &str| assert_eq!(render(to, &VALUES), expected, "{to}");

        check("https://{host}{path}{query}", "https://a.example.com:8080/x/y?k=v");
        check("https://{tenant}.example.com/", "https://acme.example.com/");
        check("{scheme}://b{path}", "http://b/x/y");
        check("/fixed", "/fixed");
    }

    #[test]
    fn a_request_without_a_query_leaves_no_question_mark() {
        assert_eq!(render("/a{query}", &Values { query: None, ..VALUES }), "/a");
    }

    #[test]
    fn a_value_never_starts_a_new_line_or_another_host() {
        let evil = Values { path: "/a\r\nSet-Cookie: b\u{e4}\\", ..VALUES };
        assert_eq!(render("{path}", &evil), "/a%0D%0ASet-Cookie:%20b%C3%A4%5C");

        let other = Values { path: "//evil.example/", ..VALUES };
        assert_eq!(render("{path}", &other), "/evil.example/");
        assert_eq!(render("/{path}", &other), "/evil.example/");
        let back = Values { path: "/\\evil.example/", ..VALUES };
        assert_eq!(render("{path}", &back), "/%5Cevil.example/");
    }
}
