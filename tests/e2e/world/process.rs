//! Child processes. Only those that a test has started are ever signalled.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use super::{PROGRAM, eventually, free_port};

/// A child that is killed when the test ends, however that is.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn();
        Self {
            child: child.unwrap_or_else(|error| panic!("cannot start {name} ({error}): {HINT}")),
        }
    }

    /// Sends a signal by its name, as in `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ask for the child's end")
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let ended = eventually("the end of a process", || self.ended(), Option::is_some);
        ended.expect("it has ended")
    }

    /// The next line that it prints on standard output, which must be piped.
    pub(crate) fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        let stdout = self.child.stdout.take().expect("standard output is piped");
        BufReader::new(stdout).lines().map_while(Result::ok)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal to a process that the test has started.
pub(crate) fn signal(id: u32, name: &str) {
    let sent = run(Command::new("sh").args(["-c", &format!("kill -{name} {id}")]));
    assert!(sent.status.success(), "cannot send {name} to {id}");
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output();
    output.unwrap_or_else(|error| panic!("cannot start {name} ({error}): {HINT}"))
}

/// One of the program's own web backends, in a process of its own.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) address: String,
    process: Process,
}

impl Backend {
    pub(crate) fn start(name: &str) -> Self {
        Self::at(name, &free_port().to_string())
    }

    fn at(name: &str, port: &str) -> Self {
        let mut process = Process::start(
            Command::new(PROGRAM)
                .args(["demo-backend", "--name", name, "--port", port])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        );
        let address = process.lines().next().expect("the backend's address");
        Self { address, process }
    }

    /// Kills it at once, as a crash would.
    pub(crate) fn crash(&mut self) {
        self.process.signal("KILL");
        self.process.wait();
    }

    /// Starts it again at the same address.
    pub(crate) fn restart(&mut self, name: &str) {
        let before = self.address.clone();
        let port = before.rsplit(':').next().expect("a port");
        *self = Self::at(name, port);
        assert_eq!(self.address, before, "somebody took the port meanwhile");
    }
}

const HINT: &str = "tests/run installs what the tests need";
