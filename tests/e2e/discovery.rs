//! Endpoints from a real DNS server and from lists that change.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::world::dns::Dns;
use crate::world::gateway::Gateway;
use crate::world::{DEADLINE, eventually, free_port, origin};

fn tenant(pool: &str) -> String {
    format!("[pools.shop]\n{pool}\n\n[tenants.acme]\npool = \"shop\"\n")
}

fn resolver(dns: &Dns) -> String {
    format!("[dns]\nservers = [\"127.0.0.1:{}\"]\n", dns.port)
}

fn wait_for(gateway: &Gateway, body: &str) {
    eventually(body, || gateway.get("acme", "/", &[]).body, |answer| answer == body);
}

#[test]
fn a_pool_follows_its_name_and_outlives_the_dns_server() {
    let old = origin::answering("127.0.0.1:0", "old");
    let port = old.rsplit(':').next().unwrap_or_default();
    origin::answering(&format!("127.0.0.2:{port}"), "new");
    let mut dns = Dns::start("127.0.0.1 shop.test\n", &[]);
    let pool = format!("dns = \"shop.test:{port}\"");
    let gateway = Gateway::start_with(&resolver(&dns), &tenant(&pool));
    wait_for(&gateway, "old");

    dns.change("127.0.0.2 shop.test\n");
    wait_for(&gateway, "new");

    dns.die();
    eventually(
        "failed look-ups in the metrics",
        || gateway.admin("/metrics").body,
        |metrics| {
            let mut lines = metrics.lines();
            lines.any(|line| {
                let updates = line.starts_with("tenantry_discovery_updates_total{");
                updates && !line.contains("result=\"ok\"") && !line.ends_with(" 0")
            })
        },
    );
    assert_eq!(gateway.get("acme", "/", &[]).body, "new");
}

#[test]
fn service_records_name_host_and_port() {
    let address = origin::answering("127.0.0.1:0", "by service record");
    let port = address.rsplit(':').next().unwrap_or_default();
    let record = format!("--srv-host=_http._tcp.shop.test,origin.test,{port},10,5");
    let dns = Dns::start("127.0.0.1 origin.test\n", &[record]);

    let gateway = Gateway::start_with(&resolver(&dns), &tenant("srv = \"_http._tcp.shop.test\""));

    wait_for(&gateway, "by service record");
}

/// How soon an endpoint has its first request once its source names it.
const SOON: Duration = Duration::from_secs(1);

/// How long an answer of the name server holds: a second, and the spread of the next question.
const TTL: Duration = Duration::from_millis(1050);

/// What the members say, in the order in which they join.
const MEMBERS: [&str; 6] = ["first", "second", "third", "fourth", "fifth", "sixth"];

/// Names one member more to the source by `change`, again and again, under load, and gives the
/// time that each of them waited for its first request.
fn joins(gateway: &Gateway, change: impl Fn(usize)) -> Vec<Duration> {
    let stop = AtomicBool::new(false);
    let answers = Mutex::new(Vec::new());
    let ask = || {
        while !stop.load(Ordering::Relaxed) {
            let answer = gateway.get("acme", "/", &[]);
            answers.lock().expect("the answers").push((Instant::now(), answer));
        }
    };
    let first = |member: &str| {
        let answers = answers.lock().expect("the answers");
        answers.iter().find(|(_, answer)| answer.body == member).map(|(at, _)| *at)
    };

    let times = std::thread::scope(|scope| {
        scope.spawn(ask);
        scope.spawn(ask);
        let mut times = Vec::new();
        for (number, member) in MEMBERS.iter().enumerate().skip(1) {
            let changed = Instant::now();
            change(number);
            while first(member).is_none() && changed.elapsed() < DEADLINE {
                std::thread::sleep(Duration::from_millis(1));
            }
            times.push(first(member).map_or(DEADLINE, |at| at - changed));
        }
        stop.store(true, Ordering::Relaxed);
        times
    });

    let answers = answers.into_inner().expect("the answers");
    let lost: Vec<_> = answers.iter().filter(|(_, answer)| answer.status != 200).collect();
    assert!(lost.is_empty(), "{lost:?}");
    times
}

/// More than half of them: one that has waited for a core has not waited for the gateway, and what the
/// gateway is slow with it is slow with each time.
fn most_within(times: &[Duration], limit: Duration) {
    assert!(times.iter().all(|time| *time < DEADLINE), "{times:?}: one never came");
    let soon = times.iter().filter(|time| **time < limit).count();
    assert!(2 * soon > times.len(), "{times:?}, most of them not within {limit:?}");
}

/// Origins that say which member they are, behind addresses of their own at one port.
fn members() -> Vec<String> {
    let port = free_port();
    let hosts = MEMBERS.iter().zip(1..);
    hosts.map(|(name, host)| origin::answering(&format!("127.0.1.{host}:{port}"), name)).collect()
}

#[test]
fn a_member_that_a_list_names_has_a_request_within_a_second() {
    let members = members();
    let folder = tempfile::tempdir().expect("a folder");
    let json = |upto: usize| serde_json::json!([{ "targets": members[..=upto] }]).to_string();
    let toml = |upto: usize| format!("endpoints = {:?}\n", &members[..=upto]);
    let lists: [(&str, &dyn Fn(usize) -> String); 2] = [("l.json", &json), ("l.toml", &toml)];
    for (name, list) in lists {
        let path = folder.path().join(name);
        fs::write(&path, list(0)).expect("write a list");
        let gateway = Gateway::start(&tenant(&format!("file = \"{}\"", path.display())));

        let times = joins(&gateway, |upto| {
            let new = path.with_extension("new");
            fs::write(&new, list(upto)).expect("write a list");
            fs::rename(&new, &path).expect("rename a list");
        });

        println!("{name}: {times:?}");
        most_within(&times, SOON);
    }
}

#[test]
fn a_member_that_a_name_leads_to_has_a_request_within_a_second_of_the_old_answers_end() {
    let members = members();
    let hosts = |upto: usize| -> String {
        let hosts = members[..=upto].iter().filter_map(|member| member.split(':').next());
        hosts.map(|host| format!("{host} shop.test\n")).collect()
    };
    let port = members[0].rsplit(':').next().unwrap_or_default();
    let dns = Dns::start(&hosts(0), &[]);
    let gateway =
        Gateway::start_with(&resolver(&dns), &tenant(&format!("dns = \"shop.test:{port}\"")));

    let times = joins(&gateway, |upto| dns.change(&hosts(upto)));

    println!("{times:?}");
    most_within(&times, TTL + SOON);
}
