//! Pools whose endpoints are found: who joins gets traffic, who leaves is left in peace, and who
//! cannot be asked changes nothing. All of it under load, and without a lost request.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::world::gateway::Gateway;
use crate::world::load::Load;
use crate::world::nameserver::{Mood, NameServer};
use crate::world::origin::{Origin, Step};
use crate::world::{DEADLINE, STEP, eventually};

/// So many origins at one port of several addresses, as behind one name.
async fn behind_one_name(count: u8) -> Vec<Origin> {
    let address = |host, port| SocketAddr::from((host_number(host), port));
    let first = Origin::start_at(address(0, 0), [Step::ok("0")]).await;
    let port = first.address.port();
    let mut origins = vec![first];
    for host in 1..count {
        origins.push(Origin::start_at(address(host, port), [Step::ok("more")]).await);
    }
    origins
}

/// Addresses of their own, so that their ports are free whatever else runs.
fn host_number(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 7, host + 1)
}

/// A tenant whose pool has these sources, with one try for each request: what fails is seen.
fn found_by(sources: &str) -> String {
    format!(
        "[pools.app]\n{sources}\nretry = {{ attempts = 1 }}\neject = {{ failures = 0 }}\n\n\
         [tenants.acme]\npool = \"app\"\n"
    )
}

/// Waits until `/api/v1/pools` lists exactly these members.
async fn members_become(gateway: &Gateway, addresses: &[SocketAddr]) {
    let mut wanted: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    wanted.sort_unstable();
    let started = Instant::now();
    loop {
        let pool = shown(gateway).await;
        let members = pool["members"].as_array().cloned().unwrap_or_default();
        let name = |member: &Value| member["address"].as_str().unwrap_or_default().to_owned();
        let mut names: Vec<String> = members.iter().map(name).collect();
        names.sort_unstable();
        if names == wanted {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "{pool}");
        sleep(STEP).await;
    }
}

async fn shown(gateway: &Gateway) -> Value {
    gateway.admin("/api/v1/pools").await.json()[0].clone()
}

/// Waits until the source's last word is this result.
async fn source_becomes(gateway: &Gateway, result: &str) {
    let started = Instant::now();
    loop {
        let pool = shown(gateway).await;
        if pool["sources"][0]["result"] == result {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "{pool}");
        sleep(STEP).await;
    }
}

/// These get requests; the others get no new ones. A request that one of those was chosen for while it was a
/// member comes late where its worker had no turn since: each client has one under way.
async fn only_these_get_traffic(load: &Load, origins: &[Origin], these: &[usize]) {
    let others = || -> usize {
        let others = origins.iter().enumerate().filter(|(at, _)| !these.contains(at));
        others.map(|(_, origin)| origin.asked().len()).sum()
    };
    load.serves(CLIENTS * 2).await; // what was under way is done by then, on an idle machine
    let begun = others();
    loop {
        let (before, members) = (others(), of_each(origins));
        for at in these {
            let more = |count: &usize| *count > members[*at];
            eventually("traffic at a member", || origins[*at].asked().len(), more).await;
        }
        load.serves(CLIENTS * 10).await;
        let now = others();
        assert!(now <= begun + CLIENTS, "{} requests at others than {these:?}", now - begun);
        if now == before {
            return;
        }
    }
}

/// How often each of them was asked.
fn of_each(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(|origin| origin.asked().len()).collect()
}

const CLIENTS: usize = 4;

#[tokio::test]
async fn the_addresses_of_a_name_join_and_leave_under_load() {
    let origins = behind_one_name(3).await;
    let port = origins[0].address.port();
    let dns = NameServer::start().await;
    dns.set_a("app.test.", &[host_number(0)]);
    let routes = found_by(&format!("dns = \"app.test:{port}\""));
    let gateway = Gateway::start_with_workers(2, &dns.config(), &routes).await;
    let load = Load::start(gateway.address(), &["acme"], CLIENTS);

    for these in [&[0, 1][..], &[2], &[0, 1, 2]] {
        let hosts: Vec<Ipv4Addr> = these.iter().map(|at| host_number(*at as u8)).collect();
        dns.set_a("app.test.", &hosts);
        let addresses: Vec<SocketAddr> = these.iter().map(|at| origins[*at].address).collect();
        members_become(&gateway, &addresses).await;
        only_these_get_traffic(&load, &origins, these).await;
    }

    load.stop().await;
}

#[tokio::test]
async fn the_last_good_set_serves_while_dns_is_dead_or_says_nothing() {
    tokio::join!(
        the_last_good_set_serves_while(|dns| dns.set_a("app.test.", &[])),
        the_last_good_set_serves_while(|dns| dns.be(Mood::Failing)),
        the_last_good_set_serves_while(|dns| dns.be(Mood::Silent)),
    );
}

