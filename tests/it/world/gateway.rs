//! A gateway in this process, with its files in a folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tenantry::app::front::GatewayFile;
use tenantry::app::{App, Ended, Outset, StartError};
use tenantry::control::generation::ReloadResult;
use tenantry::telemetry::registry::Metrics;
use tokio::time::{Instant, sleep};

use super::client::{Client, get, head};
use super::message::Answer;
use super::{DEADLINE, STEP, eventually, within};

/// A gateway that serves. Dropped, it ends at once.
pub(crate) struct Gateway {
    /// The gateway itself.
    pub(crate) app: App,
    folder: TempDir,
}

impl Gateway {
    /// Serves these routes with one worker, so that what a worker owns can be counted.
    pub(crate) async fn start(routes: &str) -> Self {
        Self::start_with("", routes).await
    }

    /// As [`Gateway::start`], with further lines at the end of `gateway.toml`. The table that they
    /// follow is the listener's, so that they may begin with its `tls`. A line of the `zone` goes to
    /// the top.
    pub(crate) async fn start_with(more: &str, routes: &str) -> Self {
        Self::start_with_workers(1, more, routes).await
    }

    /// As [`Gateway::start_with`], with so many workers.
    pub(crate) async fn start_with_workers(workers: usize, more: &str, routes: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("routes.toml"), routes).expect("write the routes");
        match Self::start_in(folder, workers, more).await {
            Ok(gateway) => gateway,
            Err(error) => panic!("the gateway does not start: {error}"),
        }
    }

    /// Serves the `routes.toml` of a folder; what it keeps over a restart is there, too. Who has one of its
    /// `debug.tokens`, where they are, may debug.
    pub(crate) async fn start_in(
        folder: TempDir,
        workers: usize,
        more: &str,
    ) -> Result<Self, StartError> {
        let log = match more.contains("[access-log]") {
            true => "",
            false => "[access-log]\nfile = \"access.log\"\n",
        };
        let debug = match folder.path().join("debug.tokens").exists() {
            true => "debug-token-file = \"debug.tokens\"\n",
            false => "",
        };
        let admin = match more.contains("[admin]") {
            true => "",
            false => "[admin]\naddress = \"127.0.0.1:0\"\n",
        };
        let (zone, more): (Vec<&str>, Vec<&str>) =
            more.lines().partition(|line| line.starts_with("zone = "));
        let (zone, more) = (zone.join("\n"), more.join("\n"));
        let text = format!(
            "{zone}\nroutes = \"routes.toml\"\nworkers = {workers}\n{debug}{log}{admin}\
             [[listeners]]\naddress = \"127.0.0.1:0\"\n{more}\n"
        );
        let path = folder.path().join("gateway.toml");
        fs::write(&path, text).expect("write gateway.toml");
        let file = match GatewayFile::read(&path) {
            Ok(file) => file,
            Err(problems) => panic!("gateway.toml is broken: {problems}"),
        };
        let spec = file.spec.clone();
        let metrics = Arc::new(Metrics::new());
        let outset = Outset { file: Some(file), ..Outset::default() };
        let start = App::start_from(outset, spec, metrics);
        let app = within("the start", Box::pin(start)).await?;
        Ok(Self { app, folder })
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.app.addresses()[0]
    }

    /// A file in the gateway's folder: `routes.toml`, `access.log`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the routes as an editor does: a new file, renamed over the old one.
    pub(crate) fn edit(&self, routes: &str) {
        fs::write(self.path("routes.new"), routes).expect("write the routes");
        fs::rename(self.path("routes.new"), self.path("routes.toml")).expect("rename the routes");
    }

    /// Puts another text in the place of one in `gateway.toml`, as an editor does.
    pub(crate) fn edit_gateway(&self, old: &str, new: &str) {
        let text = fs::read_to_string(self.path("gateway.toml")).expect("read gateway.toml");
        assert!(text.contains(old), "{old} is not in {text}");
        fs::write(self.path("gateway.new"), text.replacen(old, new, 1))
            .expect("write gateway.toml");
        fs::rename(self.path("gateway.new"), self.path("gateway.toml")).expect("rename it");
    }

    /// Waits until it has kept a file for a restart.
    pub(crate) async fn kept(&self, name: &str) {
        let path = self.path("state").join(name);
        let there = |path: &PathBuf| path.exists();
        super::eventually(name, || path.clone(), there).await;
    }

    /// `/api/v1/status`.
    pub(crate) async fn status(&self) -> serde_json::Value {
        let status = self.admin("/api/v1/status").await.text();
        serde_json::from_str(&status).expect("the status is JSON")
    }

    /// The addresses of the listeners that are open, once there are so many.
    pub(crate) async fn listeners(&self, count: usize) -> Vec<SocketAddr> {
        let started = Instant::now();
        loop {
            let status = self.status().await;
            let listed = status["listeners"].as_array().expect("a list").iter();
            let listed = listed.map(|one| one["address"].as_str().expect("an address"));
            let listed: Vec<SocketAddr> =
                listed.map(|address| address.parse().expect("an address")).collect();
            if listed.len() == count {
                return listed;
            }
            assert!(started.elapsed() < DEADLINE, "there are {listed:?}; {status}");
            sleep(STEP * 5).await;
        }
    }

    /// Writes the routes and has them loaded now.
    pub(crate) async fn reload(&self, routes: &str) -> ReloadResult {
        self.edit(routes);
        within("a reload", self.app.reload()).await.expect("the gateway is there")
    }

    /// `GET path` by the tenant `acme`, on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        get(self.address(), "acme", path).await
    }

    /// `GET path` of the admin API.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        let address = self.app.admin_address().expect("there is an admin API");
        Client::connect(address)
            .await
            .ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .await
    }

    /// A `POST` or `PUT` of JSON to the admin API.
    pub(crate) async fn tell(&self, line: &str, body: &serde_json::Value) -> Answer {
        let address = self.app.admin_address().expect("there is an admin API");
        let body = body.to_string();
        let head = head(
            line,
            &[
                "Host: localhost",
                "Content-Type: application/json",
                &format!("Content-Length: {}", body.len()),
            ],
        );
        Client::connect(address).await.ask(head + &body).await
    }

    /// The value of a metric with exactly these labels as they are printed; workers hand their
    /// counts over once a second, so ask with [`Gateway::metric_becomes`] for those.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let metrics = self.admin("/metrics").await.text();
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }

    /// Waits until a metric has a value.
    pub(crate) async fn metric_becomes(&self, series: &str, value: f64) {
        let started = Instant::now();
        loop {
            let now = self.metric(series).await;
            if now == Some(value) {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "{series} is {now:?}, not {value}");
            sleep(STEP * 10).await;
        }
    }

    /// Waits until the access log has a text so many times, and gives the log.
    pub(crate) async fn logs(&self, text: &str, times: usize) -> String {
        let read = || fs::read_to_string(self.path("access.log")).unwrap_or_default();
        let log = eventually(text, read, |log| log.matches(text).count() >= times).await;
        assert_eq!(log.matches(text).count(), times, "{log}");
        log
    }

    /// Waits until a metric is so large, and gives it.
    pub(crate) async fn metric_at_least(&self, series: &str, least: f64) -> f64 {
        let started = Instant::now();
        loop {
            let now = self.metric(series).await;
            if let Some(now) = now.filter(|now| *now >= least) {
                return now;
            }
            assert!(started.elapsed() < DEADLINE, "{series} is {now:?}, below {least}");
            sleep(STEP * 10).await;
        }
    }

    /// Drains and ends.
    pub(crate) async fn stop(self) -> Ended {
        within("the drain", Box::pin(self.app.stop())).await
    }

    /// Drains and ends, and leaves its folder for [`Gateway::start_in`].
    pub(crate) async fn stop_and_keep(self) -> TempDir {
        within("the drain", Box::pin(self.app.stop())).await;
        self.folder
    }
}
