//! Whose request it is, as the wire says it.

use crate::world::client::ask;
use crate::world::config::one_tenant;
use crate::world::gateway::Gateway;
use crate::world::origin::Origin;

#[tokio::test]
async fn a_tenant_reaches_its_pool() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;

    let answer = gateway.get("/a?b=c").await;

    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let asked = origin.only().await;
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/a?b=c"));
    assert_eq!(asked.all("x-tenant-id"), ["acme"]);
}

#[tokio::test]
async fn a_missing_header_is_a_400_and_no_origin_sees_a_byte() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;

    let answer = ask(gateway.address(), "GET /", &["Host: a"]).await;

    assert_eq!((answer.status, answer.problem().as_deref()), (400, Some("tenant-missing")));
    assert_eq!(origin.connections(), 0);
}
