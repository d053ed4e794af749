//! Names of fields that only the gateway sets on requests, and what an application might take for
//! one of them. One rule for both: what clients send of them is dropped, what the config says of
//! them is refused.

use http::HeaderName;

/// Fields that tell an endpoint who asked, for what host and by which way, and what is between a client
/// and the gateway alone.
pub const OWN: [HeaderName; 10] = [
    http::header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-request-id"),
    X_TENANTRY_DEBUG,
    X_TENANTRY_MIRROR,
];

/// By which a client shows its debug token, and is told what became of its request.
pub const X_TENANTRY_DEBUG: HeaderName = HeaderName::from_static("x-tenantry-debug");

/// By which an endpoint tells a copy from a request whose answer somebody waits for.
pub const X_TENANTRY_MIRROR: HeaderName = HeaderName::from_static("x-tenantry-mirror");

/// Whether a name has a mark other than `-`, so that it may look like a plain one, or a plain one
/// like it.
pub fn is_odd(name: &str) -> bool {
    !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether two names in lower case are the same but for their marks: CGI, WSGI and Rack cannot tell
/// `_` from `-`, and some servers write `_` for each mark.
pub fn look_alike(own: &str, name: &str) -> bool {
    let mark = |byte: u8| !byte.is_ascii_alphanumeric();
    own.len() == name.len()
        && own.bytes().zip(name.bytes()).all(|(a, b)| a == b || (mark(a) && mark(b)))
}

/// Whether a name is none, and the library takes it from HTTP/2 all the same: a quotation mark is no
/// character of a token (RFC 9110 §5.6.2), and who reads HTTP/1 refuses the whole message for it.
pub fn is_no_token(name: &str) -> bool {
    name.contains('"')
}

/// Whether a value has space at an end, and the library takes it from HTTP/2 all the same: in HTTP/1
/// it would be no part of the value (RFC 9113 §8.2.1).
pub fn is_spaced(value: &[u8]) -> bool {
    let space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    space(value.first()) || space(value.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_by_their_marks_alone_look_alike() {
        for name in ["x-tenant-id", "x_tenant_id", "x.tenant!id"] {
            assert!(look_alike("x-tenant-id", name), "{name}");
        }
        for name in ["x-tenant-ip", "x-tenantid", "xatenant-id"] {
            assert!(!look_alike("x-tenant-id", name), "{name}");
        }
    }
}
