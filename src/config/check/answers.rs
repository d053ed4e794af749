//! Pages in place of the gateway's own answers, and what is said in maintenance. A file is read once, however many tenants show it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;

use crate::config::answers::{
    ErrorPagesSpec, MaintenanceSpec, PageDigest, PageFor, PagePart, PageSpec, PageSyntax, PageValue,
};
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::nearest::nearest;
use crate::config::pem::PemFault;
use crate::config::raw::{At, ErrorPage, ErrorPages, Maintenance};
use crate::config::text::Written;

use super::beside;

/// What is answered while something is worked on. Checked also while nothing is, so that a slip is
/// told before it matters. `plan` is what holds for a tenant that does not say it.
pub(super) fn maintenance(
    raw: Option<Maintenance>,
    plan: Option<&MaintenanceSpec>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> MaintenanceSpec {
    let raw = raw.unwrap_or_default();
    let retry_after = raw.retry_after.map(|At { value: Written(time), start }| {
        if time < Duration::from_secs(1) {
            let hint = "write a duration from 1s to 168h, as in \"10m\"".to_owned();
            faults.add(&key.name("retry-after"), start, "is less than a second", Some(hint));
        }
        time
    });
    let allow = raw.allow.map(|networks| networks.into_iter().map(|network| network.0).collect());
    let unsaid = || plan.map_or(Duration::from_secs(300), |plan| plan.retry_after);
    MaintenanceSpec {
        retry_after: retry_after.unwrap_or_else(unsaid),
        allow: allow.or(plan.map(|plan| plan.allow.clone())).unwrap_or_default(),
    }
}

/// Whether a page whose file cannot be read is a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Lost {
    /// It is.
    Problem,
    /// The gateway's own answer is given in its place: the last good routes shall serve, and their
    /// pages are not kept.
    LeftOut,
}

/// The pages of all files so far.
pub(super) struct Pages {
    lost: Lost,
    /// What was read, or why not.
    files: HashMap<PathBuf, Result<Text, (String, &'static str)>>,
    made: HashMap<(HeaderValue, PageDigest), Arc<PageSpec>>,
}

/// The text of a page.
#[derive(Clone)]
struct Text {
    text: Arc<str>,
    digest: PageDigest,
}

impl Text {
    fn new(text: String) -> Self {
        Self { digest: PageDigest::of(&text), text: text.into() }
    }
}

impl Pages {
    /// None yet.
    pub(super) fn new(lost: Lost) -> Self {
        Self { lost, files: HashMap::new(), made: HashMap::new() }
    }

    /// Checks one table of pages; `folder` is that of the file that it is written in.
    pub(super) fn check(
        &mut self,
        raw: ErrorPages,
        folder: Option<&Path>,
        key: &Key<'_>,
        faults: &mut Faults<'_>,
    ) -> ErrorPagesSpec {
        let mut pages: Vec<(PageFor, Arc<PageSpec>)> = Vec::with_capacity(raw.0.len());
        for (occasion, page) in raw.0 {
            let name = occasion.value.to_string();
            if let Some(page) = self.page(page, folder, &key.name(&name), faults) {
                pages.push((occasion.value, page));
            }
        }
        pages.sort_by_key(|(occasion, _)| *occasion);
        ErrorPagesSpec { pages }
    }

    fn page(
        &mut self,
        At { value: raw, start }: At<ErrorPage>,
        folder: Option<&Path>,
        key: &Key<'_>,
        faults: &mut Faults<'_>,
    ) -> Option<Arc<PageSpec>> {
        const ONE: &str = "write file = \"503.html\" or body = \"…\"";
        let content_type = content_type(raw.content_type, raw.file.as_ref(), key, faults);
        let (text, key, start) = match (raw.file, raw.body) {
            (Some(file), None) => {
                let key = key.name("file");
                let text = self.file(beside(folder, file.value.0.0), file.start, &key, faults)?;
                return Some(self.made(content_type, text, (&key, file.start), faults));
            }
            (None, Some(body)) => (body.value, key.name("body"), body.start),
            (None, None) => {
                faults.add_missing(key, start, "has neither file nor body", ONE);
                return None;
            }
            (Some(_), Some(_)) => {
                faults.add(key, start, "has both file and body", Some("keep one".to_owned()));
                return None;
            }
        };
        if text.len() as u64 > MAX_PAGE {
            faults.add(&key, start, "the page is larger than 256 KiB", Some(SMALLER.to_owned()));
        }
        Some(self.made(content_type, Text::new(text), (&key, start), faults))
    }

    fn file(
        &mut self,
        path: PathBuf,
        start: usize,
        key: &Key<'_>,
        faults: &mut Faults<'_>,
    ) -> Option<Text> {
        let read = self.files.entry(path);
        match read.or_insert_with_key(|path| text_of(path, faults.read(path))) {
            Ok(text) => Some(text.clone()),
            Err((what, hint)) => {
                if self.lost == Lost::Problem {
                    faults.add(key, start, what.clone(), Some((*hint).to_owned()));
                }
                None
            }
        }
    }

