//! A gateway in front of ten endpoints, one of which is to break, with users, and somebody who looks at how the
//! gateway sees it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use serde_json::Value;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::client::Client;
use super::load::Load;
use super::origin::{Apart, Mode, Origin};
use super::report::{Form, Marks, Report, TOO_LATE};
use super::world::gateway::Gateway;
use super::world::{DEADLINE, PROGRAM};

/// How the gateway is set up. `pool` and `gateway` are further lines of the files.
pub(crate) struct Setup {
    pub(crate) pool: String,
    pub(crate) gateway: String,
    pub(crate) endpoints: Endpoints,
    /// Whether the pool is as it should be, by what the admin API says of it.
    pub(crate) is_well: Box<dyn Fn(&Value) -> bool>,
}

/// Where the requests go.
pub(crate) enum Endpoints {
    /// Nine that stay well, and one that will not.
    Ten(Vec<Origin>, One),
    /// One that has all addresses, which a name leads to.
    Named(Origin),
}

/// The one that breaks.
pub(crate) enum One {
    Here(Origin),
    Apart(Apart),
}

impl One {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Here(origin) => origin.address,
            Self::Apart(apart) => apart.address,
        }
    }

    fn seen(&self) -> usize {
        match self {
            Self::Here(origin) => origin.seen(),
            Self::Apart(apart) => apart.seen(),
        }
    }
}

impl Setup {
    /// Nine endpoints and this one, with health checks.
    pub(crate) async fn with(one: One, tls: Option<Arc<ServerConfig>>) -> Self {
        let mut nine = Vec::new();
        for number in 1..10 {
            nine.push(Origin::start(&format!("127.0.2.{number}:0"), tls.clone()).await);
        }
        let addresses: Vec<String> =
            nine.iter().map(|origin| origin.address).chain([one.address()]).map(quoted).collect();
        let pool = format!("endpoints = [{}]\n{HEALTH}{TIMEOUTS}{EJECT}", addresses.join(", "));
        let is_well = Box::new(|pool: &Value| eligible(pool) == 10);
        Self { pool, gateway: String::new(), endpoints: Endpoints::Ten(nine, one), is_well }
    }

    /// Ten endpoints of the suite's own process.
    pub(crate) async fn plain() -> Self {
        Self::with(One::Here(Origin::start(THE_ONE, None).await), None).await
    }

    /// As [`Setup::plain`], with a process for the one that breaks.
    pub(crate) async fn apart() -> Self {
        Self::with(One::Apart(Apart::start(THE_ONE)), None).await
    }

    /// Writes the files, starts nothing.
    pub(crate) fn prepare(self) -> Ten {
        let gateway = Gateway::prepare(&self.gateway, &routes(&self.pool, TENANT));
        let admin = gateway.admin_url();
        let admin = admin.strip_prefix("http://").and_then(|address| address.parse().ok());
        let admin = admin.expect("the admin API's address");
        let Self { pool, endpoints, is_well, .. } = self;
        Ten { gateway, endpoints, pool, admin, is_well: is_well.into() }
    }

    /// Starts the gateway and waits until all is well.
    pub(crate) async fn start(self) -> Ten {
        self.start_as(Command::new(PROGRAM)).await
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
    admin: SocketAddr,
    is_well: Rc<dyn Fn(&Value) -> bool>,
}

impl Ten {
    /// Starts the gateway by this command and waits until all is well.
    pub(crate) async fn launch(&mut self, command: Command) {
        self.gateway.launch_as(command);
        let client = Client::new(self.admin);
        let started = Instant::now();
        while !pool_of(&client).await.is_some_and(|pool| (self.is_well)(&pool)) {
            let hopes = started.elapsed() < DEADLINE && self.gateway.ended().is_none();
            assert!(hopes, "it is not well:\n{}", self.gateway.log());
            sleep(LOOK).await;
        }
    }

    /// Has the one that breaks behave in this way.
    pub(crate) fn be(&self, mode: Mode) {
        match &self.endpoints {
            Endpoints::Ten(_, One::Here(origin)) => origin.be(mode),
            _ => panic!("there is no such endpoint"),
        }
    }

    /// The one that breaks, where it is a process.
    pub(crate) fn apart(&mut self) -> &mut Apart {
        match &mut self.endpoints {
            Endpoints::Ten(_, One::Apart(apart)) => apart,
            _ => panic!("there is no such endpoint"),
        }
    }

