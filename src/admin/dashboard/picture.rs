//! What the dashboard and `tenantry top` show of one instant.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::admin::endpoints::health::unready;
use crate::admin::{State, reply};
use crate::control::generation::{Fault, Live};
use crate::control::quarantine;
use crate::control::roster::{Known, Page, Wanted};
use crate::telemetry::recent::{Chart, POINT, Rates};

use super::pools::{Board, Pools};

/// What a watcher wants to see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::admin) struct Ask {
    /// The tenants. The search is for pools too.
    pub(in crate::admin) tenants: Wanted,
    /// One tenant that is looked at closely.
    pub(in crate::admin) tenant: Option<String>,
}

/// What is to be seen at one instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// When it was made.
    pub at: String,
    /// Of the program.
    pub version: String,
    /// Since the start.
    pub uptime_seconds: u64,
    /// The number of the table that is live; 0 = none yet.
    pub generation: u64,
    /// When it went live.
    pub live_since: Option<String>,
    /// Why it should not be sent traffic.
    pub unready: Option<String>,
    /// The files were broken at the start: the copy on disk serves.
    pub serving_last_good: bool,
    /// Since when reloads of the routes fail.
    pub failed_since: Option<String>,
    /// The first problems of all files.
    pub problems: Vec<Trouble>,
    /// How many there are.
    pub problems_total: usize,
    /// Keys of `gateway.toml` that have changed and take effect at the next start.
    pub needs_restart: Vec<String>,
    /// All requests.
    pub total: Total,
    /// The time between two points of a chart.
    pub point_seconds: u64,
    /// How many tenants are served, worked on, and refused.
    pub standing: Standing,
    /// The tenants that were asked for; `None` while nothing is live.
    pub tenants: Option<Page>,
    /// The one that is looked at closely; `None` where there is none of this id.
    pub tenant: Option<Known>,
    /// The pools that were asked for.
    pub pools: Pools,
}

/// All requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Total {
    /// Over how many seconds the rates are.
    pub rates_over_seconds: f64,
    /// Rates and latency.
    #[serde(flatten)]
    pub rates: Rates,
    /// Answers of the gateway itself to problems.
    pub own_answers_per_second: f64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Connections of clients.
    pub connections: u64,
    /// The history; `None` where it is the one that was sent last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chart: Option<Chart>,
}

/// How many tenants are in each state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Served.
    pub active: usize,
    /// Worked on.
    pub maintenance: usize,
    /// Refused.
    pub suspended: usize,
    /// Not served, since their files are broken.
    #[serde(default)]
    pub quarantined: usize,
}

/// A problem of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Whose: `routes`, `gateway`, `certificates`.
    pub of: String,
    /// File, line and column, as in `routes.toml:3:7`.
    pub place: String,
    /// The key; `None` where the text is no TOML.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Makes pictures of one instant for several watchers. What they all see is made once.
pub(super) struct Painter<'s> {
    state: &'s State,
    live: Arc<Live>,
    board: Board,
    problems: Vec<Trouble>,
    problems_total: usize,
}

impl<'s> Painter<'s> {
    /// Looks at everything once.
    pub(super) fn new(state: &'s State) -> Self {
        let live = state.live.load();
        let front = state.front.load();
        let certificates = state.certificates.load();
        let held = quarantine::problems(live.quarantine());
        let all = [
            ("routes", &live.problems),
            ("routes", &held),
            ("gateway", &front.problems),
            ("certificates", &certificates.problems),
        ];
        let problems_total = all.iter().map(|(_, faults)| faults.len()).sum();
        let told = all.iter().flat_map(|(of, faults)| faults.iter().map(|fault| (*of, fault)));
        let problems = told.map(|(of, fault)| trouble(of, fault)).take(PROBLEMS).collect();
        let board = Board::new(&live, &state.metrics);
        Self { state, live, board, problems, problems_total }
    }

    /// The picture for a watcher.
    pub(super) fn picture(&self, ask: &Ask) -> Picture {
        let (state, live) = (self.state, &self.live);
        let tenant = ask.tenant.as_deref().and_then(|id| state.roster.find(id));
        let tenants = state.roster.page(&ask.tenants);
        let pools = self.board.pools(&self.state.metrics, ask, tenants.as_ref(), tenant.as_ref());
        let standing = &live.standing;
        Picture {
            at: reply::time(SystemTime::now()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: state.about.started.elapsed().as_secs(),
            generation: live.generation,
            live_since: (live.generation > 0).then(|| reply::time(live.since)),
            unready: unready(state).map(str::to_owned),
            serving_last_good: live.serving_last_good,
            failed_since: live.failed_since.map(reply::time),
            problems: self.problems.clone(),
            problems_total: self.problems_total,
            needs_restart: state
                .front
                .load()
                .needs_restart
                .iter()
                .map(ToString::to_string)
                .collect(),
            total: self.total(ask.tenants.charts),
            point_seconds: POINT.as_secs(),
            standing: Standing {
                active: standing.active,
                maintenance: standing.maintenance,
                suspended: standing.suspended,
                quarantined: standing.quarantined,
            },
            tenants,
            tenant,
            pools,
        }
    }

    fn total(&self, chart: bool) -> Total {
        let open = self.state.metrics.open();
        self.state.metrics.recent(|recent| Total {
            rates_over_seconds: (recent.span().as_secs_f64() * 10.0).round() / 10.0,
            rates: recent.total(),
            own_answers_per_second: recent.own_answers(),
            in_flight: open.exchanges,
            connections: open.connections,
            chart: chart.then(|| recent.total_chart()),
        })
    }
}

fn trouble(of: &str, fault: &Fault) -> Trouble {
    let mut place = fault.file.display().to_string();
    for number in [fault.line, fault.column].into_iter().flatten() {
        place += &format!(":{number}");
    }
    Trouble {
        of: of.to_owned(),
        place,
        key: fault.key.clone(),
        what: fault.what.clone(),
        hint: fault.hint.clone(),
    }
}

/// 50: more than anybody mends before looking again; `/api/v1/config` has all.
const PROBLEMS: usize = 50;
