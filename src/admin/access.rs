//! Who is let in: whoever shows a token, or a certificate where the listener asks for one. Without
//! either in the config it is whoever reaches the listener. Probes are always answered: what asks
//! whether a process lives has no secrets.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::base::role::Role;
use crate::base::snapshot::Snapshot;
use crate::base::tokens::Tokens;
use crate::config::spec::{AdminSpec, ClientCertificatesMode};
use crate::control::generation::Live;
use crate::model::identity::Identity;
use crate::telemetry::audit_log::AuditLog;
use crate::telemetry::keeping::ADMIN_REFUSED;
use crate::telemetry::registry::Metrics;

use super::audit::{Asked, Audit};
use super::endpoints::{Openness, unknown};
use super::guesses::{Guesses, TooMany};
use super::pace::Pace;
use super::reply;
use super::roles::{Caller, Shown, Verdict};

/// Who is let in.
#[derive(Clone, Debug)]
pub struct Access {
    tokens: Option<Snapshot<Tokens>>,
    /// A client's certificate, which is optional, is as good as a token.
    by_certificate: bool,
    /// Roles by names of certificates; empty = whoever has one may do everything.
    certificates: Arc<[(String, Role)]>,
    /// What a tenant's own token may change of it, where neither that nor its plan says so.
    tenant_keys: Arc<[Vec<String>]>,
    openness: Openness,
    guesses: Guesses,
    pace: Pace,
    audit: Audit,
    metrics: Arc<Metrics>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// Where it comes from.
    pub(super) address: IpAddr,
    /// Who it is by a certificate of the authorities that the listener names; `None` = it has shown none.
    pub(super) identity: Option<Arc<Identity>>,
}

impl Visitor {
    /// Nothing is known of it.
    pub(super) const UNKNOWN: Self =
        Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), identity: None };
}

impl Visitor {
    fn as_caller(&self, name: Option<Arc<str>>, role: Role, shown: Option<Shown>) -> Caller {
        Caller { name, role, from: self.address, shown }
    }
}

/// Who may do more comes later.
fn rank(role: &Role) -> u8 {
    match role {
        Role::Tenant(_) => 0,
        Role::Viewer => 1,
        Role::Operator => 2,
        Role::Admin => 3,
    }
}

/// Why a client is not let in.
enum Refusal {
    NoToken,
    BadToken,
    Limited(TooMany),
}

impl Refusal {
    /// The metrics' word for it.
    fn reason(&self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::BadToken => "bad_token",
            Self::Limited(_) => "limited",
        }
    }
}

impl Access {
    /// As the config says; `tokens` are those of the file that it names.
    pub fn new(spec: &AdminSpec, tokens: Option<Snapshot<Tokens>>, metrics: Arc<Metrics>) -> Self {
        let tls = spec.tls.iter();
        let mut certificates = tls.flat_map(|tls| tls.default.iter().chain(&tls.certificates));
        let by_certificate = certificates.any(|certificate| {
            let clients = certificate.clients.as_ref();
            clients.is_some_and(|clients| clients.mode == ClientCertificatesMode::Optional)
        });
        let by_certificate = by_certificate || !spec.certificates.is_empty();
        let openness = match (tokens.is_some() || by_certificate, spec.public_metrics) {
            (false, _) => Openness::Whole,
            (true, true) => Openness::ProbesAndMetrics,
            (true, false) => Openness::Probes,
        };
        Self {
            tokens,
            by_certificate,
            certificates: spec.certificates.as_slice().into(),
            tenant_keys: spec.tenant_keys.as_slice().into(),
            openness,
            guesses: Guesses::default(),
            pace: Pace::new(spec.tenant_changes),
            audit: Audit::of_log(),
            metrics,
        }
    }

    /// Tells this log of all that may change something; `live` is what is live.
    #[must_use]
    pub fn with_audit(self, log: AuditLog, live: Snapshot<Live>) -> Self {
        Self { audit: Audit::new(log, live), ..self }
    }

    /// Who is told of what may change something.
    pub(super) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// What is there for everybody.
    pub(super) fn openness(&self) -> Openness {
        self.openness
    }

    /// Counts a request that is refused.
    pub(super) fn count_refusal(&self, reason: &'static str) {
        self.metrics.add(&ADMIN_REFUSED, &[reason], 1);
    }

    /// What a tenant's own token may change of it.
    pub(super) fn tenant_keys(&self) -> &Arc<[Vec<String>]> {
        &self.tenant_keys
    }

