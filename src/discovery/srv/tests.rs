//! Services by name, from a real name server.

use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::RecordType;

use crate::discovery::nameserver::{NameServer, Reply};

use super::*;

const NAME: &str = "_http._tcp.billing.internal.";

fn question(resolver: &Resolver) -> ServiceQuestion<'_> {
    ServiceQuestion { resolver, name: NAME, last: BTreeMap::new() }
}

/// Priority, weight and address of each endpoint, sorted.
fn rows(answer: &Answer) -> Vec<(u16, u32, String)> {
    let row = |named: &Named| (named.priority, named.weight, named.address.to_string());
    let mut rows: Vec<_> = answer.endpoints.iter().map(row).collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn each_target_brings_its_addresses_with_port_priority_and_weight() {
    let server = NameServer::start().await;
    let services =
        [(10, 5, 8080, "a.internal."), (10, 0, 8081, "b.internal."), (20, 1, 9000, "a.internal.")];
    server.set_srv(NAME, 30, &services);
    server.set_a("a.internal.", 20, &[1, 2]);
    server.set_a("b.internal.", 40, &[3]);

    let answer = question(&server.resolver()).ask().await.unwrap();

    let wanted = [
        (10, 1, "10.0.0.3:8081"), // weight 0 counts as 1
        (10, 5, "10.0.0.1:8080"),
        (10, 5, "10.0.0.2:8080"),
        (20, 1, "10.0.0.1:9000"),
        (20, 1, "10.0.0.2:9000"),
    ];
    assert_eq!(rows(&answer), wanted.map(|(p, w, address)| (p, w, address.to_owned())));
    assert_eq!(answer.ttl, Duration::from_secs(20));
    assert_eq!(answer.trouble, None);
}

#[tokio::test]
async fn a_target_of_a_dot_says_that_there_is_no_service() {
    let server = NameServer::start().await;
    server.set_srv(NAME, 30, &[(0, 0, 0, ".")]);

    let error = question(&server.resolver()).ask().await.unwrap_err();

    assert!(matches!(error, LookupError::Empty(_)), "{error:?}");
    assert!(error.to_string().contains("not available"), "{error}");
}

#[tokio::test]
async fn a_target_whose_server_fails_keeps_its_addresses() {
    let server = NameServer::start().await;
    let resolver = server.resolver();
    let mut question = question(&resolver);
    server.set_srv(NAME, 30, &[(0, 1, 80, "a.internal."), (0, 1, 80, "b.internal.")]);
    server.set_a("a.internal.", 30, &[1]);
    server.set_a("b.internal.", 30, &[2]);
    question.ask().await.unwrap();

    for kind in [RecordType::A, RecordType::AAAA] {
        server.set("b.internal.", kind, Reply::Code(ResponseCode::ServFail));
    }
    server.set_a("a.internal.", 30, &[9]);
    let half = question.ask().await.unwrap();

    let addresses: Vec<String> = rows(&half).into_iter().map(|(.., address)| address).collect();
    assert_eq!(addresses, ["10.0.0.2:80", "10.0.0.9:80"]);
    assert!(half.trouble.unwrap().starts_with("target b.internal.: "));
}

#[tokio::test]
async fn a_target_without_addresses_is_left_out_and_named() {
    let server = NameServer::start().await;
    server.set_srv(NAME, 30, &[(0, 1, 80, "a.internal."), (0, 1, 80, "gone.internal.")]);
    server.set_a("a.internal.", 30, &[1]);

    let answer = question(&server.resolver()).ask().await.unwrap();

    assert_eq!(answer.endpoints.len(), 1);
    assert!(answer.trouble.unwrap().starts_with("target gone.internal.: "));
}

#[tokio::test]
async fn only_dead_targets_are_a_failure() {
    let server = NameServer::start().await;
    server.set_srv(NAME, 30, &[(0, 1, 80, "gone.internal.")]);

    let error = question(&server.resolver()).ask().await.unwrap_err();

    assert!(error.to_string().starts_with("target gone.internal.: "), "{error}");
}

#[tokio::test]
async fn an_answer_too_large_for_a_datagram_is_fetched_by_tcp_and_all_targets_are_asked() {
    let server = NameServer::start().await;
    let names: Vec<String> = (0..40).map(|host| format!("h{host}.internal.")).collect();
    let services: Vec<_> = names.iter().map(|name| (0, 1, 80, name.as_str())).collect();
    server.set_srv(NAME, 30, &services);
    for (host, name) in names.iter().enumerate() {
        server.set_a(name, 30, &[u8::try_from(host).unwrap()]);
    }

    let answer = question(&server.resolver()).ask().await.unwrap();

    assert_eq!(answer.endpoints.len(), 40);
}
