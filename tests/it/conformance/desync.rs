//! Ways to have a recipient take for a request what the gateway did not, or the other way round:
//! bytes behind what was refused, bodies that nobody framed, answers that come too early.

use crate::world::client::{Client, head};
use crate::world::config::{NO_RETRY, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};

use super::{SMUGGLED, World, request};

const FIELDS: &[&str] = &["Host: a", "X-Tenant-ID: acme"];

/// Its client may have sent on what it has from others, for whom it wished to reach.
#[tokio::test]
async fn what_follows_a_connect_that_was_refused_is_no_request() {
    let world = World::start().await;
    for target in ["a:80", "a.example:443"] {
        let connect = request(&format!("CONNECT {target}"), "", "");
        let outcome = world.send(&[connect, SMUGGLED.into()].concat(), 2).await;
        assert_eq!((outcome.statuses.as_slice(), outcome.closed), (&[501][..], true), "{target}");
        assert_eq!(outcome.last.all("connection"), ["close"]);
        assert_eq!(outcome.routed, []);
    }
}

#[tokio::test]
async fn what_follows_a_switch_that_was_declined_is_a_request_like_any_other() {
    let world = World::start().await;
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n";
    let asking = request("GET /chat", fields, "");
    let behind = |bytes: &[u8]| [&asking, bytes].concat();

    let own = world.send(&behind(SMUGGLED.as_bytes()), 2).await;
    assert_eq!((own.statuses.as_slice(), own.routed.len()), (&[200, 200][..], 2));
    for message in &own.routed {
        assert_eq!(message.all("x-forwarded-for"), ["127.0.0.1"], "it came by the gateway");
        assert_eq!(message.all("x-request-id").len(), 1);
    }
    let foreign = SMUGGLED.replace("acme", "nobody");
    let foreign = world.send(&behind(foreign.as_bytes()), 2).await;
    assert_eq!((foreign.statuses.as_slice(), foreign.routed.len()), (&[200, 404][..], 1));
    let frame = world.send(&behind(b"\x81\x85\x01\x02\x03\x04hello"), 2).await;
    assert_eq!((frame.statuses.as_slice(), frame.closed), (&[200, 400][..], true));
}

#[tokio::test]
async fn what_follows_a_head_that_frames_no_body_is_no_body() {
    let world = World::start().await;
    for method in ["POST", "PUT", "GET", "DELETE"] {
        let first = request(&format!("{method} /first"), "", "");
        let outcome = world.send(&[first, SMUGGLED.into()].concat(), 2).await;
        assert_eq!(outcome.told(), [&format!("{method} /first"), "GET /smuggled"]);
        let old = format!("{method} /old HTTP/1.0\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n");
        let outcome = world.send(format!("{old}{SMUGGLED}").as_bytes(), 2).await;
        assert_eq!((outcome.statuses.as_slice(), outcome.closed), (&[200][..], true), "{method}");
        assert_eq!(outcome.told(), [format!("{method} /old")]);
    }
}

#[tokio::test]
async fn an_expectation_among_others_is_answered_as_one_alone() {
    let origin = Origin::start([Step::ok("got").after("HTTP/1.1 100 Continue\r\n\r\n")]).await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;
    let cases: [&[&str]; 5] = [
        &["Expect: 100-Continue"],
        &["Expect: 100-continue, wonders"],
        &["Expect: wonders ,\t100-continue"],
        &["Expect: wonders", "Expect: 100-continue"],
        &["Expect: 100-continue", "Expect: 100-continue"],
    ];
    for fields in cases {
        let mut client = Client::connect(gateway.address()).await;
        let asking = [FIELDS, fields, &["Content-Length: 2"]].concat();
        client.send(head("PUT /", &asking)).await;
        assert_eq!(client.answer_head().await.status, 100, "{fields:?}");
        client.send("hi").await;
        assert_eq!(client.answer_to("PUT").await.text(), "got", "{fields:?}");
    }
    assert!(origin.asked().iter().all(|asked| asked.body == b"hi"), "{:?}", origin.asked());
}

/// An endpoint that does not look at a body takes what comes of it for its next request, and its
/// answer to that would be somebody else's.
#[tokio::test]
async fn a_connection_by_which_an_answer_began_before_the_request_was_whole_serves_no_other() {
    let early = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nearly";
    let origin = Origin::start([Step::raw("later").after(early), Step::ok("next")]).await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("PUT /", &[FIELDS, &["Content-Length: 4"]].concat())).await;
    assert_eq!(client.answer_head().await.status, 200);
    client.send("body").await;
    assert_eq!(client.wire.exact("earlylater").await, Some(()));

    let next = client.ask(head("GET /next", FIELDS)).await;

    assert_eq!(next.text(), "next");
    let used: Vec<usize> = origin.asked().iter().map(|asked| asked.connection).collect();
    assert_eq!(used, [0, 1]);
}
