//! What a service's answer means for the request.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION,
    RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};

use crate::auth::issuer::freshness;
use crate::config::spec::AuthorizerSpec;
use crate::model::ids::TenantId;
use crate::upstream::Field;

use crate::proxy::answer::AnswerBody;
use crate::proxy::reply::Reply;

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It goes on.
    Allowed {
        /// Who the client is, where that is said.
        subject: Option<Box<str>>,
        /// What endpoints are told.
        told: Box<[Field]>,
    },
    /// What it shows is another tenant's.
    OtherTenant,
    /// The client gets the service's own answer.
    Denied(Denial),
    /// Nothing is known.
    Failed(Fault),
}

/// The answer of a service that denies a request.
#[derive(Debug)]
pub(super) struct Denial {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// A service's whole answer; without a body where that was too large.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why nothing is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// There is nobody to ask.
    #[error("the service that is asked has no endpoint")]
    NoEndpoint,
    /// It does not answer.
    #[error("the service that is asked does not answer: {0}")]
    Silent(String),
    /// It did not answer in time.
    #[error("the service that is asked does not answer within {0:?}")]
    Timeout(Duration),
    /// It says something that means nothing.
    #[error("the service that is asked answers {0}")]
    Status(StatusCode),
    /// It says who it is in no way that can be passed on, or too much.
    #[error("the service that is asked says nothing clear of {0}")]
    Unclear(HeaderName),
}

impl Verdict {
    /// The value of the `result` label. Never rename one.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::Allowed { .. } => "allowed",
            Self::Denied(_) | Self::OtherTenant => "denied",
            Self::Failed(_) => "error",
        }
    }
}

impl Denial {
    /// The client's answer.
    pub(super) fn reply(&self) -> Reply {
        let mut answer = Response::new(AnswerBody::whole(self.body.clone()));
        *answer.status_mut() = self.status;
        *answer.headers_mut() = self.headers.clone();
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        Reply::Local(answer.into(), self.body.len())
    }
}

/// What an answer means for a request of this tenant, and how long it may be used again.
pub(super) fn judge(heard: Heard, spec: &AuthorizerSpec, tenant: &str) -> (Verdict, Duration) {
    let Heard { status, headers, body } = heard;
    if !status.is_success() {
        let is_denied = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308 | 401 | 403);
        let verdict = match is_denied {
            true => Verdict::Denied(Denial { status, headers: passed_on(&headers), body }),
            false => Verdict::Failed(Fault::Status(status)),
        };
        return (verdict, Duration::ZERO);
    }
    match allowed(&headers, spec, tenant) {
        Ok(verdict @ Verdict::Allowed { .. }) => {
            let fresh = freshness(&headers).unwrap_or(spec.cache);
            (verdict, fresh.min(spec.cache))
        }
        Ok(verdict) => (verdict, Duration::ZERO),
        Err(fault) => (Verdict::Failed(fault), Duration::ZERO),
    }
}

fn allowed(headers: &HeaderMap, spec: &AuthorizerSpec, tenant: &str) -> Result<Verdict, Fault> {
    if let Some(name) = &spec.tenant {
        let named = one(headers, name)?.ok_or(Fault::Unclear(name.clone()))?;
        TenantId::check(named.as_bytes()).map_err(|_| Fault::Unclear(name.clone()))?;
        if named != tenant {
            return Ok(Verdict::OtherTenant);
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
            told.push((name.clone(), value.clone()));
        }
    }
    Ok(Verdict::Allowed { subject, told: told.into() })
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

/// What the client hears of a denial.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in &PASSED {
        for value in headers.get_all(name) {
            passed.append(name, value.clone());
        }
    }
    passed
}

const PASSED: [HeaderName; 6] =
    [CONTENT_TYPE, CONTENT_LANGUAGE, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE];
/// 256 characters: as the subject of a token.
const LONGEST: usize = 256;
/// 4 KiB: what is told goes with each request, and is kept for as long as the answer is used.
const MOST_TOLD: usize = 4 << 10;