async fn the_last_good_set_serves_while(fault: fn(&NameServer)) {
    let origins = behind_one_name(2).await;
    let port = origins[0].address.port();
    let both = [host_number(0), host_number(1)];
    let dns = NameServer::start().await;
    dns.set_a("app.test.", &both);
    let routes = found_by(&format!("dns = \"app.test:{port}\""));
    let gateway = Gateway::start_with(&dns.config(), &routes).await;
    let load = Load::start(gateway.address(), &["acme"], CLIENTS);

    fault(&dns);
    source_becomes(&gateway, "failed").await;
    members_become(&gateway, &[origins[0].address, origins[1].address]).await;
    only_these_get_traffic(&load, &origins, &[0, 1]).await;
    let metrics = gateway.admin("/metrics").await.text();
    let failures = metrics.lines().filter(|line| {
        let of_pool = line.starts_with("tenantry_discovery_updates_total{pool=\"app\",");
        of_pool && line.contains("\"failed\"") && !line.ends_with(" 0")
    });
    assert_eq!(failures.count(), 1, "{metrics}");

    dns.set_a("app.test.", &both[1..]);
    dns.be(Mood::Well);
    members_become(&gateway, &[origins[1].address]).await;
    load.stop().await;
}

#[tokio::test]
async fn services_of_the_first_priority_serve_alone() {
    let origins = [Origin::saying("0").await, Origin::saying("1").await, Origin::saying("2").await];
    let port = |at: usize| origins[at].address.port();
    let dns = NameServer::start().await;
    dns.set_a("host.test.", &[Ipv4Addr::LOCALHOST]);
    let service = "_http._tcp.app.test.";
    dns.set_srv(service, &[(10, 5, port(0), "host.test."), (20, 5, port(1), "host.test.")]);
    let routes = found_by("srv = \"_http._tcp.app.test\"");
    let gateway = Gateway::start_with(&dns.config(), &routes).await;
    let load = Load::start(gateway.address(), &["acme"], CLIENTS);
    only_these_get_traffic(&load, &origins, &[0]).await;

    dns.set_srv(service, &[(20, 5, port(1), "host.test."), (20, 9, port(2), "host.test.")]);
    members_become(&gateway, &[origins[1].address, origins[2].address]).await;
    only_these_get_traffic(&load, &origins, &[1, 2]).await;

    load.stop().await;
}

/// Writes a list as Prometheus' `file_sd` has it, renamed over the old one.
fn write_list(path: &Path, addresses: &[SocketAddr]) {
    let targets: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    let new = path.with_extension("new");
    fs::write(&new, format!("[{{ \"targets\": [{}] }}]", targets.join(", ")))
        .expect("write a list");
    fs::rename(new, path).expect("rename a list");
}

#[tokio::test]
async fn a_list_is_followed_under_load_and_a_broken_one_is_not() {
    let origins = [Origin::saying("0").await, Origin::saying("1").await, Origin::saying("2").await];
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("list.json");
    write_list(&list, &[origins[0].address]);
    let routes = found_by(&format!("file = \"{}\"", list.display()));
    let gateway = Gateway::start_with_workers(2, "", &routes).await;
    let load = Load::start(gateway.address(), &["acme"], CLIENTS);

    for these in [&[0, 1][..], &[1], &[1, 2], &[0, 2]] {
        let addresses: Vec<SocketAddr> = these.iter().map(|at| origins[*at].address).collect();
        write_list(&list, &addresses);
        members_become(&gateway, &addresses).await;
        only_these_get_traffic(&load, &origins, these).await;
    }
    for broken in ["[{ \"targets\": [\"no address\"] }]", "[{"] {
        fs::write(&list, broken).expect("write a list");
        source_becomes(&gateway, "failed").await;
        only_these_get_traffic(&load, &origins, &[0, 2]).await;
        write_list(&list, &[origins[0].address, origins[2].address]);
        source_becomes(&gateway, "found").await;
    }

    load.stop().await;
}

#[tokio::test]
async fn sources_add_up_and_each_member_shows_its_own() {
    let (fixed, listed) = (Origin::saying("fixed").await, Origin::saying("listed").await);
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("list.json");
    write_list(&list, &[listed.address]);
    let sources = format!("endpoints = [\"{}\"]\nfile = \"{}\"", fixed.address, list.display());
    let gateway = Gateway::start(&found_by(&sources)).await;
    members_become(&gateway, &[fixed.address, listed.address]).await;

    let pool = shown(&gateway).await;

    let members = pool["members"].as_array().expect("members");
    for (origin, word) in [(&fixed, "static"), (&listed, "list.json")] {
        let is = |member: &&Value| member["address"] == origin.address.to_string();
        let member = members.iter().find(is).expect("a member");
        assert!(member["origin"].as_str().is_some_and(|from| from.contains(word)), "{member}");
    }
}

#[tokio::test]
async fn a_pool_goes_over_from_a_list_to_a_name_without_a_gap() {
    let origins = behind_one_name(2).await;
    let port = origins[0].address.port();
    let dns = NameServer::start().await;
    dns.set_a("app.test.", &[host_number(1)]);
    let fixed = found_by(&format!("endpoints = [\"{}\"]", origins[0].address));
    let named = found_by(&format!("dns = \"app.test:{port}\""));
    let gateway = Gateway::start_with_workers(2, &dns.config(), &fixed).await;
    let load = Load::start(gateway.address(), &["acme"], CLIENTS);

    for _ in 0..3 {
        gateway.reload(&named).await;
        members_become(&gateway, &[origins[1].address]).await;
        only_these_get_traffic(&load, &origins, &[1]).await;
        gateway.reload(&fixed).await;
        members_become(&gateway, &[origins[0].address]).await;
        only_these_get_traffic(&load, &origins, &[0]).await;
    }

    load.stop().await;
}
