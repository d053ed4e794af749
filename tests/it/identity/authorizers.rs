//! Services that are asked whether a request may go on.

use std::time::Duration;

use tokio::time::sleep;

use crate::world::client::{Client, Frames, Hyper, ask, get, head};
use crate::world::config::{NO_RETRY, pool};
use crate::world::gateway::Gateway;
use crate::world::h2_origin::{H2Origin, Speaks};
use crate::world::message::{Answer, Asked};
use crate::world::origin::{Origin, Step};
use crate::world::tls::Certificates;
use crate::world::unreachable::Refusing;

use super::MadeKey;
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

const TENANTS: &str = "[tenants.acme]\npool = \"app\"\nauthorize = \"login\"\n\
                       [tenants.globex]\npool = \"app\"\nauthorize = \"login\"\n\
                       [tenants.open]\npool = \"app\"\n";

/// The service `login`, with these keys, and tenants of which one asks nobody.
fn service(keys: &str) -> String {
    format!(
        "[identity]\nsubject-header = \"X-Subject\"\n[identity.authorizers.login]\n\
         pool = \"authorizer\"\npath = \"/check?v=1\"\nheaders = [\"Cookie\"]\n\
         tell = [\"X-User\", \"X-Groups\"]\nsubject = \"X-User\"\n{keys}\n{TENANTS}"
    )
}

impl World {
    async fn new(keys: &str, script: impl IntoIterator<Item = Step>) -> Self {
        let keys = format!("tenant = \"X-Tenant\"\ntimeout = \"5s\"\n{keys}");
        Self::of(&service(&keys), script).await
    }

    async fn of(rest: &str, script: impl IntoIterator<Item = Step>) -> Self {
        let (origin, authorizer) = (Origin::saying("hello").await, Origin::start(script).await);
        let routes = Self::routes(&origin, &authorizer, rest);
        let gateway = Gateway::start(&routes).await;
        Self { origin, authorizer, gateway }
    }

    fn routes(origin: &Origin, authorizer: &Origin, rest: &str) -> String {
        let app = pool("app", &[origin.address], "");
        format!("{app}{}{rest}", pool("authorizer", &[authorizer.address], ""))
    }

    async fn ask(&self, line: &str, fields: &[&str]) -> Answer {
        ask(self.gateway.address(), line, &[&["Host: shop.example", ACME], fields].concat()).await
    }

    /// A client whose request was sent.
    async fn begin(&self, fields: &[&str]) -> Client {
        let mut client = Client::connect(self.gateway.address()).await;
        client.send(head("GET /", &[&["Host: shop.example", ACME], fields].concat())).await;
        client
    }

    /// So many clients that wait for an answer of the service, of which as many as are known to it have asked.
    async fn begin_all(&self, count: u32) -> Vec<Client> {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(self.begin(&[]).await);
        }
        self.gateway.metric_becomes("tenantry_requests_in_flight", f64::from(count)).await;
        clients
    }

    async fn counts(&self, result: &str, count: f64) {
        let series = format!("tenantry_authorizations_total{{result=\"{result}\"}}");
        self.gateway.metric_becomes(&series, count).await;
    }
}

const ACME: &str = "X-Tenant-ID: acme";
const SPOOFED: [&str; 4] = ["X-User: root", "x_user: root", "X-Groups: root", "X-Subject: root"];

#[tokio::test]
async fn a_request_whose_service_answers_during_a_trial_counts_for_it() {
    let (sick, well) = (Origin::start([Step::answer(500, "")]).await, Origin::saying("well").await);
    let authorizer = Origin::start([allows("acme").held()]).await;
    let keys = "balance = \"round-robin\"\neject = { failures = 5, base = \"1s\", trials = 1 }";
    let app = pool("app", &[sick.address, well.address], keys);
    let login = pool("authorizer", &[authorizer.address], "");
    let rest = service("tenant = \"X-Tenant\"\ntimeout = \"10s\"");
    let gateway = Gateway::start(&format!("{app}{login}{rest}")).await;
    let world = World { origin: well, authorizer, gateway };
    let ejected = "tenantry_ejections_total{pool=\"app\"}";
    let open = ["Host: shop.example", "X-Tenant-ID: open"];
    while world.gateway.metric(ejected).await.unwrap_or_default() == 0.0 {
        ask(world.gateway.address(), "GET /", &open).await;
    }
    let mut client = world.begin(&[]).await;
    world.authorizer.wait_for(1).await;
    sick.rescript([Step::ok("well again")]);

    let state = |state| {
        let series = "tenantry_pool_members{pool=\"app\",state=";
        format!("{series}\"{state}\"}}")
    };
    world.gateway.metric_becomes(&state("trial"), 1.0).await;
    world.authorizer.release();

    assert_eq!(client.answer_to("GET").await.text(), "well again");
    world
        .gateway
        .metric_becomes("tenantry_trials_total{pool=\"app\",result=\"passed\"}", 1.0)
        .await;
    world.gateway.metric_becomes(&state("trial"), 0.0).await;
}

