//! Pages of other origins: what browsers ask before they send a request for one, and what they are told
//! with its answer (the Fetch standard, "HTTP extensions"). What endpoints say of it is replaced.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use crate::config::spec::{CorsSpec, OriginSpec};

use super::answer::AnswerBody;
use super::reply::Reply;

/// What a page of another origin is told with the answer.
#[derive(Debug)]
pub(super) struct Crossing<'t> {
    spec: &'t CorsSpec,
    /// The origin, where it may.
    allowed: Option<HeaderValue>,
    is_preflight: bool,
}

impl<'t> Crossing<'t> {
    /// Of a request to a tenant that says this.
    pub(super) fn of(spec: &'t CorsSpec, head: &Parts) -> Self {
        let mut origins = head.headers.get_all(ORIGIN).iter();
        let one = origins.next().filter(|_| origins.next().is_none());
        let may = |origin: &&HeaderValue| {
            origin.to_str().is_ok_and(|text| spec.origins.iter().any(|own| own.has(text)))
        };
        let is_preflight = head.method == Method::OPTIONS
            && head.headers.contains_key(ORIGIN)
            && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        Self { spec, allowed: one.filter(may).cloned(), is_preflight }
    }

    /// Answers what a browser asks before it sends a request; `None` where this is none of that.
    pub(super) fn preflight(&self) -> Option<Box<Reply>> {
        if !self.is_preflight {
            return None;
        }
        let mut answer = Response::new(AnswerBody::empty());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let headers = answer.headers_mut();
        headers.insert(VARY, HeaderValue::from_static(ASKED));
        if self.allowed.is_some() {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.spec.methods.clone());
            if let Some(names) = &self.spec.headers {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
            }
            let seconds = HeaderValue::from(self.spec.max_age.as_secs());
            headers.insert(ACCESS_CONTROL_MAX_AGE, seconds);
        }
        Some(Box::new(Reply::Local(answer.into(), 0)))
    }

    /// Tells the browser with the answer, whoever has made that.
    #[cold]
    #[inline(never)]
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let Self { spec, is_preflight, .. } = self;
        let of_preflights: &[HeaderName] = if is_preflight { &[] } else { &OF_PREFLIGHTS };
        for name in OF_ALL.iter().chain(of_preflights) {
            headers.remove(name);
        }
        let is_for_all = spec.origins.contains(&OriginSpec::Any);
        if !is_for_all {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        // The same to all, whoever asks: a cache may give it to others.
        let for_all = is_for_all.then(|| HeaderValue::from_static("*"));
        let Some(origin) = for_all.or(self.allowed) else {
            return;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if spec.credentials {
            let yes = HeaderValue::from_static("true");
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        if let Some(names) = spec.expose.as_ref().filter(|_| !is_preflight) {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names.clone());
        }
    }
}

const ASKED: &str = "access-control-request-method, access-control-request-headers";
static OF_ALL: [HeaderName; 3] =
    [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS];
static OF_PREFLIGHTS: [HeaderName; 3] =
    [ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_MAX_AGE];
