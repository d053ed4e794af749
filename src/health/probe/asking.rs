//! What checks by HTTP and by gRPC have in common: whom they ask, and how an exchange is driven.

use std::fmt::Display;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{HeaderName, HeaderValue};

use crate::model::address::Address;

use super::ProbeError;
use super::way::Line;

/// The fields of a check: its own, and over them those that are configured.
pub(super) fn fill(
    headers: &mut http::HeaderMap,
    own: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    configured: &[(HeaderName, HeaderValue)],
) {
    for (name, value) in own.into_iter().chain(configured.iter().cloned()) {
        headers.insert(name, value);
    }
}

/// Whom a check asks for: the configured host, or the address that it goes to.
pub(super) fn host(
    configured: Option<&HeaderValue>,
    to: &Address,
) -> Result<HeaderValue, ProbeError> {
    match (configured, to) {
        (Some(host), _) => Ok(host.clone()),
        (None, Address::Net(address)) => HeaderValue::try_from(address.to_string())
            .map_err(|error| ProbeError::Request(error.to_string())),
        (None, Address::Unix(_)) => Ok(HeaderValue::from_static("localhost")), // a path is no host
    }
}

/// A target as HTTP/2 has it.
pub(super) fn full_uri(
    is_secure: bool,
    host: &HeaderValue,
    path: PathAndQuery,
) -> Result<Uri, ProbeError> {
    Uri::builder()
        .scheme(if is_secure { Scheme::HTTPS } else { Scheme::HTTP })
        .authority(host.as_bytes())
        .path_and_query(path)
        .build()
        .map_err(|error| ProbeError::Request(error.to_string()))
}

/// Begins HTTP/2. Who answers may send a head of no more than is of use.
pub(super) async fn http2(
    line: Box<dyn Line>,
) -> Result<(SendRequest<Bytes>, Connection<Box<dyn Line>, Bytes>), ProbeError> {
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(LARGEST_HEAD);
    builder.handshake(line).await.map_err(broken)
}

pub(super) fn broken(error: impl Display) -> ProbeError {
    ProbeError::Answer(error.to_string())
}

pub(super) const AGENT: HeaderValue = HeaderValue::from_static("tenantry-health");

/// 64 KiB: as much as an answer to a request may have.
const LARGEST_HEAD: u32 = 64 << 10;
