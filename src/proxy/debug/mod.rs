//! What becomes of one request, told to a client that shows a debug token: gathered on the request's way
//! and sent with its answer, whoever has made that. A request that does not ask costs nothing.

mod dictionary;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{HeaderValue, VARY};
use http::request::Parts;
use tokio::time::Instant;

use crate::http1::room::AnswerHead;
use crate::model::fields::X_TENANTRY_DEBUG;
use crate::pool::Pool;
use crate::pool::standing::Standing;
use crate::resilience::retry::Refusal;
use crate::routing::explain::{self, Way};
use crate::routing::naming::Shown;
use crate::routing::table::Table;
use crate::telemetry::trace::Dial;

use super::choice::{Choice, Chosen};
use super::connection::Peer;
use super::error::ExchangeError;
use super::rescue;
use super::worker::Worker;

use dictionary::{Dictionary, Item};

/// What has become of a request so far.
#[derive(Debug)]
pub(super) struct Trail {
    started: Instant,
    generation: u64,
    naming: Vec<Way>,
    tenant: Option<Arc<str>>,
    route: Option<Arc<str>>,
    action: &'static str,
    authorized: Option<&'static str>,
    pool: Option<Arc<Pool>>,
    tries: Vec<Try>,
    refused: Option<&'static str>,
    /// What applies to the request.
    timeouts: Vec<(&'static str, Value)>,
    retry: Vec<(&'static str, Value)>,
}

/// A value that applies.
#[derive(Debug)]
enum Value {
    Text(String),
    Number(u32),
}

/// One attempt.
#[derive(Debug)]
struct Try {
    endpoint: Arc<str>,
    began: Instant,
    /// How long a new connection took; `None` = one was open.
    connect: Option<Duration>,
    took: Duration,
    came: Came,
}

/// What an attempt brought.
#[derive(Clone, Copy, Debug)]
enum Came {
    Answer(u16),
    Failure(&'static str),
}

/// The trail of a request that asks for it. One without a good token is served as if it had not asked.
pub(super) fn begin(
    worker: &Worker,
    peer: &Peer,
    table: &Table,
    head: &Parts,
    started: Instant,
) -> Option<Box<Trail>> {
    let tokens = worker.debug_tokens.as_ref()?;
    let mut shown = head.headers.get_all(&X_TENANTRY_DEBUG).iter();
    let token = shown.next()?;
    if shown.next().is_some() || !tokens.load().has(token.as_bytes()) {
        worker.meter.debugged("refused");
        return None;
    }
    worker.meter.debugged("told");
    let identity = peer.secured.as_ref().and_then(|secured| secured.identity());
    let mut held = None;
    let shown = Shown { certificate: identity, credential: table.credential(head, &mut held) };
    let named = table.name(head, &shown).ok();
    Some(Box::new(Trail {
        started,
        generation: table.generation,
        naming: explain::naming(table, head, &shown),
        tenant: named.map(|named| Arc::clone(&named.tenant.label().name)),
        route: None,
        action: "none",
        authorized: None,
        pool: None,
        tries: Vec::new(),
        refused: None,
        timeouts: Vec::new(),
        retry: Vec::new(),
    }))
}

impl Trail {
    /// This route takes the request.
    pub(super) fn takes(&mut self, route: Option<&Arc<str>>) {
        self.route = route.cloned();
    }

    /// This is what becomes of it.
    pub(super) fn chose(&mut self, chosen: &Chosen<'_>) {
        self.action = match chosen {
            Chosen::Forward(choice) => {
                self.applies(choice);
                "forward"
            }
            Chosen::Redirect(..) => "redirect",
            Chosen::Respond(..) => "respond",
            Chosen::Answered(_) => "answered",
        };
    }

    fn applies(&mut self, choice: &Choice<'_>) {
        let (limits, rule) = (choice.deadlines(), choice.retry_rule());
        let time = |time: Duration| Value::Text(humantime::format_duration(time).to_string());
        let bound = |limit: Option<Duration>| limit.map_or(Value::Text("none".to_owned()), time);
        let on: Vec<String> = rule.on.iter().map(ToString::to_string).collect();
        self.pool = Some(Arc::clone(choice.pool));
        self.timeouts = vec![
            ("total", bound(limits.total)),
            ("attempt", bound(limits.attempt)),
            ("first-byte", bound(limits.first_byte)),
            ("idle", time(limits.idle)),
            ("connect", time(limits.connect)),
            ("tls", time(limits.tls)),
        ];
        if let Some(wait) = &choice.pool.spec.wait {
            self.timeouts.push(("wait", time(wait.time)));
        }
        self.retry = vec![
            ("attempts", Value::Number(rule.attempts)),
            ("on", Value::Text(on.join(", "))),
            ("budget", Value::Text(rule.budget.to_string())),
            ("budget-floor", Value::Number(rule.budget_floor)),
            ("backoff", time(rule.backoff)),
            ("max-backoff", time(rule.max_backoff)),
        ];
    }

    /// A service was asked for it, or would have been, with this result.
    pub(super) fn authorized(&mut self, result: &'static str) {
        self.authorized = Some(result);
    }

    /// An endpoint was tried.
    pub(super) fn tried<T>(
        &mut self,
        endpoint: &Arc<str>,
        (began, dial): (Instant, Option<Dial>),
        brought: &Result<(AnswerHead, T), ExchangeError>,
    ) {
        let now = Instant::now();
        let came = match brought {
            Ok((answer, _)) => Came::Answer(answer.status().as_u16()),
            Err(ExchangeError::Attempt(error)) => Came::Failure(error.outcome().as_str()),
            Err(error) => Came::Failure(rescue::name(error)),
        };
        self.tries.push(Try {
            endpoint: Arc::clone(endpoint),
            began,
            connect: dial.map(|dial| dial.ended.unwrap_or(now) - dial.started),
            took: now - began,
            came,
        });
    }

    /// An endpoint was tried, and another one was faster.
    pub(super) fn gave_way(&mut self, endpoint: &Arc<str>, (began, dial): (Instant, Option<Dial>)) {
        let now = Instant::now();
        self.tries.push(Try {
            endpoint: Arc::clone(endpoint),
            began,
            connect: dial.map(|dial| dial.ended.unwrap_or(now) - dial.started),
            took: now - began,
            came: Came::Failure("cancelled"),
        });
    }

    /// Another attempt was not made.
    pub(super) fn gave_up(&mut self, refusal: Refusal) {
        self.refused = Some(refusal.reason());
    }

    /// Tells it with the answer. A cache may keep the answer for those alone that show the same token.
    pub(super) fn tell(&self, problem: Option<&'static str>, headers: &mut HeaderMap) {
        if let Some(told) = self.told(problem) {
            headers.insert(X_TENANTRY_DEBUG, told);
            headers.append(VARY, HeaderValue::from_name(X_TENANTRY_DEBUG));
        }
    }

    fn told(&self, problem: Option<&'static str>) -> Option<HeaderValue> {
        let mut out = Dictionary::default();
        out.member("generation", &Item::Whole(self.generation));
        if let Some(problem) = problem {
            out.member("problem", &Item::Word(problem));
        }
        let decisive = self.naming.last().filter(|way| way.decides);
        match (&self.tenant, decisive) {
            (Some(tenant), Some(way)) => {
                out.described("tenant", &Item::Text(tenant), &[("by", Item::Text(&way.way))]);
            }
            _ => {
                let ways = self.naming.iter().map(|way| (way.way.as_str(), way.says.as_str()));
                let ways =
                    ways.map(|(way, says)| (Item::Text(way), vec![("says", Item::Text(says))]));
                out.list("ways", ways);
            }
        }
        if let Some(route) = &self.route {
            out.member("route", &Item::Text(route));
        }
        out.member("action", &Item::Word(self.action));
        if let Some(result) = self.authorized {
            out.member("authorized", &Item::Word(result));
        }
        if let Some(pool) = &self.pool {
            self.tell_pool(pool, &mut out);
        }
        let since = |then: Instant| then.saturating_duration_since(self.started);
        out.member("time", &Item::Time(self.started.elapsed()));
        if let Some(first) = self.tries.first() {
            out.member("queue", &Item::Time(since(first.began)));
        }
        if self.pool.is_some() {
            out.list("attempts", self.tries.iter().map(|one| one.entry(since(one.began))));
        }
        if let Some(refused) = self.refused {
            out.member("not-retried", &Item::Word(refused));
        }
        for (key, list) in [("timeouts", &self.timeouts), ("retry", &self.retry)] {
            let said: Vec<_> = list.iter().map(|(key, value)| (*key, value.item())).collect();
            if !said.is_empty() {
                out.settings(key, &said);
            }
        }
        out.value()
    }

    /// The pool, and why not all of its endpoints may be picked.
    fn tell_pool(&self, pool: &Pool, out: &mut Dictionary) {
        let members = pool.members.load();
        let standings =
            members.all.iter().map(|one| (Arc::clone(&one.endpoint.label), Standing::of(one)));
        let out_of_use: Vec<_> = standings.filter(|(_, standing)| !standing.eligible).collect();
        let counts = [
            ("endpoints", Item::Whole(members.all.len() as u64)),
            ("eligible", Item::Whole((members.all.len() - out_of_use.len()) as u64)),
        ];
        out.described("pool", &Item::Text(&pool.label.name), &counts);
        if !out_of_use.is_empty() {
            let shown = out_of_use.iter().take(SHOWN);
            out.list(
                "out",
                shown.map(|(label, standing)| {
                    (Item::Text(label), vec![("why", Item::Text(&standing.why))])
                }),
            );
        }
    }
}

impl Value {
    fn item(&self) -> Item<'_> {
        match self {
            Self::Text(text) => Item::Text(text),
            Self::Number(number) => Item::Whole(u64::from(*number)),
        }
    }
}

impl Try {
    fn entry(&self, at: Duration) -> (Item<'_>, Vec<(&'static str, Item<'_>)>) {
        let mut said = vec![("at", Item::Time(at))];
        said.push(match self.connect {
            Some(connect) => ("connect", Item::Time(connect)),
            None => ("connection", Item::Word("reused")),
        });
        match self.came {
            Came::Answer(status) => {
                said.push(("first-byte", Item::Time(self.took)));
                said.push(("status", Item::Whole(u64::from(status))));
            }
            Came::Failure(why) => {
                said.push(("took", Item::Time(self.took)));
                said.push(("failed", Item::Word(why)));
            }
        }
        (Item::Text(&self.endpoint), said)
    }
}

/// Endpoints that are out of use and told of: enough to see what is wrong with a pool.
const SHOWN: usize = 8;
