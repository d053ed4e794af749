//! Users who ask at their own pace, whatever becomes of the others: who is slow holds nobody up. They have a
//! thread of their own, which nothing else of the suite holds up, and wait from the moment that they were to ask.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use super::calls::Caller;
use super::client::Client;
use super::report::Form;

/// What became of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// When it was due.
    pub(crate) asked: Instant,
    pub(crate) ended: Instant,
    /// It does no harm when it is done twice.
    pub(crate) repeatable: bool,
    /// With the answer of a sound endpoint.
    pub(crate) served: bool,
}

pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Sample>>>,
}

impl Load {
    /// So many requests a second from now on, all of one tenant.
    pub(crate) fn start(address: SocketAddr, form: Form) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let users = thread::Builder::new().name("users".to_owned());
        let thread = users.spawn(move || super::block_on(drive(address, form, told)));
        Self { stop, thread: Some(thread.expect("a thread")) }
    }

    /// Stops asking, waits for the last answers and gives what became of all requests.
    pub(crate) async fn stop(mut self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is stopped once");
        spawn_blocking(|| thread.join().expect("the users' end")).await.expect("the users' end")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Users {
    client: Client,
    /// Where they call by gRPC.
    caller: Option<Caller>,
    post: String,
    samples: RefCell<Vec<Sample>>,
}

async fn drive(address: SocketAddr, form: Form, stop: Arc<AtomicBool>) -> Vec<Sample> {
    let client = Client::new(address, form.patience);
    let thing = "x".repeat(form.upload);
    let post = format!("POST /item {HEADERS}Content-Length: {}\r\n\r\n{thing}", thing.len());
    let caller = form.calls.then(|| Caller::new(address, form.patience));
    let users = Rc::new(Users { client, caller, post, samples: RefCell::default() });
    let start = Instant::now();
    let mut asking = JoinSet::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = start + Duration::from_secs(1) * number / form.rate;
        sleep_until(due).await;
        asking.spawn_local(ask(Rc::clone(&users), due, !number.is_multiple_of(form.posts)));
        while asking.try_join_next().is_some() {}
        number += 1;
    }
    while asking.join_next().await.is_some() {}
    users.samples.take()
}

async fn ask(users: Rc<Users>, asked: Instant, repeatable: bool) {
    let served = match &users.caller {
        Some(caller) => caller.call(repeatable).await,
        None => users.is_served(repeatable).await,
    };
    let sample = Sample { asked, ended: Instant::now(), repeatable, served };
    users.samples.borrow_mut().push(sample);
}

impl Users {
    async fn is_served(&self, repeatable: bool) -> bool {
        let get = format!("GET /item {HEADERS}\r\n");
        let request = if repeatable { &get } else { &self.post };
        let answer = self.client.ask(request).await;
        matches!(answer, Ok(answer) if answer.status == 200 && answer.body == b"sound")
    }
}

const HEADERS: &str = "HTTP/1.1\r\nHost: shop.test\r\nX-Tenant-ID: acme\r\n";
