//! What is billed by, where the process ends by a signal.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::setpriority_process;
use serde_json::Value;

use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::origin;

const USAGE: &str = "[usage]\nfolder = \"usage\"\nflush-interval = \"2s\"\n\
                     [drain]\naccept = \"10ms\"\n";

/// Requests of a tenant, and the bytes of their bodies and of those of the answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Used {
    requests: u64,
    sent: u64,
    got: u64,
}

/// What each tenant has used, by all files.
fn exported(folder: &Path) -> BTreeMap<String, Used> {
    let mut all = BTreeMap::<String, Used>::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        let name = path.to_string_lossy().into_owned();
        // A file may be renamed between the two calls: then it is read by its other name.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if name.ends_with(".ndjson") || name.ends_with(".ndjson.partial") {
            for line in text.lines() {
                let line: Value = serde_json::from_str(line).expect("a line of JSON");
                let number = |key: &str| line[key].as_u64().expect("a number");
                let used =
                    all.entry(line["tenant"].as_str().expect("an id").to_owned()).or_default();
                used.requests += number("requests");
                used.sent += number("request_bytes");
                used.got += number("response_bytes");
            }
        }
    }
    all
}

fn send(gateway: &Gateway, requests: u64) {
    for _ in 0..requests {
        assert_eq!(gateway.get("acme", "/", &[]).status, 200);
    }
}

#[test]
fn a_kill_loses_what_was_not_saved_yet_and_counts_nothing_twice() {
    let endpoint = origin::answering("127.0.0.1:0", "hello");
    let routes =
        format!("[pools.app]\nendpoints = [\"{endpoint}\"]\n[tenants.acme]\npool = \"app\"\n");
    let mut gateway = Gateway::start_with(USAGE, &routes);
    let folder = gateway.path("usage");
    let acme = || exported(&folder).get("acme").map_or(0, |used| used.requests);
    let mut saved = 0;
    for round in 0..2 {
        send(&gateway, 10);
        eventually("what was used in the file", acme, |requests| *requests == saved + 10);
        send(&gateway, 5);
        gateway.signal("KILL");
        gateway.wait();
        let left = acme();
        assert!((saved + 10..=saved + 15).contains(&left), "round {round}: {left} after {saved}");
        saved = left;

        gateway.launch();
        gateway.wait_ready();
        send(&gateway, 7);
        gateway.signal("TERM");
        assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
        saved += 7;
        assert_eq!(acme(), saved, "round {round}");
        gateway.launch();
        gateway.wait_ready();
    }
}

/// A client that sends one request after the other over one connection, with bodies of other lengths
/// each, and notes when it had its answers.
struct Steady {
    stop: Sender<()>,
    thread: JoinHandle<Vec<Instant>>,
}

impl Steady {
    fn start(address: SocketAddr) -> Self {
        let (stop, stopped) = channel();
        let thread = thread::spawn(move || {
            let mut ended = Vec::new();
            let stream = TcpStream::connect(address).expect("connect");
            stream.set_nodelay(true).expect("set nodelay");
            let mut reader = BufReader::new(stream);
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                if Self::ask(&mut reader, Self::body(ended.len())).is_none() {
                    break;
                }
                ended.push(Instant::now());
                thread::sleep(PACE);
            }
            ended
        });
        Self { stop, thread }
    }

    /// How long the body of a request is.
    fn body(number: usize) -> usize {
        number % 11
    }

    /// What so many requests have used. Each answer is `hello`.
    fn used(requests: usize) -> Used {
        let sent = (0..requests).map(Self::body).sum::<usize>();
        Used { requests: requests as u64, sent: sent as u64, got: 5 * requests as u64 }
    }

    /// Whether a whole answer has come.
    fn ask(reader: &mut BufReader<TcpStream>, body: usize) -> Option<()> {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n";
        let request = format!("{head}Content-Length: {body}\r\n\r\n{}", "x".repeat(body));
        reader.get_mut().write_all(request.as_bytes()).ok()?;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
        }
        reader.read_exact(&mut [0; 5]).ok()
    }

    /// When each request had its answer, until the gateway has ended.
    fn ended(self) -> Vec<Instant> {
        let ended = self.thread.join().expect("the client");
        drop(self.stop);
        ended
    }
}

/// How long the machine takes for what a save is: a little work of the lowest priority, and a sync of a file.
struct Saving {
    stop: Sender<()>,
    longest: JoinHandle<Duration>,
}

impl Saving {
    fn start(path: PathBuf) -> Self {
        let (stop, stopped): (_, Receiver<()>) = channel();
        let longest = thread::spawn(move || {
            setpriority_process(None, 19).expect("be the last one");
            let mut longest = Duration::ZERO;
            let mut began = Instant::now();
            while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                let file = File::create(&path).expect("make a file");
                file.sync_all().expect("sync a file");
                longest = longest.max(began.elapsed());
                began = Instant::now();
            }
            longest
        });
        Self { stop, longest }
    }

    fn longest(self) -> Duration {
        drop(self.stop);
        self.longest.join().expect("the one who looks")
    }
}

/// A gateway that was killed while somebody was sending steadily.
struct Killed {
    gateway: Gateway,
    at: Instant,
    /// When each request had its answer.
    ended: Vec<Instant>,
    /// How long after one save another one was seen.
    apart: Duration,
    /// What a save may have taken, on this machine at this time.
    saving: Duration,
}

