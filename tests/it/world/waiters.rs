//! Clients whose requests wait: who leaves meanwhile, and who has sent a part of its body alone.

use super::client::{Client, Frames, Hyper, head};
use super::gateway::Gateway;

/// Of a tenant that is there wherever requests wait.
const FIELDS: &[&str] = &["Host: localhost", "X-Tenant-ID: acme"];

/// A request with a body of this size, and the beginning of it.
pub(crate) fn post(size: usize, begun: &str) -> String {
    let length = format!("Content-Length: {size}");
    head("POST /", &[FIELDS, &[&length]].concat()) + begun
}

/// One after the other, a client with each kind of request comes, waits by the gauge `waiting`, leaves, and frees its place: requests
/// without a body, with one that is whole or is not, with `more`, and on HTTP/2. Tells how many have left.
pub(crate) async fn come_and_leave(gateway: &Gateway, waiting: &str, more: &[String]) -> f64 {
    let usual = [head("GET /", FIELDS), post(20, "unfinished"), post(5, "whole"), post(9, "")];
    let mut left = 0.0;
    for request in usual.iter().chain(more) {
        let mut client = Client::connect(gateway.address()).await;
        client.send(request).await;
        gateway.metric_becomes(waiting, 1.0).await;

        drop(client);

        gateway.metric_becomes(waiting, 0.0).await;
        left += 1.0;
    }
    let mut streams = Hyper::h2(gateway.address()).await;
    let request = streams.request("POST", "acme", "/", Frames::sized("body").never_ending());
    streams.send(request);
    gateway.metric_becomes(waiting, 1.0).await;
    drop(streams);
    gateway.metric_becomes(waiting, 0.0).await;
    left + 1.0
}

/// A client that waits by the gauge `waiting` and has sent a part of its body; the rest, and the size of the whole.
pub(crate) async fn half_sent(gateway: &Gateway, waiting: &str) -> (Client, String, usize) {
    let body = "x".repeat(300_000);
    let (begun, rest) = body.split_at(100_000);
    let mut client = Client::connect(gateway.address()).await;
    client.send(&post(body.len(), begun)).await;
    gateway.metric_becomes(waiting, 1.0).await;
    (client, rest.to_owned(), body.len())
}
