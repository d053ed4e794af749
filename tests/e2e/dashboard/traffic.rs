//! Requests of many tenants, one after the other over one connection, until it is dropped.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::world::gateway::Gateway;

/// Every second request is of one tenant, the others are of all in turn. Of these every tenth fails.
pub(super) struct Traffic {
    ends: Arc<AtomicBool>,
    sending: Option<JoinHandle<()>>,
}

impl Traffic {
    /// Of tenants from `t0000` on; `busiest` is the number of the one that sends the most.
    pub(super) fn start(gateway: &Gateway, tenants: usize, busiest: usize) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let stream = TcpStream::connect(gateway.listener()).expect("reach the gateway");
        let word = Arc::clone(&ends);
        let sending = thread::spawn(move || {
            let mut answers = BufReader::new(stream.try_clone().expect("a second handle"));
            let mut requests = stream;
            for number in (0..).take_while(|_| !word.load(Ordering::Relaxed)) {
                let tenant = if number % 2 == 0 { busiest } else { number / 2 % tenants };
                let path = if number % 20 == 1 { "/?fail=503" } else { "/" };
                let head = format!(
                    "GET {path} HTTP/1.1\r\nHost: a.test\r\nX-Tenant-ID: t{tenant:04}\r\n\r\n"
                );
                requests.write_all(head.as_bytes()).expect("ask");
                take_answer(&mut answers);
            }
        });
        Self { ends, sending: Some(sending) }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let ended = self.sending.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_some_and(|ended| ended.is_ok()), "it broke off");
    }
}

fn take_answer(answers: &mut impl BufRead) {
    let mut length = 0;
    loop {
        let mut line = String::new();
        assert!(answers.read_line(&mut line).expect("an answer") > 0, "the connection has ended");
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().expect("a length");
        }
        if line.is_empty() {
            break;
        }
    }
    answers.read_exact(&mut vec![0; length]).expect("a body");
}
