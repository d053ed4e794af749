//! Requests that no endpoint may see: too large, or with a head whose meaning is open to dispute.

use http::header::{CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING, VIA};
use http::request::Parts;
use http::{HeaderValue, Method, Version};

use crate::config::spec::DownstreamSpec;
use crate::model::fields::{is_no_token, is_spaced};
use crate::routing::host;

use super::error::ExchangeError;
use super::hygiene;

/// Checks a request's head before anything is read from it. Gives its size, in bytes.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(head: &Parts, limits: &DownstreamSpec) -> Result<u64, ExchangeError> {
    if head.method == Method::CONNECT {
        return Err(ExchangeError::Method(head.method.clone()));
    }
    let counts = check_size(head, limits)?;
    if counts.vias > 0 {
        check_loop(head)?;
    }
    check_target(head)?;
    check_host(head, &counts)?;
    check_http2(head)?;
    if counts.codings > 0 {
        check_coding(head)?;
    }
    if counts.lengths > 1 {
        // RFC 9110 §8.6: of two lengths each hop might take another. In HTTP/1 those that agree have
        // been made one.
        return Err(ExchangeError::BadRequest("the Content-Length field is given more than once"));
    }
    check_path(head.uri.path())?;
    Ok(counts.size)
}

/// Whether a head passes all of these checks. For those who measure what that costs.
pub fn is_sound(head: &Parts, limits: &DownstreamSpec) -> bool {
    check(head, limits).is_ok()
}

/// How often the fields are there that the other checks look at: most are not, or once.
#[derive(Clone, Copy, Debug, Default)]
struct Counts<'h> {
    /// Of target and fields, in bytes.
    size: u64,
    hosts: usize,
    host: Option<&'h HeaderValue>,
    vias: usize,
    codings: usize,
    lengths: usize,
}

impl<'h> Counts<'h> {
    /// The length of a name leaves one of them at most.
    fn add(&mut self, name: &HeaderName, value: &'h HeaderValue) {
        match name.as_str().len() {
            3 => self.vias += usize::from(*name == VIA),
            4 if *name == HOST => {
                self.hosts += 1;
                self.host = Some(value);
            }
            14 => self.lengths += usize::from(*name == CONTENT_LENGTH),
            17 => self.codings += usize::from(*name == TRANSFER_ENCODING),
            _ => {}
        }
    }
}

/// RFC 9110 §7.6.3: a pool that leads back to the gateway would go round until the head is full, or
/// the open files are. A few gateways behind each other are no loop.
fn check_loop(head: &Parts) -> Result<(), ExchangeError> {
    // RFC 9110 §5.3: who is in between may have joined the lines.
    let all =
        head.headers.get_all(VIA).iter().flat_map(|via| via.as_bytes().split(|byte| *byte == b','));
    let times = all.filter(|hop| hop.trim_ascii_end().ends_with(b" tenantry")).count();
    if times >= LONGEST_CHAIN { Err(ExchangeError::Loop { times }) } else { Ok(()) }
}

/// 8: more gateways than anyone has behind each other.
const LONGEST_CHAIN: usize = 8;

fn check_size<'h>(head: &'h Parts, limits: &DownstreamSpec) -> Result<Counts<'h>, ExchangeError> {
    let most = limits.max_header_size.0;
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len() as u64);
    let longest = limits.max_target_size.0;
    if target > longest {
        return Err(ExchangeError::TargetTooLong { limit: longest });
    }
    if head.headers.len() > limits.max_headers {
        return Err(ExchangeError::HeadTooLarge {
            limit: format!("{} fields", limits.max_headers),
        });
    }
    let mut counts = Counts { size: target, ..Counts::default() };
    for (name, value) in &head.headers {
        counts.add(name, value);
        let field = (name.as_str().len() + value.len()) as u64;
        counts.size += field;
        if field > most / 2 {
            return Err(ExchangeError::HeadTooLarge {
                limit: format!("{} bytes a field", most / 2),
            });
        }
    }
    if counts.size > most {
        return Err(ExchangeError::HeadTooLarge { limit: format!("{most} bytes") });
    }
    Ok(counts)
}

/// RFC 9112 §3.2: a target of a form that the method has, of bytes that a target may have. The
/// library that reads it takes more; what one server refuses and another decodes is not passed on.
fn check_target(head: &Parts) -> Result<(), ExchangeError> {
    let uri = &head.uri;
    if uri.authority().is_some() && !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(ExchangeError::BadRequest("the target is no path and no URI of HTTP"));
    }
    if uri.path() == "*" && head.method != Method::OPTIONS {
        return Err(ExchangeError::BadRequest("the target * is for OPTIONS alone"));
    }
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    if !target.is_ascii() {
        return Err(ExchangeError::BadRequest("the target has a byte that is no ASCII"));
    }
    Ok(())
}

