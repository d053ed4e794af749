//! Start, drain, restart.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::origin::{self, Held};

fn routes(endpoint: &str) -> String {
    format!("[pools.shop]\nendpoints = [\"{endpoint}\"]\n\n[tenants.acme]\npool = \"shop\"\n")
}

#[test]
fn a_drain_lets_a_slow_request_finish_and_ends_with_0() {
    let origin = Held::start();
    let mut gateway =
        Gateway::start_with("[drain]\naccept = \"100ms\"\n", &routes(&origin.address));

    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| gateway.get("acme", "/", &[]));
        origin.wait();
        gateway.signal("TERM");
        eventually(
            "closed listeners",
            || TcpStream::connect(gateway.listener()).is_err(),
            |closed| *closed,
        );
        origin.release();
        asking.join().expect("the answer")
    });

    assert_eq!((answer.status, answer.body.as_str()), (200, "held and released"));
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
}

/// Edits and checks would have the core for milliseconds each time that a worker is woken on it.
#[test]
fn all_that_is_no_request_steps_back_for_the_workers() {
    let endpoint = origin::keeping("127.0.0.1:0", "hello");
    let gateway = Gateway::start(&routes(&endpoint));

    let threads = Path::new("/proc").join(gateway.id().to_string()).join("task");
    let nicer = |kind: &str| -> Vec<i64> {
        let threads = fs::read_dir(&threads).expect("its threads").flatten();
        let stat = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("stat")).ok();
        let of_kind = threads.filter_map(stat).filter(|stat| stat.contains(kind));
        let niceness = |stat: String| {
            let (_, rest) = stat.rsplit_once(')')?;
            rest.split_whitespace().nth(16)?.parse().ok()
        };
        of_kind.filter_map(niceness).collect()
    };
    let (workers, control) = (nicer("(worker-"), nicer("(control)"));

    assert!(!workers.is_empty() && !control.is_empty());
    let least_urgent = workers[0].saturating_add(5).min(19);
    assert!(workers.iter().all(|niceness| *niceness == workers[0]), "{workers:?}");
    assert!(control.iter().all(|niceness| *niceness == least_urgent), "{workers:?} {control:?}");
}

#[test]
fn a_request_finishes_on_an_endpoint_that_has_left_its_pool() {
    let origin = Held::start();
    let other = origin::answering("127.0.0.1:0", "the other one");
    let gateway = Gateway::start(&routes(&origin.address));

    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| gateway.get("acme", "/", &[]));
        origin.wait();
        gateway.edit(&routes(&other));
        eventually(
            "the other endpoint",
            || gateway.get("acme", "/", &["--max-time", "1"]).body,
            |body| body == "the other one",
        );
        origin.release();
        asking.join().expect("the answer")
    });

    assert_eq!((answer.status, answer.body.as_str()), (200, "held and released"));
}

#[test]
fn a_second_signal_ends_at_once() {
    let origin = Held::start();
    let mut gateway =
        Gateway::start_with("[drain]\naccept = \"100ms\"\n", &routes(&origin.address));

    std::thread::scope(|scope| {
        let asking = scope.spawn(|| gateway.get("acme", "/", &[]));
        origin.wait();
        gateway.signal("TERM");
        eventually(
            "closed listeners",
            || TcpStream::connect(gateway.listener()).is_err(),
            |closed| *closed,
        );
        gateway.signal("TERM");
        assert_eq!(asking.join().expect("curl's end").status, 0);
    });

    assert_eq!(gateway.wait().code(), Some(130), "{}", gateway.log());
}

