//! RFC 9110 sections 7.6, 7.8, 9.3.8 and 10.1: fields that end here, that are counted here, and
//! what an older client may say.

use crate::world::client::Client;

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
