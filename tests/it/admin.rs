//! What operators do by the admin API while requests run, and who may.

use std::fs;

use rcgen::SanType;
use serde_json::{Value, json};

use crate::world::client::{Client, head};
use crate::world::config::{one_tenant, one_tenant_with, pool};
use crate::world::gateway::Gateway;
use crate::world::h2_origin::H2Origin;
use crate::world::load::Load;
use crate::world::message::Answer;
use crate::world::origin::{Origin, Step};
use crate::world::pki::{Authority, Pair, Shown, Wishes};
use crate::world::{eventually, within};

const IN_TURN: &str = "balance = \"round-robin\"";
const DRAIN: &str = "POST /api/v1/endpoints/drain";
const UNDRAIN: &str = "POST /api/v1/endpoints/undrain";

fn of(origin: &Origin) -> Value {
    json!({ "pool": "app", "address": origin.address.to_string() })
}

/// How many requests each got.
async fn shares(gateway: &Gateway, origins: [&Origin; 2], requests: usize) -> [usize; 2] {
    let before = origins.map(|origin| origin.asked().len());
    for _ in 0..requests {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    [0, 1].map(|at| origins[at].asked().len() - before[at])
}

#[tokio::test]
async fn a_drained_endpoint_finishes_what_it_has_and_gets_nothing_new() {
    let (first, second) =
        (Origin::start([Step::ok("slow").held()]).await, Origin::saying("b").await);
    let gateway = Gateway::start(&one_tenant_with(&[first.address], IN_TURN)).await;
    let mut slow = Client::connect(gateway.address()).await;
    slow.send(head("GET /", &["Host: a", "X-Tenant-ID: acme"])).await;
    first.wait_for(1).await;
    gateway.reload(&one_tenant_with(&[first.address, second.address], IN_TURN)).await;

    let drained = gateway.tell(DRAIN, &of(&first)).await;
    assert_eq!((drained.status, &drained.json()["in_flight"]), (200, &json!(1)));
    assert_eq!(shares(&gateway, [&first, &second], 6).await, [0, 6]);
    let up = format!("tenantry_endpoint_drained{{pool=\"app\",endpoint=\"{}\"}}", first.address);
    assert_eq!(gateway.metric(&up).await, Some(1.0));
    assert_eq!(
        gateway.metric("tenantry_pool_members{pool=\"app\",state=\"drained\"}").await,
        Some(1.0)
    );

    first.release();
    assert_eq!(slow.answer_to("GET").await.text(), "slow");
    eventually("its connection is closed", || first.open(), |open| *open == 0).await;

    first.rescript([Step::ok("back")]);
    assert_eq!(gateway.tell(UNDRAIN, &of(&first)).await.status, 200);
    assert_eq!(shares(&gateway, [&first, &second], 6).await, [3, 3]);
}

#[tokio::test]
async fn an_idle_connection_to_a_drained_endpoint_is_closed() {
    let (first, second) = (Origin::saying("a").await, Origin::saying("b").await);
    let gateway = Gateway::start(&one_tenant_with(&[first.address, second.address], IN_TURN)).await;
    assert_eq!(shares(&gateway, [&first, &second], 4).await, [2, 2]);
    assert_eq!(first.open(), 1);

    gateway.tell(DRAIN, &of(&first)).await;

    eventually("its connection is closed", || first.open(), |open| *open == 0).await;
    assert_eq!(second.open(), 1);
}

#[tokio::test]
async fn a_shared_connection_to_a_drained_endpoint_is_closed() {
    let (first, second) = (H2Origin::saying("a").await, H2Origin::saying("b").await);
    let keys = format!("{IN_TURN}\nprotocol = \"h2\"");
    let routes = one_tenant_with(&[first.address, second.address], &keys);
    let gateway = Gateway::start(&routes).await;
    for _ in 0..4 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    let open = "tenantry_upstream_connections{pool=\"app\"}";
    gateway.metric_becomes(open, 2.0).await;

    let wish = json!({ "pool": "app", "address": first.address.to_string() });
    assert_eq!(gateway.tell(DRAIN, &wish).await.status, 200);

    gateway.metric_becomes(open, 1.0).await;
    let before = first.asked().len();
    for _ in 0..4 {
        assert_eq!(gateway.get("/").await.text(), "b");
    }
    assert_eq!(first.asked().len(), before);
}

#[tokio::test]
async fn a_drained_endpoint_stays_so_through_edits_and_while_it_is_away() {
    let (first, second) = (Origin::saying("a").await, Origin::saying("b").await);
    let both = [first.address, second.address];
    let gateway = Gateway::start(&one_tenant(&both)).await;
    gateway.tell(DRAIN, &of(&first)).await;

    for routes in [
        one_tenant_with(&both, "balance = \"random\""),
        one_tenant(&[second.address]),
        one_tenant(&both),
        // Reached in another way, its members are others.
        one_tenant_with(&both, "proxy-protocol = \"v1\""),
        one_tenant(&both),
        pool("other", &[second.address], "") + "[tenants.acme]\npool = \"other\"\n",
        one_tenant(&both),
    ] {
        gateway.reload(&routes).await;
        let set = gateway.admin("/api/v1/endpoints?pool=app").await;
        if set.status == 200 {
            let list = set.json()["endpoints"].as_array().expect("a list").clone();
            let address = first.address.to_string();
            for one in list.iter().filter(|one| one["address"] == address.as_str()) {
                assert_eq!(one["state"], "drained", "{routes}: {one}");
            }
        }
    }

    assert_eq!(shares(&gateway, [&first, &second], 4).await, [0, 4]);
    let why = gateway.admin("/api/v1/explain?target=/&tenant=acme").await.json();
    let told = why["pool"]["endpoints"].to_string();
    assert!(told.contains("an operator has drained it"), "{told}");
}

#[tokio::test]
async fn the_last_endpoint_drained_by_force_leaves_requests_with_a_503_at_once() {
    let origin = Origin::saying("a").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    assert_eq!(gateway.tell(DRAIN, &of(&origin)).await.status, 409);
    assert_eq!(gateway.get("/").await.status, 200);

    let mut force = of(&origin);
    force["force"] = json!(true);
    assert_eq!(gateway.tell(DRAIN, &force).await.status, 200);

    let refused = gateway.get("/").await;
    assert_eq!((refused.status, refused.problem().as_deref()), (503, Some("no-endpoint")));
    assert_eq!(origin.asked().len(), 1);
}

#[tokio::test]
async fn drains_in_turn_under_load_fail_no_request() {
    let (first, second) = (Origin::saying("a").await, Origin::saying("b").await);
    let gateway = Gateway::start(&one_tenant(&[first.address, second.address])).await;
    let load = Load::start(gateway.address(), &["acme"], 4);

    for round in 0..20 {
        let origin = if round % 2 == 0 { &first } else { &second };
        assert_eq!(gateway.tell(DRAIN, &of(origin)).await.status, 200);
        load.serves(20).await;
        assert_eq!(gateway.tell(UNDRAIN, &of(origin)).await.status, 200);
    }

    load.stop().await;
}

#[tokio::test]
async fn the_admin_api_begins_the_end_of_the_gateway() {
    let origin = Origin::saying("a").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;

    let unsure = gateway.tell("POST /api/v1/drain", &json!({})).await;
    assert_eq!(unsure.status, 422);
    let (asked, meant) = (gateway.app.asked_to_end(), json!({ "confirm": true }));
    let (sure, ()) = within("the wish", async {
        tokio::join!(gateway.tell("POST /api/v1/drain", &meant), asked)
    })
    .await;

    assert_eq!(sure.status, 202);
    assert_eq!(gateway.stop().await.cut_off, 0);
}

/// An admin API that speaks TLS, with further keys.
async fn secured(authority: &Authority, keys: &str, tls: &str) -> (Gateway, Origin, Pair) {
    let origin = Origin::saying("a").await;
    let pair = authority.server(&["localhost"]);
    let admin = format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n{keys}\n[admin.tls]\n{}{tls}\n{END}\n",
        pair.keys
    );
    let gateway = Gateway::start_with(&admin, &one_tenant(&[origin.address])).await;
    (gateway, origin, pair)
}

