//! The end of a gateway: nobody new, everybody who is there finishes, and a deadline for those who
//! do not.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::world::client::{Client, Frames, Hyper, head};
use crate::world::config::one_tenant;
use crate::world::gateway::Gateway;
use crate::world::load::Load;
use crate::world::origin::{Origin, Step};
use crate::world::{STEP, eventually, within};

const PLAIN: [&str; 2] = ["Host: a", "X-Tenant-ID: acme"];

/// Waits until a head is at the origin.
async fn arrived(origin: &Origin, count: usize) {
    eventually("a request at the origin", || origin.asked().len(), |asked| *asked >= count).await;
}

/// `Connection: close` comes with the first answer after the drain began.
async fn is_told_to_leave(client: &mut Client) {
    within("the word to leave", async {
        loop {
            let answer = client.ask(head("GET /", &PLAIN)).await;
            assert_eq!(answer.status, 200);
            if answer.one("connection").as_deref() == Some("close") {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn readiness_goes_at_once_while_the_listeners_still_accept() {
    let origin = Origin::saying("served").await;
    let drain = "[drain]\naccept = \"3s\"\n";
    let gateway = Gateway::start_with(drain, &one_tenant(&[origin.address])).await;
    assert_eq!(gateway.admin("/readyz").await.status, 200);
    let (address, admin) = (gateway.address(), gateway.app.admin_address().expect("an admin API"));
    let mut kept = Client::connect(address).await;
    assert_eq!(kept.ask(head("GET /", &PLAIN)).await.one("connection"), None);

    let watch = async {
        let started = Instant::now();
        within("the end of readiness", async {
            loop {
                let ready = head("GET /readyz", &["Host: localhost"]);
                if Client::connect(admin).await.ask(ready).await.status == 503 {
                    return;
                }
                sleep(STEP).await;
            }
        })
        .await;
        let late = Client::connect(address).await.ask(head("GET /", &PLAIN)).await;
        let accepting = started.elapsed() < Duration::from_millis(2900);
        // On a machine that was held up for that long, the listeners may be closed by right.
        assert!(late.status == 200 || !accepting, "{}", late.status);
        is_told_to_leave(&mut kept).await;
        assert!(kept.is_closed().await);
    };
    let (ended, ()) = tokio::join!(gateway.stop(), watch);

    assert_eq!(ended.cut_off, 0);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_is_in_flight_finishes_after_the_listeners_have_closed() {
    let origin = Origin::start([Step::ok("finished").held()]).await;
    let drain = "[drain]\naccept = \"10ms\"\n";
    let gateway = Gateway::start_with(drain, &one_tenant(&[origin.address])).await;
    let address = gateway.address();
    let mut waiting = Client::connect(address).await;
    waiting.send(head("GET /", &PLAIN)).await;
    let mut idle = Client::connect(address).await;
    arrived(&origin, 1).await;

    let watch = async {
        within("closed listeners", async {
            while TcpStream::connect(address).await.is_ok() {
                sleep(STEP).await;
            }
        })
        .await;
        assert!(idle.is_closed().await, "an idle connection is closed once nobody listens");
        origin.release();
        waiting.answer_to("GET").await
    };
    let (ended, answer) = tokio::join!(gateway.stop(), watch);

    assert_eq!((answer.status, answer.text().as_str(), answer.whole), (200, "finished", true));
    assert_eq!(answer.one("connection").as_deref(), Some("close"));
    assert_eq!(ended.cut_off, 0);
}

#[tokio::test]
async fn an_answer_that_is_under_way_is_brought_to_its_end() {
    const SIZE: usize = 16 << 20;
    let large = Step::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
    let origin = Origin::start([large.with_more(SIZE)]).await;
    let drain = "[drain]\naccept = \"10ms\"\n";
    let gateway = Gateway::start_with(drain, &one_tenant(&[origin.address])).await;
    let address = gateway.address();
    let mut waiting = Client::connect(address).await;
    waiting.send(head("GET /", &PLAIN)).await;
    assert_eq!(waiting.answer_head().await.status, 200);

    let watch = async {
        within("closed listeners", async {
            while TcpStream::connect(address).await.is_ok() {
                sleep(STEP).await;
            }
        })
        .await;
        within("the rest of the answer", waiting.wire.rest()).await.len()
    };
    let (ended, size) = tokio::join!(gateway.stop(), watch);

    assert_eq!((size, ended.cut_off), (SIZE, 0));
}

#[tokio::test]
async fn who_does_not_finish_is_cut_off_at_the_deadline() {
    let origin = Origin::start([Step::stall()]).await;
    let drain = "[drain]\naccept = \"10ms\"\ntimeout = \"300ms\"\n";
    let gateway = Gateway::start_with(drain, &one_tenant(&[origin.address])).await;
    let mut waiting = Client::connect(gateway.address()).await;
    waiting.send(head("GET /", &PLAIN)).await;
    arrived(&origin, 1).await;
    let started = Instant::now();

    let ended = gateway.stop().await;

    assert_eq!(ended.cut_off, 1);
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(waiting.answer_to("GET").await.status, 0);
}

#[tokio::test]
async fn an_http2_client_is_told_to_leave_and_keeps_its_streams() {
    let origin = Origin::start([Step::ok("finished").held()]).await;
    let drain = "[drain]\naccept = \"10s\"\n";
    let gateway = Gateway::start_with(drain, &one_tenant(&[origin.address])).await;
    let stream = TcpStream::connect(gateway.address()).await.expect("connect");
    let (mut sender, mut connection) = h2::client::handshake(stream).await.expect("a handshake");
    let request = http::Request::get("http://a.example/")
        .header("x-tenant-id", "acme")
        .body(())
        .expect("a request");
    let (answer, _) = sender.send_request(request, true).expect("room for a stream");
    let stream = async {
        arrived(&origin, 1).await;
        answer.await.expect("an answer").status()
    };

    let client = async {
        // The connection ends by itself, long before the listeners close: GOAWAY was heard, and
        // waited for the stream.
        let ended = async { (&mut connection).await };
        let released = async {
            arrived(&origin, 1).await;
            while sender.clone().ready().await.is_ok() {
                sleep(STEP).await;
            }
            origin.release(); // no new stream may begin now, and this one still finishes
        };
        let (status, ended, ()) = tokio::join!(stream, ended, released);
        (status, ended)
    };
    let started = Instant::now();
    let (status, ended) = tokio::select! {
        _ = gateway.stop() => panic!("the gateway ended before its listeners closed"),
        told = within("the end of the connection", client) => told,
    };

    assert_eq!(status, 200);
    assert!(ended.is_ok(), "{ended:?}");
    assert!(started.elapsed() < Duration::from_secs(9), "GOAWAY came late");
}

#[tokio::test]
async fn who_comes_while_the_listeners_accept_is_served_in_either_protocol() {
    let origin = Origin::saying("served").await;
    let drain = "[drain]\naccept = \"10s\"\n";
    let gateway = Gateway::start_with(drain, &one_tenant(&[origin.address])).await;
    let (address, admin) = (gateway.address(), gateway.app.admin_address().expect("an admin API"));

    let late = async {
        within("the end of readiness", async {
            let ready = head("GET /readyz", &["Host: localhost"]);
            while Client::connect(admin).await.ask(&ready).await.status != 503 {
                sleep(STEP).await;
            }
        })
        .await;
        for _ in 0..10 {
            let http1 = Client::connect(address).await.ask(head("GET /", &PLAIN)).await;
            let http2 = Hyper::h2(address).await.get("acme", "/").await;
            assert_eq!((http1.status, http2.status), (200, 200));
        }
    };
    tokio::select! {
        _ = gateway.stop() => panic!("the gateway ended before its listeners closed"),
        () = late => {}
    }
}

#[tokio::test]
async fn a_load_that_heeds_the_word_to_leave_loses_nothing_while_the_listeners_accept() {
    let origin = Origin::saying("served").await;
    let drain = "[drain]\naccept = \"20s\"\n";
    let gateway = Gateway::start_with_workers(2, drain, &one_tenant(&[origin.address])).await;
    let load = Load::start(gateway.address(), &["acme"], 4);
    load.serves(100).await;

    tokio::select! {
        _ = gateway.stop() => panic!("the gateway ended before its listeners closed"),
        () = async {
            load.serves(300).await;
            load.stop().await;
        } => {}
    }
}

#[tokio::test]
async fn what_is_cut_off_is_counted_by_connections() {
    let origin = Origin::start([Step::stall()]).await;
    let drain = "[drain]\naccept = \"0s\"\ntimeout = \"100ms\"\n";
    let gateway = Gateway::start_with(drain, &one_tenant(&[origin.address])).await;
    let mut client = Hyper::h2(gateway.address()).await;
    for _ in 0..3 {
        client.send(client.request("GET", "acme", "/", Frames::default()));
    }
    arrived(&origin, 3).await;

    assert_eq!(gateway.stop().await.cut_off, 1, "three streams of one connection");
}

#[tokio::test]
async fn a_gateway_without_work_ends_at_once_and_clean() {
    let origin = Origin::saying("served").await;
    let drain = "[drain]\naccept = \"0s\"\n";
    let gateway = Gateway::start_with_workers(2, drain, &one_tenant(&[origin.address])).await;
    let mut client = Hyper::h2(gateway.address()).await;
    assert_eq!(client.get("acme", "/").await.status, 200);
    let request = client.request("POST", "acme", "/", Frames::sized("hello"));
    assert_eq!(client.ask(request).await.status, 200);

    let started = Instant::now();
    let ended = gateway.stop().await;

    assert_eq!(ended.cut_off, 0);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
