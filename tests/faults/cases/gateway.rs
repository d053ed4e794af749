//! What the gateway itself runs on breaks.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Case, Needs, Others, Out, Promise, Ten, other};
use crate::client::Client;
use crate::compiled::Compiled;
use crate::own::{gateway, tied};
use crate::report::{Form, Report};
use crate::ten::{Setup, TENANT, routes};
use crate::watch;
use crate::world::process::run;
use crate::world::{DEADLINE, eventually};

pub(super) const CLOCK: Case = Case {
    out: Out::Never,
    ..other("clock", "the clock is set an hour ahead, then two hours back", |form| {
        Box::pin(clock_steps(form))
    })
};

/// The clock is faketime's; what is monotonic stays so, as when a real one is set.
async fn clock_steps(form: Form) -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = folder.path().join("clock");
    let set = |time: &str| fs::write(&clock, time).expect("set the clock");
    set("+0");
    let mut program = tied("env");
    program
        .arg("LD_PRELOAD=/usr/$LIB/faketime/libfaketimeMT.so.1")
        .arg(format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()))
        .args(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"])
        .arg(gateway());
    let mut ten = Setup::plain().start_as(program).await;
    let step = async |ten: &mut Ten| {
        set("+3600");
        tells_time(ten, 3600.0).await;
        sleep(form.broken / 2).await;
        set("-3600");
        tells_time(ten, -3600.0).await;
    };
    ten.trial(&form, step, async |_| set("+0")).await
}

/// Waits until the gateway's clock is so many seconds ahead, as its lines for requests have it, give or take a minute.
async fn tells_time(ten: &Ten, ahead: f64) {
    let started = Instant::now();
    loop {
        let log = ten.gateway.log();
        let last = log.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let last = last.unwrap_or_default();
        let time = last["time"].as_str().and_then(|time| humantime::parse_rfc3339(time).ok());
        let is_ahead = |time: SystemTime| match time.duration_since(SystemTime::now()) {
            Ok(time) => time.as_secs_f64(),
            Err(back) => -back.duration().as_secs_f64(),
        };
        if time.is_some_and(|time| (is_ahead(time) - ahead).abs() < 60.0) {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "its clock is not set: {last}");
        sleep(watch::LOOK).await;
    }
}

pub(super) const DISK: Case = Case {
    out: Out::Never,
    needs: Needs::Spaces,
    ..other("disk", "the disk with the state folder is full, and routes are edited", |form| {
        Box::pin(disk_fills(form))
    })
};

/// A file system of the case's own. What still has files there keeps it until it ends.
struct Mounted(PathBuf);