#[tokio::test]
async fn a_request_that_is_let_through_tells_the_endpoint_what_was_said_of_it() {
    let world = World::new("", [allows("acme")]).await;

    let shown = ["Cookie: session=1", "Authorization: Basic YTpi", "X-Other: secret"];
    let lies = ["X-Forwarded-Uri: /public", "X-Forwarded-Method: HEAD", "X-Forwarded-For: 1.1.1.1"];
    let answer = world.ask("GET /a/b?c=d", &[&shown[..], &SPOOFED, &lies].concat()).await;
    assert_eq!(answer.text(), "hello");

    let asked = world.authorizer.only().await;
    assert_eq!((&*asked.method, &*asked.target), ("GET", "/check?v=1"));
    let address = world.authorizer.address.to_string();
    for (name, value) in [
        ("host", &*address),
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
    assert!(!world.authorizer.heads().concat().contains("root"));
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
    assert_eq!(first.one("cache-control").as_deref(), Some("no-store"));
    assert_eq!((first.one("x-inner"), first.problem()), (None, None));
    let second = world.ask("GET /", &[]).await;
    assert_eq!(second.status, 302);
    assert_eq!(second.one("location").as_deref(), Some("https://login.example/"));
    assert_eq!(second.one("set-cookie").as_deref(), Some("a=b"));
    let third = world.ask("POST /", &["Content-Length: 0"]).await;
    assert_eq!((third.status, third.text().as_str()), (403, "never"));
    let fourth = world.ask("HEAD /", &[]).await;
    assert_eq!((fourth.status, fourth.text().as_str()), (403, ""));

    assert_eq!(world.origin.connections(), 0);
    world.counts("denied", 4.0).await;
}

#[tokio::test]
async fn no_answer_that_a_client_may_bring_about_lets_its_request_go_on() {
    let statuses = [400, 404, 413, 414, 429, 431, 451, 407, 408, 421, 426, 300, 302, 304, 305];
    let script = statuses.map(|status| Step::answer(status, ""));
    let world = World::new("on-error = \"allow\"", script).await;

    for status in statuses {
        let expected = match status {
            400 | 404 | 413 | 414 | 429 | 431 | 451 => status,
            _ => 403, // a client would take it for its own connection's, or for its cache's
        };
        assert_eq!(world.ask("GET /", &[]).await.status, expected, "{status}");
    }

    assert_eq!(world.origin.connections(), 0);
    world.counts("denied", 15.0).await;
}

#[tokio::test]
async fn what_is_not_the_tenants_is_refused_always() {
    let script = [allows("open"), says("X-User: ann\r\n")];
    let world = World::new("on-error = \"allow\"", script).await;

    assert_eq!(told(&world.ask("GET /", &[]).await), is(403, "other-tenant"));
    assert_eq!(told(&world.ask("GET /", &[]).await), is(403, "other-tenant"), "nobody's");

    assert_eq!(world.origin.connections(), 0);
    let open = ask(world.gateway.address(), "GET /", &["Host: a", "X-Tenant-ID: open"]).await;
    assert_eq!(open.text(), "hello", "nobody is asked for others");
    assert_eq!(world.authorizer.asked().len(), 2);
}

#[tokio::test]
async fn while_the_service_says_nothing_requests_are_denied_or_go_on_as_it_is_said() {
    let large = "HTTP/1.1 200 Fine\r\nX-Tenant: acme\r\nX-Large: ".to_owned() + &"a".repeat(70_000);
    let silent = || {
        [
            Step::answer(500, "no"),
            Step::answer(599, "no"),
            Step::raw("SSH-2.0-OpenSSH\r\n\r\n").and_close(),
            Step::raw(large.clone() + "\r\n\r\n").and_close(),
            Step::raw(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            ),
            Step::close(),
            Step::reset(),
            Step::raw("HTTP/1.1 200 Fine\r\nX-Tenant: acme\r\nContent-Length: 9\r\n\r\nhalf")
                .and_close(),
            Step::stall(),
        ]
    };
    let keys = |on_error| format!("{on_error}\ntenant = \"X-Tenant\"\ntimeout = \"300ms\"");
    let deny = World::of(&service(&keys("")), silent()).await;
    let allow = World::of(&service(&keys("on-error = \"allow\"")), silent()).await;

    for number in 0..silent().len() {
        let answer = deny.ask("GET /", &SPOOFED).await;
        assert_eq!(told(&answer), is(503, "authorizer-unavailable"), "{number}");
        assert!(answer.one("retry-after").is_some());
        assert_eq!(allow.ask("GET /", &SPOOFED).await.text(), "hello", "{number}");
    }

    assert_eq!(deny.origin.connections(), 0);
    assert!(!allow.origin.heads().concat().contains("root"), "nobody's word is not the client's");
    deny.counts("error", 9.0).await;
}

#[tokio::test]
async fn where_there_is_nobody_to_ask_it_is_the_same() {
    let (origin, refusing) = (Origin::saying("hello").await, Refusing::new());
    for (keys, status) in [("", 503), ("on-error = \"allow\"", 200)] {
        let app = pool("app", &[origin.address], "");
        let authorizer = pool("authorizer", &[refusing.address], "");
        let gateway = Gateway::start(&format!("{app}{authorizer}{}", service(keys))).await;

        assert_eq!(gateway.get("/").await.status, status);
    }
}

#[tokio::test]
async fn what_is_heard_and_not_understood_lets_nobody_through() {
    let long = format!("X-Tenant: acme\r\nX-Groups: {}\r\n", "a".repeat(4_100));
    let unclear = [
        says("X-Tenant: acme\r\nX-Tenant: open\r\n"),
        says("X-Tenant: a b\r\n"),
        says("X-Tenant: acme\r\nX-User: a\r\nX-User: b\r\n"),
        says(&long),
    ];
    let count = unclear.len();
    let world = World::new("on-error = \"allow\"", unclear).await;

    for number in 0..count {
        let answer = world.ask("GET /", &[]).await;
        assert_eq!(told(&answer), is(503, "authorizer-unavailable"), "{number}");
    }

    assert_eq!(world.origin.connections(), 0);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_left_out_of_a_denial() {
    let denied = Step::raw("HTTP/1.1 403 No\r\nContent-Length: 100000\r\n\r\n").with_more(100_000);
    let world = World::new("", [denied]).await;

    let answer = world.ask("GET /", &[]).await;

    assert_eq!((answer.status, answer.body.len(), answer.whole), (403, 0, true));
}

#[tokio::test]
async fn an_endpoint_that_hangs_fails_no_request_and_is_ejected() {
    let (origin, good) = (Origin::saying("hello").await, Origin::start([allows("acme")]).await);
    let hung = Origin::start([Step::stall()]).await;
    let keys = "balance = \"round-robin\"\neject = { failures = 2, base = \"300s\" }";
    let routes = format!(
        "{}{}{}",
        pool("app", &[origin.address], ""),
        pool("authorizer", &[hung.address, good.address], keys),
        // The good one has half of it: more than a busy machine stands still.
        service("timeout = \"6s\"")
    );
    let gateway = Gateway::start(&routes).await;

    // Of two tenants, or it would be spared for the other.
    for tenant in ["acme", "globex", "acme", "globex", "acme", "globex"] {
        assert_eq!(get(gateway.address(), tenant, "/").await.text(), "hello");
    }

    gateway.metric_becomes("tenantry_ejections_total{pool=\"authorizer\"}", 1.0).await;
    let timed_out = format!(
        "tenantry_attempts_total{{pool=\"authorizer\",endpoint=\"{}\",outcome=\"timeout\"}}",
        hung.address
    );
    gateway.metric_becomes(&timed_out, 2.0).await;
    assert_eq!(hung.asked().len(), 2, "and then no more");
}

#[tokio::test]
async fn an_answer_is_used_again_for_who_shows_and_asks_the_same() {
    let world = World::new("cache = \"1h\"", [allows("acme")]).await;
    let ann = ["Authorization: Basic YW5u"];

    for _ in 0..3 {
        assert_eq!(world.ask("GET /a", &ann).await.text(), "hello");
    }
    assert_eq!(world.authorizer.asked().len(), 1);
    for served in world.origin.wait_for(3).await {
        assert_eq!(served.all("x-user"), ["ann"]);
    }
    for (line, shown) in [
        ("GET /b", &ann[..]),
        ("DELETE /a", &ann),
        ("GET /a", &["Authorization: Basic Ym9i"]),
        ("GET /a", &["Authorization: Basic YW5u", "Authorization: Basic Ym9i"]),
        ("GET /a", &[]),
        ("GET /a", &["Cookie: a=b"]),
    ] {
        let before = world.authorizer.asked().len();
        world.ask(line, shown).await;
        assert_eq!(world.authorizer.asked().len(), before + 1, "{line} {shown:?}");
    }
    world.counts("cached", 2.0).await;
    world.counts("allowed", 7.0).await;
}

#[tokio::test]
async fn what_answers_hang_on_can_be_said_and_what_clients_show_always_counts() {
    let world = World::new("cache = \"1h\"\ncache-key = [\"method\"]", [allows("acme")]).await;
    let asks = async |line: &str, shown: &[&str]| {
        let before = world.authorizer.asked().len();
        assert_eq!(world.ask(line, shown).await.text(), "hello");
        world.authorizer.asked().len() - before
    };

    assert_eq!(asks("GET /a", &["Cookie: a"]).await, 1);
    assert_eq!(asks("GET /b?c", &["Cookie: a"]).await, 0);
    assert_eq!(asks("POST /b", &["Cookie: a", "Content-Length: 0"]).await, 1);
    assert_eq!(asks("GET /a", &["Cookie: b"]).await, 1);
    assert_eq!(asks("GET /a", &[]).await, 1);
    assert_eq!(asks("GET /a", &["Authorization: a"]).await, 1);
}

#[tokio::test]
async fn an_answer_for_one_tenant_serves_no_other() {
    let world = World::of(&service("cache = \"1h\""), [allows("acme")]).await;

    for tenant in ["acme", "globex", "acme", "globex"] {
        let tenant = format!("X-Tenant-ID: {tenant}");
        let fields = ["Host: a", &*tenant, "Cookie: session=1"];
        assert_eq!(ask(world.gateway.address(), "GET /", &fields).await.text(), "hello");
    }

    let asked = world.authorizer.asked();
    let tenants: Vec<String> = asked.iter().flat_map(|asked| asked.all("x-tenant-id")).collect();
    assert_eq!(tenants, ["acme", "globex"]);
}

#[tokio::test]
async fn neither_a_denial_nor_what_is_not_to_be_stored_is_used_again() {
    let once = says("X-Tenant: acme\r\nCache-Control: max-age=60, no-store\r\n");
    let script = [Step::answer(403, ""), Step::answer(500, ""), once];
    let world = World::new("cache = \"1h\"", script).await;

    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(world.ask("GET /", &[]).await.status);
    }

    assert_eq!(statuses, [403, 503, 200, 200, 200]);
    assert_eq!(world.authorizer.asked().len(), 5);
}

#[tokio::test]
async fn of_many_that_come_at_once_one_asks_where_answers_are_used_again() {
    let world = World::new("cache = \"1h\"", [allows("acme").held(), allows("acme")]).await;
    let mut clients = world.begin_all(6).await;
    world.authorizer.wait_for(1).await;

    world.authorizer.release();

    for client in &mut clients {
        assert_eq!(client.answer_to("GET").await.text(), "hello");
    }
    assert_eq!(world.authorizer.asked().len(), 1);
    world.counts("allowed", 1.0).await;
    world.counts("cached", 5.0).await;
}

#[tokio::test]
async fn of_many_that_come_at_once_each_hears_its_own_denial() {
    let once = || says("X-Tenant: acme\r\nCache-Control: no-store\r\n");
    for (first, expected) in [
        (Step::answer(403, "no"), [200, 200, 403]),
        (Step::answer(500, "no"), [200, 200, 503]),
        (once(), [200, 200, 200]),
    ] {
        let world = World::new("cache = \"1h\"", [first.held(), once()]).await;
        let mut clients = world.begin_all(3).await;
        world.authorizer.wait_for(1).await;

        world.authorizer.release();

        let mut statuses = Vec::new();
        for client in &mut clients {
            statuses.push(client.answer_to("GET").await.status);
        }
        statuses.sort_unstable();
        assert_eq!(statuses, expected);
        assert_eq!(world.authorizer.asked().len(), 3);
    }
}

#[tokio::test]
async fn where_no_answer_is_used_again_nobody_waits_for_another() {
    let world = World::new("", [Step::answer(403, "no").held(), allows("acme")]).await;
    let mut first = world.begin(&[]).await;
    world.authorizer.wait_for(1).await;

    assert_eq!(world.ask("GET /", &[]).await.text(), "hello");

    world.authorizer.release();
    assert_eq!(first.answer_to("GET").await.status, 403);
}

#[tokio::test]
async fn no_answer_outlives_a_change_of_who_is_asked() {
    let world = World::new("cache = \"1h\"", [allows("acme")]).await;
    let other = Origin::start([allows("acme")]).await;
    let with = |authorizer: &Origin, keys: &str| {
        let keys = format!("tenant = \"X-Tenant\"\ntimeout = \"5s\"\n{keys}");
        World::routes(&world.origin, authorizer, &service(&keys))
    };
    let asks = async || {
        let before = world.authorizer.asked().len() + other.asked().len();
        assert_eq!(world.ask("GET /", &[]).await.text(), "hello");
        world.authorizer.asked().len() + other.asked().len() - before
    };
    assert_eq!((asks().await, asks().await), (1, 0));

    let more = with(&world.authorizer, "cache = \"1h\"") + "[tenants.more]\npool = \"app\"\n";
    world.gateway.reload(&more).await;
    assert_eq!(asks().await, 0, "an edit of something else");
    world.gateway.reload(&with(&world.authorizer, "cache = \"59m\"")).await;
    assert_eq!((asks().await, asks().await), (1, 0), "it is asked in another way");
    world.gateway.reload(&with(&other, "cache = \"59m\"")).await;
    assert_eq!((asks().await, asks().await), (1, 0), "somebody else is asked");
    assert_eq!(other.asked().len(), 1);
    world.gateway.reload(&with(&world.authorizer, "cache = \"59m\"")).await;
    assert_eq!(asks().await, 1, "what was said before it was another is gone");
}

#[tokio::test]
async fn limits_in_a_time_bound_how_often_the_service_is_asked() {
    let limits = "limits = { requests = \"1/h\", burst = 2, quota = \"1/month\" }\n";
    let tenants =
        TENANTS.replacen("authorize = \"login\"\n", &format!("authorize = \"login\"\n{limits}"), 1);
    let rest = service("").replace(TENANTS, &tenants);
    let world = World::of(&rest, [Step::answer(401, ""), allows("acme")]).await;

    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(world.ask("GET /", &[]).await.status);
    }

    assert_eq!(statuses, [401, 200, 429, 429], "a stranger uses up no quota");
    assert_eq!(world.authorizer.asked().len(), 2);
}

