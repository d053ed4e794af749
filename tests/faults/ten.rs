//! A gateway in front of ten endpoints, some of which are to break, with users, and somebody who looks at how the
//! gateway sees it.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::lag::Lag;
use super::load::Load;
use super::origin::{Apart, Mode, Origin, Speaks};
use super::own::{gateway, tied};
use super::report::{Form, Marks, Report, Seen};
use super::watch::{LOOK, Watch, client, eligible, pool};
use super::world::DEADLINE;
use super::world::gateway::Gateway;

/// How the gateway is set up. `pool` and `gateway` are further lines of the files.
pub(crate) struct Setup {
    pub(crate) pool: String,
    pub(crate) gateway: String,
    pub(crate) endpoints: Endpoints,
    /// Whether the pool is as it should be, by what the admin API says of it.
    pub(crate) is_well: Box<dyn Fn(&Value) -> bool>,
}

/// Where the requests go. The last ones are those that break.
#[derive(Default)]
pub(crate) struct Endpoints {
    /// Of the suite's own process; one may have many addresses, which a name leads to.
    pub(crate) here: Vec<Origin>,
    /// Each a process.
    pub(crate) apart: Vec<Apart>,
}

impl Setup {
    /// Ten endpoints, set up by these lines, which speak this.
    pub(crate) fn by(rules: &str, ten: &[Speaks]) -> Self {
        Self::with_apart(0, rules, ten)
    }

    /// Ten endpoints as the page shows them.
    pub(crate) fn plain() -> Self {
        Self::by(&rules(), &[const { Speaks::H1 }; 10])
    }

    /// As [`Setup::plain`], with processes for so many of them.
    pub(crate) fn apart(count: usize) -> Self {
        Self::with_apart(count, &rules(), &[const { Speaks::H1 }; 10])
    }

    /// As [`Setup::by`], with processes for so many of them.
    pub(crate) fn with_apart(count: usize, rules: &str, ten: &[Speaks]) -> Self {
        let mut endpoints = Endpoints::default();
        let (here, apart) = ten.split_at(ten.len() - count);
        for (number, speaks) in (1..).zip(here) {
            let origin = Origin::start(&format!("127.0.2.{number}:0"), speaks.clone());
            endpoints.here.push(origin);
        }
        endpoints.apart.extend(apart.iter().map(Apart::start));
        let here = endpoints.here.iter().map(|origin| origin.address);
        let addresses = here.chain(endpoints.apart.iter().map(|one| one.address)).collect();
        Self::of(addresses, rules, endpoints)
    }

    /// With these lines of the pool besides, unless somebody tries others.
    pub(crate) fn with(mut self, rules: &str) -> Self {
        if own_rules().is_none() {
            self.pool += rules;
        }
        self
    }

    /// As [`Setup::plain`]; the one that breaks listens at one address, and is reached at another one.
    pub(crate) fn with_one_behind(here: IpAddr, there: IpAddr) -> Self {
        let nine = (1..10).map(|number| format!("127.0.2.{number}:0"));
        let all = nine.chain([format!("{here}:0")]);
        let ten: Vec<Origin> = all.map(|address| Origin::start(&address, Speaks::H1)).collect();
        let mut addresses: Vec<SocketAddr> = ten.iter().map(|origin| origin.address).collect();
        addresses.iter_mut().filter(|one| one.ip() == here).for_each(|one| one.set_ip(there));
        Self::of(addresses, &rules(), Endpoints { here: ten, apart: Vec::new() })
    }

    /// Where the one that breaks listens.
    pub(crate) fn one(&self) -> SocketAddr {
        self.endpoints.here.last().expect("an endpoint").address
    }

    fn of(addresses: Vec<SocketAddr>, rules: &str, endpoints: Endpoints) -> Self {
        let quoted: Vec<String> =
            addresses.iter().map(|address| format!("\"{address}\"")).collect();
        let pool = format!("endpoints = [{}]\n{rules}", quoted.join(", "));
        let is_well = Box::new(|pool: &Value| eligible(pool) == 10);
        Self { pool, gateway: String::new(), endpoints, is_well }
    }

    /// Writes the files, starts nothing.
    pub(crate) fn prepare(self) -> Ten {
        let gateway = Gateway::prepare(&self.gateway, &routes(&self.pool, TENANT));
        let admin = gateway.admin_url();
        let admin = admin.strip_prefix("http://").and_then(|address| address.parse().ok());
        let admin = admin.expect("the admin API's address");
        let Self { pool, endpoints, is_well, .. } = self;
        let process = Arc::default();
        Ten { gateway, endpoints, pool, admin, process, is_well: is_well.into() }
    }

    /// Starts the gateway and waits until all is well.
    pub(crate) async fn start(self) -> Ten {
        self.start_as(tied(gateway())).await
    }

    /// As [`Setup::start`], by a command that runs the gateway.
    pub(crate) async fn start_as(self, command: Command) -> Ten {
        let mut ten = self.prepare();
        ten.launch(command).await;
        ten
    }
}