async fn status(client: Wishes<'_>, gateway: &Gateway, path: &str, fields: &[&str]) -> u16 {
    read(client, gateway, path, fields).await.status
}

async fn read(client: Wishes<'_>, gateway: &Gateway, path: &str, fields: &[&str]) -> Answer {
    let address = gateway.app.admin_address().expect("an admin API");
    let stream = client.client().connect(address, "localhost").await;
    let fields: Vec<&str> = ["Host: localhost"].iter().chain(fields).copied().collect();
    Client::over(stream).ask(head(&format!("GET {path}"), &fields)).await
}

const END: &str = "# more listeners";
const STATUS: &str = "/api/v1/status";

#[tokio::test]
async fn an_optional_certificate_is_as_good_as_a_token_and_probes_need_neither() {
    let authority = Authority::new();
    let tokens = tempfile::NamedTempFile::new().expect("a file");
    fs::write(&tokens, "0123456789abcdef\n").expect("write the tokens");
    let keys = format!("token-file = \"{}\"", tokens.path().display());
    let (gateway, _origin, _) = secured(&authority, &keys, &authority.demand("optional")).await;
    let plain = || Wishes::of(&authority);
    let certified = Wishes { shown: Some(authority.client_named("operator")), ..plain() };

    assert_eq!(status(plain(), &gateway, "/readyz", &[]).await, 200);
    assert_eq!(status(plain(), &gateway, STATUS, &[]).await, 401);
    assert_eq!(status(plain(), &gateway, "/metrics", &[]).await, 401);
    let bearer = ["Authorization: Bearer 0123456789abcdef"];
    assert_eq!(status(plain(), &gateway, STATUS, &bearer).await, 200);
    assert_eq!(status(certified, &gateway, STATUS, &[]).await, 200);
    // HTTP/2 is not spoken here, and a client that offers it first is served all the same.
    let both = Wishes { protocols: &["h2", "http/1.1"], ..plain() };
    assert_eq!(status(both, &gateway, STATUS, &bearer).await, 200);
}

