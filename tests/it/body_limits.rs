//! How large the bodies of requests may be: by the route, else by the tenant, else by the gateway.

use serde_json::json;

use crate::world::client::{Frames, Hyper, ask};
use crate::world::config::pool;
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::Origin;

const GATEWAY: &str = "[downstream]\nmax-body = \"64KiB\"\n";

struct World {
    origin: Origin,
    gateway: Gateway,
}

impl World {
    /// `acme` has a limit of its own and routes above and below that and the gateway's, `globex` none.
    async fn new() -> Self {
        let origin = Origin::saying("hello").await;
        let pool = pool("app", &[origin.address], "");
        let route = |path: &str, limits: &str| {
            format!("[[tenants.acme.routes]]\npath = \"{path}\"\nlimits = {{ {limits} }}\n")
        };
        let routes = format!(
            "{pool}\n[tenants.globex]\npool = \"app\"\n[tenants.acme]\npool = \"app\"\n\
             limits = {{ max-body = \"16KiB\" }}\n{}{}{}",
            route("/large", "max-body = \"192KiB\""),
            route("/small", "max-body = \"1KiB\", requests = \"100/s\""),
            route("/counted", "concurrency = 9"),
        );
        let gateway = Gateway::start_with(GATEWAY, &routes).await;
        Self { origin, gateway }
    }

    /// What becomes of a body of this size, with a length and without one, over HTTP/1.1 and HTTP/2.
    async fn put(&self, tenant: &str, path: &str, size: usize) -> Vec<Answer> {
        let mut answers = Vec::new();
        for sized in [true, false] {
            let address = self.gateway.address();
            for mut client in [Hyper::h1(address).await, Hyper::h2(address).await] {
                let body = vec![b'x'; size];
                let body = if sized { Frames::sized(body) } else { Frames::unsized_of(body) };
                let request = client.request("PUT", tenant, path, body);
                answers.push(client.ask(request).await);
            }
        }
        answers
    }
}

#[tokio::test]
async fn the_route_decides_then_the_tenant_then_the_gateway() {
    let world = World::new().await;
    let mut refused = 0;
    for (tenant, path, most, problem, limit) in [
        ("acme", "/small", 1 << 10, "route-body-too-large", Some(("route-body", "1KiB"))),
        // What is sent is read whole before the answer: a connection that closes on bytes is reset.
        ("acme", "/large", 192 << 10, "route-body-too-large", Some(("route-body", "192KiB"))),
        ("acme", "/", 16 << 10, "tenant-body-too-large", Some(("tenant-body", "16KiB"))),
        ("acme", "/counted", 16 << 10, "tenant-body-too-large", Some(("tenant-body", "16KiB"))),
        ("globex", "/small", 64 << 10, "body-too-large", None),
    ] {
        for answer in world.put(tenant, path, most).await {
            assert_eq!(answer.status, 200, "{tenant} {path}");
        }
        for answer in world.put(tenant, path, most + 1).await {
            assert_eq!(answer.status, 413, "{tenant} {path}");
            assert_eq!(answer.problem().as_deref(), Some(problem));
            let limit = limit.map(|(name, allows)| json!({"name": name, "allows": allows}));
            let body = answer.json();
            assert_eq!(body.get("limit"), limit.as_ref());
            assert_eq!(body["detail"], format!("the request body is larger than {most} bytes"));
            assert_eq!(answer.one("retry-after"), None, "it will not fit later either");
            refused += 1;
        }
    }
    let whole = world.origin.asked().iter().filter(|asked| asked.whole).count();
    assert_eq!((whole, refused), (5 * 4, 5 * 4), "no origin took a part for the whole");

    let of = |problem: &str| format!("tenantry_gateway_answers_total{{problem=\"{problem}\"}}");
    world.gateway.metric_becomes(&of("route-body-too-large"), 8.0).await;
    world.gateway.metric_becomes(&of("tenant-body-too-large"), 8.0).await;
    let used = world.gateway.admin("/api/v1/tenants/acme/usage").await.json();
    let expected = json!({"route-body-too-large": 8, "tenant-body-too-large": 8});
    assert_eq!(used["since_start"]["refused"], expected);
    world.gateway.logs("\"problem\":\"route-body-too-large\"", 8).await;
}

#[tokio::test]
async fn a_length_that_is_too_large_is_refused_before_a_byte_of_it() {
    let world = World::new().await;
    let fields = ["Host: a", "X-Tenant-ID: acme", "Content-Length: 1025", "Expect: 100-continue"];

    let answer = ask(world.gateway.address(), "PUT /small", &fields).await;

    assert_eq!((answer.status, answer.interim.len()), (413, 0));
    assert_eq!(world.origin.connections(), 0);
}

#[tokio::test]
async fn an_edit_holds_from_the_next_request_on() {
    let world = World::new().await;
    let routes = std::fs::read_to_string(world.gateway.path("routes.toml")).expect("routes");
    assert_eq!(world.put("acme", "/", 17 << 10).await[0].status, 413);

    world.gateway.reload(&routes.replace("\"16KiB\"", "\"32KiB\"")).await;

    assert_eq!(world.put("acme", "/", 17 << 10).await[0].status, 200);
}
