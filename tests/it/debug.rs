//! `X-Tenantry-Debug`: what a client that shows a token is told of its request, and nobody else.

use std::fs;

use sfv::{Dictionary, ListEntry, Parser};

use crate::world::client::{Client, Frames, Hyper, ask};
use crate::world::config::{one_tenant, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::{Origin, Step};
use crate::world::unreachable::Refusing;
use crate::world::{STEP, within};

const TOKEN: &str = "X-Tenantry-Debug: 0123456789abcdef0123";
const OTHER: &str = "X-Tenantry-Debug: fedcba9876543210fedc";
const TENANT: &str = "X-Tenant-ID: acme";

async fn gateway(routes: &str) -> Gateway {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("routes.toml"), routes).expect("write the routes");
    let tokens = "# ours\n0123456789abcdef0123\n";
    fs::write(folder.path().join("debug.tokens"), tokens).expect("write the tokens");
    Gateway::start_in(folder, 1, "").await.expect("a gateway")
}

async fn get(gateway: &Gateway, path: &str, fields: &[&str]) -> Answer {
    let fields = [&["Host: a.example"], fields].concat();
    ask(gateway.address(), &format!("GET {path}"), &fields).await
}

/// Asks until `wanted` says yes, and gives that answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let asking = async {
        loop {
            let answer = ask().await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(STEP).await;
        }
    };
    within(what, asking).await
}

/// What an answer tells, read by another's reader of RFC 8941.
fn told(answer: &Answer) -> Dictionary {
    let [told] = answer.all("x-tenantry-debug").try_into().expect("one field");
    assert!(told.len() <= 5 << 10, "{told}");
    Parser::new(&told).parse().unwrap_or_else(|error| panic!("{error}: {told}"))
}

/// A member as text: its value, then what is said of it.
fn member(told: &Dictionary, key: &str) -> String {
    let text = |item: &sfv::Item| {
        let said = item.params.iter().map(|(key, value)| format!(" {key}={}", bare(value)));
        bare(&item.bare_item) + &said.collect::<String>()
    };
    match told.get(key) {
        Some(ListEntry::Item(item)) => text(item),
        Some(ListEntry::InnerList(list)) => {
            list.items.iter().map(text).collect::<Vec<_>>().join(" | ")
        }
        None => String::new(),
    }
}

