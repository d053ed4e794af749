//! Raw bytes of a client into the whole gateway.
//!
//! The first byte of an input is a manner, the rest is what the client sends. One more request
//! follows it, by which the gateway ends the connection, if it is taken for one; in the other way of
//! two the client ends it at once. What an endpoint gets must be requests that nobody can read in
//! two ways, introduced by the gateway, of its own tenant.

use super::manner::Manner;
use super::recorder::Recorder;
use super::strict::{self, Message};
use super::strict_answer;
use super::world::{Ending, World, get, say};

/// The target.
#[derive(Debug)]
pub struct Requests {
    world: World,
    own: Recorder,
    other: Recorder,
}

impl Requests {
    /// Starts a gateway with two tenants, each with an endpoint of its own.
    pub fn start() -> Self {
        let (world, (own, other)) = World::start(two_tenants);
        Self { world, own, other }
    }

    /// Runs one input.
    pub fn run(&self, input: &[u8]) {
        let (manner, bytes) = Manner::of(input);
        self.world.judge("other", async {
            let address = self.world.address();
            let answer = match manner.is_other() {
                true => say(address, manner, bytes, Ending::AtOnce).await,
                false => {
                    let bytes = [bytes, &get("acme")].concat();
                    say(address, manner, &bytes, Ending::AfterSilence).await
                }
            };
            let is_http2 = bytes.starts_with(b"PRI ");
            if !is_http2 && !manner.breaks_off() {
                let good = answer.is_empty() || answer.starts_with(b"HTTP/1.");
                assert!(good, "no answer: {}", answer.escape_ascii());
                judge_answers(bytes, &answer);
            }
            judge_arrived(&self.own, "acme", "127.0.0.1").await;
            judge_arrived(&self.other, "other", "127.0.0.1").await;
        });
    }
}

/// Where it is beyond doubt what was asked, it is beyond doubt what was answered.
fn judge_answers(sent: &[u8], heard: &[u8]) {
    let Ok((asked, false)) = strict::requests(sent) else { return };
    let mut to_head: Vec<bool> =
        asked.iter().map(|message| message.line.starts_with("HEAD ")).collect();
    to_head.push(false); // the one that follows
    if let Err(why) = strict_answer::count(heard, &to_head) {
        panic!("{why}, in {}", heard.escape_ascii());
    }
}

/// The endpoints of `acme` and of `other`, and the routes of both. One request is one attempt, so that
/// what arrives can be counted.
pub(crate) async fn two_tenants() -> ((Recorder, Recorder), String) {
    let (own, other) = (Recorder::start().await, Recorder::start().await);
    let pool = |name: &str, recorder: &Recorder| {
        let keys = "retry = { attempts = 1 }\neject = { failures = 0 }";
        format!("[pools.{name}]\nendpoints = [\"{}\"]\n{keys}\n", recorder.address)
    };
    let tenants = "[tenants.acme]\npool = \"own\"\n[tenants.other]\npool = \"other\"\n";
    let routes = format!("{}{}{tenants}", pool("own", &own), pool("other", &other));
    ((own, other), routes)
}

/// All that arrived must have been through the gateway's hands: a request that came in within
/// another one has not.
pub(crate) async fn judge_arrived(recorder: &Recorder, tenant: &str, client: &str) -> Vec<Message> {
    let arrived = recorder.take().await;
    for message in &arrived {
        assert_eq!(message.all("x-tenant-id"), [tenant], "{}: {message:?}", message.told());
        assert_eq!(message.all("x-forwarded-for"), [client], "{message:?}");
        assert_eq!(message.all("x-request-id").len(), 1, "{message:?}");
    }
    arrived
}
