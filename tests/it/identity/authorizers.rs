//! Services that are asked whether a request may go on.

use crate::world::client::{Client, ask, head};
use crate::world::config::pool;
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::{Origin, Step};

use super::tokens::{is, told};

struct World {
    origin: Origin,
    authorizer: Origin,
    gateway: Gateway,
}

/// Lets requests of this tenant go on.
fn allows(tenant: &str) -> Step {
    says(&format!(
        "X-User: ann\r\nX-Groups: a\r\nX-Groups: b\r\nX-Tenant: {tenant}\r\nX-Else: no\r\n"
    ))
}

fn says(fields: &str) -> Step {
    Step::raw(format!("HTTP/1.1 200 Fine\r\n{fields}Content-Length: 2\r\n\r\nok"))
}

impl World {
    async fn new(keys: &str, script: impl IntoIterator<Item = Step>) -> Self {
        let (origin, authorizer) = (Origin::saying("hello").await, Origin::start(script).await);
        let routes = format!(
            "{}{}[identity]\nsubject-header = \"X-Subject\"\n\
             [identity.authorizers.login]\npool = \"authorizer\"\npath = \"/check?v=1\"\n\
             headers = [\"Cookie\"]\ntell = [\"X-User\", \"X-Groups\"]\nsubject = \"X-User\"\n\
             tenant = \"X-Tenant\"\ntimeout = \"5s\"\n{keys}\n\
             [tenants.acme]\npool = \"app\"\nauthorize = \"login\"\n[tenants.open]\npool = \"app\"\n",
            pool("app", &[origin.address], ""),
            pool("authorizer", &[authorizer.address], "")
        );
        let gateway = Gateway::start(&routes).await;
        Self { origin, authorizer, gateway }
    }

    async fn ask(&self, line: &str, fields: &[&str]) -> Answer {
        ask(self.gateway.address(), line, &[&["Host: shop.example", ACME], fields].concat()).await
    }
}

const ACME: &str = "X-Tenant-ID: acme";
const SPOOFED: [&str; 4] = ["X-User: root", "x_user: root", "X-Groups: root", "X-Subject: root"];

