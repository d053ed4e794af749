//! RFC 9110 sections 7.6, 7.8, 9.3.8 and 10.1: fields that end here, that are counted here, and
//! what an older client may say.

use crate::world::client::{Client, Hyper};

use super::{World, get, request};

#[tokio::test]
async fn a_connection_field_takes_only_what_the_message_can_do_without() {
    let world = World::start().await;
    let nominated = "Connection: X-Tenant-ID, Host, Content-Length, Transfer-Encoding, X-Hop\r\n\
                     Connection: x-second, , Via\r\nX-Hop: 1\r\nX-Second: 2\r\nX-Kept: 3\r\n";
    let sized = request("PUT /", format!("{nominated}Content-Length: 2\r\n"), "hi");
    let chunked = format!("{nominated}Transfer-Encoding: chunked\r\n");
    let chunked = request("PUT /", chunked, "2\r\nhi\r\n0\r\n\r\n");
    for bytes in [sized, chunked] {
        let routed = world.routes(&bytes, "PUT / hi").await;
        assert_eq!((routed.all("x-tenant-id"), routed.all("host")), (vec!["acme"], vec!["a"]));
        assert_eq!((routed.all("x-hop").len(), routed.all("x-second").len()), (0, 0));
        assert_eq!((routed.all("x-kept"), routed.all("via")), (vec!["3"], vec!["1.1 tenantry"]));
    }
}

#[tokio::test]
async fn max_forwards_is_counted_down_for_options_and_trace_alone() {
    let world = World::start().await;
    for method in ["OPTIONS", "TRACE"] {
        for (said, left) in [("10", "9"), ("1", "0"), ("007", "6")] {
            let line = format!("{method} /x");
            let bytes = request(&line, format!("Max-Forwards: {said}\r\n"), "");
            let routed = world.routes(&bytes, &line).await;
            assert_eq!(routed.all("max-forwards"), [left], "{method} {said}");
        }
        for bad in ["", "-1", "x", "1, 2", "1\r\nMax-Forwards: 1"] {
            let fields = format!("Max-Forwards: {bad}\r\n");
            world.refuses(&request(&format!("{method} /x"), fields, "")).await;
        }
    }
    let routed = world.routes(&request("GET /x", "Max-Forwards: 0\r\n", ""), "GET /x").await;
    assert_eq!(routed.all("max-forwards"), ["0"]);
}

#[tokio::test]
async fn where_no_max_forwards_came_none_is_made() {
    let world = World::start().await;
    for method in ["OPTIONS", "TRACE", "GET"] {
        let line = format!("{method} /x");
        let routed = world.routes(&request(&line, "", ""), &line).await;
        assert_eq!(routed.all("max-forwards"), [""; 0], "{method}");
    }
}

#[tokio::test]
async fn a_request_that_was_here_seven_times_passes_and_one_of_eight_times_is_a_loop() {
    let world = World::start().await;
    let own = "Via: 1.1 tenantry\r\n";
    let others = "Via: 1.1 other\r\n".repeat(20);

    let seven = request("GET /", own.repeat(7) + &others, "");
    let passed = world.routes(&seven, "GET /").await;

    assert_eq!(passed.all("via").len(), 28);
    // Whoever is in between may join the lines.
    let joined = format!("Via: {}\r\n", ["1.1 tenantry"; 8].join(", "));
    for eight in [own.repeat(8), joined] {
        let stopped = world.send(&request("GET /", eight, ""), 1).await;
        assert_eq!((stopped.statuses.as_slice(), stopped.told()), (&[508][..], vec![]));
        assert_eq!(stopped.last.problem().as_deref(), Some("loop"));
    }
}

#[tokio::test]
async fn the_host_is_the_first_field_wherever_a_client_said_it() {
    let world = World::start().await;
    let last = b"GET /x HTTP/1.1\r\nX-A: 1\r\nX-Tenant-ID: acme\r\nAccept: */*\r\nHost: a\r\n\r\n";
    let target = b"GET http://b/x HTTP/1.1\r\nX-A: 1\r\nX-Tenant-ID: acme\r\nHost: a\r\n\r\n";
    let first = |host: &str| Some(("host".to_owned(), host.to_owned()));
    for (bytes, host) in [(&last[..], "a"), (&target[..], "b")] {
        let routed = world.routes(bytes, "GET /x").await;
        assert_eq!(routed.fields.first().cloned(), first(host));
    }

    let mut h2 = Hyper::h2(world.gateway.address()).await;
    assert_eq!(h2.get("acme", "/x").await.status, 200);

    let routed = world.recorder.take().await.remove(0);
    assert_eq!(routed.fields.first().cloned(), first("a.example"));
}

