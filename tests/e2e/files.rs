//! Out of open files: the gateway waits, says what to do, and is whole again after.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::world::gateway::Gateway;
use crate::world::{eventually, origin};

fn routes(endpoint: &str) -> String {
    format!("[pools.shop]\nendpoints = [\"{endpoint}\"]\n\n[tenants.acme]\npool = \"shop\"\n")
}

/// A request whose body never comes: its connection is busy, and its endpoint's as well.
const BUSY: &[u8] =
    b"PUT / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nContent-Length: 9\r\n\r\nhalf";

fn connect(gateway: &Gateway, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = TcpStream::connect(gateway.listener()).ok()?;
        stream.write_all(bytes).ok()?;
        Some(stream)
    };
    (0..count).filter_map(connect).collect()
}

/// Clock ticks of the processor that the process has used.
fn processor_time(id: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("read its times");
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    ticks(11) + ticks(12)
}

fn count_lines(gateway: &Gateway, part: &str) -> usize {
    gateway.log().lines().filter(|line| line.contains(part)).count()
}

/// How many lines more came in two seconds in which the process was left alone, how much of a
/// processor it took, and how many seconds those were in truth.
fn watched(gateway: &Gateway, part: &str) -> (usize, f64, f64) {
    let started = Instant::now();
    let (lines, time) = (count_lines(gateway, part), processor_time(gateway.id()));
    while started.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let (ticks, seconds) = (processor_time(gateway.id()) - time, started.elapsed().as_secs_f64());
    // A hundred ticks are a second, on every Linux that is.
    let share = f64::from(u32::try_from(ticks).unwrap_or(u32::MAX)) / 100.0 / seconds;
    let lines = count_lines(gateway, part) - lines;
    (lines, share, started.elapsed().as_secs_f64())
}

#[test]
fn a_low_limit_of_open_files_leaves_some_for_endpoints_and_the_admin_api() {
    let endpoint = origin::keeping("127.0.0.1:0", "hello");
    let mut gateway = Gateway::prepare("", &routes(&endpoint));
    gateway.launch_with_open_files(200);
    gateway.wait_ready();
    assert!(gateway.log().contains("is lowered"), "{}", gateway.log());

    let idle = connect(&gateway, 400, b"");
    eventually("an answer", || gateway.get("acme", "/", &[]).body, |body| body == "hello");
    assert_eq!(gateway.admin("/readyz").status, 200);

    assert_eq!(idle.len(), 400, "each was let in, in the place of an idle one");
    assert_eq!(gateway.ended(), None);
    assert_eq!(count_lines(&gateway, "could not be accepted"), 0, "{}", gateway.log());
}

#[test]
fn out_of_open_files_it_neither_spins_nor_ends_and_is_whole_again_after() {
    let endpoint = origin::keeping("127.0.0.1:0", "hello");
    let mut gateway = Gateway::start(&routes(&endpoint));
    assert_eq!(gateway.get("acme", "/", &[]).body, "hello");
    // While it runs, so that it could not prepare itself.
    let before = gateway.open_files();
    gateway.limit_open_files(before + 40);

    let busy = connect(&gateway, 200, BUSY);
    eventually(
        "the word in the log",
        || count_lines(&gateway, "could not be accepted"),
        |count| *count > 0,
    );
    let (lines, share, seconds) = watched(&gateway, "could not be accepted");
    assert!(lines as f64 <= seconds + 3.0, "{lines} lines in {seconds} s");
    assert!(share < 0.3, "{share} of a processor");
    assert!(gateway.log().contains("LimitNOFILE="), "{}", gateway.log());
    assert_eq!(gateway.ended(), None);

    drop(busy);
    eventually(
        "service",
        || gateway.get("acme", "/", &["--max-time", "2"]).body,
        |body| body == "hello",
    );
    let up = format!("tenantry_endpoint_up{{pool=\"shop\",endpoint=\"{endpoint}\"}}");
    eventually("the metrics", || gateway.metric(&up), Option::is_some);
    assert_eq!(gateway.metric(&up), Some(1.0), "the endpoint is not to blame");
    eventually("closed files", || gateway.open_files(), |now| *now <= before + 4);
}

#[test]
fn out_of_open_files_idle_connections_make_room() {
    let endpoint = origin::keeping("127.0.0.1:0", "hello");
    let gateway = Gateway::start(&routes(&endpoint));
    assert_eq!(gateway.get("acme", "/", &[]).body, "hello");
    let idle = connect(&gateway, 100, b"");
    eventually("all of them", || gateway.open_files(), |now| *now > 100);
    gateway.limit_open_files(gateway.open_files());

    for _ in 0..20 {
        assert_eq!(gateway.get("acme", "/", &["--max-time", "5"]).body, "hello");
    }

    let closed = |mut stream: &TcpStream| {
        stream.set_nonblocking(true).is_ok() && matches!(stream.read(&mut [0]), Ok(0))
    };
    eventually(
        "some closed",
        || idle.iter().filter(|stream| closed(stream)).count(),
        |count| *count > 0,
    );
}
