//! API keys.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use crate::world::client::{Client, Frames, Hyper, ask, head};
use crate::world::config::pool;
use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::{Origin, Step};

use super::MadeKey;

/// Two tenants with a key each, of which `acme` demands one.
struct World {
    origin: Origin,
    gateway: Gateway,
    acme: MadeKey,
    globex: MadeKey,
}

const IDENTITY: &str = "[identity]\nsubject-header = \"X-Subject\"\n";

fn routes(origin: &Origin, acme: &MadeKey, globex: &MadeKey, more: &str) -> String {
    let pool = pool("app", &[origin.address], "");
    format!(
        "{pool}{more}[tenants.acme]\npool = \"app\"\nauthenticate = [\"api-key\"]\n\
         [tenants.acme.keys.ci]\n{}\n[tenants.globex]\npool = \"app\"\n\
         [tenants.globex.keys.shop]\nsubject = \"shop@globex\"\n{}\n[tenants.open]\npool = \"app\"\n",
        acme.hash, globex.hash
    )
}

impl World {
    async fn new(more: &str) -> Self {
        Self::with("", more).await
    }

    async fn with(of_gateway: &str, more: &str) -> Self {
        let origin = Origin::saying("hello").await;
        let (acme, globex) = (MadeKey::new(), MadeKey::new());
        let routes = routes(&origin, &acme, &globex, more);
        let gateway = Gateway::start_with(of_gateway, &routes).await;
        Self { origin, gateway, acme, globex }
    }

    async fn ask(&self, fields: &[&str]) -> Answer {
        let fields = [&["Host: a"], fields].concat();
        ask(self.gateway.address(), "GET /", &fields).await
    }
}

fn told(answer: &Answer) -> (u16, Option<String>) {
    (answer.status, answer.problem())
}

fn is(status: u16, problem: &str) -> (u16, Option<String>) {
    (status, Some(problem.to_owned()))
}

const ACME: &str = "X-Tenant-ID: acme";

#[tokio::test]
async fn a_key_lets_its_tenant_in_and_ends_at_the_gateway() {
    let world = World::new(IDENTITY).await;

    for shown in [world.acme.field(), world.acme.bearer()] {
        assert_eq!(world.ask(&[ACME, &shown]).await.text(), "hello", "{shown}");
    }
    let globex = world.ask(&["X-Tenant-ID: globex", &world.globex.bearer()]).await;

    assert_eq!(globex.status, 200, "it may be shown where none is demanded");
    let asked = world.origin.wait_for(3).await;
    assert_eq!(asked[0].all("x-subject"), ["ci"]);
    assert_eq!(asked[1].all("x-subject"), ["ci"]);
    assert_eq!(asked[2].all("x-subject"), ["shop@globex"]);
    let heads = world.origin.heads().concat();
    for secret in [&world.acme.secret, &world.globex.secret] {
        assert!(!heads.contains(secret.as_str()), "{heads}");
    }
}

#[tokio::test]
async fn without_a_good_key_nothing_of_the_tenant_is_reached() {
    let world = World::new(IDENTITY).await;
    let (good, unknown) = (&world.acme, MadeKey::new());
    let cases: &[(&[&str], &str, &str)] = &[
        (&[], "missing", "Bearer realm=\"tenantry\""),
        (&["Authorization: Basic YTpi"], "missing", ""),
        (&["Authorization: Bearer abc", "X-API-Key: abc"], "missing", ""),
        (&["X_API_KEY: abc", &format!("Cookie: key={}", good.secret)], "missing", ""),
        (&[&unknown.field()], "unknown", "Bearer realm=\"tenantry\", error=\"invalid_token\""),
        (&[&unknown.bearer()], "unknown", ""),
        (
            &[&good.field(), &good.field()],
            "repeated",
            "Bearer realm=\"tenantry\", error=\"invalid_request\"",
        ),
        (&[&good.field(), &good.bearer()], "repeated", ""),
        (&[&good.field(), &unknown.bearer()], "repeated", ""),
        (&[&good.bearer(), &world.globex.field()], "repeated", ""),
        (&[&format!("{}, {}", good.field(), good.secret)], "malformed", ""),
        (&[&format!("{}, Bearer {}", good.bearer(), good.secret)], "malformed", ""),
        (&[&format!("{}0", good.field())], "malformed", ""),
        (&[&format!("X-API-Key: x{}", good.secret)], "malformed", ""),
        (&[&format!("Authorization: Basic {}", good.secret)], "malformed", ""),
        (&[&format!("Authorization: {}", good.secret)], "malformed", ""),
    ];

    for (fields, _, challenge) in cases {
        let answer = world.ask(&[&[ACME], *fields].concat()).await;

        assert_eq!(told(&answer), is(401, "unauthenticated"), "{fields:?}");
        let challenged = answer.one("www-authenticate").unwrap_or_default();
        assert!(challenged.starts_with("Bearer realm="), "{fields:?}");
        assert!(challenge.is_empty() || challenged == *challenge, "{fields:?}: {challenged}");
        assert!(!answer.text().contains("tenantry_"), "{}", answer.text());
    }
    assert_eq!(world.origin.connections(), 0);
    for reason in ["missing", "unknown", "repeated", "malformed"] {
        let count = cases.iter().filter(|(_, told, _)| *told == reason).count();
        let series = format!("tenantry_access_refused_total{{reason=\"{reason}\"}}");
        world.gateway.metric_becomes(&series, count as f64).await;
    }
}

