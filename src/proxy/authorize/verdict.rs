//! What a service's answer means for the request.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap,
    HeaderName, HeaderValue, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};

use crate::auth::issuer::freshness;
use crate::config::spec::AuthorizerSpec;
use crate::model::ids::TenantId;
use crate::proxy::answer::AnswerBody;
use crate::proxy::error::AttemptError;
use crate::proxy::reply::Reply;
use crate::upstream::Field;

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It goes on, and so do others like it for so long.
    Allowed(Rc<Grant>, Duration),
    /// What it shows is not the tenant's.
    OtherTenant,
    /// The client gets the service's own answer.
    Denied(Denial),
    /// Nothing is known.
    Failed(Fault),
}

/// What a service says of a request that may go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// Who the client is, where that is said.
    pub(super) subject: Option<Box<str>>,
    /// What endpoints are told.
    pub(super) told: Box<[Field]>,
}

/// The answer of a service that denies a request.
#[derive(Debug)]
pub(super) struct Denial {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// A service's whole answer; without a body where that is of no use or was too large.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// There is nobody to ask.
    #[error("the service has no endpoint")]
    NoEndpoint,
    /// The request had less time left than the service may take, and was over.
    #[error("there was no answer within the request's own time")]
    Late,
    /// So many questions for the tenant are under way as there may be.
    #[error("too many requests of the tenant are asked for")]
    Crowded,
    /// It does not answer.
    #[error(transparent)]
    Attempt(#[from] AttemptError),
    /// What the client has sent cannot be sent on.
    #[error("{0}")]
    Request(&'static str),
    /// It says that it has failed.
    #[error("the service answers {0}")]
    Status(StatusCode),
    /// It lets the request go on, and says something with it that cannot be passed on.
    #[error("the service says nothing clear in {0}")]
    Unclear(HeaderName),
}

impl Fault {
    /// Whether nothing was said at all. Only then may a request go on all the same: who is heard and not understood may be
    /// somebody who must not, and so may who was not listened to.
    pub(super) fn is_silence(&self) -> bool {
        !matches!(self, Self::Unclear(_) | Self::Request(_) | Self::Late | Self::Crowded)
    }

    /// What is known once another endpoint has failed, too: one that was cut short might have said anything.
    pub(super) fn then(self, next: Self) -> Self {
        if matches!(self, Self::Late) { self } else { next }
    }

    /// What a client hears of it: nothing of where the service is.
    pub(super) fn told(&self) -> &'static str {
        match self {
            Self::NoEndpoint | Self::Attempt(_) | Self::Late => {
                "who is asked does not answer; try again later"
            }
            Self::Status(_) => "who is asked has failed; try again later",
            Self::Unclear(_) => "who is asked gives no clear answer",
            Self::Crowded => "too many requests of the tenant are asked for at once",
            Self::Request(why) => why,
        }
    }
}

impl Verdict {
    /// The value of the `result` label. Never rename one.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::Allowed(..) => "allowed",
            Self::Denied(_) | Self::OtherTenant => "denied",
            Self::Failed(_) => "error",
        }
    }
}

impl Grant {
    /// How much memory it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        let told = |(name, value): &Field| size_of::<Field>() + name.as_str().len() + value.len();
        let told: usize = self.told.iter().map(told).sum();
        size_of::<Self>() + self.subject.as_ref().map_or(0, |subject| subject.len()) + told
    }
}

impl Denial {
    /// The client's answer.
    pub(super) fn reply(self) -> Reply {
        let Self { status, headers, body } = self;
        let size = body.len();
        let mut answer = Response::new(AnswerBody::whole(body));
        (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
        Reply::Local(answer.into(), size)
    }
}

/// What an answer means for a request of this tenant. Whatever a client can bring about by what it sends is a denial,
/// not a failure: failures may let requests go on.
pub(super) fn judge(heard: Heard, spec: &AuthorizerSpec, tenant: &str) -> Verdict {
    let Heard { status, headers, body } = heard;
    match status.as_u16() {
        200..300 => allowed(&headers, spec, tenant).unwrap_or_else(Verdict::Failed),
        code @ 300..500 => {
            let is_for_client = match code {
                301 | 302 | 303 | 307 | 308 => headers.contains_key(LOCATION),
                400.. => !OF_THE_HOP.contains(&code),
                _ => false,
            };
            let (status, headers, body) = match is_for_client {
                true => (status, passed_on(&headers), body),
                false => (StatusCode::FORBIDDEN, passed_on(&HeaderMap::new()), Bytes::new()),
            };
            Verdict::Denied(Denial { status, headers, body })
        }
        _ => Verdict::Failed(Fault::Status(status)),
    }
}

fn allowed(headers: &HeaderMap, spec: &AuthorizerSpec, tenant: &str) -> Result<Verdict, Fault> {
    if let Some(name) = &spec.tenant {
        match one(headers, name)? {
            Some(named) if TenantId::check(named.as_bytes()).is_err() => {
                return Err(Fault::Unclear(name.clone()));
            }
            Some(named) if named == tenant => {}
            Some(_) | None => return Ok(Verdict::OtherTenant),
        }
    }
    let subject = match &spec.subject {
        Some(name) => one(headers, name)?.map(Into::into),
        None => None,
    };
    let (mut told, mut size) = (Vec::new(), 0);
    for name in &spec.tell {
        for value in headers.get_all(name) {
            size += name.as_str().len() + value.len();
            if size > MOST_TOLD {
                return Err(Fault::Unclear(name.clone()));
            }
            told.push((name.clone(), own(value)));
        }
    }
    let lasts = freshness(headers).unwrap_or(spec.cache).min(spec.cache);
    Ok(Verdict::Allowed(Rc::new(Grant { subject, told: told.into() }), lasts))
}

/// A value of its own memory: it may be kept for long, and the other one holds the whole head that it came in.
fn own(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
}

/// The one value of a field, which can stand in a log.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Fault> {
    let unclear = || Fault::Unclear(name.clone());
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| unclear())?;
    let is_plain = (1..=LONGEST).contains(&text.len()) && text.trim() == text;
    (is_plain && values.next().is_none()).then_some(Some(text)).ok_or_else(unclear)
}

