//! The duties of docs/http.md, each shown with raw bytes. **The oracle:** what the endpoint got,
//! read by a parser that forgives nothing, is exactly the requests that were routed, no more, no
//! fewer, no other.

mod answers;
mod bodies;
mod desync;
mod fields;
mod framing;
mod passing;
mod targets;

use crate::world::client::Client;
use crate::world::config::{NO_RETRY, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::recorder::Recorder;
use crate::world::strict::Message;

/// A gateway before an endpoint that tells each request from the next as strictly as can be.
struct World {
    recorder: Recorder,
    gateway: Gateway,
}

/// What became of the bytes of one connection.
struct Outcome {
    /// The requests that the endpoint got.
    routed: Vec<Message>,
    /// The statuses that the client got.
    statuses: Vec<u16>,
    /// Its last answer.
    last: Answer,
    /// The connection was closed after them.
    closed: bool,
}

impl Outcome {
    /// Method, target and body of each.
    fn told(&self) -> Vec<String> {
        self.routed.iter().map(|message| message.told().trim_end().to_owned()).collect()
    }
}

impl World {
    async fn start() -> Self {
        let recorder = Recorder::start().await;
        let routes = one_tenant_with(&[recorder.address], NO_RETRY);
        let gateway = Gateway::start(&routes).await;
        Self { recorder, gateway }
    }

    /// Sends these bytes, in which `count` requests may be seen, and judges what came of them. The
    /// connection is asked once more, and so is the one to the endpoint: what was left in either
    /// would come to light.
    async fn send(&self, bytes: &[u8], count: usize) -> Outcome {
        let what = String::from_utf8_lossy(bytes).into_owned();
        let mut client = Client::connect(self.gateway.address()).await;
        client.send(bytes).await;
        let method = what.split(' ').next().unwrap_or_default().to_owned();
        let (mut statuses, mut last) = (Vec::new(), Answer::default());
        while statuses.len() < count {
            let answer = client.answer_to(&method).await;
            if answer.status == 0 {
                break;
            }
            statuses.push(answer.status);
            last = answer;
        }
        client.send(get("/again")).await;
        let again = client.answer_to("GET").await;
        assert!(
            matches!((again.status, again.text().as_str()), (0, _) | (200, "/again")),
            "{what:?}: the connection is out of step: {again:?}"
        );
        let anew = Client::connect(self.gateway.address()).await.ask(get("/anew")).await;
        assert_eq!((anew.status, anew.text().as_str()), (200, "/anew"), "{what:?}");

        let mut routed = self.recorder.take().await;
        let told = |message: &Message| message.line.clone();
        let lines: Vec<String> = routed.iter().map(told).collect();
        let mut drop_one = |line: &str| {
            let at = routed.iter().position(|message| message.line == line);
            routed.remove(at.unwrap_or_else(|| panic!("{what:?}: no {line} in {lines:?}")));
        };
        drop_one("GET /anew HTTP/1.1");
        let closed = again.status == 0;
        if !closed {
            drop_one("GET /again HTTP/1.1");
        }
        let answered = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(routed.len(), answered, "{what:?}: answers {statuses:?}, upstream {lines:?}");
        Outcome { routed, statuses, last, closed }
    }

    /// These bytes are refused with 400, and nothing of them reaches the endpoint whole.
    async fn refuses(&self, bytes: &[u8]) {
        let outcome = self.send(bytes, 1).await;
        let what = String::from_utf8_lossy(bytes);
        assert_eq!((outcome.statuses.as_slice(), outcome.told()), (&[400][..], vec![]), "{what:?}");
    }

    /// These bytes are one request, which the endpoint gets like this.
    async fn routes(&self, bytes: &[u8], expected: &str) -> Message {
        let mut outcome = self.send(bytes, 1).await;
        let what = String::from_utf8_lossy(bytes);
        assert_eq!(outcome.told(), [expected.trim_end()], "{what:?}: {:?}", outcome.statuses);
        outcome.routed.remove(0)
    }
}

/// A request of `acme` for `a`, with further lines of fields, each with its end, and a body.
fn request(line: &str, fields: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = format!("{line} HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n");
    [head.as_bytes(), fields.as_ref(), b"\r\n", body.as_ref()].concat()
}

fn get(target: &str) -> Vec<u8> {
    request(&format!("GET {target}"), "", "")
}

/// What nobody may ever see as a request of its own.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n";