#[tokio::test]
async fn who_is_refused_anyway_is_not_asked_for() {
    let keys = "methods = [\"GET\"]\n";
    let tenants =
        TENANTS.replacen("authorize = \"login\"\n", &format!("authorize = \"login\"\n{keys}"), 1);
    let rest = service("").replace(TENANTS, &tenants);
    let world = World::of(&rest, [allows("acme")]).await;

    assert_eq!(
        told(&world.ask("PUT /", &["Content-Length: 0"]).await),
        is(405, "method-not-allowed")
    );

    assert!(world.authorizer.asked().is_empty());
}

#[tokio::test]
async fn nobody_is_asked_for_a_route_that_is_open() {
    let open = "[[tenants.acme.routes]]\npath = \"/oauth2/*\"\nauthorize = false\n";
    let world = World::of(&(service("") + open), [Step::answer(401, "")]).await;

    let answer = world.ask("GET /oauth2/start", &SPOOFED).await;

    assert_eq!(answer.text(), "hello");
    assert!(!world.origin.heads().concat().contains("root"));
    for path in ["GET /", "GET /oauth2x", "GET /oauth2/../"] {
        assert_ne!(world.ask(path, &[]).await.status, 200, "{path}");
    }
    assert_eq!(world.origin.asked().len(), 1);
}

