//! Issuers whose keys are fetched: exchanged, out of reach, wrong, and over a restart.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::world::client::ask;
use crate::world::config::pool;
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::{Origin, Step};
use crate::world::tls::Certificates;
use crate::world::within;

use super::tokens::{ACME, ISSUER, Issuer, claims, is, told};

/// An issuer's answer with this set of keys.
fn publishes(set: &Value) -> Step {
    Step::ok(&set.to_string())
}

fn routes(origin: SocketAddr, url: &str, fetch: &str) -> String {
    format!(
        "{}[identity.issuers.login]\nissuer = \"{ISSUER}\"\naudience = [\"gateway\"]\n\
         jwks-url = \"{url}\"\n{fetch}\n\
         [tenants.acme]\npool = \"app\"\nauthenticate = [\"jwt\"]\n[tenants.open]\npool = \"app\"\n",
        pool("app", &[origin], "")
    )
}

struct World {
    origin: Origin,
    /// Where the keys are published.
    login: Origin,
    issuer: Issuer,
    gateway: Gateway,
}

impl World {
    /// `fetch` is what else the issuer says.
    async fn new(fetch: &str, says: impl FnOnce(&Issuer) -> Step) -> Self {
        let (origin, issuer) = (Origin::saying("hello").await, Issuer::new());
        let login = Origin::start([says(&issuer)]).await;
        let url = format!("http://{}/keys?all=1", login.address);
        let gateway = Gateway::start(&routes(origin.address, &url, fetch)).await;
        Self { origin, login, issuer, gateway }
    }

    async fn shows(&self, token: &str) -> Answer {
        shows(&self.gateway, token).await
    }

    /// Waits until a token is accepted.
    async fn accepts(&self, token: &str) {
        within("the keys", async { while self.shows(token).await.status != 200 {} }).await;
    }

    async fn issuer_told(&self) -> Value {
        self.gateway.admin("/api/v1/config").await.json()["issuers"][0].clone()
    }
}

async fn shows(gateway: &Gateway, token: &str) -> Answer {
    let token = format!("Authorization: Bearer {token}");
    ask(gateway.address(), "GET /", &["Host: a", ACME, &token]).await
}

/// The same keys by other names, and a token of one of them.
fn renamed(issuer: &Issuer) -> (Value, String) {
    let set = issuer.set().to_string().replace("\"ed\"", "\"ed2\"");
    let token = issuer.sign(&json!({ "alg": "EdDSA", "kid": "ed2" }), &claims("acme"));
    (serde_json::from_str(&set).expect("a set"), token)
}

const FETCHED: &str = "tenantry_issuer_fetches_total{issuer=\"login\",result=\"ok\"}";

#[tokio::test]
async fn keys_are_there_at_the_start_and_are_exchanged_without_a_reload() {
    let fetch = "fetch = { min-refresh = \"1s\", max-refresh = \"1s\" }";
    let world = World::new(fetch, |issuer| publishes(&issuer.set())).await;
    let (old, next) = (world.issuer.token(&claims("acme")), Issuer::new());
    world.accepts(&old).await;
    let generation = world.gateway.status().await["generation"].clone();

    world.login.rescript([publishes(&next.set())]);
    world.accepts(&next.token(&claims("acme"))).await;

    assert_eq!(told(&world.shows(&old).await), is(401, "unauthenticated"));
    assert_eq!(world.gateway.status().await["generation"], generation);
    let asked = world.login.asked();
    assert!(asked.iter().all(|asked| (&*asked.method, &*asked.target) == ("GET", "/keys?all=1")));
    let issuer = world.issuer_told().await;
    let source = format!("http://{}/keys", world.login.address);
    assert_eq!((&issuer["name"], &issuer["source"]), (&json!("login"), &json!(source)));
    assert_eq!((&issuer["keys"], &issuer["error"]), (&json!(3), &json!(null)));
    assert_eq!(world.gateway.metric("tenantry_issuer_keys{issuer=\"login\"}").await, Some(3.0));
    assert!(world.gateway.metric(FETCHED).await >= Some(2.0));
}

#[tokio::test]
async fn a_gateway_starts_while_an_issuer_is_down_and_says_so_until_it_is_up() {
    let world = World::new("", |_| Step::answer(500, "no")).await;
    let token = world.issuer.token(&claims("acme"));
    let mut over = claims("acme");
    over["exp"] = json!(1_000);
    let failed = "tenantry_issuer_fetches_total{issuer=\"login\",result=\"status\"}";
    world.gateway.metric_at_least(failed, 1.0).await;

    let answer = world.shows(&token).await;
    assert_eq!(told(&answer), is(503, "issuer-unavailable"));
    assert!(answer.one("retry-after").is_some());
    let over = world.shows(&world.issuer.token(&over)).await;
    assert_eq!(told(&over), is(401, "unauthenticated"));
    let open = ask(world.gateway.address(), "GET /", &["Host: a", "X-Tenant-ID: open"]).await;
    assert_eq!(open.text(), "hello");
    let error = world.issuer_told().await;
    assert!(error["error"].as_str().unwrap_or_default().contains("status 500"), "{error}");
    assert_eq!(world.origin.wait_for(1).await.len(), 1);

    world.login.rescript([publishes(&world.issuer.set())]);
    world.accepts(&token).await;
    assert_eq!(world.issuer_told().await["failed_since"], json!(null));
}

