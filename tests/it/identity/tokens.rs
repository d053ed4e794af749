//! Signed tokens: all three algorithms, and those who would get in without one.

use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};
use tenantry::control::generation::ReloadResult;

use crate::world::client::{Client, Frames, Hyper, ask, head};
use crate::world::config::pool;
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::Origin;

use super::MadeKey;

/// An issuer with a key of each kind.
pub(super) struct Issuer {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Issuer {
    pub(super) fn new() -> Self {
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
            ec: ec.expect("a key"),
            ed: Ed25519KeyPair::generate().expect("a key"),
        }
    }

    /// What it publishes.
    pub(super) fn set(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // RFC 8017 §A.1.1: a sequence of two numbers, of which the first has a zero before it.
        let rsa = self.rsa.public_key().as_ref();
        let point = self.ec.public_key().as_ref();
        json!({ "keys": [
            { "kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256",
              "n": text(&rsa[9..265]), "e": text(&rsa[267..]) },
            { "kty": "EC", "kid": "ec", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..]) },
            { "kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": text(self.ed.public_key().as_ref()) },
        ] })
    }

    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let signature = match header["kid"].as_str() {
            Some("rsa") => {
                let mut bytes = vec![0; self.rsa.public_modulus_len()];
                let signed = signed.as_bytes();
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, signed, &mut bytes).expect("sign");
                bytes
            }
            Some("ec") => self.ec.sign(&random, signed.as_bytes()).expect("sign").as_ref().to_vec(),
            _ => self.ed.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub(super) fn token(&self, claims: &Value) -> String {
        self.sign(&json!({ "alg": "EdDSA", "kid": "ed" }), claims)
    }
}

pub(super) fn claims(tenant: &str) -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let expires = now + Duration::from_secs(600);
    json!({ "iss": ISSUER, "aud": "gateway", "sub": "ann@example", "tenant": tenant,
            "exp": expires.as_secs(), "plan": "pro", "level": 7 })
}

pub(super) const ISSUER: &str = "https://login.example";

struct World {
    origin: Origin,
    gateway: Gateway,
    issuer: Issuer,
    key: MadeKey,
}

fn routes(origin: &Origin, key: &MadeKey, naming: &str) -> String {
    let pool = pool("app", &[origin.address], "");
    format!(
        "{pool}{naming}[identity]\nsubject-header = \"X-Subject\"\n[identity.issuers.login]\n\
         issuer = \"{ISSUER}\"\naudience = [\"gateway\"]\njwks-file = \"jwks.json\"\n\
         tenants = [\"acme\", \"open\", \"nobody\"]\n\
         headers = {{ X-Plan = \"plan\", X-Level = \"level\", X-Absent = \"absent\" }}\n\
         [tenants.acme]\npool = \"app\"\nauthenticate = [\"jwt\"]\nkeys.a = {{ {} }}\n\
         [tenants.open]\npool = \"app\"\n",
        key.hash
    )
}

impl World {
    async fn new(naming: &str) -> Self {
        let (origin, issuer, key) = (Origin::saying("hello").await, Issuer::new(), MadeKey::new());
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("write a file");
        };
        write("jwks.json", &issuer.set().to_string());
        write("routes.toml", &routes(&origin, &key, naming));
        let gateway = Gateway::start_in(folder, 1, "").await.expect("a start");
        Self { origin, gateway, issuer, key }
    }

    async fn ask(&self, fields: &[&str]) -> Answer {
        ask(self.gateway.address(), "GET /", &[&["Host: a"], fields].concat()).await
    }

    /// Of `acme`, with this token.
    async fn shows(&self, token: &str) -> Answer {
        self.ask(&[ACME, &format!("Authorization: Bearer {token}")]).await
    }
}

pub(super) const ACME: &str = "X-Tenant-ID: acme";

pub(super) fn told(answer: &Answer) -> (u16, Option<String>) {
    (answer.status, answer.problem())
}

pub(super) fn is(status: u16, problem: &str) -> (u16, Option<String>) {
    (status, Some(problem.to_owned()))
}

#[tokio::test]
async fn a_token_of_each_algorithm_lets_its_client_in_and_ends_at_the_gateway() {
    let world = World::new("").await;
    let forged = ["X-Plan: gold", "x_plan: gold", "X-Level: 9", "X-Absent: 1", "X-Subject: root"];

    for (alg, kid) in [("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")] {
        let token = world.issuer.sign(&json!({ "alg": alg, "kid": kid }), &claims("acme"));
        let shown = format!("Authorization: bearer {token}");
        let answer = world.ask(&[&[ACME, &*shown], &forged[..]].concat()).await;
        assert_eq!(answer.text(), "hello", "{alg}");
    }
    world.ask(&[&["X-Tenant-ID: open"], &forged[..]].concat()).await;

    let asked = world.origin.wait_for(4).await;
    for asked in &asked[..3] {
        assert_eq!(asked.all("x-subject"), ["ann@example"]);
        assert_eq!(
            (asked.all("x-plan"), asked.all("x-level")),
            (vec!["pro".into()], vec!["7".into()])
        );
        assert_eq!(asked.all("authorization"), [""; 0]);
    }
    let heads = world.origin.heads().concat().to_lowercase();
    for word in ["gold", "x-absent", "root", "x_plan"] {
        assert!(!heads.contains(word), "{word}: {heads}");
    }
}

