//! Raw bytes of an endpoint as its answer.
//!
//! The first byte of an input is a manner, the second chooses what is asked, and the rest is what
//! the endpoint says: in HTTP/1.1, or, in the other way of two, frames of HTTP/2. What the client hears must be one answer
//! that nobody can read in two ways, and whole only if the endpoint's was.

use super::manner::Manner;
use super::origin::Origin;
use super::recorder::Recorder;
use super::strict_answer::{self, Answer, Said};
use super::world::{Ending, World, say};

/// The target.
#[derive(Debug)]
pub struct Answers {
    world: World,
    http1: Origin,
    http2: Origin,
    _sound: Recorder,
}

impl Answers {
    /// Starts a gateway with an odd endpoint of each protocol and a sound one.
    pub fn start() -> Self {
        let (world, (http1, http2, sound)) = World::start(async || {
            let (http1, http2) = (Origin::start(false).await, Origin::start(true).await);
            let sound = Recorder::start().await;
            let pool = |name: &str, address, keys: &str| {
                let own = "retry = { attempts = 1 }\neject = { failures = 0 }";
                let pool = format!("[pools.{name}]\nendpoints = [\"{address}\"]\n{own}\n{keys}\n");
                format!("{pool}[tenants.{name}]\npool = \"{name}\"\n")
            };
            let routes = pool("http1", http1.address, "")
                + &pool("http2", http2.address, "protocol = \"h2\"")
                + &pool("sound", sound.address, "");
            ((http1, http2, sound), routes)
        });
        Self { world, http1, http2, _sound: sound }
    }

    /// Runs one input.
    pub fn run(&self, input: &[u8]) {
        let (manner, input) = Manner::of(input);
        let Some((ask, words)) = input.split_first() else { return };
        let is_http2 = manner.is_other();
        let (origin, tenant) =
            if is_http2 { (&self.http2, "http2") } else { (&self.http1, "http1") };
        let (request, to_head) = ask_for(*ask, tenant);
        origin.shall_say(manner, words);
        self.world.judge("sound", async {
            let heard =
                say(self.world.address(), Manner::of(b"0").0, request.as_bytes(), Ending::Never)
                    .await;
            let heard = match strict_answer::read(&heard, to_head) {
                Ok(Said::Whole(answer)) => answer,
                Ok(Said::Cut | Said::Nothing) => {
                    let begun = heard.starts_with(b"HTTP/1.1 ");
                    return assert!(begun, "no answer: {}", heard.escape_ascii());
                }
                Err(why) => panic!("{why}, in {}", heard.escape_ascii()),
            };
            if !is_http2 && is_forwarded(&heard) {
                compare(&heard, strict_answer::read(words, to_head));
            }
        });
    }
}

/// The request that a byte stands for, and whether its answer has no body.
fn ask_for(byte: u8, tenant: &str) -> (String, bool) {
    let (method, body) = match byte % 3 {
        0 => ("GET", ""),
        1 => ("HEAD", ""),
        _ => ("POST", "Content-Length: 5\r\n"),
    };
    let end = if body.is_empty() { "" } else { "hello" };
    let fields = format!("Host: a\r\nX-Tenant-ID: {tenant}\r\nConnection: close\r\n{body}");
    (format!("{method} /a HTTP/1.1\r\n{fields}\r\n{end}"), method == "HEAD")
}

/// Whether an answer is the endpoint's: the gateway's own did not come by any way.
fn is_forwarded(answer: &Answer) -> bool {
    answer.has("via")
}

/// What both readers find whole must be the same; what is known to be cut must not be whole. What
/// the strict reader refuses, the gateway may have a rule for.
fn compare(heard: &Answer, said: Result<Said, String>) {
    match said {
        Ok(Said::Cut) => panic!("whole, and the endpoint's was not: {heard:?}"),
        Ok(Said::Whole(said)) => {
            let same = (heard.status, &heard.body) == (said.status, &said.body);
            assert!(same, "heard {heard:?} where the endpoint said {said:?}");
        }
        Ok(Said::Nothing) | Err(_) => {}
    }
}
