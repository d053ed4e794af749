//! What clients ask with: queries and JSON bodies, each of a known form and a bounded size. What does
//! not fit is refused with a problem that says what would.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::{State, reply};

/// The query, whose parameters are the fields of `T`.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<State> for Asked<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Response> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(bad_query(point(&rejection.body_text()))),
        }
    }
}

/// A query that cannot be answered.
pub(super) fn bad_query(why: &str) -> Response {
    reply::problem(StatusCode::BAD_REQUEST, "bad-query", why.to_owned())
}

/// The body, a JSON object with the fields of `T`.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        // An object before all: serde would take a list for the fields of a struct as well.
        let read = Json::<Map<String, Value>>::from_request(request, state);
        match timeout(LONGEST, read).await {
            Ok(Ok(Json(body))) => serde_json::from_value(Value::Object(body))
                .map(Self)
                .map_err(|error| bad_fields(&error.to_string())),
            Ok(Err(rejection)) => Err(bad_body(&rejection)),
            Err(_) => Err(reply::problem(
                StatusCode::REQUEST_TIMEOUT,
                "slow-body",
                format!("the body did not come whole within {LONGEST:?}"),
            )),
        }
    }
}

/// A body without the fields that are needed, or with others.
pub(super) fn bad_fields(why: &str) -> Response {
    reply::problem(StatusCode::UNPROCESSABLE_ENTITY, "bad-body", format!("the body: {why}"))
}

fn bad_body(rejection: &JsonRejection) -> Response {
    let (status, said) = (rejection.status(), rejection.body_text());
    match rejection {
        JsonRejection::MissingJsonContentType(_) => reply::problem(
            status,
            "not-json",
            "the body must be JSON: send Content-Type: application/json".to_owned(),
        ),
        JsonRejection::JsonSyntaxError(_) => {
            reply::problem(status, "bad-json", format!("the body is no JSON: {}", point(&said)))
        }
        JsonRejection::JsonDataError(_) => {
            bad_fields("it is no object, as in {\"key\": \"value\"}")
        }
        _ if status == StatusCode::PAYLOAD_TOO_LARGE => reply::problem(
            status,
            "large-body",
            "the body is longer than any that is meant here".to_owned(),
        ),
        _ => reply::problem(status, "unread-body", said),
    }
}

/// What axum comes to after it has said what it did.
fn point(said: &str) -> &str {
    said.split_once(": ").map_or(said, |(_, point)| point)
}

/// 64 KiB: no body here has more than a few names and a reason.
pub(super) const LARGEST: usize = 64 << 10;

/// 10 s: a body fits into one packet or a few.
const LONGEST: Duration = Duration::from_secs(10);

/// What of a list is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    limit: usize,
    after: Option<String>,
}

impl Page {
    /// As it was asked for.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(super) fn new(limit: Option<usize>, after: Option<String>) -> Result<Self, String> {
        match limit.unwrap_or(USUAL) {
            limit @ 1..=MOST => Ok(Self { limit, after }),
            limit => Err(format!("limit={limit} is not from 1 to {MOST}")),
        }
    }

    /// The items of this page, and the key of the last where there are more. `items` come with their
    /// keys, in the order of the keys.
    pub(super) fn of<T>(
        &self,
        items: impl Iterator<Item = (String, T)>,
    ) -> (Vec<T>, Option<String>) {
        let after = self.after.as_deref();
        let mut left = items.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
        let (mut page, mut last) = (Vec::new(), None);
        for (key, item) in left.by_ref().take(self.limit) {
            page.push(item);
            last = Some(key);
        }
        (page, last.filter(|_| left.next().is_some()))
    }
}

/// 100: what a person looks through.
const USUAL: usize = 100;

/// 1,000: some hundred KiB.
pub(super) const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use axum::body;
    use bytes::Bytes;
    use http::header::CONTENT_TYPE;
    use http_body::Frame;

    use super::*;

    /// A body that never comes.
    struct Never;

    impl http_body::Body for Never {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let request = Request::post("/").header(CONTENT_TYPE, "application/json");
        let request = request.body(body::Body::new(Never)).unwrap();

        let refused = Body::<Value>::from_request(request, &()).await.unwrap_err();

        assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
    }

    fn items() -> impl Iterator<Item = (String, u32)> {
        (0..5).map(|number| (format!("key {number}"), number))
    }

    #[test]
    fn the_pages_of_a_list_have_each_item_once() {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = Page::new(Some(2), after).unwrap().of(items());
            assert!(page.len() <= 2);
            all.extend(page);
            after = next;
            if after.is_none() {
                break;
            }
        }

        assert_eq!(all, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_page_that_ends_the_list_has_no_next_one() {
        assert_eq!(Page::new(Some(5), None).unwrap().of(items()).1, None);
        assert_eq!(Page::new(None, Some("zzz".to_owned())).unwrap().of(items()), (vec![], None));
        assert!(Page::new(Some(0), None).is_err());
        assert!(Page::new(Some(1001), None).is_err());
    }
}