#[tokio::test]
async fn a_key_of_one_tenant_with_the_name_of_another_is_refused_always() {
    let world = World::new(IDENTITY).await;
    let mut h2 = Hyper::h2(world.gateway.address()).await;

    for tenant in ["acme", "globex", "open"] {
        let key = if tenant == "globex" { &world.acme } else { &world.globex };
        for shown in [key.field(), key.bearer()] {
            let name = format!("x-tenant-id: {tenant}");
            let answer = world.ask(&[&name, &shown]).await;
            assert_eq!(told(&answer), is(403, "other-tenant"), "{tenant}");
            assert_eq!(answer.one("www-authenticate"), None);
        }
        let mut request = h2.request("GET", tenant, "/", Frames::default());
        let bearer = HeaderValue::try_from(format!("Bearer {}", key.secret)).expect("a value");
        request.headers_mut().insert(AUTHORIZATION, bearer);
        assert_eq!(told(&h2.ask(request).await), is(403, "other-tenant"), "{tenant} by h2");
    }
    assert_eq!(world.origin.connections(), 0);
    let refused = "tenantry_access_refused_total{reason=\"other_tenant\"}";
    world.gateway.metric_becomes(refused, 9.0).await;
}

#[tokio::test]
async fn a_key_names_its_tenant_where_the_files_say_so() {
    let naming = "[tenant]\nfrom = [{ credential = \"api-key\" }, { header = \"X-Tenant-ID\" }]\n";
    let world = World::new(&format!("{naming}{IDENTITY}")).await;

    let named = world.ask(&[&world.acme.bearer()]).await;
    let other = world.ask(&["X-Tenant-ID: open"]).await;
    // The key names the tenant, so that the header is not asked; endpoints hear of the former alone.
    let both = world.ask(&["X-Tenant-ID: globex", &world.acme.field()]).await;
    let none = world.ask(&[]).await;
    let unknown = world.ask(&[&MadeKey::new().field()]).await;

    assert_eq!((named.status, other.status, both.status), (200, 200, 200));
    let asked = world.origin.wait_for(3).await;
    let tenants: Vec<_> = asked.iter().map(|asked| asked.all("x-tenant-id").concat()).collect();
    assert_eq!(tenants, ["acme", "open", "acme"]);
    assert_eq!(told(&none), is(401, "unauthenticated"));
    assert_eq!(told(&unknown), is(401, "unauthenticated"));
    let header = "[tenant]\nfrom = [{ header = \"X-Tenant-ID\" }, { credential = \"api-key\" }]\n";
    let routes = routes(&world.origin, &world.acme, &world.globex, header);
    world.gateway.reload(&routes).await;
    let both = world.ask(&["X-Tenant-ID: globex", &world.acme.field()]).await;
    assert_eq!(told(&both), is(403, "other-tenant"));
}

#[tokio::test]
async fn nobody_but_the_gateway_tells_an_endpoint_who_a_client_is() {
    let world = World::new(IDENTITY).await;
    let forged = ["X-Subject: root", "x-subject: admin", "X_Subject: root", "x.subject: root"];

    let open = world.ask(&[&["X-Tenant-ID: open"], &forged[..]].concat()).await;
    let known = world.ask(&[&[ACME, &*world.acme.field()], &forged[..]].concat()).await;
    let mut h2 = Hyper::h2(world.gateway.address()).await;
    let trailers = HeaderMap::from_iter([
        (http::HeaderName::from_static("x-subject"), HeaderValue::from_static("root")),
        (http::HeaderName::from_static("x_subject"), HeaderValue::from_static("root")),
    ]);
    let body = Frames::unsized_of("body").with_trailers(trailers);
    let mut request = h2.request("POST", "open", "/", body);
    request.headers_mut().insert("x_subject", HeaderValue::from_static("root"));
    let by_h2 = h2.ask(request).await;

    assert_eq!((open.status, known.status, by_h2.status), (200, 200, 200));
    let asked = world.origin.wait_for(3).await;
    assert_eq!(asked[1].all("x-subject"), ["ci"]);
    for asked in &asked {
        let names = asked.headers.iter().chain(&asked.trailers);
        let like: Vec<_> = names.filter(|(_, value)| *value != "ci" && value.len() == 4).collect();
        assert!(like.iter().all(|(_, value)| *value != "root"), "{:?}", asked.headers);
    }
    assert!(!world.origin.heads().concat().contains("root"));
    assert!(!world.origin.heads().concat().contains("admin"));
}