#[tokio::test]
async fn a_request_that_is_let_through_tells_the_endpoint_what_was_said_of_it() {
    let world = World::new("", [allows("acme")]).await;

    let shown = ["Cookie: session=1", "Authorization: Basic YTpi", "X-Other: secret"];
    let answer = world.ask("GET /a/b?c=d", &[&shown[..], &SPOOFED].concat()).await;
    assert_eq!(answer.text(), "hello");

    let asked = world.authorizer.only().await;
    assert_eq!((&*asked.method, &*asked.target), ("GET", "/check?v=1"));
    for (name, value) in [
        ("x-forwarded-method", "GET"),
        ("x-forwarded-uri", "/a/b?c=d"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-tenant-id", "acme"),
        ("cookie", "session=1"),
        ("authorization", "Basic YTpi"),
    ] {
        assert_eq!(asked.all(name), [value], "{name}");
    }
    assert!(asked.all("x-other").is_empty());
    let served = world.origin.only().await;
    assert_eq!(served.all("x-user"), ["ann"]);
    assert_eq!(served.all("x-groups"), ["a", "b"]);
    assert_eq!(served.all("x-subject"), ["ann"]);
    assert_eq!(served.all("authorization"), ["Basic YTpi"], "it is the application's own");
    assert!(served.all("x-else").is_empty());
    assert!(!world.origin.heads().concat().contains("root"));
}

#[tokio::test]
async fn a_denial_is_the_clients_answer_and_reaches_no_endpoint() {
    let denied = "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nX-Inner: 1\r\nContent-Type: text/plain\r\n\
                  Content-Length: 6\r\n\r\nlog in";
    let login = "HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n";
    let world =
        World::new("", [Step::raw(denied), Step::raw(login), Step::answer(403, "never")]).await;

    let first = world.ask("GET /", &[]).await;
    assert_eq!((first.status, first.text().as_str()), (401, "log in"));
    assert_eq!(first.one("www-authenticate").as_deref(), Some("Basic realm=\"x\""));
    assert_eq!((first.one("x-inner"), first.problem()), (None, None));
    let second = world.ask("GET /", &[]).await;
    assert_eq!(second.status, 302);
    assert_eq!(second.one("location").as_deref(), Some("https://login.example/"));
    assert_eq!(second.one("set-cookie").as_deref(), Some("a=b"));
    let third = world.ask("POST /", &["Content-Length: 0"]).await;
    assert_eq!((third.status, third.text().as_str()), (403, "never"));

    assert_eq!(world.origin.connections(), 0);
    let denied = "tenantry_authorizations_total{result=\"denied\"}";
    world.gateway.metric_becomes(denied, 3.0).await;
}

#[tokio::test]
async fn what_is_another_tenants_is_refused_always() {
    let world = World::new("on-error = \"allow\"", [allows("open")]).await;

    assert_eq!(told(&world.ask("GET /", &[]).await), is(403, "other-tenant"));

    assert_eq!(world.origin.connections(), 0);
    let open = ask(world.gateway.address(), "GET /", &["Host: a", "X-Tenant-ID: open"]).await;
    assert_eq!(open.text(), "hello", "nobody is asked for others");
    assert_eq!(world.authorizer.asked().len(), 1);
}

#[tokio::test]
async fn while_nobody_can_be_asked_requests_are_denied_or_go_on_as_it_is_said() {
    let broken = || {
        [
            Step::answer(500, "no"),
            says("X-User: ann\r\n"),
            says("X-Tenant: acme\r\nX-Tenant: open\r\n"),
            says("X-Tenant: acme\r\nX-User: a\r\nX-User: b\r\n"),
            Step::answer(404, ""),
        ]
    };
    let deny = World::new("", broken()).await;
    let allow = World::new("on-error = \"allow\"", broken()).await;

    for number in 0..5 {
        let answer = deny.ask("GET /", &SPOOFED).await;
        assert_eq!(told(&answer), is(503, "authorizer-unavailable"), "{number}");
        assert!(answer.one("retry-after").is_some());
        assert_eq!(allow.ask("GET /", &SPOOFED).await.text(), "hello", "{number}");
    }

    assert_eq!(deny.origin.connections(), 0);
    assert!(!allow.origin.heads().concat().contains("root"), "nobody's word is not the client's");
}

#[tokio::test]
async fn an_answer_is_used_again_for_who_shows_and_asks_the_same() {
    let world = World::new("cache = \"1h\"", [allows("acme")]).await;
    let ann = ["Authorization: Basic YW5u"];

    for _ in 0..3 {
        assert_eq!(world.ask("GET /a", &ann).await.text(), "hello");
    }
    assert_eq!(world.authorizer.asked().len(), 1);
    for (line, shown) in [
        ("GET /b", &ann[..]),
        ("DELETE /a", &ann),
        ("GET /a", &["Authorization: Basic Ym9i"]),
        ("GET /a", &[]),
        ("GET /a", &["Cookie: a=b"]),
    ] {
        let before = world.authorizer.asked().len();
        world.ask(line, shown).await;
        assert_eq!(world.authorizer.asked().len(), before + 1, "{line} {shown:?}");
    }
    let cached = "tenantry_authorizations_total{result=\"cached\"}";
    world.gateway.metric_becomes(cached, 2.0).await;
}

#[tokio::test]
async fn an_answer_says_that_it_is_not_to_be_used_again() {
    let once = says("X-Tenant: acme\r\nCache-Control: no-store\r\n");
    let world = World::new("cache = \"1h\"", [once]).await;

    for _ in 0..3 {
        assert_eq!(world.ask("GET /", &[]).await.text(), "hello");
    }

    assert_eq!(world.authorizer.asked().len(), 3);
}

#[tokio::test]
async fn of_many_that_come_at_once_one_asks() {
    let world = World::new("", [allows("acme").held()]).await;
    let request = head("GET /", &["Host: shop.example", ACME]);
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = Client::connect(world.gateway.address()).await;
        client.send(&request).await;
        clients.push(client);
    }
    world.gateway.metric_becomes("tenantry_requests_in_flight", 6.0).await;

    world.authorizer.release();

    for client in &mut clients {
        assert_eq!(client.answer_to("GET").await.text(), "hello");
    }
    assert_eq!(world.authorizer.asked().len(), 1);
}
