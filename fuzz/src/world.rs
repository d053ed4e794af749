//! A gateway within the process, on loopback: a worker reads from a socket of its own, by system
//! calls of its own, so that a pipe in memory would pass by the code that is to be shown.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use tempfile::TempDir;
use tenantry::app::App;
use tenantry::config;
use tenantry::telemetry::registry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::manner::Manner;

/// A gateway, and the runtime that its control work, the endpoints and the clients run on.
#[derive(Debug)]
pub(crate) struct World {
    runtime: Runtime,
    addresses: Vec<SocketAddr>,
    _app: Mutex<App>,
    ran: AtomicUsize,
    _folder: TempDir,
}

/// What the thread of a worker or of the world's runtime is called.
const WORLD_THREAD: &str = "world";
const WORKER_THREAD: &str = "worker-";

/// Long enough for a loaded machine: what takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// 10 ms: in that time an idle machine has answered. Where it has not, less is seen, nothing else.
const SILENCE: Duration = Duration::from_millis(10);

/// So many inputs run between two looks at whether others are served.
const CALM: usize = 32;

static PANICS: AtomicUsize = AtomicUsize::new(0);

impl World {
    /// Serves the routes that `endpoints` gives beside what it starts. The second listener takes
    /// PROXY protocol headers from everybody here; the third and the fourth believe what proxies here say
    /// of their clients.
    pub(crate) fn start<T>(endpoints: impl AsyncFnOnce() -> (T, String)) -> (Self, T) {
        count_panics();
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name(WORLD_THREAD).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gateway.toml");
        std::fs::write(&path, GATEWAY).expect("write gateway.toml");
        let (started, app) = runtime.block_on(async {
            let (started, routes) = endpoints().await;
            std::fs::write(folder.path().join("routes.toml"), routes).expect("write the routes");
            let spec = config::load_gateway(&path).expect("a good gateway.toml");
            let app = Box::pin(App::start(spec, Arc::new(Metrics::new())));
            (started, app.await.expect("a gateway that starts"))
        });
        let addresses = app.addresses().to_vec();
        let (app, ran) = (Mutex::new(app), AtomicUsize::new(0));
        (Self { runtime, addresses, _app: app, ran, _folder: folder }, started)
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Where load balancers connect.
    pub(crate) fn proxied_address(&self) -> SocketAddr {
        self.addresses[1]
    }

    /// Where proxies connect that write `X-Forwarded-For`.
    pub(crate) fn trusting_address(&self) -> SocketAddr {
        self.addresses[2]
    }

    /// Where proxies connect that write `Forwarded`.
    pub(crate) fn trusting_address_of_rfc_7239(&self) -> SocketAddr {
        self.addresses[3]
    }

    /// Runs one input, and sees to it that nothing in the gateway panicked and that others are
    /// still served: `calm` names a tenant whose endpoint is sound.
    pub(crate) fn judge(&self, calm: &str, input: impl Future<Output = ()>) {
        let before = PANICS.load(Ordering::Relaxed);
        self.runtime.block_on(async {
            input.await;
            if self.ran.fetch_add(1, Ordering::Relaxed).is_multiple_of(CALM) {
                self.check(calm).await;
            }
        });
        assert_eq!(PANICS.load(Ordering::Relaxed), before, "something in the gateway panicked");
    }

    async fn check(&self, tenant: &str) {
        let answer = say(self.address(), Manner::of(b"0").0, &get(tenant), Ending::Never).await;
        let served = answer.starts_with(b"HTTP/1.1 200 ");
        assert!(served, "others are not served any more: {}", answer.escape_ascii());
    }
}

/// A request of a tenant, the last on its connection.
pub(crate) fn get(tenant: &str) -> Vec<u8> {
    let mut text = String::from("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n");
    write!(text, "X-Tenant-ID: {tenant}\r\n\r\n").expect("a String takes all");
    text.into_bytes()
}

/// When a client ends its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Not before the gateway does, which must.
    Never,
    /// When it has sent all, whatever it hears then.
    AtOnce,
    /// When it has heard nothing for a while: whether what it sent was whole, nobody knows.
    AfterSilence,
}

/// Sends bytes and reads all that comes. Nothing is read where the client breaks off.
pub(crate) async fn say(
    address: SocketAddr,
    manner: Manner,
    bytes: &[u8],
    ending: Ending,
) -> Vec<u8> {
    let mut heard = Vec::new();
    within("the end of a connection", async {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        stream.set_nodelay(true).expect("set nodelay");
        let (mut reading, mut writing) = stream.split();
        let write = async {
            // A refusal may come before all is sent.
            drop(manner.write(&mut writing, bytes).await);
            if ending == Ending::AtOnce {
                drop(writing.shutdown().await);
            }
        };
        if manner.breaks_off() {
            return write.await;
        }
        let read = async {
            let mut part = vec![0; 16 << 10];
            loop {
                let more = reading.read(&mut part);
                let more = match ending {
                    Ending::AfterSilence => timeout(SILENCE, more).await,
                    _ => Ok(more.await),
                };
                match more {
                    Ok(Ok(size @ 1..)) => heard.extend_from_slice(&part[..size]),
                    Ok(_) => return, // the end
                    Err(_) => break,
                }
            }
        };
        tokio::join!(write, read);
        drop(stream.shutdown().await);
        drop(stream.read_to_end(&mut heard).await);
    })
    .await;
    heard
}

/// Waits for `future`; what does not come hangs.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let ended = timeout(DEADLINE, future).await;
    ended.unwrap_or_else(|_| panic!("{what} did not come within {DEADLINE:?}"))
}

/// A task that panics is told to its owner alone; here it must be told to the fuzzer.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            if name == WORLD_THREAD || name.starts_with(WORKER_THREAD) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            before(panic);
        }));
    });
}

const GATEWAY: &str = r#"
routes = "routes.toml"
state = "off"
workers = 1
admin = { address = "off" }
access-log = { file = "/dev/null" }
listeners = [
    { address = "127.0.0.1:0" },
    { address = "127.0.0.1:0", proxy-protocol = { from = ["127.0.0.0/8"] } },
    { address = "127.0.0.1:0", trusted-proxies = ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"] },
    { address = "127.0.0.1:0", trusted-proxies = { from = [
        "127.0.0.0/8",
        "10.0.0.0/8",
        "fd00::/8",
    ], field = "forwarded" } },
]
"#;