#[tokio::test]
async fn nobody_connects_without_a_certificate_that_is_required() {
    let authority = Authority::new();
    let (gateway, _origin, _) = secured(&authority, "", &authority.demand("required")).await;
    let address = gateway.app.admin_address().expect("an admin API");
    let certified = Wishes { shown: Some(authority.client_named("op")), ..Wishes::of(&authority) };
    let stranger = Authority::new().client_named("stranger");

    assert_eq!(status(certified, &gateway, STATUS, &[]).await, 200);
    assert!(!Wishes::of(&authority).client().is_served(address, "localhost").await);
    let strange = Wishes { shown: Some(stranger), ..Wishes::of(&authority) };
    assert!(!strange.client().is_served(address, "localhost").await);
}

#[tokio::test]
async fn tokens_and_certificates_of_the_admin_api_are_renewed_while_it_runs() {
    let authority = Authority::new();
    let tokens = tempfile::NamedTempFile::new().expect("a file");
    fs::write(&tokens, "0123456789abcdef\n").expect("write the tokens");
    let keys = format!("token-file = \"{}\"", tokens.path().display());
    let (gateway, _origin, pair) = secured(&authority, &keys, "").await;
    let with = async |token: &str| {
        let field = format!("Authorization: Bearer {token}");
        status(Wishes::of(&authority), &gateway, STATUS, &[&field]).await
    };
    assert_eq!(with("0123456789abcdef").await, 200);

    fs::write(&tokens, "fedcba9876543210\n").expect("write the tokens");
    within("the new token", async { while with("fedcba9876543210").await != 200 {} }).await;
    assert_eq!(with("0123456789abcdef").await, 401);
    // A file that cannot be used changes nothing; that a later one is read shows that it was seen.
    fs::write(&tokens, "short\n").expect("write the tokens");
    assert_eq!(with("fedcba9876543210").await, 200);

    let new = authority.made_for(&["localhost"]);
    pair.write(&new);
    let address = gateway.app.admin_address().expect("an admin API");
    Wishes::of(&authority).client().comes_to_see(address, "localhost", &new.certificate).await;
    // Listeners that come leave the admin API's certificate where it is.
    gateway.edit_gateway(END, "[[listeners]]\naddress = \"127.0.0.1:0\"\n");
    let listeners = async || {
        let bearer = ["Authorization: Bearer fedcba9876543210"];
        let told = read(Wishes::of(&authority), &gateway, STATUS, &bearer).await.json();
        told["listeners"].as_array().expect("a list").len()
    };
    within("the listener", async { while listeners().await != 2 {} }).await;
    let newer = authority.made_for(&["localhost"]);
    pair.write(&newer);
    Wishes::of(&authority).client().comes_to_see(address, "localhost", &newer.certificate).await;
    let told = gateway.get("/").await;
    assert_eq!(told.text(), "a");
}