/// RFC 9112 §3.2: one `Host` in HTTP/1.1, and a valid one, also where the target names the host;
/// with several, or with one that is open to interpretation, each hop might take another.
fn check_host(head: &Parts, counts: &Counts<'_>) -> Result<(), ExchangeError> {
    let first = counts.host;
    if counts.hosts > 1 {
        return Err(ExchangeError::BadRequest("the Host field is given more than once"));
    }
    let named = first.is_some() || (head.uri.authority().is_some() && !is_http11(head));
    if !named && head.version >= Version::HTTP_11 {
        return Err(ExchangeError::BadRequest("the Host field is missing"));
    }
    if head.uri.authority().is_some_and(|authority| !host::is_valid(authority.as_str())) {
        return Err(ExchangeError::BadRequest("the host is not a valid one"));
    }
    // An empty field says that the target has no authority.
    if first.is_some_and(|host| !is_host(host)) {
        return Err(ExchangeError::BadRequest("the Host field is not a valid host"));
    }
    Ok(())
}

/// What RFC 9113 calls malformed and the library lets pass: the endpoint of HTTP/1 would read it as
/// something else than the gateway did.
fn check_http2(head: &Parts) -> Result<(), ExchangeError> {
    if head.version != Version::HTTP_2 {
        return Ok(());
    }
    // §8.2.1.
    if head.headers.values().any(|value| is_spaced(value.as_bytes())) {
        return Err(ExchangeError::BadRequest("a field's value begins or ends with a space"));
    }
    // §8.2.1, by way of RFC 9110 §5.1.
    if head.headers.keys().any(|name| is_no_token(name.as_str())) {
        return Err(ExchangeError::BadRequest("a field's name has a quotation mark"));
    }
    // §8.3.1, for each of these.
    if head.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(ExchangeError::BadRequest("the scheme is neither http nor https"));
    }
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    if !target.starts_with('/') && (target != "*" || head.method != Method::OPTIONS) {
        return Err(ExchangeError::BadRequest("the path does not begin with a slash"));
    }
    let (authority, host) = (head.uri.authority(), head.headers.get(HOST));
    if let (Some(authority), Some(host)) = (authority, host)
        && !is_same(authority.as_str(), host.as_bytes(), head.uri.scheme_str())
    {
        return Err(ExchangeError::BadRequest("the Host field is not the authority"));
    }
    Ok(())
}

/// Whether both name one host and port, compared as their scheme does it (RFC 9113 §8.3.1): its own
/// port is as good as none (RFC 9110 §4.2.3).
fn is_same(authority: &str, host: &[u8], scheme: Option<&str>) -> bool {
    let own: &[u8] = if scheme == Some("https") { b":443" } else { b":80" };
    let ports = [own, b":"];
    let bare = |text: &[u8]| {
        let size = ports.into_iter().find(|port| text.ends_with(port)).map_or(0, <[u8]>::len);
        text[..text.len() - size].to_ascii_lowercase()
    };
    authority.as_bytes().eq_ignore_ascii_case(host) || bare(authority.as_bytes()) == bare(host)
}

fn is_http11(head: &Parts) -> bool {
    head.version == Version::HTTP_11
}

fn is_host(field: &HeaderValue) -> bool {
    field.is_empty() || std::str::from_utf8(field.as_bytes()).is_ok_and(host::is_valid)
}

fn check_coding(head: &Parts) -> Result<(), ExchangeError> {
    if !hygiene::is_chunked_at_most(&head.headers) {
        return Err(ExchangeError::BadRequest("the body has a transfer coding besides chunked"));
    }
    Ok(())
}

/// A dot segment means one thing to who resolves it and another to who does not, so a path that a
/// route allowed could become one that it did not. Clients resolve them before they send.
fn check_path(path: &str) -> Result<(), ExchangeError> {
    // As in /style.css, most dots end a name and begin no segment.
    let mut before = b'/';
    let may_have_one = path.bytes().any(|byte| {
        let begins = matches!(std::mem::replace(&mut before, byte), b'/' | b'\\');
        byte == b'%' || (byte == b'.' && begins)
    });
    if may_have_one && has_dot_segment(path.as_bytes()) {
        return Err(ExchangeError::BadRequest("the path has a \".\" or \"..\" segment"));
    }
    Ok(())
}

/// Looks at the path as whoever decodes it first and splits it then: a segment also ends at `%2F`,
/// and at `\`, which some servers take for a slash.
fn has_dot_segment(path: &[u8]) -> bool {
    let mut dots = Some(0); // of the present segment; `None` once it has another character
    let mut rest = path;
    while let Some((byte, after)) = first_character(rest) {
        rest = after;
        dots = match byte {
            b'/' | b'\\' if matches!(dots, Some(1 | 2)) => return true,
            b'/' | b'\\' => Some(0),
            b'.' => dots.map(|dots| dots + 1),
            // Some servers take off what follows it, as a parameter, before they resolve.
            b';' if matches!(dots, Some(1 | 2)) => return true,
            _ => None,
        };
    }
    matches!(dots, Some(1 | 2))
}

