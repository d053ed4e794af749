//! What the access log tells of which requests, in which words.

use serde_json::Value;

use crate::world::client::{Client, Frames, Hyper, ask, get};
use crate::world::config::{NO_RETRY, one_tenant, pool};
use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::unreachable::Refusing;

/// The lines of the log once there are so many.
async fn lines(gateway: &Gateway, count: usize) -> Vec<String> {
    let read = || -> Vec<String> {
        let text = std::fs::read_to_string(gateway.path("access.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    eventually("the lines", read, |lines| lines.len() >= count).await
}

async fn objects(gateway: &Gateway, count: usize) -> Vec<Value> {
    let lines = lines(gateway, count).await;
    lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A log in a file with these keys.
fn log(keys: &str) -> String {
    format!("[access-log]\nfile = \"access.log\"\n{keys}\n")
}

#[tokio::test]
async fn failures_are_logged_whole_whatever_the_sample() {
    let refusing = Refusing::new();
    let busy = Origin::start([Step::answer(503, "busy")]).await;
    let fine = Origin::saying("hello").await;
    let routes = [
        pool("refusing", &[refusing.address], "retry = { attempts = 2, backoff = \"1ms\" }"),
        pool("busy", &[busy.address], NO_RETRY),
        pool("fine", &[fine.address], ""),
        "[tenants.refusing]\npool = \"refusing\"\n[tenants.fine]\npool = \"fine\"\n\
         [tenants.busy]\n[[tenants.busy.routes]]\nname = \"rewritten\"\npath = \"/api/*\"\n\
         pool = \"busy\"\nrewrite = { strip = \"/api\", host = \"inner.example\" }\n\
         [[tenants.busy.routes]]\npath = \"/own\"\nrespond = { status = 503 }\n"
            .to_owned(),
    ];
    let gateway = Gateway::start_with(&log("sample = \"0%\""), &routes.concat()).await;

    for tenant in ["fine", "refusing", "unheard-of", "fine"] {
        get(gateway.address(), tenant, "/x?q=1").await;
    }
    let own = get(gateway.address(), "busy", "/own").await;
    assert_eq!(own.status, 503, "as the route wishes: no failure");
    let fields = ["Host: shop.example", "X-Tenant-ID: busy", "User-Agent: it"];
    ask(gateway.address(), "GET /api/7?token=s3cret", &fields).await;

    let lines = objects(&gateway, 3).await;
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0]["problem"], "connect-failed");
    assert_eq!(lines[0]["path"], "/x");
    assert_eq!(lines[0]["endpoint"], refusing.address.to_string());
    assert_eq!(lines[0]["attempts"], 2);
    assert_eq!(lines[1]["problem"], "tenant-unknown");
    assert_eq!(lines[1]["tenant"], Value::Null);
    let theirs = &lines[2];
    assert_eq!(theirs["status"], 503);
    assert_eq!(theirs["problem"], Value::Null);
    assert_eq!(
        theirs["host"], "shop.example",
        "what the client asked for, not what was made of it"
    );
    assert_eq!(theirs["path"], "/api/7");
    assert_eq!(theirs["query"], "token=***");
    assert_eq!(theirs["route"], "rewritten");
    assert_eq!(theirs["endpoint"], busy.address.to_string());
    assert_eq!(theirs["user_agent"], "it");
    assert_eq!(theirs["bytes_out"], 4);
    assert!(theirs["request_id"].as_str().is_some_and(|id| id.len() == 32), "{theirs}");
}

#[tokio::test]
async fn a_tenants_own_share_goes_before_the_gateways() {
    let origin = Origin::saying("hello").await;
    let routes = pool("app", &[origin.address], "")
        + "[tenants.quiet]\npool = \"app\"\naccess-log = { sample = \"0%\" }\n\
           [tenants.loud]\npool = \"app\"\naccess-log = { sample = \"100%\" }\n\
           [tenants.plain]\npool = \"app\"\n";
    for (sample, logged) in [("0%", vec!["loud"]), ("100%", vec!["plain", "loud"])] {
        let keys = log(&format!("sample = \"{sample}\"\nerrors = false"));
        let gateway = Gateway::start_with(&keys, &routes).await;
        for tenant in ["unheard-of", "quiet", "plain", "loud"] {
            get(gateway.address(), tenant, "/").await;
        }

        let unknown = usize::from(sample == "100%"); // sampled like all others
        let lines = objects(&gateway, logged.len() + unknown).await;

        let tenants: Vec<&str> = lines.iter().filter_map(|line| line["tenant"].as_str()).collect();
        assert_eq!(tenants, logged, "{sample}");
        let told = lines.iter().filter(|line| line["problem"] == "tenant-unknown").count();
        assert_eq!(told, unknown, "{sample}");
    }
}

#[tokio::test]
async fn the_combined_format_is_one_line_whatever_a_client_sends() {
    let origin = Origin::saying("hello").await;
    let routes = pool("app", &[origin.address], "") + "[tenants.acme]\npool = \"app\"\n";
    let gateway = Gateway::start_with(&log("format = \"combined\""), &routes).await;
    let agent = "User-Agent: \"bad\" \\ \u{e9}\tx";
    let referer = "Referer: https://a.example/in?code=s3cret&x=1";
    let fields = ["Host: a", "X-Tenant-ID: acme", agent, referer];

    ask(gateway.address(), "GET /a?password=s3cret", &fields).await;
    let mut h2 = Hyper::h2(gateway.address()).await;
    h2.ask(h2.request("GET", "acme", "/b", Frames::default())).await;

    let lines = lines(&gateway, 2).await;
    assert!(lines[0].starts_with("127.0.0.1 - - ["), "{lines:?}");
    assert!(
        lines[0].ends_with(
            "] \"GET /a?password=*** HTTP/1.1\" 200 5 \"https://a.example/in?code=***&x=1\" \
             \"\\x22bad\\x22 \\x5C \\xC3\\xA9\\x09x\""
        ),
        "{lines:?}"
    );
    assert!(lines[1].ends_with("] \"GET /b HTTP/2.0\" 200 5 \"-\" \"-\""), "{lines:?}");
}

#[tokio::test]
async fn a_format_of_ones_own_tells_what_it_names_and_masks_secrets() {
    let origin = Origin::saying("hello").await;
    let routes = pool("app", &[origin.address], "") + "[tenants.acme]\npool = \"app\"\n";
    let keys = "format = '{tenant} {status} {target} {header:Authorization} {header:X-Own} {problem} {{}}'\n\
                mask = { query = [\"invite\"], headers = [\"X-Own\"] }";
    let gateway = Gateway::start_with(&log(keys), &routes).await;
    let fields = ["Host: a", "X-Tenant-ID: acme", "Authorization: Basic eDp5", "X-Own: s3cret"];

    ask(gateway.address(), "GET /a?Invite=s3cret&sig=s3cret&b=1", &fields).await;

    let lines = lines(&gateway, 1).await;
    assert_eq!(lines, ["acme 200 /a?Invite=***&sig=***&b=1 *** *** - {}"]);
}

/// What waits in the queue of the log was as much as clients cared to send.
#[tokio::test]
async fn values_that_are_long_are_cut_with_a_mark() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(&log(""), &one_tenant(&[origin.address])).await;
    let id = "x".repeat(128);
    let long = format!("GET /{}", "p".repeat(6000));
    let mut request = format!("{long} HTTP/1.1\r\nHost: shop.example\r\nX-Tenant-ID: acme\r\n");
    request.push_str(&format!("X-Request-ID: {id}\r\nUser-Agent: "));
    let request = [request.as_bytes(), &[0xff; 3000], b"\r\n\r\n"].concat();

    assert_eq!(Client::connect(gateway.address()).await.ask(request).await.status, 200);

    let line = objects(&gateway, 1).await.remove(0);
    let (path, agent) = (line["path"].as_str().unwrap(), line["user_agent"].as_str().unwrap());
    assert_eq!(path, format!("/{}\u{2026}", "p".repeat(4095)));
    assert_eq!(agent, format!("{}\u{2026}", "\u{fffd}".repeat(341)), "{agent}");
    assert_eq!(line["request_id"], id);
}

#[tokio::test]
async fn a_line_tells_how_long_its_request_has_waited_for_a_pool_that_was_full() {
    let origin = Origin::start([Step::ok("hello").held()]).await;
    let keys = "concurrency = 1\nqueue = { wait = \"20ms\" }";
    let routes = pool("app", &[origin.address], keys) + "[tenants.acme]\npool = \"app\"\n";
    let gateway = Gateway::start_with(&log("sample = \"100%\""), &routes).await;
    let (first, second) = tokio::join!(gateway.get("/"), async {
        origin.wait_for(1).await;
        let second = gateway.get("/").await;
        origin.release();
        second
    });
    assert_eq!((first.status, second.status), (200, 503));

    let lines = objects(&gateway, 2).await;

    let waited = |line: &Value| line.get("queue_ms").and_then(Value::as_f64);
    let (late, served) = (&lines[0], &lines[1]);
    assert_eq!((&late["problem"], waited(served)), (&Value::from("queue-timeout"), None));
    assert!(waited(late).is_some_and(|waited| waited >= 20.0), "{late}");
}
