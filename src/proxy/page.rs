//! The page that a browser gets where a program gets a problem document, and pages of tenants in
//! its place. Ours loads nothing; nothing that came with the request stands in any as anything but
//! text.

use std::borrow::Cow;
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderValue;

use crate::config::answers::{PagePart, PageSpec, PageSyntax, PageValue};

use super::problem::Problem;

/// What is told of one problem.
pub(super) struct Told<'t> {
    pub(super) problem: &'t Problem,
    pub(super) detail: &'t str,
    pub(super) request_id: &'t str,
}

/// The page in HTML.
pub(super) fn html(told: &Told<'_>) -> Bytes {
    let mut page = String::with_capacity(TEMPLATE.len() + STYLE.len() + 256);
    let mut rest = TEMPLATE;
    while let Some((text, (name, behind))) =
        rest.split_once('{').and_then(|(text, from)| Some((text, from.split_once('}')?)))
    {
        page.push_str(text);
        match name {
            "style" => page.push_str(STYLE),
            name => page.push_str(&escaped(&value(told, name))),
        }
        rest = behind;
    }
    page.push_str(rest);
    page.into()
}

/// The same in plain text.
pub(super) fn text(told: &Told<'_>) -> Bytes {
    let value = |name| value(told, name);
    let lines = format!(
        "{} {}\n\n{}\n\nWhat to tell the operator of this site:\nproblem: {} ({})\ndetail: {}\n\
         request: {}\ntime: {}\n",
        value("status"),
        value("reason"),
        value("visitor"),
        value("title"),
        value("problem"),
        value("detail"),
        value("request-id"),
        value("time"),
    );
    lines.into()
}

/// A page of a tenant: the parts of it that are the same for all answers are shared by them.
pub(super) fn own(page: &PageSpec, told: &Told<'_>) -> Vec<Bytes> {
    let part = |part: &PagePart| match part {
        PagePart::Text(text) => text.clone(),
        PagePart::Value(value) => {
            let value = match value {
                PageValue::RequestId => told.request_id,
                PageValue::Status => told.problem.status.as_str(),
                PageValue::Problem => told.problem.name,
            };
            Bytes::from(written(value, page.syntax).into_owned())
        }
    };
    page.parts.iter().map(part).collect()
}

fn written(text: &str, syntax: PageSyntax) -> Cow<'_, str> {
    match syntax {
        PageSyntax::Markup => escaped(text),
        PageSyntax::Json => {
            let quoted = serde_json::to_string(text).unwrap_or_default();
            let inner = quoted.strip_prefix('"').and_then(|inner| inner.strip_suffix('"'));
            inner.unwrap_or_default().to_owned().into()
        }
        PageSyntax::Plain => text.into(),
    }
}

/// What a browser may do with such a page: show it, in its own style.
pub(super) fn policy() -> HeaderValue {
    HeaderValue::from_static(POLICY)
}

/// Text as HTML shows it, also within a quoted attribute.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

fn value<'t>(told: &Told<'t>, name: &str) -> Cow<'t, str> {
    let problem = told.problem;
    match name {
        "status" => problem.status.as_str().to_owned().into(),
        "reason" => problem.status.canonical_reason().unwrap_or_default().into(),
        "visitor" => problem.visitor.into(),
        "title" => problem.title.into(),
        "problem" => problem.name.into(),
        "detail" => told.detail.into(),
        "request-id" => told.request_id.into(),
        "time" => humantime::format_rfc3339_seconds(SystemTime::now()).to_string().into(),
        _ => Cow::Borrowed(""),
    }
}

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// Names the one style that may be used by its hash (a test keeps it fresh): nothing else is
/// loaded, run, sent or framed.
const POLICY: &str = "default-src 'none'; \
                      style-src 'sha256-Q+8B3dGe5IHgpPkgedTG68gOKjd0g1G6vCeQx+D88O4='; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;

    use super::*;
    use crate::proxy::problem::PROBLEMS;

    const HOSTILE: &str = "</dd><script>alert('x')</script>\" onload=\"y & {style} {title}";

    #[test]
    fn what_came_with_the_request_is_text() {
        for problem in PROBLEMS {
            let told = Told { problem, detail: HOSTILE, request_id: HOSTILE };

            let page = String::from_utf8(html(&told).to_vec()).unwrap();

            assert!(!page.contains("<script"), "{page}");
            assert!(!page.contains("onload=\"y"), "{page}");
            assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"), "{page}");
            assert!(page.contains("y &amp; {style} {title}"), "a value is no template: {page}");
            assert!(page.contains(problem.visitor) && page.contains(problem.name), "{page}");
            assert!(page.ends_with("</html>\n"), "{page}");
        }
    }

    #[test]
    fn the_page_asks_for_nothing_from_outside() {
        for outside in ["http:", "https:", "src=", "url(", "@import", "<link", "<script", "<img"] {
            assert!(!TEMPLATE.contains(outside) && !STYLE.contains(outside), "{outside}");
        }
        assert!(STYLE.contains("color-scheme:light dark"));
    }

    #[test]
    fn every_placeholder_of_the_page_stands_for_something() {
        let told = Told { problem: &PROBLEMS[0], detail: "d", request_id: "r" };
        for piece in TEMPLATE.split('{').skip(1) {
            let (name, _) = piece.split_once('}').unwrap();
            assert!(name == "style" || !value(&told, name).is_empty(), "{name}");
        }
    }

    #[test]
    fn the_policy_names_the_style_that_is_there() {
        let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
        let hash = suite.common.hash_provider.hash(STYLE.as_bytes());

        let expected = format!("'sha256-{}'", base64(hash.as_ref()));

        assert!(POLICY.contains(&expected), "write {expected} into POLICY");
    }

    #[test]
    fn a_value_in_a_page_of_a_tenant_is_text_by_the_pages_kind() {
        assert_eq!(written("<\"&", PageSyntax::Markup), "&lt;&quot;&amp;");
        assert_eq!(written("a\"\\\n", PageSyntax::Json), "a\\\"\\\\\\n");
        assert_eq!(written("<\"&", PageSyntax::Plain), "<\"&");
    }

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for three in bytes.chunks(3) {
            let number = (0..3).fold(0, |sum, at| {
                sum << 8 | u32::from(three.get(at).copied().unwrap_or_default())
            });
            for at in 0..4 {
                let digit = DIGITS[(number >> (18 - 6 * at) & 63) as usize];
                text.push(if at <= three.len() { char::from(digit) } else { '=' });
            }
        }
        text
    }
}