#[tokio::test]
async fn a_request_that_may_go_no_further_is_answered_here() {
    let world = World::start().await;
    let ask = async |line: &str| {
        let fields = "Max-Forwards: 0\r\nCookie: secret\r\nAuthorization: secret\r\nVia: 1.1 a\r\n";
        let mut client = Client::connect(world.gateway.address()).await;
        client.ask(request(line, fields, "")).await
    };

    let options = ask("OPTIONS *").await;
    let trace = ask("TRACE /x?y").await;

    assert_eq!((options.status, options.text().as_str()), (200, ""));
    assert_eq!((trace.status, trace.one("content-type").as_deref()), (200, Some("message/http")));
    let mirrored = "TRACE /x?y HTTP/1.1\r\nhost: a\r\nvia: 1.1 a\r\nmax-forwards: 0\r\n\r\n";
    assert_eq!(trace.text(), mirrored);
    assert_eq!(world.recorder.take().await, []);
}

#[tokio::test]
async fn a_trace_with_a_body_is_refused() {
    let world = World::start().await;
    world.refuses(&request("TRACE /", "Content-Length: 2\r\n", "hi")).await;
    let chunked = "Transfer-Encoding: chunked\r\n";
    world.refuses(&request("TRACE /", chunked, "2\r\nhi\r\n0\r\n\r\n")).await;
}

#[tokio::test]
async fn an_expectation_that_nobody_knows_is_the_endpoints_to_judge() {
    let world = World::start().await;
    for expectation in
        ["wonders", "y 100-continue", "100-continue;q=1", "100-continued", "\"100-continue\""]
    {
        let fields = format!("Expect: {expectation}\r\nContent-Length: 2\r\n");
        let routed = world.routes(&request("PUT /", fields, "hi"), "PUT / hi").await;
        assert_eq!(routed.all("expect"), [expectation]);
    }
}

#[tokio::test]
async fn an_http10_client_neither_expects_nor_switches() {
    let world = World::start().await;
    let mut client = Client::connect(world.gateway.address()).await;
    let head = "PUT /x HTTP/1.0\r\nX-Tenant-ID: acme\r\nExpect: 100-continue\r\n\
                Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi";

    let answer = client.ask(head).await;

    assert_eq!((answer.status, answer.interim), (200, vec![]));
    assert_eq!(answer.headers.get("transfer-encoding"), None);
    assert!(client.is_closed().await);
    let asked = world.recorder.take().await.remove(0);
    assert_eq!((asked.told().as_str(), asked.all("host")), ("PUT /x hi", vec![""]));
    for gone in ["expect", "upgrade", "connection"] {
        assert_eq!(asked.all(gone), [""; 0], "{gone}");
    }
    assert_eq!(asked.all("via"), ["1.0 tenantry"]);
}

#[tokio::test]
async fn fields_of_one_name_keep_their_order_and_their_lines() {
    let world = World::start().await;
    let fields = "X-A: 1\r\nX-B: x, y\r\nX-A: 3\r\nX-A:\r\nX-A: \t2 \t\r\n";
    let routed = world.routes(&request("GET /", fields, ""), "GET /").await;
    assert_eq!(routed.all("x-a"), ["1", "3", "", "2"]);
    assert_eq!(routed.all("x-b"), ["x, y"]);
}

#[tokio::test]
async fn a_name_is_the_same_in_any_case() {
    let world = World::start().await;
    let bytes = b"PUT / HTTP/1.1\r\nhOsT: a\r\nx-TENANT-id: acme\r\ncOnTeNt-LeNgTh: 2\r\n\r\nhi";
    let routed = world.routes(bytes, "PUT / hi").await;
    assert_eq!(routed.all("content-length"), ["2"]);
    world.routes(&get("/next"), "GET /next").await;
}