/// What comes of a request with a body, of who shows a certificate.
async fn tell_as(
    (authority, gateway): (&Authority, &Gateway),
    shown: Option<Shown>,
    line: &str,
    body: &Value,
) -> Answer {
    let address = gateway.app.admin_address().expect("an admin API");
    let client = Wishes { shown, ..Wishes::of(authority) }.client();
    let stream = client.connect(address, "localhost").await;
    let body = body.to_string();
    let length = format!("Content-Length: {}", body.len());
    let fields = ["Host: localhost", "Content-Type: application/json", &length];
    Client::over(stream).ask(head(line, &fields) + &body).await
}

#[tokio::test]
async fn who_shows_a_certificate_may_do_what_its_name_may_and_nothing_else() {
    let authority = Authority::new();
    let keys = "tenant-keys = [\"cors\"]\naudit-log = \"audit.log\"\ncertificates = { \
                \"root\" = \"admin\", \"spiffe://example.com/ops\" = \"operator\", \
                \"prometheus.example.com\" = \"viewer\", \"shop\" = \"tenant:shop\" }";
    let (gateway, origin, _) = secured(&authority, keys, &authority.demand("optional")).await;
    let san = |name: SanType| Some(authority.client(|params| params.subject_alt_names.push(name)));
    let uri = |text: &str| san(SanType::URI(text.try_into().expect("a URI")));
    let dns = |text: &str| san(SanType::DnsName(text.try_into().expect("a name")));
    let named = |text: &str| Some(authority.client_named(text));
    let world = (&authority, &gateway);
    let table = json!({"pool": "app"});
    let put = "PUT /api/v1/tenants/shop";
    let patch = "PATCH /api/v1/tenants/shop";
    let drain = json!({"pool": "app", "address": origin.address.to_string(), "force": true});
    let cors = json!({"cors": {"origins": ["https://a.example"]}});
    let none = json!({});

    let status =
        async |shown, line: &str, body: &Value| tell_as(world, shown, line, body).await.status;
    let ops = || uri("spiffe://example.com/ops");
    let viewer = || dns("prometheus.example.com");
    for (shown, line, body, expected) in [
        (None, "GET /api/v1/status", &none, 401),
        (named("root"), put, &table, 201),
        // An operator runs the gateway, and keeps no tenants.
        (ops(), DRAIN, &drain, 200),
        (ops(), UNDRAIN, &json!({"pool": "app", "address": drain["address"]}), 200),
        (ops(), put, &table, 403),
        (ops(), "POST /api/v1/drain", &json!({"confirm": true}), 403),
        // A viewer looks.
        (viewer(), "GET /metrics", &none, 200),
        (viewer(), "GET /api/v1/history", &none, 200),
        (viewer(), DRAIN, &drain, 403),
        (viewer(), patch, &cors, 403),
        // A customer has its own tenant.
        (named("shop"), "GET /api/v1/tenants/shop", &none, 200),
        (named("shop"), patch, &cors, 200),
        (named("shop"), patch, &json!({"pool": "other"}), 403),
        (named("shop"), "GET /api/v1/tenants/acme", &none, 404),
        (named("shop"), "GET /api/v1/status", &none, 403),
        // Who has no name of these, or has it in another kind, is nobody.
        (named("somebody"), "GET /api/v1/status", &none, 401),
        (named("spiffe://example.com/ops"), DRAIN, &drain, 401),
    ] {
        assert_eq!(status(shown, line, body).await, expected, "{line} {body}");
    }

    // Of several names the one with the least role counts.
    let both = Some(authority.client(|params| {
        let names = ["root", "prometheus.example.com"];
        let names = names.map(|name| SanType::DnsName(name.try_into().expect("a name")));
        params.subject_alt_names.extend(names);
    }));
    assert_eq!(status(both, DRAIN, &drain).await, 403);
    let audit = fs::read_to_string(gateway.path("audit.log")).expect("the audit log");
    let is_ops = |line: &&str| line.contains("\"who\":\"spiffe://example.com/ops\"");
    let first = audit.lines().find(is_ops).expect("a line of the operator");
    for part in ["\"shown\":\"certificate\"", "\"role\":\"operator\"", "\"status\":200"] {
        assert!(first.contains(part), "{part} is not in {first}");
    }
}