impl Killed {
    /// After two saves, and not just after one, where nothing is lost, but nearly as long after it as between two.
    /// `saved` gives what changes with each.
    fn while_used<T: Debug + PartialEq>(interval: Duration, saved: impl Fn(&Gateway) -> T) -> Self {
        let endpoint = origin::keeping("127.0.0.1:0", "hello");
        let routes = format!(
            "[pools.app]\nendpoints = [\"{endpoint}\"]\n[tenants.acme]\npool = \"app\"\n\
             limits = {{ quota = \"1000000/month\" }}\n"
        );
        let mut gateway = Gateway::start_with(USAGE, &routes);
        let saving = Saving::start(gateway.path("sync"));
        let client = Steady::start(gateway.listener());
        thread::sleep(SAVE); // so that enough has ended long before the kill
        // It takes one to begin with, and one whose end is seen.
        let mut seen = [Instant::now(); 2];
        for seen in &mut seen {
            let before = saved(&gateway);
            eventually("a save", || saved(&gateway), |now| *now != before);
            *seen = Instant::now();
        }
        thread::sleep(interval - interval / 10);
        let at = Instant::now();
        gateway.signal("KILL");
        gateway.wait();
        // A save is some writes, a sync and a rename.
        let saving = SAVE + 4 * saving.longest();
        let apart = seen[1].duration_since(seen[0]);
        Self { gateway, at, ended: client.ended(), apart, saving }
    }

    /// One that has saved what it had to, as `count` finds it. Of three: a thread that the machine has kept waiting saves
    /// late once, and what is saved too seldom is so each time.
    fn that_has_saved<T: Debug + PartialEq>(
        interval: Duration,
        saved: impl Fn(&Gateway) -> T,
        count: impl Fn(&mut Gateway) -> usize,
    ) -> Self {
        let mut whys = Vec::new();
        for _ in 0..3 {
            let mut killed = Self::while_used(interval, &saved);
            let count = count(&mut killed.gateway);
            match killed.lacks(count, interval) {
                None => return killed,
                Some(why) => whys.push(why),
            }
        }
        panic!("{whys:#?}");
    }

    /// Why it is not so that as many are saved as ended earlier than that before the kill. No more may be than were sent.
    fn lacks(&self, saved: usize, interval: Duration) -> Option<String> {
        let (ended, lost) = (&self.ended, interval + self.saving);
        let safe = ended.iter().filter(|ended| self.at.duration_since(**ended) > lost).count();
        // One more may have ended than the client has heard of.
        assert!(saved <= ended.len() + 1, "{saved} of {}", ended.len());
        let all = ended.len();
        if self.apart > lost {
            return Some(format!("saves are {:?} apart, not {interval:?}", self.apart));
        }
        // Where a save may take so long, nothing is told.
        let is_told = self.saving <= 2 * SAVE;
        if safe == 0 && is_told {
            return Some(format!("it ended too soon to tell: {all} in {lost:?}"));
        }
        (saved < safe).then(|| format!("{saved} of {all} are saved, {safe} had to be: {lost:?}"))
    }
}

#[test]
fn a_kill_loses_no_request_that_ended_a_flush_interval_and_a_save_before() {
    let used = |gateway: &Gateway| {
        exported(&gateway.path("usage")).get("acme").copied().unwrap_or_default()
    };
    let count = |used: Used| usize::try_from(used.requests).expect("a count");

    let mut killed = Killed::that_has_saved(INTERVAL, used, |gateway| count(used(gateway)));

    let left = used(&killed.gateway);
    let saved = count(left);
    // One after the other: the bytes are those of the first ones, and of no other.
    assert_eq!(left, Steady::used(saved));

    let gateway = &mut killed.gateway;
    gateway.launch();
    gateway.wait_ready();
    let client = Steady::start(gateway.listener());
    eventually("more in the file", || used(gateway), |used| used.requests > left.requests);
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
    let more = Steady::used(client.ended().len());
    let all = Used {
        requests: left.requests + more.requests,
        sent: left.sent + more.sent,
        got: left.got + more.got,
    };
    assert_eq!(used(gateway), all, "a drain loses nothing of who sends while it begins");
}

#[test]
fn a_kill_gives_back_no_more_of_a_quota_than_its_last_five_seconds() {
    let kept = |gateway: &Gateway| {
        fs::read_to_string(gateway.path("state/quotas.json")).unwrap_or_default()
    };
    Killed::that_has_saved(QUOTAS, kept, |gateway| {
        gateway.launch();
        gateway.wait_ready();
        let told = gateway.admin("/api/v1/tenants/acme/usage").json();
        let of_quota = told["limits"].as_array().into_iter().flatten();
        let quota =
            of_quota.into_iter().find(|limit| limit["limit"] == "tenant-quota").expect("a quota");
        usize::try_from(quota["used"].as_u64().expect("a count")).expect("a count")
    });
}

/// As [`USAGE`] has it.
const INTERVAL: Duration = Duration::from_secs(2);

/// Half a second: a save of one line on a machine that does nothing else takes some milliseconds.
const SAVE: Duration = Duration::from_millis(500);

/// What `docs/tenant-limits.md` promises of quotas.
const QUOTAS: Duration = Duration::from_secs(5);

const PACE: Duration = Duration::from_millis(5);