    /// Who comes with a certificate.
    fn certified(&self, visitor: &Visitor) -> Option<Caller> {
        let identity = visitor.identity.as_ref().filter(|_| self.by_certificate)?;
        if self.certificates.is_empty() {
            let name = identity.subject().map(Arc::from);
            return Some(visitor.as_caller(name, Role::Admin, Some(Shown::Certificate)));
        }
        let others = identity.dns_names.iter().chain(&identity.common_names);
        let names = [identity.uris.iter().collect::<Vec<_>>(), others.collect()];
        // A URI is nobody's common name, whatever an authority lets people write there.
        let has = |name: &str| {
            let kinds = if name.contains("://") { &names[..1] } else { &names[..] };
            kinds.iter().flatten().any(|own| &***own == name)
        };
        let all = self.certificates.iter().filter(|(name, _)| has(name));
        let (name, role) = all.min_by_key(|(_, role)| rank(role))?;
        let shown = Some(Shown::Certificate);
        Some(visitor.as_caller(Some(name.as_str().into()), role.clone(), shown))
    }

    fn admit(&self, visitor: &Visitor, headers: &HeaderMap) -> Result<Caller, Refusal> {
        if let Some(caller) = self.certified(visitor) {
            return Ok(caller);
        }
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let (Some(shown), None) = (shown.next(), shown.next()) else {
            return Err(Refusal::NoToken);
        };
        let token = token(shown).ok_or(Refusal::NoToken)?;
        let Some(tokens) = &self.tokens else { return Err(Refusal::BadToken) };
        match self.guesses.judge(visitor.address, token.as_bytes(), &tokens.load()) {
            Ok(Some(holder)) => {
                let name = Some(Arc::clone(&holder.name));
                let shown = Some(Shown::Token(Arc::clone(&holder.mark)));
                Ok(visitor.as_caller(name, holder.role.clone(), shown))
            }
            Ok(None) => Err(Refusal::BadToken),
            Err(many) => Err(Refusal::Limited(many)),
        }
    }

    /// What a client can come with.
    fn ways(&self) -> &'static str {
        match (self.tokens.is_some(), self.by_certificate) {
            (true, true) => "a token (Authorization: Bearer …) or a client certificate",
            (true, false) => "a token: Authorization: Bearer …",
            (false, _) => "a client certificate",
        }
    }
}

/// Lets in who may come in.
pub(super) async fn admit(
    State(access): State<Access>,
    route: Option<MatchedPath>,
    parts: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let visitor = request.extensions().get().cloned().unwrap_or(Visitor::UNKNOWN);
    let parts = parts.ok();
    let id = parts.iter().flatten().find(|(name, _)| *name == "id").map(|(_, id)| id);
    let asked = access.audit.hear(&request, visitor.address, id);
    if access.openness.admits(request.uri().path()) {
        let identity = visitor.identity.as_ref();
        let subject = identity.and_then(|identity| identity.subject()).map(Arc::from);
        let shown = identity.map(|_| Shown::Certificate);
        // Where some paths alone are open nothing changes anything there, and anybody may ask for any number.
        let asked = asked.filter(|_| access.openness == Openness::Whole);
        return run(visitor.as_caller(subject, Role::Admin, shown), asked, request, next).await;
    }
    // The browser would ask for a password in a window of its own, over the page's form.
    let is_script = request.headers().get("sec-fetch-dest").is_some_and(|to| to == "empty");
    let refusal = match access.admit(&visitor, request.headers()) {
        Ok(caller) => {
            let route = route.as_ref().map(MatchedPath::as_str);
            let refusal = match caller.may(request.method(), route, id) {
                Verdict::Granted => match asked.is_some().then(|| access.pace.take(&caller)) {
                    Some(Err(wait)) => {
                        access.count_refusal("changes");
                        paced(wait)
                    }
                    _ => return run(caller, asked, request, next).await,
                },
                Verdict::Forbidden => {
                    access.count_refusal("role");
                    forbidden(&caller)
                }
                Verdict::Hidden => unknown(id.unwrap_or_default()),
            };
            return told(asked, Some(&caller), refusal).await;
        }
        Err(refusal) => refusal,
    };
    access.count_refusal(refusal.reason());
    let refusal = match refusal {
        Refusal::Limited(many) => limited(visitor.address, many),
        Refusal::BadToken => {
            let what = "the token is not in the gateway's token file; come with";
            unauthorized(format!("{what} {}", access.ways()), is_script)
        }
        Refusal::NoToken => unauthorized(format!("come with {}", access.ways()), is_script),
    };
    told(asked, None, refusal).await
}

/// Serves who may come in.
async fn run(
    caller: Caller,
    mut asked: Option<Asked>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(asked) = &mut asked {
        asked.is_of(&caller); // from here on it may be made
    }
    request.extensions_mut().insert(caller);
    let answer = next.run(request).await;
    told(asked, None, answer).await
}

/// Tells of what may change something.
pub(super) async fn told(
    asked: Option<Asked>,
    caller: Option<&Caller>,
    answer: Response,
) -> Response {
    let Some(mut asked) = asked else { return answer };
    if let Some(caller) = caller {
        asked.is_of(caller);
    }
    asked.answered(answer).await
}

