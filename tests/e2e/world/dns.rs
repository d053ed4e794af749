//! A real DNS server (dnsmasq) on a port of its own, with names from a file of the test.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::process::Process;
use super::{eventually, free_port};

pub(crate) struct Dns {
    pub(crate) port: u16,
    hosts: PathBuf,
    process: Option<Process>,
    _folder: TempDir,
}

impl Dns {
    /// Starts it with these lines (`ADDRESS NAME`) and further dnsmasq options.
    pub(crate) fn start(lines: &str, options: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let hosts = folder.path().join("hosts");
        fs::write(&hosts, lines).expect("write the hosts file");
        let port = free_port();
        // Where Debian puts it; not everybody has that in the PATH.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let process = Process::start(
            Command::new("dnsmasq")
                .args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"])
                .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--local-ttl=1"])
                .arg("--local=/test/")
                .arg(format!("--port={port}"))
                .arg(format!("--addn-hosts={}", hosts.display()))
                .args(options)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .env("PATH", path),
        );
        eventually(
            "the DNS server",
            || TcpStream::connect(("127.0.0.1", port)).is_ok(),
            |listens| *listens,
        );
        Self { port, hosts, process: Some(process), _folder: folder }
    }

    /// Replaces the names.
    pub(crate) fn change(&self, lines: &str) {
        fs::write(&self.hosts, lines).expect("write the hosts file");
        self.process.as_ref().expect("it is alive").signal("HUP");
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.process.is_some()
    }

    /// Kills the server: nothing resolves any more.
    pub(crate) fn die(&mut self) {
        self.process = None;
    }
}