    fn made(
        &mut self,
        content_type: HeaderValue,
        Text { text, digest }: Text,
        (key, start): (&Key<'_>, usize),
        faults: &mut Faults<'_>,
    ) -> Arc<PageSpec> {
        let made = self.made.entry((content_type, digest)).or_insert_with_key(|(kind, digest)| {
            let (content_type, syntax, digest) = (kind.clone(), syntax(kind), *digest);
            let parts = parts(&text, (key, start), faults);
            Arc::new(PageSpec { content_type, syntax, parts, digest })
        });
        Arc::clone(made)
    }
}

/// The text of a page, or why the file cannot be one and what to do.
fn text_of(path: &Path, read: Result<Vec<u8>, PemFault>) -> Result<Text, (String, &'static str)> {
    let shown = path.display();
    let large = || (format!("{shown} is larger than 256 KiB"), SMALLER);
    let bytes = match read {
        Ok(bytes) if bytes.len() as u64 > MAX_PAGE => return Err(large()),
        Ok(bytes) => bytes,
        Err(PemFault::TooLarge) => return Err(large()),
        Err(PemFault::NoFile) => {
            return Err((format!("{shown} is not a file"), "name a file of text"));
        }
        Err(fault) => return Err((format!("{shown} {fault}"), fault.hint("save it as UTF-8"))),
    };
    match String::from_utf8(bytes) {
        Ok(text) if text.trim().is_empty() => {
            let what = format!("{shown} is empty, as while it is being written");
            Err((what, "write the page; to show nothing, leave the entry out"))
        }
        Ok(text) => Ok(Text::new(text)),
        Err(_) => Err((format!("{shown} is not UTF-8 text"), "save it as UTF-8")),
    }
}

/// What is written, or what the name of the file says.
fn content_type(
    raw: Option<At<Written<HeaderValue>>>,
    file: Option<&At<Written<crate::config::text::FilePath>>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> HeaderValue {
    let ending = file.and_then(|file| file.value.0.0.extension()).and_then(|end| end.to_str());
    let Some(raw) = raw else {
        return HeaderValue::from_static(match ending {
            Some("json") => "application/json",
            Some("txt") => "text/plain; charset=utf-8",
            _ => "text/html; charset=utf-8",
        });
    };
    media_type(raw, &key.name("content-type"), faults)
}

/// A content type as it is written.
pub(super) fn media_type(
    At { value: Written(value), start }: At<Written<HeaderValue>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> HeaderValue {
    let is_kind = |text: &str| {
        let essence = text.split(';').next().unwrap_or_default().trim();
        let token = |part: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
            !part.is_empty() && part.bytes().all(allowed)
        };
        essence.split_once('/').is_some_and(|(kind, of)| token(kind) && token(of))
    };
    if !value.to_str().is_ok_and(is_kind) {
        let hint = "write a media type, as in \"text/html; charset=utf-8\"".to_owned();
        faults.add(key, start, format!("{value:?} is no content type"), Some(hint));
    }
    value
}

fn syntax(content_type: &HeaderValue) -> PageSyntax {
    let text = content_type.to_str().unwrap_or_default().to_ascii_lowercase();
    match text.split(';').next().unwrap_or_default().trim() {
        "text/html" | "text/xml" | "application/xml" => PageSyntax::Markup,
        kind if kind.ends_with("+xml") => PageSyntax::Markup,
        "application/json" | "text/json" => PageSyntax::Json,
        kind if kind.ends_with("+json") => PageSyntax::Json,
        _ => PageSyntax::Plain,
    }
}

/// Cuts a page at its placeholders. Other braces are what they are, since styles and scripts are
/// full of them; but one word between two that looks like a placeholder was meant to be one.
fn parts(text: &str, (key, start): (&Key<'_>, usize), faults: &mut Faults<'_>) -> Vec<PagePart> {
    let known = || PageValue::ALL.into_iter().map(|(name, _)| name);
    let (mut parts, mut plain, mut from) = (Vec::new(), String::new(), text);
    while let Some((before, behind)) = from.split_once('{') {
        plain.push_str(before);
        let word = behind.split_once('}').map(|(word, _)| word).filter(|word| is_word(word));
        let value =
            word.and_then(|word| PageValue::ALL.into_iter().find(|(name, _)| *name == word));
        match (word, value) {
            (Some(word), Some((_, value))) => {
                push(&mut parts, &mut plain);
                parts.push(PagePart::Value(value));
                from = behind.get(word.len() + 1..).unwrap_or_default();
                continue;
            }
            (Some(word), None) => {
                if let Some(near) = nearest(&word.replace('_', "-"), known()) {
                    let hint = format!(
                        "did you mean {{{near}}}? write {{ {word} }} if it is no placeholder"
                    );
                    let what = format!("the page has the unknown placeholder {{{word}}}");
                    faults.add(key, start, what, Some(hint));
                }
            }
            (None, _) => {}
        }
        plain.push('{');
        from = behind;
    }
    plain.push_str(from);
    push(&mut parts, &mut plain);
    parts
}

fn push(parts: &mut Vec<PagePart>, plain: &mut String) {
    if !plain.is_empty() {
        parts.push(PagePart::Text(Bytes::from(std::mem::take(plain))));
    }
}

fn is_word(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=32).contains(&text.len()) && text.bytes().all(allowed)
}

const SMALLER: &str = "make it smaller: large pictures can be on another server";

/// 256 KiB: a page with its style and a picture or two within it.
const MAX_PAGE: u64 = 256 << 10;
