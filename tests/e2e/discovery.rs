//! Endpoints from a real DNS server.

use crate::world::dns::Dns;
use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::origin;

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
