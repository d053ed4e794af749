//! Who is let in: whoever shows a token, or a certificate where the listener asks for one. Without
//! either in the config it is whoever reaches the listener. Probes are always answered: what asks
//! whether a process lives has no secrets.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::base::snapshot::Snapshot;
use crate::base::tokens::Tokens;
use crate::config::spec::{AdminSpec, ClientCertificatesMode};
use crate::telemetry::metrics::ADMIN_REFUSED;
use crate::telemetry::registry::Metrics;

use super::endpoints::Openness;
use super::reply;

/// Who is let in.
#[derive(Clone, Debug)]
pub struct Access {
    tokens: Option<Snapshot<Tokens>>,
    /// A client's certificate, which is optional, is as good as a token.
    by_certificate: bool,
    openness: Openness,
    metrics: Arc<Metrics>,
}

/// That the client has shown a certificate of the authorities that the listener names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Certified;

impl Access {
    /// As the config says; `tokens` are those of the file that it names.
    pub fn new(spec: &AdminSpec, tokens: Option<Snapshot<Tokens>>, metrics: Arc<Metrics>) -> Self {
        let tls = spec.tls.iter();
        let mut certificates = tls.flat_map(|tls| tls.default.iter().chain(&tls.certificates));
        let by_certificate = certificates.any(|certificate| {
            let clients = certificate.clients.as_ref();
            clients.is_some_and(|clients| clients.mode == ClientCertificatesMode::Optional)
        });
        let openness = match (tokens.is_some() || by_certificate, spec.public_metrics) {
            (false, _) => Openness::Whole,
            (true, true) => Openness::ProbesAndMetrics,
            (true, false) => Openness::Probes,
        };
        Self { tokens, by_certificate, openness, metrics }
    }

    /// What is there for everybody.
    pub(super) fn openness(&self) -> Openness {
        self.openness
    }

    /// Counts a request that is refused.
    pub(super) fn count_refusal(&self, reason: &'static str) {
        self.metrics.add(&ADMIN_REFUSED, &[reason], 1);
    }

    /// Why a client is not let in.
    fn refusal(&self, is_certified: bool, headers: &HeaderMap) -> Option<&'static str> {
        if self.by_certificate && is_certified {
            return None;
        }
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let (Some(shown), None) = (shown.next(), shown.next()) else { return Some("no_token") };
        let Some(token) = token(shown) else { return Some("no_token") };
        let tokens = self.tokens.as_ref().map(Snapshot::load);
        let is_known = tokens.is_some_and(|tokens| tokens.has(token.as_bytes()));
        (!is_known).then_some("bad_token")
    }
}

/// Lets in who may come in.
pub(super) async fn admit(State(access): State<Access>, request: Request, next: Next) -> Response {
    if access.openness.admits(request.uri().path()) {
        return next.run(request).await;
    }
    // The browser would ask for a password in a window of its own, over the page's form.
    let is_script = request.headers().get("sec-fetch-dest").is_some_and(|to| to == "empty");
    let is_certified = request.extensions().get::<Certified>().is_some();
    let Some(reason) = access.refusal(is_certified, request.headers()) else {
        return next.run(request).await;
    };
    access.count_refusal(reason);
    let with = match (access.tokens.is_some(), access.by_certificate) {
        (true, true) => "a token (Authorization: Bearer …) or a client certificate",
        (true, false) => "a token: Authorization: Bearer …",
        (false, _) => "a client certificate",
    };
    let detail = match reason {
        "bad_token" => format!("the token is not in the gateway's token file; come with {with}"),
        _ => format!("come with {with}"),
    };
    let mut refusal = reply::problem(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    let ways = [r#"Bearer realm="tenantry admin""#, r#"Basic realm="tenantry admin""#];
    for way in ways.into_iter().take(if is_script { 1 } else { 2 }) {
        refusal.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(way));
    }
    refusal
}

/// A bearer's token (RFC 6750), or the password of any user (RFC 7617): a browser asks for one and
/// then sends it with all that a page loads.
fn token(shown: &HeaderValue) -> Option<String> {
    let (scheme, rest) = shown.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim_matches(' ');
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(rest).ok()?).ok()?;
    Some(text.split_once(':')?.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shown: &'static str, expected: Option<&str>) {
        let found = token(&HeaderValue::from_static(shown));
        assert_eq!(found.as_deref(), expected, "{shown}");
    }

    #[test]
    fn a_token_comes_as_a_bearers_or_as_a_password() {
        check("Bearer abc", Some("abc"));
        check("bearer  abc ", Some("abc"));
        check("Basic eDphYmM=", Some("abc")); // x:abc
        check("Basic OmE6Yg==", Some("a:b")); // :a:b
        check("Basic abc", None);
        check("Basic eA==", None); // x
        check("Digest abc", None);
        check("abc", None);
    }
}
