//! What the dashboard is made from: the list of tenants, and the stream of pictures.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::world::client::get;
use crate::world::config::{NO_RETRY, pool};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::{DEADLINE, STEP, within};

fn routes(origin: &Origin) -> String {
    let pool = pool("app", &[origin.address], NO_RETRY);
    format!(
        "{pool}\n[tenant]\nfrom = [{{ header = \"X-Tenant-ID\" }}, {{ host = \"{{tenant}}.a.test\" }}]\n\
         [tenants.acme]\npool = \"app\"\n[tenants.globex]\npool = \"app\"\n\
         [tenants.gone]\nstate = \"suspended\"\n"
    )
}

/// An open stream of pictures.
struct Events {
    stream: TcpStream,
    heard: Vec<u8>,
    head: String,
}

impl Events {
    async fn open(gateway: &Gateway, query: &str) -> Self {
        let address = gateway.app.admin_address().expect("there is an admin API");
        let mut stream = TcpStream::connect(address).await.expect("connect");
        let request = format!("GET /api/v1/events?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("ask");
        let mut events = Self { stream, heard: Vec::new(), head: String::new() };
        events.head = events.until("\r\n\r\n").await.expect("a head").to_ascii_lowercase();
        events
    }

    fn status(&self) -> &str {
        self.head.split(' ').nth(1).expect("a status")
    }

    /// What comes up to a mark; `None` where the stream ends before.
    async fn until(&mut self, mark: &str) -> Option<String> {
        within("an event", async {
            loop {
                let mut marks = self.heard.windows(mark.len());
                if let Some(at) = marks.position(|part| part == mark.as_bytes()) {
                    let part: Vec<u8> = self.heard.drain(..at + mark.len()).collect();
                    return Some(String::from_utf8_lossy(&part).into_owned());
                }
                if self.stream.read_buf(&mut self.heard).await.expect("read") == 0 {
                    return None;
                }
            }
        })
        .await
    }

    /// The next picture. An event is written in one piece, so that a chunk's size is never in it.
    async fn next(&mut self) -> Option<Value> {
        let event = self.until("\n\n").await?;
        let (_, data) = event.split_once("event: picture\ndata: ").expect("a picture");
        Some(serde_json::from_str(data.trim_end()).expect("JSON"))
    }

    /// The first picture that is as wanted.
    async fn becomes(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        within(what, async {
            loop {
                let picture = self.next().await.expect("the stream goes on");
                if wanted(&picture) {
                    return picture;
                }
            }
        })
        .await
    }
}

async fn json(gateway: &Gateway, path: &str) -> Value {
    let text = gateway.admin(path).await.text();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

/// Workers tell what they counted once a second.
async fn json_becomes(gateway: &Gateway, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let answer = json(gateway, path).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "{path} is {answer}");
        sleep(STEP * 10).await;
    }
}

#[tokio::test]
async fn the_tenants_are_listed_with_what_their_requests_came_to() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&routes(&origin)).await;
    for _ in 0..3 {
        assert_eq!(get(gateway.address(), "globex", "/").await.status, 200);
    }
    origin.rescript([Step::answer(503, "no")]);
    assert_eq!(get(gateway.address(), "acme", "/").await.status, 503);

    let counted = |list: &Value| list["tenants"][1]["requests_per_second"] != 0.0;
    let list = json_becomes(&gateway, "/api/v1/tenants", counted).await;
    assert_eq!((&list["total"], &list["matching"]), (&3.into(), &3.into()));
    assert_eq!(list["tenants"][0]["id"], "globex", "the busiest first");
    assert_eq!(list["tenants"][1]["hosts"][0], "acme.a.test");
    let worst = json(&gateway, "/api/v1/tenants?sort=errors&limit=1").await;
    assert_eq!((&worst["tenants"][0]["id"], &worst["next"]), (&"acme".into(), &"acme".into()));
    let found = json(&gateway, "/api/v1/tenants?search=GLOBEX.a").await;
    assert_eq!((&found["matching"], &found["tenants"][0]["id"]), (&1.into(), &"globex".into()));
    let refused = json(&gateway, "/api/v1/tenants?state=suspended").await;
    assert_eq!(refused["tenants"][0]["id"], "gone");

    let acme = json(&gateway, "/api/v1/tenants/acme").await;
    assert_eq!(acme["since_start"], serde_json::json!({"requests": 1, "errors": 1}));
    assert_eq!((&acme["pools"][0], &acme["state"]), (&"app".into(), &"active".into()));
    assert!(acme["p99_ms"].as_f64().is_some_and(|time| time > 0.0), "{acme}");
    assert_eq!(gateway.admin("/api/v1/tenants/nobody").await.status, 404);
}

#[tokio::test]
async fn a_watcher_sees_traffic_and_a_broken_edit_and_its_mending() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&routes(&origin)).await;
    let mut events = Events::open(&gateway, "search=acme&tenant=acme").await;
    assert_eq!(events.status(), "200");
    assert!(events.head.contains("content-type: text/event-stream"), "{}", events.head);

    let first = events.next().await.expect("a picture at once");
    assert_eq!((&first["generation"], &first["problems_total"]), (&1.into(), &0.into()));
    assert_eq!(first["tenants"]["matching"], 1);
    assert!(first["total"]["chart"].is_object(), "the charts come with the first: {first}");
    assert_eq!(first["pools"]["rows"][0]["name"], "app", "the pool of who was found");
    assert_eq!(first["tenant"]["id"], "acme");

    gateway.get("/").await;
    let counted = |picture: &Value| picture["tenant"]["requests_per_second"] != 0.0;
    let busy = events.becomes("traffic", counted).await;
    assert_ne!(busy["total"]["requests_per_second"], 0.0);
    assert_eq!(busy["pools"]["rows"][0]["endpoints"][0]["state"], "unchecked");

    gateway.edit(&(routes(&origin) + "[pools.app]\n"));
    let broken = events.becomes("the problem", |picture| picture["problems_total"] != 0).await;
    let told = &broken["problems"][0];
    assert_eq!((&told["of"], &broken["generation"]), (&"routes".into(), &1.into()));
    assert!(told["place"].as_str().is_some_and(|at| at.contains("routes.toml:")), "{told}");

    gateway.edit(&(routes(&origin) + "[tenants.new]\npool = \"app\"\n"));
    let mended = events.becomes("the mending", |picture| picture["problems_total"] == 0).await;
    assert_eq!((&mended["generation"], &mended["tenants"]["total"]), (&2.into(), &4.into()));
}

#[tokio::test]
async fn only_so_many_watch_and_a_place_that_is_left_is_free() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&routes(&origin)).await;
    let mut watching = Vec::new();
    for _ in 0..32 {
        let mut events = Events::open(&gateway, "").await;
        assert!(events.next().await.is_some());
        watching.push(events);
    }

    let refused = Events::open(&gateway, "").await;
    assert_eq!(refused.status(), "503");
    assert!(refused.head.contains("retry-after: 5"), "{}", refused.head);
    gateway.metric_becomes("tenantry_admin_watchers", 32.0).await;
    gateway.metric_becomes("tenantry_admin_watchers_refused_total{reason=\"limit\"}", 1.0).await;

    watching.pop();
    within("a free place", async {
        while Events::open(&gateway, "").await.status() != "200" {
            sleep(STEP).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_gateway_ends_the_streams() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&routes(&origin)).await;
    let mut events = Events::open(&gateway, "every=15").await;
    assert!(events.next().await.is_some());

    gateway.stop().await;

    assert_eq!(events.until("\n\n").await, None, "no picture is due before the end");
}