/// Signed with the public keys as if they were a secret that both have.
fn confused(issuer: &Issuer, kid: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({ "alg": "HS256", "kid": kid });
    let signed = format!("{}.{}", part(&header), part(&claims("acme")));
    let secret = hmac::Key::new(hmac::HMAC_SHA256, issuer.set().to_string().as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&secret, signed.as_bytes())))
}

#[tokio::test]
async fn a_token_that_proves_nothing_is_refused() {
    let world = World::new("").await;
    let (issuer, other) = (&world.issuer, Issuer::new());
    let with = |claim: &str, value: Value| {
        let mut claims = claims("acme");
        claims[claim] = value;
        issuer.token(&claims)
    };
    let good = issuer.token(&claims("acme"));
    let unsigned = |alg: &str| {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", part(&json!({ "alg": alg })), part(&claims("acme")))
    };
    let (cut, _) = good.split_at(good.len() - 2); // of 64 bytes 63 are left
    let cases = [
        ("expired", with("exp", json!(1_000_000))),
        ("expired", with("nbf", json!(99_999_999_999_u64))),
        ("malformed", with("exp", json!(null))),
        ("audience", with("aud", json!("other"))),
        ("audience", with("aud", json!([]))),
        ("unknown", other.token(&claims("acme"))),
        ("unknown", issuer.sign(&json!({ "alg": "RS256", "kid": "ed" }), &claims("acme"))),
        ("unknown", issuer.sign(&json!({ "alg": "EdDSA", "kid": "rsa" }), &claims("acme"))),
        ("unknown", issuer.sign(&json!({ "alg": "EdDSA", "kid": "old" }), &claims("acme"))),
        ("unknown", unsigned("none")),
        ("unknown", unsigned("None")),
        ("unknown", unsigned("EdDSA")),
        ("issuer", issuer.token(&claims("other"))),
        ("unknown", confused(issuer, "rsa")),
        ("unknown", confused(issuer, "ed")),
        ("unknown", cut.to_owned()),
        ("missing", with("iss", json!("https://evil.example"))),
        ("missing", with("iss", json!("https://login.example/"))),
        ("missing", "a.b.c".to_owned()),
        ("missing", format!("{good}.{good}")),
        ("missing", String::new()),
        ("malformed", with("tenant", json!("acme,open"))),
        ("malformed", with("sub", json!("a\nb"))),
    ];
    for (reason, token) in &cases {
        let answer = world.shows(token).await;
        assert_eq!(told(&answer), is(401, "unauthenticated"), "{reason}: {token}");
        assert!(answer.one("www-authenticate").is_some());
    }
    let bearer = format!("Authorization: Bearer {good}");
    let twice = world.ask(&[ACME, &bearer, &bearer]).await;
    let both = world.ask(&[ACME, &bearer, &world.key.field()]).await;
    let list = world.ask(&[ACME, &format!("{bearer}, Bearer {good}")]).await;
    let key = world.ask(&[ACME, &world.key.field()]).await;

    for answer in [twice, both, list, key] {
        assert_eq!(told(&answer), is(401, "unauthenticated"));
    }
    assert_eq!(world.origin.connections(), 0);
    for reason in ["expired", "audience", "issuer", "unknown", "malformed"] {
        let count = cases.iter().filter(|(told, _)| *told == reason).count();
        let series = format!("tenantry_access_refused_total{{reason=\"{reason}\"}}");
        world.gateway.metric_becomes(&series, count as f64).await;
    }
}

#[tokio::test]
async fn a_token_of_one_tenant_with_the_name_of_another_is_refused_always() {
    let world = World::new("").await;
    let mut h2 = Hyper::h2(world.gateway.address()).await;

    for (named, of) in [("acme", "open"), ("open", "acme"), ("open", "nobody")] {
        let token = format!("Bearer {}", world.issuer.token(&claims(of)));
        let fields = [format!("X-Tenant-ID: {named}"), format!("Authorization: {token}")];
        let answer = world.ask(&[&fields[0], &fields[1]]).await;
        assert_eq!(told(&answer), is(403, "other-tenant"), "{named} by {of}");
        let mut request = h2.request("GET", named, "/", Frames::default());
        let token = HeaderValue::try_from(token).expect("a value");
        request.headers_mut().insert(AUTHORIZATION, token);
        assert_eq!(told(&h2.ask(request).await), is(403, "other-tenant"), "{named} by {of}, h2");
    }
    assert_eq!(world.origin.connections(), 0);
}