/// The first character, decoded once, and what follows it.
fn first_character(path: &[u8]) -> Option<(u8, &[u8])> {
    if let [b'%', high, low, after @ ..] = path
        && let (Some(high), Some(low)) = (hex(*high), hex(*low))
    {
        return Some((high << 4 | low, after));
    }
    path.split_first().map(|(first, after)| (*first, after))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, fields: &[(&str, &[u8])]) -> Parts {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_that_goes_round_is_stopped_and_a_chain_of_gateways_is_not() {
        let vias = |times| vec![("via", &b"1.1 tenantry"[..]); times];

        assert!(check_loop(&head("/", &vias(7))).is_ok());
        assert!(check_loop(&head("/", &vias(8))).is_err());
        let joined = ["1.1 tenantry"; 8].join(" , ");
        assert!(check_loop(&head("/", &[("via", joined.as_bytes())])).is_err());
        assert!(check_loop(&head("/", &[("via", &b"1.1 other"[..]); 20])).is_ok());
    }

    fn host_of(head: &Parts) -> Result<(), ExchangeError> {
        let mut counts = Counts::default();
        head.headers.iter().for_each(|(name, value)| counts.add(name, value));
        check_host(head, &counts)
    }

    #[test]
    fn a_host_must_be_there_once_and_be_one() {
        let twice: &[(&str, &[u8])] = &[("host", b"a.com"), ("host", b"a.com")];
        assert!(host_of(&head("/", twice)).is_err());
        for bad in [&b"a b"[..], b"a.com, b.com", b"u@a.com", b"a.com/x", b"a.com\xff"] {
            assert!(host_of(&head("/", &[("host", bad)])).is_err(), "{bad:?}");
        }
        assert!(host_of(&head("/", &[])).is_err());
        assert!(host_of(&head("http://u@a.com/", &[("host", b"a.com")])).is_err());
        for good in [&b"a.com"[..], b"a_b:80", b"[::1]:80", b""] {
            assert!(host_of(&head("/", &[("host", good)])).is_ok(), "{good:?}");
        }
        // The target decides, and yet the field must be there and be one.
        assert!(host_of(&head("http://a.com/", &[("host", b"b.com")])).is_ok());
        assert!(host_of(&head("http://a.com/", &[("host", b"b b")])).is_err());
        assert!(host_of(&head("http://a.com/", &[])).is_err());
    }

    #[test]
    fn a_target_has_a_form_that_its_method_has() {
        for target in ["/", "//", "/a?b#c", "http://a.com", "HTTPS://a.com/x", "/%ff\\|^{}"] {
            assert!(check_target(&head(target, &[])).is_ok(), "{target}");
        }
        for target in ["*", "a.com:80", "a.com", "ftp://a.com/", "/\u{e9}", "/?\u{e9}"] {
            assert!(check_target(&head(target, &[])).is_err(), "{target}");
        }
    }

    #[test]
    fn chunked_is_the_only_transfer_coding() {
        assert!(check_coding(&head("/", &[])).is_ok());
        assert!(check_coding(&head("/", &[("transfer-encoding", b"Chunked")])).is_ok());
        for bad in [&b"gzip, chunked"[..], b"chunked, chunked", b"identity"] {
            assert!(check_coding(&head("/", &[("transfer-encoding", bad)])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn dot_segments_are_told_in_every_spelling() {
        for path in ["/a/../b", "/./a", "/a/%2e%2E/b", "/.%2e", "/a/.."] {
            assert!(check_path(path).is_err(), "{path}");
        }
        for path in ["/..%2fb", "/a%2F..", "/%2e%2e%5cb", "/a/..%5Cb", "/a\\..\\b", "/a%5c.%2Fb"] {
            assert!(check_path(path).is_err(), "{path}");
        }
        for path in ["/..;/b", "/a/.;x=1/b", "/..;", "/%2e.%3Bx/b"] {
            assert!(check_path(path).is_err(), "{path}");
        }
        for path in ["/a;../b", "/...;/b", "/;/b", "/a..;/b", "/a.;b"] {
            assert!(check_path(path).is_ok(), "{path}");
        }
        for path in ["/a%2fb", "/a%5cb", "/a\\b", "/%252e%252e/b", "/a%2f..b", "/...%2f", "*", "/%"]
        {
            assert!(check_path(path).is_ok(), "{path}");
        }
        for path in ["/", "/a/...", "/.well-known/x", "/a/%2e%2e%2e", "/a..b", "/%2"] {
            assert!(check_path(path).is_ok(), "{path}");
        }
    }
}