pub(crate) struct Ten {
    pub(crate) gateway: Gateway,
    endpoints: Endpoints,
    pub(crate) pool: String,
    pub(crate) admin: SocketAddr,
    /// The gateway's.
    process: Arc<AtomicU32>,
    is_well: Rc<dyn Fn(&Value) -> bool>,
}

impl Ten {
    /// Starts the gateway by this command and waits until all is well.
    pub(crate) async fn launch(&mut self, command: Command) {
        self.gateway.launch_as(command);
        self.process.store(self.gateway.id(), Ordering::Relaxed);
        let is_well = Rc::clone(&self.is_well);
        self.becomes(|pool| is_well(pool)).await;
    }

    /// Waits until the pool is so, as the admin API tells of it.
    pub(crate) async fn becomes(&mut self, wanted: impl Fn(&Value) -> bool) {
        let (client, started) = (client(self.admin), Instant::now());
        while !pool(&client).await.is_some_and(|pool| wanted(&pool)) {
            let hopes = started.elapsed() < DEADLINE && self.gateway.ended().is_none();
            assert!(hopes, "it does not become so:\n{}", self.told());
            sleep(LOOK).await;
        }
    }

    /// The gateway's log, without its lines for each request.
    pub(crate) fn told(&self) -> String {
        let log = self.gateway.log();
        log.lines().filter(|line| !line.starts_with('{')).collect::<Vec<_>>().join("\n")
    }

    /// Has the one that breaks behave in this way.
    pub(crate) fn be(&self, mode: Mode) {
        self.last_be(1, mode);
    }

    /// Has the last ones behave in this way.
    pub(crate) fn last_be(&self, count: usize, mode: Mode) {
        self.endpoints.here.iter().rev().take(count).for_each(|origin| origin.be(mode));
    }

    /// How many connections and requests have met an endpoint that was not sound.
    pub(crate) fn hurt(&self) -> usize {
        self.endpoints.here.iter().map(Origin::hurt).sum()
    }

    /// The one that breaks, where it is a process.
    pub(crate) fn apart(&mut self) -> &mut Apart {
        self.all_apart().last_mut().expect("an endpoint that is a process")
    }

    /// All that are processes.
    pub(crate) fn all_apart(&mut self) -> &mut [Apart] {
        &mut self.endpoints.apart
    }

    /// What the endpoints have seen.
    fn seen(&self) -> Seen {
        let Endpoints { here, apart } = &self.endpoints;
        Seen {
            requests: here.iter().map(Origin::seen).chain(apart.iter().map(Apart::seen)).sum(),
            connections: here.iter().map(Origin::opened).sum(),
        }
    }

    /// Breaks something under load, mends it, and waits until all is well again.
    pub(crate) async fn trial(
        &mut self,
        form: &Form,
        breaks: impl AsyncFnOnce(&mut Self),
        mends: impl AsyncFnOnce(&mut Self),
    ) -> Report {
        let watch = Watch::start(self.admin, Rc::clone(&self.is_well));
        let lag = Lag::start(Arc::clone(&self.process));
        let load = Load::start(self.gateway.listener(), *form);
        sleep(form.before).await;
        let (broken, before) = (Instant::now(), self.seen());
        breaks(self).await;
        sleep_until(broken + form.broken).await;
        let mended = Instant::now();
        mends(self).await;
        if timeout(DEADLINE, watch.well(mended)).await.is_err() {
            panic!("it is not well again:\n{}", self.told());
        }
        // As of now, not of when that was seen first: what is due from here on meets what is mended, and is not in `seen`.
        let (back, seen) = (Instant::now(), self.seen().since(before));
        sleep(form.after).await;
        let samples = load.stop().await;
        let marks = Marks { broken, mended, out: watch.out(broken), back };
        assert!(self.gateway.ended().is_none(), "it has ended:\n{}", self.told());
        Report::of(&samples, marks, seen, lag.worst())
    }
}

/// What the pool is set up by beside its endpoints: the page's rules, or those that somebody wants to try.
pub(crate) fn rules() -> String {
    own_rules().unwrap_or_else(|| [HEALTH, TIMEOUTS, EJECT].concat())
}

pub(crate) fn own_rules() -> Option<String> {
    std::env::var("TENANTRY_FAULTS_RULES").ok().map(|rules| rules + "\n")
}

/// The routes file, with these tenants.
pub(crate) fn routes(pool: &str, tenants: &str) -> String {
    format!("[pools.shop]\n{pool}\n{tenants}")
}

/// The tenant of the load.
pub(crate) const TENANT: &str = "[tenants.acme]\npool = \"shop\"\n";
/// The lines of the pool are those that docs/faults.md shows.
pub(crate) const TIMEOUTS: &str =
    "timeouts = { connect = \"250ms\", attempt = \"500ms\", total = \"5s\" }\n";
pub(crate) const EJECT: &str = "eject = { failures = 5, base = \"1s\" }\n";
pub(crate) const HEALTH: &str = "health = { http = \"/healthz\", interval = \"500ms\", timeout = \"250ms\", rise = 2, fall = 2 }\n";