#[tokio::test]
async fn a_key_is_forwarded_where_that_is_asked_for_and_what_looks_like_it_is_not() {
    let world = World::new("[identity]\nforward-keys = true\nkey-header = \"X-Key\"\n").await;
    let own = format!("X-Key: {}", world.acme.secret);

    let answer = world.ask(&[ACME, &own, "X_Key: another"]).await;
    let old = world.ask(&[ACME, &world.acme.field()]).await;

    assert_eq!((answer.status, old.status), (200, 401));
    let asked = world.origin.only().await;
    assert_eq!(asked.one("x-key").as_ref(), Some(&world.acme.secret));
    assert!(!world.origin.heads().concat().contains("another"));
}

#[tokio::test]
async fn a_key_ends_with_its_time_with_its_line_and_with_its_tenant() {
    let world = World::new("").await;
    let shown = world.acme.field();
    let mut kept = Client::connect(world.gateway.address()).await;
    let request = head("GET /", &["Host: a", ACME, &shown]);
    assert_eq!(kept.ask(&request).await.status, 200);
    let all = routes(&world.origin, &world.acme, &world.globex, "");
    let line = format!("[tenants.acme.keys.ci]\n{}\n", world.acme.hash);

    let over = all.replace(&line, &format!("{line}expires = \"2020-01-01\"\n"));
    world.gateway.reload(&over).await;
    assert_eq!(kept.ask(&request).await.status, 401, "it is over");
    let later = all.replace(&line, &format!("{line}expires = \"2999-01-01T00:00:00Z\"\n"));
    world.gateway.reload(&later).await;
    assert_eq!(kept.ask(&request).await.status, 200);
    world.gateway.reload(&all.replace(&line, "")).await;
    assert_eq!(kept.ask(&request).await.status, 401, "it is gone");
    // Another tenant has it now.
    world.gateway.reload(&all.replace(&world.acme.hash, "hash = \"sha256:00\"")).await;
    let moved = all.replace(&line, "").replace(&world.globex.hash, &world.acme.hash);
    world.gateway.reload(&moved).await;
    assert_eq!(told(&kept.ask(&request).await), is(403, "other-tenant"));
    assert_eq!(world.ask(&["X-Tenant-ID: globex", &shown]).await.status, 200);
    let (before, behind) = all.split_once("[tenants.acme]").expect("the tenant");
    let (_, others) = behind.split_once("[tenants.globex]").expect("the other");
    world.gateway.reload(&format!("{before}[tenants.globex]{others}")).await;
    assert_eq!(told(&kept.ask(&request).await), is(401, "unauthenticated"));
    let other = world.ask(&["X-Tenant-ID: globex", &shown]).await;
    assert_eq!(told(&other), is(401, "unauthenticated"), "the tenant is gone, and so is its key");
}

#[tokio::test]
async fn a_key_of_two_tenants_is_refused_with_the_files() {
    let world = World::new("").await;
    let twice = routes(&world.origin, &world.acme, &world.acme, "");

    let result = world.gateway.reload(&twice).await;

    let told = format!("{result:?}");
    assert!(told.contains("is a key of the tenant acme as well"), "{told}");
    assert_eq!(world.ask(&[ACME, &world.acme.field()]).await.status, 200);
}

#[tokio::test]
async fn tunnels_and_retries_carry_no_key_and_one_subject() {
    let switching = Step::raw(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: mine\r\n\r\n",
    );
    let world = World::new(IDENTITY).await;
    world.origin.rescript([Step::close(), Step::ok("again"), switching]);
    let shown = world.acme.bearer();

    let again = world.ask(&[ACME, &shown]).await;
    let mut tunnel = Client::connect(world.gateway.address()).await;
    let upgrade = ["Host: a", ACME, &shown, "Connection: upgrade", "Upgrade: mine"];
    tunnel.send(head("GET /", &upgrade)).await;
    assert_eq!(tunnel.answer_head().await.status, 101);
    let refused =
        ask(world.gateway.address(), "GET /", &["Host: a", ACME, upgrade[3], upgrade[4]]).await;

    assert_eq!((again.text().as_str(), refused.status), ("again", 401));
    let asked = world.origin.wait_for(3).await;
    assert!(asked.iter().all(|asked| asked.all("x-subject") == ["ci"]), "{asked:?}");
    assert!(!world.origin.heads().concat().contains("tenantry_"));
}

#[tokio::test]
async fn the_log_names_the_subject_and_never_the_key() {
    let log = "[access-log]\nfile = \"access.log\"\n\
               format = \"{subject} {status} {header:x-api-key} {header:authorization}\"\n";
    let world = World::with(log, IDENTITY).await;
    for shown in [world.acme.field(), world.acme.bearer()] {
        world.ask(&[ACME, &shown]).await;
    }
    world.ask(&[ACME, &MadeKey::new().field()]).await;

    let path = world.gateway.path("access.log");
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    let text = eventually("three lines", read, |text| text.lines().count() == 3).await;

    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert!(lines[0].starts_with("- 401") && lines[2].starts_with("ci 200"), "{text}");
    assert!(!text.contains("tenantry_"), "{text}");
}
