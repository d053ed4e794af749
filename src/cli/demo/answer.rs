//! What a demo backend answers: who it is and what reached it, as JSON or as a page for a browser.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes};

use crate::base::units;

/// The answer to one request. `?fail=503` asks for a status, `?slow=2s` for a delay and
/// `?size=10000` for a body of that many bytes.
pub(super) async fn to<B: Body + Unpin>(name: &str, request: Request<B>) -> Response<Full<Bytes>> {
    let (head, mut body) = request.into_parts();
    let wish = match Wish::of(head.uri.query().unwrap_or_default()) {
        Ok(wish) => wish,
        Err(what) => return response(StatusCode::BAD_REQUEST, TEXT, format!("{what}\n")),
    };
    let mut received = 0;
    while let Some(Ok(frame)) = body.frame().await {
        received += frame.data_ref().map_or(0, hyper::body::Buf::remaining);
    }
    tokio::time::sleep(wish.delay).await;
    match wish.size {
        Some(size) => response(wish.status, TEXT, "x".repeat(size)),
        None if wants_page(&head.headers) => {
            response(wish.status, HTML, page(name, &head, received))
        }
        None => response(wish.status, JSON, json(name, &head, received)),
    }
}

/// What the query asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    status: StatusCode,
    delay: Duration,
    size: Option<usize>,
}

impl Wish {
    fn of(query: &str) -> Result<Self, &'static str> {
        let mut wish = Self { status: StatusCode::OK, delay: Duration::ZERO, size: None };
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match key {
                "fail" => wish.status = status(value).ok_or("fail takes a status: ?fail=503")?,
                "slow" => wish.delay = delay(value).ok_or("slow takes at most 60 s: ?slow=2s")?,
                "size" => {
                    wish.size = Some(size(value).ok_or("size takes up to 16777216: ?size=10000")?);
                }
                _ => {}
            }
        }
        Ok(wish)
    }
}

fn status(text: &str) -> Option<StatusCode> {
    let status: StatusCode = text.parse().ok()?;
    (!status.is_informational()).then_some(status)
}

fn delay(text: &str) -> Option<Duration> {
    units::duration(text).ok().filter(|delay| *delay <= LONGEST_DELAY)
}

fn size(text: &str) -> Option<usize> {
    text.parse().ok().filter(|size| *size <= LARGEST_BODY)
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accepts.is_some_and(|accepts| accepts.contains("text/html"))
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

fn json(name: &str, head: &Parts, received: usize) -> String {
    let mut headers = serde_json::Map::new();
    for (field, value) in fields(&head.headers) {
        let line = headers.entry(field).or_insert_with(|| serde_json::Value::from(""));
        let before = line.as_str().unwrap_or_default();
        let joined = if before.is_empty() { value } else { format!("{before}, {value}") };
        *line = joined.into();
    }
    let answer = serde_json::json!({
        "backend": name,
        "pid": std::process::id(),
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "body_bytes": received,
        "headers": headers,
    });
    format!("{answer:#}\n")
}

fn page(name: &str, head: &Parts, received: usize) -> String {
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let facts = [
        ("process".to_owned(), std::process::id().to_string()),
        ("request".to_owned(), format!("{} {target}", head.method)),
        ("body".to_owned(), format!("{received} bytes")),
    ];
    let rows: String = facts
        .into_iter()
        .chain(fields(&head.headers))
        .map(|(key, value)| format!("<tr><th>{}<td>{}\n", escaped(&key), escaped(&value)))
        .collect();
    PAGE.replace("{name}", &escaped(name)).replace("{rows}", &rows)
}

fn fields(headers: &HeaderMap) -> impl Iterator<Item = (String, String)> {
    headers.iter().map(|(field, value)| {
        (field.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    })
}

/// What a client sends must not become markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
/// A demo that waits longer than this looks dead.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// 16 MiB: enough to see streaming, too little to hurt a laptop.
const LARGEST_BODY: usize = 16 << 20;
const PAGE: &str = include_str!("page.html");

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(target: &str, accept: &str) -> (StatusCode, String) {
        let request = Request::builder()
            .uri(target)
            .header("accept", accept)
            .header("x-tenant-id", "<acme>")
            .body(Full::<Bytes>::from("hello"))
            .unwrap();
        let (head, body) = to("shop-1", request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (head.status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn an_answer_names_the_backend_and_what_reached_it() {
        let (status, body) = answer("/a/b?c=d", "*/*").await;

        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body["backend"], "shop-1");
        assert_eq!(body["path"], "/a/b");
        assert_eq!(body["query"], "c=d");
        assert_eq!(body["body_bytes"], 5);
        assert_eq!(body["headers"]["x-tenant-id"], "<acme>");
    }

    #[tokio::test]
    async fn a_browser_gets_a_page_in_which_nothing_sent_is_markup() {
        let (_, body) = answer("/", "text/html,*/*").await;

        assert!(body.contains("shop-1") && body.contains("&lt;acme&gt;"));
        assert!(!body.contains("<acme>"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_query_asks_for_faults() {
        assert_eq!(answer("/?fail=503", "*/*").await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer("/?size=10000", "*/*").await.1.len(), 10_000);

        let before = tokio::time::Instant::now();
        answer("/?slow=2s", "*/*").await;
        assert!(before.elapsed() >= Duration::from_secs(2));
    }

    #[tokio::test]
    async fn a_wish_that_makes_no_sense_is_refused() {
        for query in ["fail=x", "fail=100", "slow=2", "slow=2h", "size=-1", "size=99999999999"] {
            let (status, _) = answer(&format!("/?{query}"), "*/*").await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        }
    }
}
