//! How the gateway's own answers look to whom: browsers, programs, clients of gRPC, `HEAD`.

use http::header::ACCEPT;

use crate::world::client::{Frames, Hyper, ask};
use crate::world::config::{NO_RETRY, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::unreachable::Refusing;

/// What Firefox and Chromium ask for when somebody goes to an address.
const BROWSER: &str =
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8";

/// A gateway whose tenant `acme` cannot be reached.
async fn out_of_reach() -> (Gateway, Refusing) {
    let refusing = Refusing::new();
    let gateway = Gateway::start(&one_tenant_with(&[refusing.address], NO_RETRY)).await;
    (gateway, refusing)
}

#[tokio::test]
async fn a_browser_gets_a_page_that_tells_what_to_tell_the_operator() {
    let (gateway, _refusing) = out_of_reach().await;
    let fields = ["Host: a", "X-Tenant-ID: acme", "X-Request-ID: it-1", BROWSER];

    let answer = ask(gateway.address(), "GET /", &fields).await;

    assert_eq!(answer.status, 502);
    assert_eq!(answer.all("content-type"), ["text/html; charset=utf-8"]);
    assert_eq!(answer.all("cache-control"), ["no-store"]);
    assert_eq!(answer.all("vary"), ["accept"]);
    assert_eq!(answer.all("x-content-type-options"), ["nosniff"]);
    assert_eq!(answer.all("proxy-status"), ["tenantry; error=connection_refused"]);
    assert!(answer.all("content-security-policy")[0].starts_with("default-src 'none'; "));
    let page = answer.text();
    for told in ["502", "cannot be reached at the moment", "connect-failed", "<code>it-1</code>"] {
        assert!(page.contains(told), "{told}: {page}");
    }
    assert!(!page.contains(&_refusing.address.port().to_string()), "{page}");
}

#[tokio::test]
async fn everybody_else_gets_what_they_ask_for_and_a_document_where_they_ask_for_nothing() {
    let (gateway, _refusing) = out_of_reach().await;
    let document = "application/problem+json";
    for (accept, kind) in [
        ("Accept: */*", document),
        ("Accept: application/json", document),
        ("Accept: application/json, text/plain, */*", document),
        ("Accept: text/plain", "text/plain; charset=utf-8"),
        ("Accept: image/png", document),
        ("X-No: accept", document),
    ] {
        let fields = ["Host: a", "X-Tenant-ID: acme", accept];
        let answer = ask(gateway.address(), "GET /", &fields).await;
        assert_eq!(answer.all("content-type"), [kind], "{accept}");
        assert_eq!(answer.all("vary"), ["accept"], "{accept}");
        assert!(answer.text().contains("connect-failed"), "{accept}");
    }
}

#[tokio::test]
async fn what_a_client_writes_is_never_markup() {
    let (gateway, _refusing) = out_of_reach().await;
    let named = "X-Tenant-ID: <script>alert(1)</script>";
    for fields in [
        ["Host: a", named, "X-Request-ID: <b>1</b>", BROWSER],
        ["Host: <i>a</i>", "X-Tenant-ID: acme", "X-Request-ID: \"><b>", BROWSER],
        ["Host: a", "X-Tenant-ID: nobody", "Via: <b>", BROWSER],
    ] {
        let answer = ask(gateway.address(), "GET /", &fields).await;
        let page = answer.text();
        assert!((400..500).contains(&answer.status), "{answer:?}");
        for markup in ["<script", "<b>", "<i>"] {
            assert!(!page.contains(markup), "{page}");
        }
    }
}

#[tokio::test]
async fn a_head_has_the_length_of_the_page_and_no_body() {
    let (gateway, _refusing) = out_of_reach().await;
    let fields = ["Host: a", "X-Tenant-ID: acme", "X-Request-ID: it-1", BROWSER];

    let page = ask(gateway.address(), "GET /", &fields).await;
    let head = ask(gateway.address(), "HEAD /", &fields).await;
    let mut h2 = Hyper::h2(gateway.address()).await;
    let mut request = h2.request("HEAD", "acme", "/", Frames::default());
    let accept = BROWSER.split_once(": ").expect("a field").1;
    request.headers_mut().insert(ACCEPT, accept.parse().expect("a value"));
    request.headers_mut().insert("x-request-id", "it-1".parse().expect("a value"));
    let by_h2 = h2.ask(request).await;

    let length = page.body.len().to_string();
    for head in [head, by_h2] {
        assert_eq!(head.status, 502);
        assert_eq!(head.all("content-type"), page.all("content-type"));
        assert_eq!(head.all("content-length"), [length.as_str()]);
        assert_eq!(head.body.len(), 0);
        assert!(head.whole);
    }
}
