//! Answers without an end, as of server-sent events: nothing of them waits in the gateway, and they
//! end at the endpoint once nobody hears them.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::world::client::{Frames, Hyper};
use crate::world::config::one_tenant_with;
use crate::world::feed::{Feed, Feeding};
use crate::world::gateway::Gateway;
use crate::world::h2_origin::Speaks;
use crate::world::tls::Certificates;
use crate::world::within;

/// How a client speaks.
#[derive(Clone, Copy, Debug)]
struct Spoken {
    http: Speaks,
    tls: bool,
}

struct World {
    feed: Feed,
    gateway: Gateway,
    certificates: Certificates,
    spoken: Spoken,
}

impl World {
    async fn start(endpoint: Speaks, spoken: Spoken) -> Self {
        let certificates = Certificates::of(&["a.example"]);
        let feed = Feed::start(endpoint).await;
        let protocol = if endpoint == Speaks::H2 { "protocol = \"h2\"" } else { "" };
        let routes = one_tenant_with(&[feed.address], protocol);
        let tls = if spoken.tls { certificates.listener() } else { String::new() };
        let gateway = Gateway::start_with(&tls, &routes).await;
        Self { feed, gateway, certificates, spoken }
    }

    async fn client(&self) -> Hyper {
        let address = self.gateway.address();
        let (http, alpn) = match self.spoken.http {
            Speaks::H1 => ("http/1.1", Speaks::H1),
            Speaks::H2 => ("h2", Speaks::H2),
        };
        match (self.spoken.tls, alpn) {
            (false, Speaks::H1) => Hyper::h1(address).await,
            (false, Speaks::H2) => Hyper::h2(address).await,
            (true, spoken) => {
                let stream = self.certificates.connect(address, "a.example", &[http]).await;
                match spoken {
                    Speaks::H1 => Hyper::h1_over(stream).await,
                    Speaks::H2 => Hyper::h2_over(stream).await,
                }
            }
        }
    }

    /// Asks for events: what feeds them, and where they arrive.
    async fn ask(&mut self, client: &mut Hyper) -> (Feeding, Incoming) {
        let request = client.request("GET", "acme", "/events", Frames::default());
        let answer = client.start(request).await.expect("the head comes before any event");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        (self.feed.next().await, answer.into_body())
    }
}

/// Sends an event, and waits until it has arrived.
async fn pass(feeding: &Feeding, body: &mut Incoming, event: &Bytes, what: &str) {
    feeding.send(event.clone()).await.expect("the gateway hears");
    let mut came = Vec::new();
    while came.len() < event.len() {
        let frame = within(what, body.frame()).await.expect("a part").expect("no error");
        came.extend_from_slice(&frame.into_data().expect("data"));
    }
    assert!(came == event[..], "{what}: {}", came.escape_ascii());
}

fn every_way() -> impl Iterator<Item = (Speaks, Spoken)> {
    let both = [Speaks::H1, Speaks::H2];
    let spoken = both.into_iter().flat_map(|http| [false, true].map(|tls| Spoken { http, tls }));
    spoken.flat_map(move |spoken| both.map(|endpoint| (endpoint, spoken)))
}

#[tokio::test]
async fn an_event_arrives_before_the_next_one_is_sent() {
    for (endpoint, spoken) in every_way() {
        let mut world = World::start(endpoint, spoken).await;
        let mut client = world.client().await;
        let (feeding, mut body) = world.ask(&mut client).await;
        for size in [1, 2, 30, 5_000, 1, 70_000, 3].into_iter().cycle().take(21) {
            let event = Bytes::from(format!("data: {}\n\n", "e".repeat(size)));
            pass(&feeding, &mut body, &event, &format!("{spoken:?} of {endpoint:?}")).await;
        }

        drop(feeding);

        let rest = within("the end", body.collect()).await.expect("an end in good order");
        assert!(rest.to_bytes().is_empty(), "{spoken:?} of {endpoint:?}");
    }
}

#[tokio::test]
async fn an_answer_without_end_ends_at_the_endpoint_when_its_client_leaves() {
    for (endpoint, spoken) in every_way() {
        let mut world = World::start(endpoint, spoken).await;
        let mut client = world.client().await;
        let (feeding, mut body) = world.ask(&mut client).await;
        let part = Bytes::from(vec![b'x'; 10_000]);
        for _ in 0..50 {
            pass(&feeding, &mut body, &part, &format!("{spoken:?} of {endpoint:?}")).await;
        }

        drop(body);
        // A client of HTTP/1.1 has no other way to leave.
        if let Speaks::H1 = spoken.http {
            drop(client);
            client = world.client().await;
        }

        within("the end at the endpoint", feeding.closed()).await;
        let (feeding, mut body) = world.ask(&mut client).await;
        pass(&feeding, &mut body, &part, "another answer").await;
    }
}
