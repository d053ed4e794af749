//! The strict collector of `collector.py`, in a process of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;

use crate::world::pki::Pair;
use crate::world::{eventually, within};

/// A collector that holds what it gets against the rules. It is killed when it is dropped.
pub(crate) struct Collector {
    http: u64,
    grpc: u64,
    told: Arc<Mutex<Vec<Value>>>,
    orders: ChildStdin,
    _reading: JoinSet<()>,
    _process: Child,
}

/// A span, in whatever format it came.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) attributes: BTreeMap<String, Value>,
    pub(crate) events: BTreeMap<String, u64>,
    pub(crate) error: Option<String>,
    pub(crate) service: String,
    #[serde(default)]
    pub(crate) debug: bool,
    pub(crate) start: u64,
}

impl Span {
    /// An attribute as text; empty where it is not there.
    pub(crate) fn says(&self, name: &str) -> String {
        match self.attributes.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Speaks TLS with this certificate.
    pub(crate) async fn start_with(pair: Option<&Pair>) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new("/usr/bin/python3"); // Debian's own has Debian's packages
        command
            .arg(root.join("tests/it/traces/collector.py"))
            .args(pair.into_iter().flat_map(|pair| [&pair.cert, &pair.key]))
            .env("PYTHONPATH", root.join("target/otlp"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("GRPC_VERBOSITY", "NONE") // it would tell of clients that do not trust it
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn().expect("tests/run installs what the tests need");
        let orders = process.stdin.take().expect("it is piped");
        let output = process.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let first = within("the collector", lines.next_line()).await.expect("its first line");
        let first = first.expect("a line: tests/run installs what the collector needs");
        let ports: Value = serde_json::from_str(&first).expect("JSON");
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut reading = JoinSet::new();
        let tells = Arc::clone(&told);
        reading.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let told = serde_json::from_str(&line).expect("JSON");
                tells.lock().unwrap_or_else(PoisonError::into_inner).push(told);
            }
        });
        let port = |name: &str| ports[name].as_u64().expect("a port");
        let (http, grpc) = (port("http"), port("grpc"));
        Self { http, grpc, told, orders, _reading: reading, _process: process }
    }

    /// The lines of `gateway.toml` that send spans here, with further ones.
    pub(crate) fn config(&self, exporter: &str, more: &str) -> String {
        let port = if exporter == "otlp-grpc" { self.grpc } else { self.http };
        tracing(exporter, &format!("http://127.0.0.1:{port}"), more)
    }

    /// The same by TLS.
    pub(crate) fn secure_config(&self, exporter: &str, more: &str) -> String {
        let port = if exporter == "otlp-grpc" { self.grpc } else { self.http };
        tracing(exporter, &format!("https://localhost:{port}"), more)
    }

    /// Has it do something else with the next requests than to take them.
    pub(crate) async fn order(&mut self, order: &str) {
        let before = self.all("heard").len();
        self.orders.write_all(format!("{order}\n").as_bytes()).await.expect("it listens");
        eventually("its ear", || self.all("heard").len(), |heard| *heard > before).await;
    }

    /// All spans that came, once there are so many. That one was against the rules fails the test.
    pub(crate) async fn spans(&self, count: usize) -> Vec<Span> {
        let spans = || self.taken();
        eventually("the spans", spans, |spans| spans.len() >= count).await
    }

    /// All spans that came until now.
    pub(crate) fn taken(&self) -> Vec<Span> {
        let faults = self.all("fault");
        assert!(faults.is_empty(), "against the rules: {faults:#?}");
        let batches = self.all("spans").into_iter();
        let batches =
            batches.map(|spans| -> Vec<Span> { serde_json::from_value(spans).expect("spans") });
        batches.flatten().collect()
    }

    /// The fields of the requests that it took.
    pub(crate) fn fields(&self) -> Vec<Value> {
        self.all("fields")
    }

    fn all(&self, name: &str) -> Vec<Value> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().filter_map(|told| told.get(name).cloned()).collect()
    }
}

/// The lines of `gateway.toml` that send spans to a URL.
pub(crate) fn tracing(exporter: &str, url: &str, more: &str) -> String {
    format!("[tracing]\nexporter = \"{exporter}\"\nurl = \"{url}\"\ninterval = \"20ms\"\n{more}\n")
}
