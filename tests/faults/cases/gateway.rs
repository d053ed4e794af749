//! What the gateway itself runs on breaks.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Case, Promise, Ten};
use crate::client::Client;
use crate::report::{Form, Report};
use crate::ten::{Setup, TENANT, routes};
use crate::world::process::run;
use crate::world::{DEADLINE, PROGRAM};

pub(super) const CLOCK: Case = Case {
    id: "clock",
    what: "the clock is set an hour ahead, then two hours back",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| Box::pin(clock_steps(form)),
};

/// The clock is faketime's; what is monotonic stays so, as when a real one is set.
async fn clock_steps(form: Form) -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = folder.path().join("clock");
    let set = |time: &str| fs::write(&clock, time).expect("set the clock");
    set("+0");
    let mut program = Command::new("env");
    program
        .arg("LD_PRELOAD=/usr/$LIB/faketime/libfaketimeMT.so.1")
        .arg(format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()))
        .args(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", PROGRAM]);
    let mut ten = Setup::plain().await.start_as(program).await;
    let step = async |_: &mut Ten| {
        set("+3600");
        sleep(form.broken / 2).await;
        set("-3600");
    };
    ten.trial(&form, step, async |_| set("+0")).await
}

pub(super) const DISK: Case = Case {
    id: "disk",
    what: "the disk with the state folder is full, and routes are edited",
    promise: Promise::NoErrors,
    is_apart: true,
    run: |form| Box::pin(disk_fills(form)),
};

async fn disk_fills(form: Form) -> Report {
    let mut ten = Setup::plain().await.prepare();
    let state = ten.gateway.path("state");
    fs::create_dir(&state).expect("make the state folder");
    let mounted =
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "none"]).arg(&state));
    assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
    ten.launch(Command::new(PROGRAM)).await;
    let pool = ten.pool.clone();
    let edited = |more: &str| routes(&pool, &format!("{TENANT}{more}"));
    let early = "[tenants.early]\npool = \"shop\"\n";
    let late = "[tenants.late]\npool = \"shop\"\n";

    // An edit is live though it cannot be kept.
    let fills = async |ten: &mut Ten| {
        fill(&state);
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
        assert!(started.elapsed() < DEADLINE, "it is not kept: {}", ten.gateway.log());
        sleep(Duration::from_millis(20)).await;
    }
    fill(&state);
    ten.gateway.edit(&edited(late));
    serves(&ten, "late").await;
    ten.gateway.signal("KILL");
    ten.gateway.wait();
    ten.gateway.edit("broken");
    ten.launch(Command::new(PROGRAM)).await;
    serves(&ten, "early").await;
    assert_eq!(ask(&ten, "late").await, Some(404), "its routes could not be kept");
    drop(ten);
    assert!(run(Command::new("umount").arg(&state)).status.success());
    report
}

/// Writes until there is no room.
fn fill(folder: &Path) {
    let mut filler = File::create(folder.join(FILLER)).expect("make a file");
    while filler.write_all(&[0; 512]).is_ok() {}
}

/// Waits until a tenant is served.
async fn serves(ten: &Ten, tenant: &str) {
    let started = Instant::now();
    while ask(ten, tenant).await != Some(200) {
        assert!(started.elapsed() < DEADLINE, "{tenant} is not served: {}", ten.gateway.log());
        sleep(Duration::from_millis(20)).await;
    }
}

async fn ask(ten: &Ten, tenant: &str) -> Option<u16> {
    let request = format!("GET / HTTP/1.1\r\nHost: shop.test\r\nX-Tenant-ID: {tenant}\r\n\r\n");
    let answer = Client::new(ten.gateway.listener()).ask(&request).await.ok()?;
    Some(answer.status)
}

const FILLER: &str = "filler";

pub(super) const FILES: Case = Case {
    id: "files",
    what: "the gateway has no file left to open (EMFILE), and clients keep coming",
    promise: Promise::Errors("those that take a new connection find no file for it"),
    is_apart: false,
    run: |form| Box::pin(files_run_out(form)),
};

async fn files_run_out(form: Form) -> Report {
    let mut ten = Setup::plain().await.start().await;
    let clients = RefCell::new(Vec::new());
    let run_out = async |ten: &mut Ten| {
        let before = ten.gateway.open_files();
        limit(ten, before + 30);
        for _ in 0..100 {
            let mut client = TcpStream::connect(ten.gateway.listener()).expect("connect");
            client.write_all(BUSY).expect("begin a request");
            clients.borrow_mut().push(client);
        }
    };
    let mend = async |ten: &mut Ten| {
        clients.borrow_mut().clear();
        limit(ten, 4096);
    };
    ten.trial(&form, run_out, mend).await
}

/// From now on the gateway may have so many open files; raising the limit again takes no privilege.
fn limit(ten: &Ten, most: usize) {
    let id = ten.gateway.id().to_string();
    let limited = run(Command::new("prlimit").args(["--pid", &id, &format!("--nofile={most}:")]));
    assert!(limited.status.success(), "{}", String::from_utf8_lossy(&limited.stderr));
}

/// A request whose body never comes.
const BUSY: &[u8] =
    b"PUT / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nContent-Length: 9\r\n\r\nhalf";

pub(super) const WORKER: Case = Case {
    id: "worker",
    what: "a worker's thread panics; what looks after services starts the gateway again",
    promise: Promise::Errors("those under way, and those that come while nobody listens"),
    is_apart: false,
    run: |form| Box::pin(worker_panics(form)),
};

/// The runtime of one worker cannot wait for its sockets any more, and panics.
async fn worker_panics(form: Form) -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, library) = (folder.path().join("break.c"), folder.path().join("break.so"));
    let mark = folder.path().join("now");
    fs::write(&source, BREAKING).expect("write a library");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
    let made = run(&mut cc);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut program = Command::new("env");
    program.arg(format!("LD_PRELOAD={}", library.display()));
    program.arg(format!("BREAK={}", mark.display()));
    // A debug build takes seconds to tell where it was.
    program.args(["RUST_BACKTRACE=0", PROGRAM]);
    let mut ten = Setup::plain().await.start_as(program).await;
    let mut took = Duration::ZERO;

    let breaks = async |ten: &mut Ten| {
        fs::write(&mark, "").expect("break it");
        let broken = Instant::now();
        let ended = loop {
            if let Some(ended) = ten.gateway.ended() {
                break ended;
            }
            assert!(broken.elapsed() < DEADLINE, "it is half dead: {}", ten.gateway.log());
            sleep(Duration::from_millis(5)).await;
        };
        took = broken.elapsed();
        assert!(!ended.success() && ended.code().is_some(), "as a failure: {ended}");
        assert!(ten.gateway.log().contains("worker 0 ended by itself"), "{}", ten.gateway.log());
        ten.gateway.launch();
    };
    let mut report = ten.trial(&form, breaks, async |_| ()).await;
    report.note = format!("it has ended within {} ms", took.as_millis());
    report
}

/// Where the file is there, the first worker's wait for its sockets fails as it never should.
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
    const char *mark = getenv("BREAK");
    pthread_getname_np(pthread_self(), name, sizeof name);
    if (mark && !strcmp(name, "worker-0") && !access(mark, F_OK)) {
        errno = EBADF;
        return -1;
    }
    return real(epoll, events, most, timeout);
}
"#;
