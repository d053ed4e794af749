//! Users who ask at their own pace, whatever becomes of the others: who is slow holds nobody up.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio::time::{Instant, sleep_until, timeout};

use super::client::Client;

/// What became of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) asked: Instant,
    pub(crate) ended: Instant,
    /// It does no harm when it is done twice.
    pub(crate) repeatable: bool,
    /// With the answer of a sound endpoint.
    pub(crate) served: bool,
}

pub(crate) struct Load {
    shared: Rc<Shared>,
    driver: JoinHandle<()>,
}

struct Shared {
    client: Client,
    stop: Cell<bool>,
    samples: RefCell<Vec<Sample>>,
}

impl Load {
    /// So many requests a second from now on, all of one tenant.
    pub(crate) fn start(address: SocketAddr, rate: u32) -> Self {
        let shared = Rc::new(Shared {
            client: Client::new(address),
            stop: Cell::new(false),
            samples: RefCell::default(),
        });
        let driver = spawn_local(drive(Rc::clone(&shared), rate));
        Self { shared, driver }
    }

    /// Stops asking, waits for the last answers and gives what became of all requests.
    pub(crate) async fn stop(self) -> Vec<Sample> {
        self.shared.stop.set(true);
        self.driver.await.expect("the load's end");
        self.shared.samples.take()
    }
}

async fn drive(shared: Rc<Shared>, rate: u32) {
    let start = Instant::now();
    let mut asking = JoinSet::new();
    let mut number = 0;
    while !shared.stop.get() {
        sleep_until(start + Duration::from_secs(1) * number / rate).await;
        asking.spawn_local(ask(Rc::clone(&shared), !number.is_multiple_of(POSTS)));
        while asking.try_join_next().is_some() {}
        number += 1;
    }
    while asking.join_next().await.is_some() {}
}

async fn ask(shared: Rc<Shared>, repeatable: bool) {
    let asked = Instant::now();
    let request = if repeatable { GET } else { POST };
    let answer = timeout(PATIENCE, shared.client.ask(request)).await;
    let served =
        matches!(answer, Ok(Ok(answer)) if answer.status == 200 && answer.body == b"sound");
    let sample = Sample { asked, ended: Instant::now(), repeatable, served };
    shared.samples.borrow_mut().push(sample);
}

const GET: &str = "GET /item HTTP/1.1\r\nHost: shop.test\r\nX-Tenant-ID: acme\r\n\r\n";
const POST: &str =
    "POST /item HTTP/1.1\r\nHost: shop.test\r\nX-Tenant-ID: acme\r\nContent-Length: 5\r\n\r\nthing";
/// Every tenth request is one that must not be done twice.
const POSTS: u32 = 10;
/// 10 s: then a user leaves.
const PATIENCE: Duration = Duration::from_secs(10);