/// `timeout` signals its child and then the group that the child is in.
#[test]
fn two_signals_of_one_moment_cut_nothing_off() {
    let origin = Held::start();
    let mut gateway =
        Gateway::start_with("[drain]\naccept = \"100ms\"\n", &routes(&origin.address));

    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| gateway.get("acme", "/", &[]));
        origin.wait();
        // Stopped, so that it hears of both in one moment however busy the machine is.
        ["STOP", "TERM", "INT", "CONT"].iter().for_each(|name| gateway.signal(name));
        eventually(
            "closed listeners",
            || TcpStream::connect(gateway.listener()).is_err(),
            |closed| *closed,
        );
        origin.release();
        asking.join().expect("the answer")
    });

    assert_eq!((answer.status, answer.body.as_str()), (200, "held and released"));
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
}

#[test]
fn a_hangup_reloads_the_routes() {
    let endpoint = origin::answering("127.0.0.1:0", "here");
    let gateway = Gateway::start(&routes(&endpoint));
    let loads = "tenantry_config_reloads_total{result=\"ok\"}";
    let before = gateway.metric(loads).expect("the count of loads");

    gateway.signal("HUP");

    eventually("one more load", || gateway.metric(loads), |now| *now == Some(before + 1.0));
    assert_eq!(gateway.get("acme", "/", &[]).body, "here");
}

#[test]
fn a_restart_on_broken_routes_serves_the_last_good_ones() {
    let endpoint = origin::answering("127.0.0.1:0", "still here");
    let mut gateway = Gateway::start(&routes(&endpoint));
    assert_eq!(gateway.get("acme", "/", &[]).body, "still here");
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());

    gateway.edit("[tenants.acme]\npool = \"nowhere\"\n");
    gateway.launch();
    gateway.wait_ready();

    assert_eq!(gateway.get("acme", "/", &[]).body, "still here");
    assert_eq!(gateway.metric("tenantry_config_serving_last_good"), Some(1.0));
    eventually("the problem in the log", || gateway.log(), |log| log.contains("nowhere"));
}

#[test]
fn broken_routes_without_a_last_good_table_are_refused() {
    let mut gateway = Gateway::prepare("", "[tenants.acme]\npool = \"nowhere\"\n");

    gateway.launch();

    assert_eq!(gateway.wait().code(), Some(1));
    assert!(gateway.log().contains("nowhere"), "{}", gateway.log());
}

#[test]
fn a_port_in_use_is_told_where_it_is_asked_for_and_ends_with_1() {
    let mut gateway = Gateway::prepare("", &routes("127.0.0.1:1"));
    let _taken = TcpListener::bind(gateway.listener()).expect("take the port");

    gateway.launch();

    assert_eq!(gateway.wait().code(), Some(1));
    let log = gateway.log();
    let told = format!(
        "tenantry: {}:9:11: listeners[0].address: cannot listen on {}: the address is in use\n    \
         hint: stop the program that listens there (`ss -ltnp 'sport = :{}'` names it)",
        gateway.config().display(),
        gateway.listener(),
        gateway.listener().port()
    );
    assert!(log.contains(&told), "{log}");
    assert!(!log.contains("panicked") && !log.contains("backtrace"), "{log}");
}

#[test]
fn a_hang_up_opens_the_access_log_anew_and_reads_the_routes() {
    let endpoint = origin::answering("127.0.0.1:0", "hello");
    let gateway = Gateway::start_with("[access-log]\nfile = \"access.log\"\n", &routes(&endpoint));
    let log = gateway.config().with_file_name("access.log");
    let rotated = log.with_extension("log.1");
    let lines = |path: &Path| fs::read_to_string(path).unwrap_or_default().lines().count();
    gateway.get("acme", "/", &[]);
    eventually("the first line", || lines(&log), |lines| *lines == 1);
    fs::rename(&log, &rotated).expect("move the log away");

    gateway.signal("HUP");
    eventually("the new file", || log.exists(), |exists| *exists);
    gateway.get("acme", "/", &[]);

    eventually("the second line", || lines(&log), |lines| *lines == 1);
    assert_eq!(lines(&rotated), 1);
    eventually(
        "the reload",
        || gateway.metric("tenantry_config_reloads_total{result=\"ok\"}"),
        |loads| *loads == Some(2.0),
    );
}
