//! A real Redis, of Debian, at a Unix socket in a folder of its own: it can be killed, and started
//! again where it was.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::eventually;

/// A server that is ended when it is dropped.
pub(crate) struct Redis {
    folder: TempDir,
    options: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts it with further options, as in `["--requirepass", "secret"]`.
    pub(crate) async fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut redis = Self { folder, options, child: None };
        redis.revive().await;
        redis
    }

    /// Starts it with further options, and one that names a free port: another one where somebody else has
    /// taken that meanwhile.
    pub(crate) async fn start_at_a_port(option: &str, options: &[&str]) -> (Self, u16) {
        for _ in 0..20 {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = free.local_addr().expect("its address").port();
            drop(free);
            let folder = tempfile::tempdir().expect("a folder");
            let port_text = port.to_string();
            let options = [options, &[option, &port_text]].concat();
            let options = options.into_iter().map(str::to_owned).collect();
            let mut redis = Self { folder, options, child: None };
            redis.launch();
            let comes = || redis.has_ended() || redis.connect().is_some();
            eventually("the start of Redis, or its end", comes, |comes| *comes).await;
            if !redis.has_ended() {
                return (redis, port);
            }
        }
        panic!("no port stays free");
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Its table in `gateway.toml`, with further keys, one a line. An answer may take long, so that a busy
    /// machine does not make a test fail.
    pub(crate) fn table(&self, keys: &str) -> String {
        let timeout = if keys.contains("timeout") { "" } else { "timeout = \"10s\"" };
        let socket = self.socket();
        format!("[shared-limits]\nurl = \"unix:{}\"\n{timeout}\n{keys}\n", socket.display())
    }

    /// Starts it again, without what it knew.
    pub(crate) async fn revive(&mut self) {
        self.launch();
        let answers = || self.connect().is_some();
        eventually("the start of Redis", answers, |answers| *answers).await;
    }

    /// Whether its process is there no more.
    fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    fn launch(&mut self) {
        let program = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(self.socket())
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(program.unwrap_or_else(|error| {
            panic!("redis-server is missing (tests/run installs it): {error}")
        }));
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Sends it a signal by its name, as in `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id();
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status();
        assert!(sent.expect("a shell").success(), "cannot send {name}");
    }

    /// Has it do something.
    pub(crate) fn tell<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.connect().expect("it answers");
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query(&mut connection).expect("an answer")
    }

    /// A connection of the test's own.
    pub(crate) fn connect(&self) -> Option<redis::Connection> {
        let client = redis::Client::open(format!("unix://{}", self.socket().display()));
        client.expect("a URL").get_connection().ok()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
