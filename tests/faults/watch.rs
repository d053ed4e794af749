//! Looks at the pool all the time, as the admin API tells of it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

use super::client::Client;

pub(crate) struct Watch {
    changes: Rc<RefCell<Vec<(Instant, bool)>>>,
    looked: Rc<Cell<Instant>>,
    looking: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn start(admin: SocketAddr, is_well: Rc<dyn Fn(&Value) -> bool>) -> Self {
        let changes = Rc::new(RefCell::new(Vec::new()));
        let looked = Rc::new(Cell::new(Instant::now()));
        let (noted, last) = (Rc::clone(&changes), Rc::clone(&looked));
        let looking = spawn_local(async move {
            let client = client(admin);
            loop {
                let asked = Instant::now();
                let well = pool(&client).await.is_some_and(|pool| is_well(&pool));
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
    pub(crate) fn out(&self, since: Instant) -> Option<Instant> {
        let changes = self.changes.borrow();
        changes.iter().find(|(at, well)| *at >= since && !well).map(|(at, _)| *at)
    }

    /// Waits until it is well again, as of a look that began since.
    pub(crate) async fn well(&self, since: Instant) {
        let is_well = || {
            self.looked.get() >= since
                && self.changes.borrow().last().is_some_and(|(_, well)| *well)
        };
        while !is_well() {
            sleep(LOOK / 2).await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// Of the admin API. One that does not answer for so long is not well.
pub(crate) fn client(admin: SocketAddr) -> Client {
    Client::new(admin, Duration::from_secs(1))
}

/// What the admin API says of the pool; `None` where it does not answer.
pub(crate) async fn pool(client: &Client) -> Option<Value> {
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

pub(crate) const LOOK: Duration = Duration::from_millis(50);