fn unauthorized(detail: String, is_script: bool) -> Response {
    let mut refusal = reply::problem(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    let ways = [r#"Bearer realm="tenantry admin""#, r#"Basic realm="tenantry admin""#];
    for way in ways.into_iter().take(if is_script { 1 } else { 2 }) {
        refusal.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(way));
    }
    refusal
}

fn forbidden(caller: &Caller) -> Response {
    let what = format!("the role {} may not do this", caller.role);
    reply::problem(StatusCode::FORBIDDEN, "forbidden", what)
}

fn paced(wait: Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let what = format!(
        "this token has asked for many changes; the next one may come in {seconds} s \
         (tenant-changes of [admin] says how many)"
    );
    let mut refusal = reply::problem(StatusCode::TOO_MANY_REQUESTS, "too-many-changes", what);
    refusal.headers_mut().insert(RETRY_AFTER, seconds.into());
    refusal
}

fn limited(address: IpAddr, many: TooMany) -> Response {
    if many.is_first {
        tracing::warn!(%address, "an address has shown many wrong tokens to the admin API; for a \
            while none of its tokens are looked at");
    }
    let seconds = many.wait.as_secs() + 1;
    let what = format!(
        "this address has shown too many wrong tokens; the next one is looked at in {seconds} s"
    );
    let kind = "too-many-wrong-tokens";
    let mut refusal = reply::problem(StatusCode::TOO_MANY_REQUESTS, kind, what);
    refusal.headers_mut().insert(RETRY_AFTER, seconds.into());
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
    use crate::base::units::Rate;
    use crate::config::Place;
    use crate::config::spec::RateSpec;

    use super::*;

    /// What somebody may do who has shown a certificate of these names.
    fn role_of(certificates: &[(&str, &str)], names: &[&str]) -> Option<(String, String)> {
        role_by(certificates, names, false)
    }

    fn role_by(
        certificates: &[(&str, &str)],
        names: &[&str],
        is_uri: bool,
    ) -> Option<(String, String)> {
        let place = Place { file: "g".into(), line: 1, column: 1, key: String::new() };
        let role = |(name, role): &(&str, &str)| ((*name).to_owned(), role.parse().unwrap());
        let spec = AdminSpec {
            address: ([127, 0, 0, 1], 0).into(),
            place,
            token_file: None,
            tls: None,
            public_metrics: false,
            certificates: certificates.iter().map(role).collect(),
            tenant_keys: Vec::new(),
            tenant_changes: RateSpec {
                rate: Rate { count: 1, per: Duration::from_secs(1) },
                burst: 1,
            },
        };
        let mut access = Access::new(&spec, None, Arc::new(Metrics::new()));
        access.by_certificate = true; // as the listener's tls would say
        let dns_names: Box<[Box<str>]> = names.iter().map(|name| Box::from(*name)).collect();
        let (uris, dns_names) = match is_uri {
            true => (dns_names, Box::default()),
            false => (Box::default(), dns_names),
        };
        let common_names = dns_names.clone();
        let identity = Identity { uris, dns_names, common_names };
        let identity = Some(Arc::new(identity));
        let visitor = Visitor { identity, ..Visitor::UNKNOWN };
        let caller = access.admit(&visitor, &HeaderMap::new()).ok()?;
        Some((
            caller.name.map_or_else(String::new, |name| name.to_string()),
            caller.role.to_string(),
        ))
    }

    #[test]
    fn a_certificate_has_the_least_role_of_the_names_that_are_mapped() {
        let of = |name: &str, role: &str| Some((name.to_owned(), role.to_owned()));
        let mapped = [("prometheus.example", "viewer"), ("ops.example", "operator")];

        assert_eq!(role_of(&[], &["any.example"]), of("any.example", "admin"));
        assert_eq!(role_of(&[], &[]), of("", "admin"));
        assert_eq!(role_of(&mapped, &["ops.example"]), of("ops.example", "operator"));
        let both = ["ops.example", "prometheus.example"];
        assert_eq!(role_of(&mapped, &both), of("prometheus.example", "viewer"));
        let turned = [mapped[1], mapped[0]];
        assert_eq!(role_of(&turned, &both), of("prometheus.example", "viewer"));
        assert_eq!(role_of(&mapped, &["any.example"]), None);
        assert_eq!(role_of(&mapped, &[]), None);
    }

    #[test]
    fn a_name_that_only_looks_like_a_uri_has_not_the_role_of_the_uri() {
        let mapped = [("spiffe://example.com/ops", "admin")];
        let names = ["spiffe://example.com/ops"];

        assert_eq!(role_by(&mapped, &names, false), None);
        let role = role_by(&mapped, &names, true).map(|(_, role)| role);
        assert_eq!(role.as_deref(), Some("admin"));
    }

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