#[tokio::test]
async fn a_question_is_of_bounded_size() {
    let world = World::new("on-error = \"allow\"", [allows("acme")]).await;
    let large = "Cookie: ".to_owned() + &"a".repeat(9_000);

    let answer = world.ask("GET /", &[&large, &large]).await;

    assert_eq!(told(&answer), is(431, "head-too-large"));
    assert!(world.authorizer.asked().is_empty() && world.origin.connections() == 0);
    assert_eq!(world.ask("GET /", &[&large]).await.text(), "hello");
}

#[tokio::test]
async fn a_body_is_left_to_the_endpoint() {
    let world = World::new("", [allows("acme").held()]).await;
    let mut client = Client::connect(world.gateway.address()).await;
    let fields = ["Host: a", ACME, "Content-Length: 10"];
    client.send(head("POST /", &fields) + "first").await;

    let asked = world.authorizer.wait_for(1).await;
    assert_eq!((asked[0].all("content-length"), asked[0].body.len()), (Vec::new(), 0));
    assert_eq!(world.origin.connections(), 0, "it is not begun with before");
    world.authorizer.release();
    client.send("after").await;

    assert_eq!(client.answer_to("POST").await.text(), "hello");
    assert_eq!(world.origin.only().await.body, b"firstafter");
}