/// Times are others in each run.
fn bare(item: &sfv::BareItem) -> String {
    match item {
        sfv::BareItem::Decimal(time) => {
            assert!(f64::from(*time) < 60_000.0, "{time:?}");
            "T".to_owned()
        }
        sfv::BareItem::String(text) => text.as_str().to_owned(),
        sfv::BareItem::Token(word) => word.as_str().to_owned(),
        sfv::BareItem::Integer(number) => number.to_string(),
        sfv::BareItem::Boolean(_) => "yes".to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_with_the_token_is_told_where_its_request_went_and_by_which_rules() {
    let origin = Origin::saying("hello").await;
    let routes = one_tenant_with(&[origin.address], "retry = { attempts = 2 }")
        + "[[tenants.acme.routes]]\nname = \"the bills\"\npath = \"/billing/*\"\ntimeout = \"7s\"\n";
    let gateway = gateway(&routes).await;

    let answer = get(&gateway, "/billing/7", &[TENANT, TOKEN]).await;

    assert_eq!((answer.status, answer.text()), (200, "hello".to_owned()));
    let told = told(&answer);
    let at = origin.address;
    assert_eq!(member(&told, "generation"), "1");
    assert_eq!(member(&told, "tenant"), "acme by=the header x-tenant-id");
    assert_eq!(member(&told, "route"), "the bills");
    assert_eq!(member(&told, "action"), "forward");
    assert_eq!(member(&told, "pool"), "app endpoints=1 eligible=1");
    assert_eq!((member(&told, "queue"), member(&told, "time")), ("T".to_owned(), "T".to_owned()));
    let attempt = format!("{at} at=T connect=T first-byte=T status=200");
    assert_eq!(member(&told, "attempts"), attempt);
    let timeouts = "yes total=7s attempt=3s 500ms first-byte=none idle=30s connect=1s tls=2s";
    assert_eq!(member(&told, "timeouts"), timeouts);
    assert!(member(&told, "retry").starts_with("yes attempts=2 on=connect, reset, timeout, 502"));
    assert!(answer.all("vary").contains(&"x-tenantry-debug".to_owned()), "for caches");
    let asked = origin.only().await;
    assert!(asked.one("x-tenantry-debug").is_none(), "the endpoint sees no token");
}

#[tokio::test]
async fn each_attempt_is_told_with_what_became_of_it() {
    let (refusing, origin) =
        (Refusing::new(), Origin::start([Step::answer(503, "busy"), Step::ok("well")]).await);
    let endpoints = [refusing.address, origin.address];
    let keys = "balance = \"round-robin\"\nretry = { attempts = 4, backoff = \"0s\" }\neject = { failures = 0 }";
    let gateway = gateway(&one_tenant_with(&endpoints, keys)).await;

    let mut attempts = Vec::new();
    let ask = async || {
        let answer = get(&gateway, "/", &[TENANT, TOKEN]).await;
        attempts.push(member(&told(&answer), "attempts"));
        attempts.join(" | ")
    };

    // The balancer begins where it likes, and a connection is kept a moment after its answer.
    let all = until("a kept connection", ask, |all| all.contains("connection=reused")).await;
    let refused = format!("{} at=T connect=T took=T failed=connect", refusing.address);
    assert!(all.contains(&refused), "{all}");
    assert!(
        all.contains(&format!("{} at=T connect=T first-byte=T status=503", origin.address)),
        "{all}"
    );
    assert!(all.contains("connection=reused first-byte=T status="), "{all}");
}

#[tokio::test]
async fn the_gateway_s_own_answers_tell_why_they_are() {
    let refusing = Refusing::new();
    let keys = "health = { tcp = true, interval = \"50ms\" }\nretry = { attempts = 1 }";
    let routes =
        one_tenant_with(&[refusing.address], keys) + "[tenants.gone]\nstate = \"suspended\"\n";
    let gateway = gateway(&routes).await;

    let nobody = get(&gateway, "/", &[TOKEN]).await;
    let unknown = get(&gateway, "/", &["X-Tenant-ID: nobody", TOKEN]).await;
    let suspended = get(&gateway, "/", &["X-Tenant-ID: gone", TOKEN]).await;
    let down = until(
        "the first check",
        async || get(&gateway, "/", &[TENANT, TOKEN]).await,
        |answer| member(&told(answer), "out").contains("its checks fail"),
    )
    .await;

    assert_eq!((nobody.status, unknown.status, suspended.status), (400, 404, 403));
    let told_of = |answer: &Answer, key: &str| member(&told(answer), key);
    assert_eq!(told_of(&nobody, "problem"), "tenant-missing");
    assert_eq!(told_of(&nobody, "ways"), "the header x-tenant-id says=says nothing");
    assert_eq!(told_of(&unknown, "problem"), "tenant-unknown");
    assert_eq!(
        told_of(&unknown, "ways"),
        "the header x-tenant-id says=there is no tenant \"nobody\""
    );
    assert_eq!(told_of(&suspended, "problem"), "tenant-suspended");
    assert_eq!(told_of(&suspended, "tenant"), "gone by=the header x-tenant-id");
    assert!(down.status >= 500, "{down:?}");
    assert_eq!(told_of(&down, "pool"), "app endpoints=1 eligible=0");
    let out = told_of(&down, "out");
    assert!(out.starts_with(&format!("{} why=its checks fail: ", refusing.address)), "{out}");
    assert_eq!(told_of(&down, "problem"), "connect-failed");
    assert_eq!(told_of(&down, "not-retried"), "attempts");
}

#[tokio::test]
async fn whoever_has_no_token_is_served_as_if_nobody_had_asked_and_is_counted() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Tenantry-Debug: forged\r\n\r\n";
    let origin = Origin::start([Step::raw(answer)]).await;
    let gateway = gateway(&one_tenant(&[origin.address])).await;

    for fields in
        [&[TENANT][..], &[TENANT, OTHER], &[TENANT, TOKEN, TOKEN], &[TENANT, "X-Tenantry-Debug:"]]
    {
        let answer = get(&gateway, "/", fields).await;
        assert_eq!((answer.status, answer.one("x-tenantry-debug")), (200, None), "{fields:?}");
        assert_eq!(answer.one("vary"), None);
    }
    let answer = get(&gateway, "/", &[TENANT, TOKEN]).await;
    assert_eq!(member(&told(&answer), "generation"), "1");

    for asked in origin.asked() {
        assert_eq!(asked.one("x-tenantry-debug"), None);
    }
    let counted = |metrics: &String| {
        ["told\"} 1", "refused\"} 3"].iter().all(|count| metrics.contains(count))
    };
    let ask = async || gateway.admin("/metrics").await.text();
    until("the counts", ask, counted).await;
}

#[tokio::test]
async fn without_tokens_the_field_is_dropped_on_the_way_to_endpoints_and_left_alone_on_the_way_back()
 {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Tenantry-Debug: theirs\r\n\r\n";
    let origin = Origin::start([Step::raw(answer)]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;

    let answer = get(&gateway, "/", &[TENANT, TOKEN, "X_Tenantry_Debug: look-alike"]).await;

    assert_eq!(answer.one("x-tenantry-debug").as_deref(), Some("theirs"));
    let asked = origin.only().await;
    assert_eq!((asked.one("x-tenantry-debug"), asked.one("x_tenantry_debug")), (None, None));
}

#[tokio::test]
async fn other_tokens_hold_as_soon_as_their_file_changes_and_a_broken_file_changes_nothing() {
    let origin = Origin::saying("hello").await;
    let gateway = gateway(&one_tenant(&[origin.address])).await;
    let tells = async |field: &str| {
        get(&gateway, "/", &[TENANT, field]).await.one("x-tenantry-debug").is_some()
    };
    let replace = |text: &str| {
        fs::write(gateway.path("new"), text).expect("write the tokens");
        fs::rename(gateway.path("new"), gateway.path("debug.tokens")).expect("rename them");
    };

    replace("short\n");
    assert!(tells(TOKEN).await);
    replace("fedcba9876543210fedc\n");
    until("the new token", async || tells(OTHER).await, |tells| *tells).await;

    assert!(!tells(TOKEN).await);
}

#[tokio::test]
async fn a_client_of_http2_is_told_too() {
    let origin = Origin::saying("hello").await;
    let gateway = gateway(&one_tenant(&[origin.address])).await;
    let mut client = Hyper::h2(gateway.address()).await;
    let request = http::Request::get("http://a.example/")
        .header("x-tenant-id", "acme")
        .header("x-tenantry-debug", "0123456789abcdef0123")
        .body(Frames::sized(""))
        .expect("a request");

    let answer = client.ask(request).await;

    assert_eq!(member(&told(&answer), "tenant"), "acme by=the header x-tenant-id");
}

#[tokio::test]
async fn names_of_the_operator_s_choice_cannot_break_the_field() {
    let origin = Origin::saying("hello").await;
    let routes = one_tenant(&[origin.address])
        + "[[tenants.acme.routes]]\nname = \"\\\", pool=\\\"x\\\\ \u{e4}\"\n";
    let gateway = gateway(&routes).await;

    let mut client = Client::connect(gateway.address()).await;
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{TENANT}\r\n{TOKEN}\r\n\r\n");
    let told = told(&client.ask(&request).await);

    assert_eq!(member(&told, "route"), "\", pool=\"x\\ %C3%A4");
    assert_eq!(member(&told, "pool"), "app endpoints=1 eligible=1");
}