    /// How many requests of users the endpoints have read.
    fn seen(&self) -> usize {
        match &self.endpoints {
            Endpoints::Ten(nine, one) => nine.iter().map(Origin::seen).sum::<usize>() + one.seen(),
            Endpoints::Named(origin) => origin.seen(),
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
        let lag = Lag::start();
        let load = Load::start(self.gateway.listener(), form.rate);
        sleep(form.before).await;
        let (broken, seen) = (Instant::now(), self.seen());
        breaks(self).await;
        sleep_until(broken + form.broken).await;
        let mended = Instant::now();
        mends(self).await;
        let back = match timeout(DEADLINE, watch.well(mended)).await {
            Ok(back) => back,
            Err(_) if lag.most.get() > TOO_LATE => Instant::now(),
            Err(_) => panic!("it is not well:\n{}", self.gateway.log()),
        };
        let seen = self.seen() - seen;
        sleep(form.after).await;
        let samples = load.stop().await;
        let marks = Marks { broken, mended, out: watch.out(broken), back, lag: lag.most.get() };
        assert!(self.gateway.ended().is_none(), "it has ended:\n{}", self.gateway.log());
        Report::of(&samples, marks, seen, form)
    }
}

/// Looks at the pool all the time, as the admin API tells of it.
struct Watch {
    changes: Rc<RefCell<Vec<(Instant, bool)>>>,
    looked: Rc<Cell<Instant>>,
    looking: JoinHandle<()>,
}

impl Watch {
    fn start(admin: SocketAddr, is_well: Rc<dyn Fn(&Value) -> bool>) -> Self {
        let changes = Rc::new(RefCell::new(Vec::new()));
        let looked = Rc::new(Cell::new(Instant::now()));
        let (noted, last) = (Rc::clone(&changes), Rc::clone(&looked));
        let looking = spawn_local(async move {
            let client = Client::new(admin);
            loop {
                let asked = Instant::now();
                let pool = timeout(PATIENCE, pool_of(&client)).await;
                let well = matches!(pool, Ok(Some(pool)) if is_well(&pool));
                if noted.borrow().last().is_none_or(|(_, before)| *before != well) {
                    noted.borrow_mut().push((Instant::now(), well));
                }
                last.set(asked);
                sleep(LOOK).await;
            }
        });
        Self { changes, looked, looking }
    }

    /// When it was first not well since.
    fn out(&self, since: Instant) -> Option<Instant> {
        let changes = self.changes.borrow();
        changes.iter().find(|(at, well)| *at >= since && !well).map(|(at, _)| *at)
    }

    /// When it is well again, as of a look that began since.
    async fn well(&self, since: Instant) -> Instant {
        loop {
            if self.looked.get() >= since
                && let Some((at, true)) = self.changes.borrow().last()
            {
                return (*at).max(since);
            }
            sleep(LOOK / 2).await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// How late a process of this machine is at the moment that it has asked for.
struct Lag {
    most: Rc<Cell<Duration>>,
    looking: JoinHandle<()>,
}

impl Lag {
    fn start() -> Self {
        let most = Rc::new(Cell::new(Duration::ZERO));
        let noted = Rc::clone(&most);
        let looking = spawn_local(async move {
            loop {
                let asked = Instant::now() + LOOK;
                sleep_until(asked).await;
                noted.set(noted.get().max(asked.elapsed()));
            }
        });
        Self { most, looking }
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// What the admin API says of the pool; `None` where it does not answer.
async fn pool_of(client: &Client) -> Option<Value> {
    let asked = "GET /api/v1/pools HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let answer = client.ask(asked).await.ok()?;
    let mut pools: Value = serde_json::from_slice(&answer.body).ok()?;
    Some(pools.get_mut(0)?.take())
}

/// How many members may be picked.
pub(crate) fn eligible(pool: &Value) -> usize {
    let members = pool["members"].as_array();
    members.map_or(0, |members| members.iter().filter(|member| member["eligible"] == true).count())
}

/// The routes file, with these tenants.
pub(crate) fn routes(pool: &str, tenants: &str) -> String {
    format!("[pools.shop]\n{pool}\n{tenants}")
}

fn quoted(address: SocketAddr) -> String {
    format!("\"{address}\"")
}

/// The tenant of the load.
pub(crate) const TENANT: &str = "[tenants.acme]\npool = \"shop\"\n";
/// The address of the endpoint that breaks, at a port that is free.
pub(crate) const THE_ONE: &str = "127.0.2.10:0";
/// The lines of the pool are those that docs/faults.md shows.
pub(crate) const TIMEOUTS: &str =
    "timeouts = { connect = \"250ms\", attempt = \"500ms\", total = \"5s\" }\n";
pub(crate) const EJECT: &str = "eject = { failures = 5, base = \"1s\" }\n";
pub(crate) const HEALTH: &str = "health = { http = \"/healthz\", interval = \"500ms\", timeout = \"250ms\", rise = 2, fall = 2 }\n";
const LOOK: Duration = Duration::from_millis(50);
/// 1 s: who is asked for the pool and does not answer for so long is not well.
const PATIENCE: Duration = Duration::from_secs(1);