#[tokio::test]
async fn who_leaves_while_others_wait_leaves_the_question_to_them() {
    let world = World::new("cache = \"1h\"", [allows("acme").held(), allows("acme")]).await;
    let first = world.begin(&["Content-Length: 5"]).await;
    world.authorizer.wait_for(1).await;
    let mut second = world.begin(&[]).await;
    world.gateway.metric_becomes("tenantry_requests_in_flight", 2.0).await;

    drop(first);

    assert_eq!(second.answer_to("GET").await.text(), "hello");
    assert_eq!(world.authorizer.asked().len(), 2);
}

#[tokio::test]
async fn a_service_with_tls_is_asked_by_its_name() {
    let certificates = Certificates::of(&["login.internal"]);
    let origin = Origin::saying("hello").await;
    for (protocol, alpn, speaks) in [("h1", "http/1.1", Speaks::H1), ("h2", "h2", Speaks::H2)] {
        let tls = certificates.server(&[alpn]);
        let fine = |_: &Asked| http::Response::new(Frames::sized("fine"));
        let authorizer = H2Origin::start_tls(speaks, tls, fine).await;
        for (host, expected) in [("", "login.internal"), ("host = \"a.example:8\"", "a.example:8")]
        {
            let keys = format!(
                "protocol = \"{protocol}\"\ntls = {{ ca = \"{}\", server-name = \"login.internal\" }}",
                certificates.ca()
            );
            let app = pool("app", &[origin.address], "");
            let asked = pool("authorizer", &[authorizer.address], &keys);
            let gateway = Gateway::start(&format!("{app}{asked}{}", service(host))).await;
            let before = authorizer.asked().len();
            let mut client = Hyper::h2(gateway.address()).await;
            let mut request = client.request("GET", "acme", "/", Frames::default());
            let crumbs = request.headers_mut();
            crumbs.append("cookie", "a=1".parse().expect("a value"));
            crumbs.append("cookie", "b=2".parse().expect("a value"));

            assert_eq!(client.ask(request).await.text(), "hello", "{protocol}");

            let asked = &authorizer.asked()[before];
            assert_eq!(asked.all("host"), [expected], "{protocol}");
            assert_eq!(asked.all("cookie"), ["a=1; b=2"]);
            assert_eq!(asked.target, "/check?v=1");
        }
    }
}