/// What the client hears of a denial. What says nothing of it is kept by nobody on the way: the next request may be one that
/// goes on.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in &PASSED {
        for value in headers.get_all(name) {
            passed.append(name, value.clone());
        }
    }
    if !passed.contains_key(CACHE_CONTROL) {
        passed.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    passed
}

const PASSED: [HeaderName; 8] = [
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_TYPE,
    LOCATION,
    RETRY_AFTER,
    SET_COOKIE,
    WWW_AUTHENTICATE,
];
/// Statuses that speak of the connection between the gateway and the service: a client would take them for its own.
const OF_THE_HOP: [u16; 4] = [407, 408, 421, 426];
/// 256 characters: as the subject of a token.
const LONGEST: usize = 256;
/// 4 KiB: what is told goes with each request, and is kept for as long as the answer is used.
const MOST_TOLD: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;
    use proptest::prelude::*;

    use crate::config::spec::{AskedPart, OnError};
    use crate::model::ids::PoolId;

    use super::*;

    fn spec() -> AuthorizerSpec {
        AuthorizerSpec {
            name: "login".into(),
            pool: PoolId("login".into()),
            path: PathAndQuery::from_static("/"),
            host: None,
            timeout: Duration::from_secs(1),
            cache: Duration::from_secs(60),
            cache_key: AskedPart::ALL.to_vec(),
            on_error: OnError::Allow,
            headers: Vec::new(),
            tell: vec![HeaderName::from_static("x-user")],
            subject: Some(HeaderName::from_static("x-user")),
            tenant: Some(HeaderName::from_static("x-tenant")),
        }
    }

    fn judged(status: u16, fields: &[(&'static str, &str)]) -> Verdict {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        judge(Heard { status, headers, body: Bytes::from_static(b"why") }, &spec(), "acme")
    }

    /// For how many seconds an answer with this field is used.
    fn lasts(control: &str) -> u64 {
        match judged(200, &[("x-tenant", "acme"), ("cache-control", control)]) {
            Verdict::Allowed(_, lasts) => lasts.as_secs(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_used_for_as_long_as_it_says_and_no_longer_than_is_wished() {
        for (control, expected) in [
            ("private", 60),
            ("max-age=5", 5),
            ("max-age=600", 60),
            ("no-store", 0),
            ("max-age=5, no-cache", 0),
            ("max-age=0", 0),
        ] {
            assert_eq!(lasts(control), expected, "{control}");
        }
    }

    #[test]
    fn only_one_clear_word_for_the_tenant_lets_its_request_go_on() {
        let acme = ("x-tenant", "acme");
        assert!(matches!(judged(204, &[acme, ("x-user", "ann")]), Verdict::Allowed(..)));
        for fields in [&[][..], &[("x-tenant", "globex")], &[("x-user", "ann")]] {
            assert!(matches!(judged(200, fields), Verdict::OtherTenant), "{fields:?}");
        }
        let long = "a".repeat(LONGEST + 1);
        for fields in [
            &[acme, acme][..],
            &[("x-tenant", "")],
            &[("x-tenant", "acme, globex")],
            &[acme, ("x-user", "")],
            &[acme, ("x-user", "\u{e9}")],
            &[acme, ("x-user", &long)],
            &[acme, ("x-user", "ann"), ("x-user", "bob")],
        ] {
            match judged(200, fields) {
                Verdict::Failed(fault @ Fault::Unclear(_)) => assert!(!fault.is_silence()),
                other => panic!("{fields:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_denial_is_kept_by_nobody_unless_it_says_so() {
        let control = |fields: &[(&'static str, &str)]| match judged(301, fields) {
            Verdict::Denied(Denial { headers, .. }) => headers[CACHE_CONTROL].clone(),
            other => panic!("{other:?}"),
        };
        let location = ("location", "/login");

        assert_eq!(control(&[location]), "no-store");
        assert_eq!(control(&[location, ("cache-control", "max-age=5")]), "max-age=5");
    }

    proptest! {
        #[test]
        fn what_a_client_can_bring_about_is_never_a_failure(
            status in 100_u16..=999, location in any::<bool>(),
        ) {
            let location: &[(&str, &str)] = if location { &[("location", "/")] } else { &[] };

            match judged(status, location) {
                Verdict::Allowed(..) => prop_assert!(false, "it names no tenant"),
                Verdict::OtherTenant => prop_assert!((200..300).contains(&status)),
                Verdict::Denied(Denial { status: told, headers, body }) => {
                    prop_assert!((300..500).contains(&status));
                    let as_it_is = told == status && &body[..] == b"why";
                    prop_assert!(as_it_is || (told == 403 && body.is_empty()));
                    prop_assert!(headers.contains_key(CACHE_CONTROL));
                    prop_assert!(status >= 400 || told == 403 || headers.contains_key(LOCATION));
                }
                Verdict::Failed(_) => prop_assert!(!(200..500).contains(&status)),
            }
        }
    }
}