impl Mounted {
    fn at(folder: PathBuf) -> Self {
        fs::create_dir(&folder).expect("make the state folder");
        let mut mount = Command::new("mount");
        let mounted = run(mount.args(["-t", "tmpfs", "-o", "size=256k", "none"]).arg(&folder));
        assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
        Self(folder)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

async fn disk_fills(form: Form) -> Report {
    let mut ten = Setup::plain().prepare();
    // Dropped before the folder that it is in.
    let mounted = Mounted::at(ten.gateway.path("state"));
    let state = &mounted.0;
    ten.launch(tied(gateway())).await;
    let pool = ten.pool.clone();
    let edited = |more: &str| routes(&pool, &format!("{TENANT}{more}"));
    let early = "[tenants.early]\npool = \"shop\"\n";
    let late = "[tenants.late]\npool = \"shop\"\n";

    // An edit is live though it cannot be kept.
    let fills = async |ten: &mut Ten| {
        fill(state);
        ten.gateway.edit(&edited(early));
        serves(ten, "early").await;
    };
    let report = ten
        .trial(&form, fills, async |ten| {
            fs::remove_file(state.join(FILLER)).expect("make room");
            ten.gateway.edit(&(edited(early) + "# again\n"));
        })
        .await;

    // What was kept last is whole: a crash with a full disk and broken routes is survived.
    let kept = || fs::read_to_string(state.join("last-good.json")).unwrap_or_default();
    let started = Instant::now();
    while !kept().contains("# again") {
        assert!(started.elapsed() < DEADLINE, "it is not kept: {}", ten.told());
        sleep(Duration::from_millis(20)).await;
    }
    fill(state);
    ten.gateway.edit(&edited(late));
    serves(&ten, "late").await;
    ten.gateway.signal("KILL");
    ten.gateway.wait();
    ten.gateway.edit("broken");
    ten.launch(tied(gateway())).await;
    serves(&ten, "early").await;
    assert_eq!(ask(&ten, "late").await, Some(404), "its routes could not be kept");
    report
}

/// Writes until there is no room.
fn fill(folder: &Path) {
    let mut filler = File::create(folder.join(FILLER)).expect("make a file");
    let full = loop {
        if let Err(error) = filler.write_all(&[0; 512]) {
            break error;
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::StorageFull, "{full}");
}

/// Waits until a tenant is served.
async fn serves(ten: &Ten, tenant: &str) {
    let started = Instant::now();
    while ask(ten, tenant).await != Some(200) {
        assert!(started.elapsed() < DEADLINE, "{tenant} is not served: {}", ten.told());
        sleep(Duration::from_millis(20)).await;
    }
}

async fn ask(ten: &Ten, tenant: &str) -> Option<u16> {
    let request = format!("GET / HTTP/1.1\r\nHost: shop.test\r\nX-Tenant-ID: {tenant}\r\n\r\n");
    let client = Client::new(ten.gateway.listener(), Duration::from_secs(5));
    let answer = client.ask(&request).await.ok()?;
    Some(answer.status)
}

const FILLER: &str = "filler";

pub(super) const FILES: Case = Case {
    promise: Promise::Errors {
        why: "some that take a new connection find no file for it",
        most: 0.3,
    },
    others: Others::Alike,
    // It is the gateway that has none.
    out: Out::Never,
    ..other(
        "files",
        "the gateway has no file left to open (EMFILE), and clients keep coming",
        |form| Box::pin(files_run_out(form)),
    )
};

async fn files_run_out(form: Form) -> Report {
    let mut ten = Setup::plain().start().await;
    let clients = RefCell::new(Vec::new());
    let may_open = open_files_limit(&ten);
    let run_out = async |ten: &mut Ten| {
        limit(ten, &(ten.gateway.open_files() + 30).to_string());
        for _ in 0..100 {
            let mut client = TcpStream::connect(ten.gateway.listener()).expect("connect");
            client.write_all(BUSY).expect("begin a request");
            clients.borrow_mut().push(client);
        }
    };
    let mend = async |ten: &mut Ten| {
        clients.borrow_mut().clear();
        limit(ten, &may_open);
    };
    let report = ten.trial(&form, run_out, mend).await;
    let log = ten.told();
    assert!(log.contains("a connection could not be accepted"), "it had files left: {log}");
    report
}

/// How many files the gateway may have open: the soft limit, as `prlimit` takes it.
fn open_files_limit(ten: &Ten) -> String {
    let limits = fs::read_to_string(format!("/proc/{}/limits", ten.gateway.id()));
    let limits = limits.expect("the gateway's limits");
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    soft.and_then(|line| line.split_whitespace().next()).expect("a limit of open files").to_owned()
}

/// From now on the gateway may have so many open files; raising the limit again takes no privilege.
fn limit(ten: &Ten, most: &str) {
    let id = ten.gateway.id().to_string();
    let limited = run(Command::new("prlimit").args(["--pid", &id, &format!("--nofile={most}:")]));
    assert!(limited.status.success(), "{}", String::from_utf8_lossy(&limited.stderr));
}

/// A request whose body never comes.
const BUSY: &[u8] =
    b"PUT / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nContent-Length: 9\r\n\r\nhalf";

pub(super) const TASK: Case = Case {
    others: Others::OfTasks,
    // The endpoints are not to blame.
    out: Out::Never,
    ..other(
        "task",
        "the task of a request panics, of one after the other, while it reads the body, which half of the users send \
         (100 KB)",
        |form| Box::pin(tasks_panic(Form { posts: 2, upload: 100_000, ..form.asking(100) })),
    )
};

pub(super) const CHECKS: Case = Case {
    // Nothing is known against the endpoints.
    out: Out::Never,
    ..other("checks", "the check of an endpoint panics, of one after the other", |form| {
        Box::pin(checks_panic(form))
    })
};

/// Ten times the check of an endpoint panics, and begins anew.
async fn checks_panic(form: Form) -> Report {
    let (mut ten, report) = reads_panic(form, "checks").await;
    assert!(ten.told().contains("a task panicked and begins anew"), "{}", ten.told());
    assert!(ten.gateway.ended().is_none());
    report
}

/// Ten times the task of a request panics.
async fn tasks_panic(form: Form) -> Report {
    let (ten, report) = reads_panic(form, "bodies").await;
    // Workers hand over what they have counted once a second.
    let count = || ten.gateway.metric("tenantry_task_panics_total");
    eventually("the panics", count, |counted| *counted == Some(f64::from(TASKS)));
    assert!(ten.told().contains("a task panicked; this is a bug"), "{}", ten.told());
    let failed = report.broken.posts_failed;
    assert!(failed >= TASKS as usize, "each fails whose task has panicked: {failed}");
    report
}

/// Ten times a read of one of these brings more than it has room for, and what has asked for it panics.
async fn reads_panic(form: Form, of: &str) -> (Ten, Report) {
    let library = Compiled::library(BRINGS_TOO_MUCH);
    let mark = library.path("now");
    let mut program = with(&library);
    program.arg(format!("BREAK_OF={of}")).arg(gateway());
    let mut ten = Setup::plain().start_as(program).await;
    let breaks = async |_: &mut Ten| {
        for _ in 0..TASKS {
            fs::write(&mark, "").expect("break one");
            let asked = Instant::now();
            while mark.exists() {
                assert!(asked.elapsed() < DEADLINE, "nobody reads");
                sleep(Duration::from_millis(5)).await;
            }
            sleep(form.broken / TASKS / 2).await;
        }
    };
    let report = ten.trial(&form, breaks, async |_| ()).await;
    (ten, report)
}

const TASKS: u32 = 10;

/// Where the file is there, one read says, as it never should, that it has brought a byte more than there is room for: one of a
/// worker, or one of what answers a check. What is short is read by a worker without the C library: so it is the body of a
/// request that is not.
const BRINGS_TOO_MUCH: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

ssize_t recv(int socket, void *room, size_t size, int flags) {
    ssize_t (*real)(int, void *, size_t, int) = dlsym(RTLD_NEXT, "recv");
    char name[16] = "";
    const char *mark = getenv("BREAK"), *of = getenv("BREAK_OF");
    ssize_t came = real(socket, room, size, flags);
    pthread_getname_np(pthread_self(), name, sizeof name);
    if (came < 5 || !mark || !of) {
        return came;
    }
    int is_body = !strcmp(of, "bodies") && !strncmp(name, "worker-", 7) && size > 4096;
    int is_check = !strcmp(of, "checks") && !strcmp(name, "control") && !memcmp(room, "HTTP/", 5);
    return (is_body || is_check) && !unlink(mark) ? (ssize_t)size + 1 : came;
}
"#;

pub(super) const WORKER: Case = Case {
    promise: UNTIL_IT_LISTENS,
    others: Others::Lost,
    // That it has ended tells it; it may be back between two looks.
    out: Out::May,
    ..other(
        "worker",
        "a worker's thread panics; what looks after services starts the gateway again",
        |form| Box::pin(panics(form, "worker-0", "worker 0 ended by itself")),
    )
};

pub(super) const CONTROL: Case = Case {
    promise: UNTIL_IT_LISTENS,
    others: Others::Lost,
    // That it has ended tells it; it may be back between two looks.
    out: Out::May,
    ..other(
        "control",
        "a thread panics that checks endpoints and answers operators; the gateway is started again",
        |form| Box::pin(panics(form, "control", "outside of all tasks: the process ends")),
    )
};

const UNTIL_IT_LISTENS: Promise = Promise::Errors {
    why: "those under way, and those that come until it listens again",
    most: 1.0,
};

/// The runtime of a thread of this name cannot wait for its sockets any more, and panics: the process must end, and say
/// this.
async fn panics(form: Form, thread: &'static str, says: &'static str) -> Report {
    let library = Compiled::library(BREAKING);
    let mark = library.path("now");
    let mut program = with(&library);
    program.arg(format!("BREAK_THREAD={thread}")).arg(gateway());
    let mut ten = Setup::plain().start_as(program).await;
    let (mut took, mut well) = (Duration::ZERO, Duration::ZERO);

    let breaks = async |ten: &mut Ten| {
        // Before it breaks: users who fail are timed from a moment before this one.
        let broken = Instant::now();
        fs::write(&mark, "").expect("break it");
        let ended = loop {
            if let Some(ended) = ten.gateway.ended() {
                break ended;
            }
            assert!(broken.elapsed() < DEADLINE, "it is half dead: {}", ten.told());
            sleep(Duration::from_millis(5)).await;
        };
        took = broken.elapsed();
        assert!(!ended.success() && ended.signal() != Some(KILL), "as a failure: {ended}");
        assert!(ten.told().contains(says), "{}", ten.told());
        ten.launch(tied(gateway())).await;
        well = broken.elapsed();
    };
    let mut report = ten.trial(&form, breaks, async |_| ()).await;
    let last = report.last_failed.unwrap_or_default();
    assert!(last <= well, "{last:?} after the panic users fail, and it is well after {well:?}");
    report.note = format!("it has ended within {} ms", took.as_millis());
    report
}

/// What runs the gateway with such a library; its name is to follow. The library looks at a file `now`.
fn with(library: &Compiled) -> Command {
    let mut program = tied("env");
    program.arg(format!("LD_PRELOAD={}", library.made_at().display()));
    program.arg(format!("BREAK={}", library.path("now").display()));
    // A debug build takes seconds to tell where it was.
    program.arg("RUST_BACKTRACE=0");
    program
}

/// SIGKILL: not the end of its own doing.
const KILL: i32 = 9;

/// Where the file is there, the thread's wait for its sockets fails as it never should.
const BREAKING: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout) {
    int (*real)(int, struct epoll_event *, int, int) = dlsym(RTLD_NEXT, "epoll_wait");
    char name[16] = "";
    const char *mark = getenv("BREAK"), *thread = getenv("BREAK_THREAD");
    pthread_getname_np(pthread_self(), name, sizeof name);
    if (mark && thread && !strcmp(name, thread) && !access(mark, F_OK)) {
        errno = EBADF;
        return -1;
    }
    return real(epoll, events, most, timeout);
}
"#;