#[tokio::test]
async fn a_client_that_is_known_is_told_to_the_service_and_stays_who_it_is() {
    let made = MadeKey::new();
    let demand = "authorize = \"login\"\nauthenticate = [\"api-key\"]\n";
    let rest = service("").replacen("authorize = \"login\"\n", demand, 1);
    let rest = format!("{rest}[tenants.acme.keys.ci]\n{}\n", made.hash);
    let world = World::of(&rest, [allows("acme")]).await;

    assert_eq!(world.ask("GET /", &[]).await.status, 401);
    assert!(world.authorizer.asked().is_empty());
    assert_eq!(world.ask("GET /", &[&made.field()]).await.text(), "hello");

    let asked = world.authorizer.only().await;
    assert_eq!((asked.all("x-subject"), asked.all("x-api-key").len()), (vec!["ci".to_owned()], 0));
    let served = world.origin.only().await;
    assert_eq!(served.all("x-subject"), ["ci"]);
    assert_eq!(served.all("x-user"), ["ann"]);

    assert_eq!(world.ask("GET /", &[&made.bearer()]).await.text(), "hello");
    let asked = &world.authorizer.asked()[1];
    assert_eq!(asked.all("x-subject"), ["ci"]);
    assert!(asked.all("authorization").is_empty(), "a key ends at the gateway");
}