#[tokio::test]
async fn a_token_names_its_tenant_and_an_applications_own_is_passed_on() {
    let naming = "[tenant]\nfrom = [{ credential = \"jwt\" }, { default = \"open\" }]\n";
    let world = World::new(naming).await;
    let own = format!("Bearer {}", world.issuer.token(&claims("acme")));
    let mut claims = claims("acme");
    claims["iss"] = json!("https://application.example");
    let foreign = format!("Bearer {}", world.issuer.token(&claims));

    world.ask(&[&format!("Authorization: {own}"), "X-Tenant-ID: open"]).await;
    world.ask(&[&format!("Authorization: {foreign}")]).await;

    let asked = world.origin.wait_for(2).await;
    assert_eq!(
        (asked[0].all("x-tenant-id"), asked[0].all("authorization").len()),
        (vec!["acme".into()], 0)
    );
    assert_eq!(asked[1].all("x-tenant-id"), ["open"]);
    assert_eq!(asked[1].all("authorization"), [foreign]);
}

/// Puts a file in the place of another, as a program does that knows how.
pub(super) fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("write");
    std::fs::rename(&beside, path).expect("rename");
}

#[tokio::test]
async fn keys_of_a_file_that_are_exchanged_hold_from_then_on() {
    let world = World::new("").await;
    let next = Issuer::new();
    let (old, new) = (world.issuer.token(&claims("acme")), next.token(&claims("acme")));
    assert_eq!((world.shows(&old).await.status, world.shows(&new).await.status), (200, 401));

    replace(&world.gateway.path("jwks.json"), &next.set().to_string());
    let mut kept = Client::connect(world.gateway.address()).await;
    let request = head("GET /", &["Host: a", ACME, &format!("Authorization: Bearer {new}")]);
    crate::world::within("the new keys", async { while kept.ask(&request).await.status != 200 {} })
        .await;

    assert_eq!(world.shows(&old).await.status, 401);
}

#[tokio::test]
async fn a_broken_file_of_keys_holds_up_nothing_and_its_last_good_keys_are_used() {
    let world = World::new("").await;
    let gateway = &world.gateway;
    let token = world.issuer.token(&claims("acme"));
    let broken = "tenantry_issuer_fetches_total{issuer=\"login\",result=\"invalid\"}";
    let text = std::fs::read_to_string(gateway.path("routes.toml")).expect("the routes");

    replace(&gateway.path("jwks.json"), "{\"keys\": []}");
    gateway.metric_at_least(broken, 1.0).await;
    assert_eq!(world.shows(&token).await.status, 200);
    let config = gateway.admin("/api/v1/config").await.json();
    let warned = config["warnings"][0]["what"].as_str().unwrap_or_default();
    assert!(warned.contains("jwks.json has no key") && warned.contains("are used"), "{config}");
    assert_eq!(config["problems"], json!([]));
    assert_eq!(config["issuers"][0]["keys"], 3, "{config}");
    assert!(config["issuers"][0]["failed_since"].is_string(), "{config}");

    let edited = text.clone() + "[tenants.new]\npool = \"app\"\n";
    assert!(matches!(gateway.reload(&edited).await, ReloadResult::Live { .. }));
    assert_eq!(world.ask(&["X-Tenant-ID: new"]).await.text(), "hello");
    assert_eq!(world.shows(&token).await.status, 200);

    // A file that was never good is a mistake like any other.
    let other = edited.replace("jwks.json", "other.json");
    std::fs::write(gateway.path("other.json"), "{}").expect("write");
    let refused = gateway.reload(&other).await;
    assert!(matches!(refused, ReloadResult::Refused { .. }), "{refused:?}");
    gateway.reload(&edited).await;

    let next = Issuer::new();
    replace(&gateway.path("jwks.json"), &next.set().to_string());
    let token = next.token(&claims("acme"));
    crate::world::within("mended keys", async { while world.shows(&token).await.status != 200 {} })
        .await;
    let config = gateway.admin("/api/v1/config").await.json();
    assert_eq!(
        (&config["warnings"], &config["issuers"][0]["failed_since"]),
        (&json!([]), &json!(null))
    );
}

#[tokio::test]
async fn a_start_with_a_broken_file_of_keys_serves_by_those_that_were_good() {
    let World { origin: _origin, gateway, issuer, .. } = World::new("").await;
    gateway.kept("issuer-keys.json").await;
    let folder = gateway.stop_and_keep().await;
    std::fs::remove_file(folder.path().join("jwks.json")).expect("remove the keys");

    let gateway = Gateway::start_in(folder, 1, "").await.expect("it starts");

    let token = format!("Authorization: Bearer {}", issuer.token(&claims("acme")));
    let answer = ask(gateway.address(), "GET /", &["Host: a", ACME, &token]).await;
    assert_eq!(answer.text(), "hello");
    assert_eq!(gateway.admin("/api/v1/config").await.json()["serving_last_good"], json!(false));
}
