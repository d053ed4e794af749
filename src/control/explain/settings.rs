//! What applies to a request that is forwarded: each value, and which level set it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Files;
use crate::config::places::{self, Steps};
use crate::config::spec::{Protocol, RetryOn, RetrySpec, TimeoutsSpec};
use crate::pool::Pool;
use crate::resilience::deadline::Deadlines;
use crate::resilience::retry::RetryRule;
use crate::routing::route::Route;

/// One value that applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// As in `timeouts.total`.
    pub key: String,
    /// As in `5s`.
    pub value: String,
    /// `route`, `pool` or `built in`.
    pub set_by: String,
    /// As in `routes.toml:12`.
    pub place: Option<String>,
}

/// What applies to a request to this pool by this route, which stands at `at` in the files.
pub(super) fn of(
    route: Option<&Route>,
    at: Option<Steps>,
    pool: &Pool,
    files: &Files,
) -> Vec<Setting> {
    let mut list =
        List { at: at.unwrap_or_default(), pool: pool.label.name.as_ref(), rows: Vec::new() };
    let spec = &pool.spec;
    let timeouts = route.map_or(&TimeoutsSpec::UNSAID, |route| &route.timeouts);
    let retry = route.map_or(&RetrySpec::UNSAID, |route| &route.retry);
    list.of_pool("protocol", if spec.protocol == Protocol::H1 { "h1" } else { "h2" });
    list.of_pool("balance", &spec.balance);
    list.of_pool("panic-below", &spec.panic_below.to_string());
    list.timeouts(timeouts, &spec.timeouts);
    list.retry(retry, &spec.retry);
    list.placed(files)
}

struct Row {
    key: &'static str,
    value: String,
    set_by: Option<&'static str>,
    /// Where a file may say it; the first that does counts.
    places: Vec<Steps>,
}

struct List<'l> {
    at: Steps,
    pool: &'l str,
    rows: Vec<Row>,
}

impl List<'_> {
    /// A value of the pool alone; whether a file says it is found out with its place.
    fn of_pool(&mut self, key: &'static str, value: &str) {
        let places = vec![self.in_pool(key)];
        self.rows.push(Row { key, value: value.to_owned(), set_by: None, places });
    }

    /// A value of a route, else of its pool, else built in.
    fn of_both(&mut self, key: &'static str, value: String, in_route: bool, in_pool: bool) {
        let (set_by, places) = match (in_route, in_pool) {
            // The short form of the one deadline that most routes need.
            (true, _) if key == "timeouts.total" => {
                ("route", vec![self.in_route(key), self.in_route("timeout")])
            }
            (true, _) => ("route", vec![self.in_route(key)]),
            (false, true) => ("pool", vec![self.in_pool(key)]),
            (false, false) => ("built in", Vec::new()),
        };
        self.rows.push(Row { key, value, set_by: Some(set_by), places });
    }

    fn timeouts(&mut self, route: &TimeoutsSpec, pool: &TimeoutsSpec) {
        let all = Deadlines::resolve(route, pool);
        let mut row =
            |key, value: Option<Duration>, route: Option<Duration>, pool: Option<Duration>| {
                let value = value.map_or("none".to_owned(), span);
                self.of_both(key, value, route.is_some(), pool.is_some());
            };
        row("timeouts.total", all.total, route.total, pool.total);
        row("timeouts.attempt", all.attempt, route.attempt, pool.attempt);
        row("timeouts.first-byte", all.first_byte, route.first_byte, pool.first_byte);
        row("timeouts.idle", Some(all.idle), route.idle, pool.idle);
        row("timeouts.connect", Some(all.connect), route.connect, pool.connect);
        row("timeouts.tls", Some(all.tls), route.tls, pool.tls);
    }

    fn retry(&mut self, route: &RetrySpec, pool: &RetrySpec) {
        let all = RetryRule::resolve(route, pool);
        let on: Vec<String> = all.on.iter().map(failure).collect();
        let rows = [
            (
                "retry.attempts",
                all.attempts.to_string(),
                route.attempts.is_some(),
                pool.attempts.is_some(),
            ),
            ("retry.on", on.join(", "), route.on.is_some(), pool.on.is_some()),
            ("retry.budget", all.budget.to_string(), route.budget.is_some(), pool.budget.is_some()),
            (
                "retry.budget-floor",
                all.budget_floor.to_string(),
                route.budget_floor.is_some(),
                pool.budget_floor.is_some(),
            ),
            ("retry.backoff", span(all.backoff), route.backoff.is_some(), pool.backoff.is_some()),
            (
                "retry.max-backoff",
                span(all.max_backoff),
                route.max_backoff.is_some(),
                pool.max_backoff.is_some(),
            ),
            (
                "retry.replay",
                crate::base::units::ByteSize(all.replay).to_string(),
                route.replay.is_some(),
                pool.replay.is_some(),
            ),
        ];
        for (key, value, in_route, in_pool) in rows {
            self.of_both(key, value, in_route, in_pool);
        }
    }

    fn in_route(&self, key: &str) -> Steps {
        let parts: Vec<&str> = key.split('.').collect();
        self.at.iter().cloned().chain(places::names(&parts)).collect()
    }

    fn in_pool(&self, key: &str) -> Steps {
        let parts: Vec<&str> = ["pools", self.pool].into_iter().chain(key.split('.')).collect();
        places::names(&parts)
    }

    fn placed(self, files: &Files) -> Vec<Setting> {
        let wanted: Vec<Steps> = self.rows.iter().flat_map(|row| row.places.clone()).collect();
        let mut found = places::find(files, &wanted).into_iter();
        let settings = self.rows.into_iter().map(|row| {
            let mut places = found.by_ref().take(row.places.len()).collect::<Vec<_>>().into_iter();
            let place = places.find_map(|place| place);
            let by_pool = if place.is_some() { "pool" } else { "built in" };
            let set_by = row.set_by.unwrap_or(by_pool).to_owned();
            Setting { key: row.key.to_owned(), value: row.value, set_by, place }
        });
        settings.collect()
    }
}

fn span(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

fn failure(on: &RetryOn) -> String {
    match on {
        RetryOn::Connect => "connect".to_owned(),
        RetryOn::Reset => "reset".to_owned(),
        RetryOn::Timeout => "timeout".to_owned(),
        RetryOn::Status(status) => status.as_u16().to_string(),
    }
}