#[tokio::test]
async fn who_waits_for_the_answer_to_another_is_denied_with_it_and_not_let_through_by_a_short_time()
{
    let slow = || Step::answer(403, "no").held();
    let keys = "cache = \"1h\"\non-error = \"allow\"\ntimeout = \"7s\"";
    let world = World::of(&service(keys), [slow(), slow()]).await;
    let first = world.begin(&[]).await;
    world.authorizer.wait_for(1).await;
    let second = world.begin(&[]).await;

    for (number, mut client) in [first, second].into_iter().enumerate() {
        world.authorizer.wait_for(number + 1).await;
        sleep(Duration::from_millis(3_700)).await; // the service takes more than half of its time
        world.authorizer.release();

        assert_eq!(client.answer_to("GET").await.status, 403);
    }

    assert_eq!(world.origin.connections(), 0);
}

#[tokio::test]
async fn a_question_that_the_requests_own_time_cuts_short_is_no_silence_and_no_fault_of_the_service()
 {
    let (origin, authorizer) =
        (Origin::saying("hello").await, Origin::start([Step::stall(), allows("acme")]).await);
    let routes = format!(
        "{}{}{}[[tenants.acme.routes]]\npath = \"/slow\"\ntimeout = \"10s\"\n",
        pool("app", &[origin.address], "timeouts = { total = \"1s\" }"),
        pool("authorizer", &[authorizer.address], "eject = { failures = 1, base = \"300s\" }"),
        service("timeout = \"5s\"\non-error = \"allow\"")
    );
    let gateway = Gateway::start(&routes).await;

    let answer = get(gateway.address(), "acme", "/").await;

    assert_eq!(told(&answer), is(503, "authorizer-unavailable"));
    assert_eq!(origin.connections(), 0);
    assert_eq!(get(gateway.address(), "acme", "/slow").await.text(), "hello");
    assert_eq!(authorizer.asked().len(), 2, "it was not ejected");
}

#[tokio::test]
async fn the_time_of_the_service_is_none_of_the_endpoints_that_the_request_is_for() {
    let (origin, authorizer) =
        (Origin::saying("hello").await, Origin::start([allows("acme").held()]).await);
    let keys = format!("{NO_RETRY}\ntimeouts = {{ attempt = \"3s\" }}");
    let routes = format!(
        "{}{}{}",
        pool("app", &[origin.address], &keys),
        pool("authorizer", &[authorizer.address], ""),
        service("timeout = \"10s\"")
    );
    let gateway = Gateway::start(&routes).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", &["Host: a", ACME])).await;
    authorizer.wait_for(1).await;
    sleep(Duration::from_millis(3_200)).await; // longer than an attempt may take

    authorizer.release();

    assert_eq!(client.answer_to("GET").await.text(), "hello");
}

