//! The demo's backends as processes. None outlives the demo, however it ends.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// One running backend. It ends when this is dropped, or when this process ends in any other way:
/// the pipe to its standard input closes.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    process: Child,
}

impl Backend {
    /// Starts a backend that would like to have `port`, and waits until it listens.
    pub(super) fn start(name: &'static str, port: u16) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the program's own file")?;
        let mut process = Command::new(program)
            .args(["demo-backend", "--name", name, "--port", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C reaches the terminal's group: the gateway drains, its backends still answer.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start the backend {name}"))?;
        let mut line = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address =
            line.trim().parse().with_context(|| format!("the backend {name} did not start"))?;
        Ok(Self { name, address, process })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // By force, since somebody may have stopped it to see what happens. An error means that
        // it has ended before; waiting leaves no zombie behind.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