#[tokio::test]
async fn one_odd_key_of_an_issuer_costs_no_token_of_the_others() {
    let odd = |issuer: &Issuer| {
        let mut set = issuer.set();
        for key in [
            json!({ "kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB" }),
            json!({ "kty": "RSA", "kid": "enc", "alg": "RSA-OAEP", "n": "AQAB", "e": "AQAB" }),
            json!({ "kid": "of no kind" }),
        ] {
            set["keys"].as_array_mut().expect("keys").insert(0, key);
        }
        publishes(&set)
    };
    let world = World::new("", odd).await;

    world.accepts(&world.issuer.token(&claims("acme"))).await;

    let issuer = world.issuer_told().await;
    assert_eq!((&issuer["keys"], &issuer["error"]), (&json!(3), &json!(null)));
    world.gateway.kept("issuer-keys.json").await;
    let World { origin: _origin, login, gateway, issuer } = world;
    let folder = gateway.stop_and_keep().await;
    login.rescript([Step::close()]);
    let gateway = Gateway::start_in(folder, 1, "").await.expect("it starts");
    assert_eq!(shows(&gateway, &issuer.token(&claims("acme"))).await.text(), "hello");
}

#[tokio::test]
async fn a_token_of_a_new_key_has_the_keys_fetched_at_once() {
    let world = World::new("", |issuer| publishes(&issuer.set())).await;
    world.accepts(&world.issuer.token(&claims("acme"))).await;
    let (set, token) = renamed(&world.issuer);
    world.login.rescript([publishes(&set)]);

    assert_eq!(told(&world.shows(&token).await), is(401, "unauthenticated"));
    world.accepts(&token).await;

    for number in 0..50 {
        let header = json!({ "alg": "EdDSA", "kid": format!("made-up-{number}") });
        let forged = world.issuer.sign(&header, &claims("acme"));
        assert_eq!(told(&world.shows(&forged).await), is(401, "unauthenticated"));
    }
    assert_eq!(world.login.asked().len(), 2, "names that are made up cost the issuer nothing more");
}

#[tokio::test]
async fn a_restart_serves_by_the_kept_keys_while_the_issuer_is_down() {
    let world = World::new("", |issuer| publishes(&issuer.set())).await;
    let token = world.issuer.token(&claims("acme"));
    world.accepts(&token).await;
    world.gateway.kept("issuer-keys.json").await;
    let World { origin: _origin, login, gateway, .. } = world;
    let folder = gateway.stop_and_keep().await;
    login.rescript([Step::close()]);

    let gateway = Gateway::start_in(folder, 1, "").await.expect("it starts");

    assert_eq!(shows(&gateway, &token).await.text(), "hello");
    let config = gateway.admin("/api/v1/config").await.json();
    assert_eq!(config["issuers"][0]["keys"], 3, "{config}");
}

#[tokio::test]
async fn an_issuer_is_believed_by_its_certificate_alone() {
    let (origin, issuer) = (Origin::saying("hello").await, Issuer::new());
    let (own, other) = (Certificates::of(&["127.0.0.1"]), Certificates::of(&["127.0.0.1"]));
    let login = Origin::start_tls(own.server(&[]), [publishes(&issuer.set())]).await;
    let url = format!("https://{}/keys", login.address);
    let trusting = |ca: String| {
        routes(origin.address, &url, &format!("fetch = {{ tls = {{ ca = \"{ca}\" }} }}"))
    };
    let token = issuer.token(&claims("acme"));
    let gateway = Gateway::start(&trusting(other.ca())).await;
    let refused = "tenantry_issuer_fetches_total{issuer=\"login\",result=\"tls\"}";
    gateway.metric_at_least(refused, 1.0).await;
    assert_eq!(told(&shows(&gateway, &token).await), is(503, "issuer-unavailable"));
    assert_eq!(login.asked().len(), 0);

    gateway.reload(&trusting(own.ca())).await;

    within("the keys", async { while shows(&gateway, &token).await.status != 200 {} }).await;
}

#[tokio::test]
async fn another_place_of_the_same_issuers_keys_loses_no_token() {
    let world = World::new("", |issuer| publishes(&issuer.set())).await;
    let token = world.issuer.token(&claims("acme"));
    world.accepts(&token).await;
    let elsewhere = Origin::start([Step::answer(404, "not yet")]).await;
    let url = format!("http://{}/", elsewhere.address);
    let edited = routes(world.origin.address, &url, "");

    world.gateway.reload(&edited).await;
    elsewhere.wait_for(1).await;
    assert_eq!(world.shows(&token).await.status, 200);

    let gone = edited.replace(ISSUER, "https://other.example");
    world.gateway.reload(&gone).await;
    assert_eq!(told(&world.shows(&token).await), is(401, "unauthenticated"));
}