#[tokio::test]
async fn a_tenant_that_is_asked_for_too_much_at_once_holds_up_no_other_and_lets_nobody_through() {
    let script = (0..64).map(|_| Step::stall()).chain([allows("acme")]);
    let world = World::of(&service("timeout = \"60s\"\non-error = \"allow\""), script).await;
    let clients = world.begin_all(64).await;
    world.authorizer.wait_for(64).await;

    let answer = world.ask("GET /", &[]).await;

    assert_eq!(told(&answer), is(503, "authorizer-busy"));
    assert!(answer.one("retry-after").is_some());
    assert_eq!((world.origin.connections(), world.authorizer.asked().len()), (0, 64));
    assert_eq!(get(world.gateway.address(), "globex", "/").await.text(), "hello");
    drop(clients);
    world.gateway.metric_becomes("tenantry_requests_in_flight", 0.0).await;
    assert_eq!(world.ask("GET /", &[]).await.text(), "hello");
}

#[tokio::test]
async fn strangers_keep_nobody_from_a_quota_while_they_are_asked_for() {
    let limits = "limits = { quota = \"1/month\" }\n";
    let tenants =
        TENANTS.replacen("authorize = \"login\"\n", &format!("authorize = \"login\"\n{limits}"), 1);
    let rest = service("timeout = \"10s\"").replace(TENANTS, &tenants);
    let world = World::of(&rest, [Step::answer(401, "").held(), allows("acme")]).await;
    let mut stranger = world.begin(&[]).await;
    world.authorizer.wait_for(1).await;

    assert_eq!(world.ask("GET /", &[]).await.text(), "hello");

    world.authorizer.release();
    assert_eq!(stranger.answer_to("GET").await.status, 401);
    assert_eq!(told(&world.ask("GET /", &[]).await), is(429, "tenant-quota-used-up"));
    assert_eq!(world.authorizer.asked().len(), 2, "nobody is asked for what is refused anyway");
}

#[tokio::test]
async fn a_header_that_ends_at_the_gateway_or_only_looks_like_one_shows_nothing() {
    let rest = service("").replace("[\"Cookie\"]", "[\"Cookie\", \"X-Login\"]");
    let world = World::of(&rest, [allows("acme")]).await;

    world.ask("GET /", &["X-Login: root", "Connection: X-Login"]).await;
    world.ask("GET /", &["X-Login: bob", "X_Login: root"]).await;

    let asked = world.authorizer.asked();
    assert_eq!(
        (asked[0].all("x-login"), asked[1].all("x-login")),
        (vec![], vec!["bob".to_owned()])
    );
    let served = world.origin.wait_for(2).await;
    assert_eq!(served[1].all("x-login"), ["bob"]);
    let heads = [world.authorizer.heads(), world.origin.heads()].concat().concat();
    assert!(!heads.contains("root"), "{heads}");
}

#[tokio::test]
async fn who_was_asked_for_waits_for_a_place_as_long_as_others() {
    let limits = "limits = { concurrency = 1, overflow = \"wait\", wait = \"4s\" }\n";
    let tenants =
        TENANTS.replacen("authorize = \"login\"\n", &format!("authorize = \"login\"\n{limits}"), 1);
    let origin = Origin::start([Step::ok("hello").held(), Step::ok("hello")]).await;
    let authorizer = Origin::start([allows("acme"), allows("acme").held()]).await;
    let rest = service("timeout = \"10s\"").replace(TENANTS, &tenants);
    let gateway = Gateway::start(&World::routes(&origin, &authorizer, &rest)).await;
    let begin = async || {
        let mut client = Client::connect(gateway.address()).await;
        client.send(head("GET /", &["Host: a", ACME])).await;
        client
    };
    let mut first = begin().await;
    origin.wait_for(1).await;
    let mut second = begin().await;
    authorizer.wait_for(2).await;
    sleep(Duration::from_millis(4_200)).await; // longer than it may wait for a place

    // Workers tell of it once a second: that it waits is known long before it may wait no more.
    authorizer.release();
    gateway.metric_becomes("tenantry_limit_waits_total{limit=\"tenant-concurrency\"}", 1.0).await;
    origin.release();

    assert_eq!(first.answer_to("GET").await.text(), "hello");
    assert_eq!(second.answer_to("GET").await.text(), "hello");
}
