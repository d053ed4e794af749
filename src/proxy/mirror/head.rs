//! The head of a copy, in the words of the pool that it goes to.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Uri, Version};

use crate::config::spec::{PoolSpec, Protocol};
use crate::model::fields::X_TENANTRY_MIRROR;
use crate::proxy::hygiene;
use crate::proxy::part::Part;

/// The head of a request, for another pool; `None` where that cannot have it. What frames the body is left out,
/// see [`frame`].
pub(super) fn of(request: &Parts, pool: &PoolSpec) -> Option<Parts> {
    let mut head = request.clone();
    let headers = &mut head.headers;
    // The body is whole by then.
    for name in [CONNECTION, UPGRADE, EXPECT, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers.insert(X_TENANTRY_MIRROR, HeaderValue::from_static("1"));
    let target = head.uri.path_and_query().cloned();
    let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let named = head.uri.authority();
    let named = named.and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    match pool.protocol {
        Protocol::H1 => {
            if let Some(host) = named {
                headers.insert(HOST, host);
            }
            if head.version == Version::HTTP_2 {
                hygiene::join_cookies(headers);
            }
            let last = pool.proxy_protocol.is_some();
            let connection = match (headers.contains_key(TE), last) {
                (true, true) => Some("te, close"),
                (true, false) => Some("te"),
                (false, last) => last.then_some("close"),
            };
            if let Some(connection) = connection {
                headers.insert(CONNECTION, HeaderValue::from_static(connection));
            }
            head.uri = Uri::from(target);
            head.version = Version::HTTP_11;
        }
        Protocol::H2 => {
            let own = headers.remove(HOST);
            let host = named.or(own)?;
            let mut parts = http::uri::Parts::default();
            parts.scheme = Some(if pool.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
            parts.authority = Some(Authority::try_from(host.as_bytes()).ok()?);
            parts.path_and_query = Some(target);
            head.uri = Uri::from_parts(parts).ok()?;
            head.version = Version::HTTP_2;
        }
    }
    Some(head)
}

/// Says how the body is framed, now that it is known.
pub(super) fn frame(head: &mut Parts, body: &[Part]) {
    let has_trailers = body.iter().any(|part| matches!(part, Part::Trailers(_)));
    let is_http1 = head.version == Version::HTTP_11;
    if has_trailers && is_http1 {
        head.headers.remove(CONTENT_LENGTH);
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        return;
    }
    let size: u64 = body.iter().map(Part::size).sum();
    let insists = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
    if size > 0 || insists || head.headers.contains_key(CONTENT_LENGTH) {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Request};

    use super::*;

    fn request(version: Version, uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method("POST").uri(uri).version(version);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn field<'h>(head: &'h Parts, name: &str) -> Option<&'h str> {
        head.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn a_copy_speaks_as_its_own_pool_does() {
        let http1 = PoolSpec::default();
        let http2 = PoolSpec { protocol: Protocol::H2, ..PoolSpec::default() };
        let fields =
            [("host", "a.example"), ("transfer-encoding", "chunked"), ("connection", "close")];
        let from_1 = request(Version::HTTP_11, "/x?y=1", &fields);
        let from_2 = request(
            Version::HTTP_2,
            "https://a.example/x?y=1",
            &[("cookie", "a=1"), ("cookie", "b=2")],
        );

        for from in [&from_1, &from_2] {
            let head = of(from, &http1).unwrap();
            assert_eq!((head.version, head.uri.to_string()), (Version::HTTP_11, "/x?y=1".into()));
            assert_eq!(field(&head, "host"), Some("a.example"));
            assert_eq!(field(&head, "x-tenantry-mirror"), Some("1"));
            assert_eq!(
                (field(&head, "connection"), field(&head, "transfer-encoding")),
                (None, None)
            );

            let head = of(from, &http2).unwrap();
            assert_eq!(head.uri.to_string(), "http://a.example/x?y=1");
            assert_eq!((head.version, field(&head, "host")), (Version::HTTP_2, None));
        }
        assert_eq!(field(&of(&from_2, &http1).unwrap(), "cookie"), Some("a=1; b=2"));
        let nobody = request(Version::HTTP_11, "/", &[("host", "")]);
        assert!(of(&nobody, &http2).is_none());
    }

    #[test]
    fn a_body_is_framed_as_it_came() {
        let framed = |parts: &[Part]| {
            let mut head = request(Version::HTTP_11, "/", &[]);
            frame(&mut head, parts);
            let of = |name| field(&head, name).map(str::to_owned);
            (of("content-length"), of("transfer-encoding"))
        };
        let data = || Part::Data(Bytes::from_static(b"four"));
        assert_eq!(framed(&[]), (Some("0".into()), None));
        assert_eq!(framed(&[data(), data()]), (Some("8".into()), None));
        let trailers = Part::Trailers(HeaderMap::new());
        assert_eq!(framed(&[data(), trailers]), (None, Some("chunked".into())));
    }
}
