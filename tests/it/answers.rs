//! How the gateway's own answers look to whom: browsers, programs, clients of gRPC, `HEAD`.

use http::header::ACCEPT;
use tenantry::control::generation::ReloadResult;

use crate::world::client::{Frames, Hyper, ask, get};
use crate::world::config::{NO_RETRY, one_tenant, one_tenant_with, pool};
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::{Origin, Step};
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

/// A tenant that cannot be reached, and one whose endpoint itself says 503, with these pages.
async fn with_pages(pages: &str) -> (Gateway, Refusing, Origin) {
    let refusing = Refusing::new();
    let own = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
    let origin = Origin::start([Step::raw(own)]).await;
    let pools = [
        pool("refusing", &[refusing.address], NO_RETRY),
        pool("busy", &[origin.address], NO_RETRY),
    ];
    let tenants = "[tenants.other]\npool = \"refusing\"\n[tenants.busy]\npool = \"busy\"\n\
                   [tenants.acme]\npool = \"refusing\"\n";
    let gateway = Gateway::start(&format!("{}{tenants}{pages}", pools.concat())).await;
    (gateway, refusing, origin)
}

async fn asked(gateway: &Gateway, tenant: &str, accept: &str) -> Answer {
    let tenant = format!("X-Tenant-ID: {tenant}");
    let fields = ["Host: a", &tenant, "X-Request-ID: it-1", accept];
    ask(gateway.address(), "GET /", &fields).await
}

#[tokio::test]
async fn a_tenant_shows_its_own_page_and_the_others_the_one_for_all() {
    let pages = "[tenants.acme.error-pages]\n\
         5xx = { body = \"no\" }\n502 = { body = \"<p>{status} {problem} {request-id}</p>\" }\n\
         [error-pages]\n502 = { body = \"of all\", content-type = \"text/plain\" }\n\
         404 = { body = '{\"id\":\"{request-id}\"}', content-type = \"application/json\" }\n";
    let (gateway, _refusing, _origin) = with_pages(pages).await;

    let own = asked(&gateway, "acme", BROWSER).await;
    let of_all = asked(&gateway, "other", BROWSER).await;
    let nobodys = asked(&gateway, "nobody", BROWSER).await;
    let theirs = asked(&gateway, "busy", BROWSER).await;

    assert_eq!(own.text(), "<p>502 connect-failed it-1</p>");
    assert_eq!(own.all("content-type"), ["text/html; charset=utf-8"]);
    assert_eq!(own.all("content-length"), ["30"]);
    assert_eq!(own.all("proxy-status"), ["tenantry; error=connection_refused"]);
    assert_eq!(own.all("content-security-policy"), [""; 0], "a page may be what it likes");
    assert_eq!((of_all.status, of_all.text().as_str()), (502, "of all"));
    assert_eq!((nobodys.status, nobodys.text().as_str()), (404, "{\"id\":\"it-1\"}"));
    assert_eq!((theirs.status, theirs.text().as_str()), (503, "busy"));
}

#[tokio::test]
async fn a_page_is_given_to_whom_it_suits() {
    let pages = "[error-pages]\n5xx = { body = \"page\" }\n";
    let (gateway, _refusing, _origin) = with_pages(pages).await;
    for (accept, is_page) in [
        (BROWSER, true),
        ("Accept: */*", true),
        ("X-No: accept", true),
        ("Accept: text/html;q=0.5, application/json;q=0.4", true),
        ("Accept: application/json", false),
        ("Accept: application/json, text/plain, */*", false),
        ("Accept: application/problem+json", false),
    ] {
        let answer = asked(&gateway, "acme", accept).await;
        assert_eq!(answer.text() == "page", is_page, "{accept}: {answer:?}");
        assert_eq!(answer.all("vary"), ["accept"]);
    }
    let head = ask(gateway.address(), "HEAD /", &["Host: a", "X-Tenant-ID: acme"]).await;
    assert_eq!((head.all("content-length"), head.body.len()), (vec!["4".to_owned()], 0));
}

#[tokio::test]
async fn a_page_comes_from_its_file_and_a_change_of_it_with_the_next_reload() {
    let refusing = Refusing::new();
    let routes = one_tenant_with(&[refusing.address], NO_RETRY)
        + "error-pages = { 502 = { file = \"down.html\" } }\n";
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("down.html");
    let large = "x".repeat(200 << 10);
    std::fs::write(&page, &large).expect("write the page");
    std::fs::write(folder.path().join("routes.toml"), &routes).expect("write the routes");
    let gateway = Gateway::start_in(folder, 1, "").await.expect("it starts");

    assert_eq!(gateway.get("/").await.text(), large);
    std::fs::write(&page, "second").expect("write the page");
    let reloaded = gateway.reload(&routes).await;
    assert!(matches!(reloaded, ReloadResult::Live { generation: 2, .. }), "{reloaded:?}");
    assert_eq!(gateway.get("/").await.text(), "second");

    std::fs::remove_file(&page).expect("remove the page");
    let ReloadResult::Refused { problems, .. } = gateway.reload(&routes).await else {
        panic!("a page that is not there is a problem");
    };
    assert_eq!(problems[0].key.as_deref(), Some("tenants.acme.error-pages.502.file"));
    assert!(problems[0].hint.as_deref().is_some_and(|hint| hint.starts_with("create it")));
    assert_eq!(gateway.get("/").await.text(), "second", "what was live stays");
}

#[tokio::test]
async fn a_start_without_a_page_serves_the_last_good_routes_without_it() {
    let origin = Origin::saying("hello").await;
    let routes = one_tenant(&[origin.address])
        + "error-pages = { 4xx = { file = \"page.html\" } }\n\
           [tenants.narrow]\nstate = \"suspended\"\nerror-pages = { 403 = { file = \"page.html\" } }\n";
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("page.html");
    std::fs::write(&page, "page").expect("write the page");
    std::fs::write(folder.path().join("routes.toml"), &routes).expect("write the routes");
    let gateway = Gateway::start_in(folder, 1, "").await.expect("it starts");
    let narrow = get(gateway.address(), "narrow", "/").await;
    assert_eq!((narrow.status, narrow.text().as_str()), (403, "page"));
    let folder = gateway.stop_and_keep().await;
    std::fs::remove_file(&page).expect("remove the page");

    let gateway = Gateway::start_in(folder, 1, "").await.expect("the last good routes serve");

    assert_eq!(gateway.get("/").await.text(), "hello");
    let narrow = get(gateway.address(), "narrow", "/").await;
    assert_eq!((narrow.status, narrow.problem().as_deref()), (403, Some("tenant-suspended")));
    assert_eq!(gateway.metric("tenantry_config_serving_last_good").await, Some(1.0));
}
