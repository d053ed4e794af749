//! Every way in which a request names its tenant, and fails to.

use std::collections::BTreeMap;

use http::{HeaderValue, Request};
use proptest::prelude::*;

use crate::config::spec::{NamingSpec, RoutesSpec};
use crate::routing::compile;
use crate::routing::samples::{spec, tenant};

use super::*;

const HEADER: HeaderName = HeaderName::from_static("x-tenant-id");

fn table(from: Vec<NameFrom>) -> Table {
    let naming = NamingSpec { from, forward_as: HEADER, identity: Default::default() };
    let tenants = vec![("acme", tenant(None, vec![], &[])), ("a.b", tenant(None, vec![], &[]))];
    compile(&RoutesSpec { naming, ..spec(tenants, vec![]) }, None, &BTreeMap::new(), 1)
}

fn head(uri: &str, fields: &[(&'static str, &[u8])]) -> Parts {
    let mut request = Request::builder().uri(uri);
    for (name, value) in fields {
        request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}

/// The tenant and path, or the error's text.
fn name(table: &Table, uri: &str, fields: &[(&'static str, &[u8])]) -> Result<String, String> {
    let head = head(uri, fields);
    let named = table.name(&head, &Shown::default()).map_err(|error| error.to_string())?;
    Ok(format!("{} {}", named.tenant.id(), named.path))
}

fn host_way() -> NameFrom {
    NameFrom::Host { prefix: String::new(), suffix: ".example.com".into() }
}

#[test]
fn the_header_names_the_tenant() {
    let table = table(vec![NameFrom::Header(HEADER)]);

    assert_eq!(name(&table, "/x", &[("x-tenant-id", b"acme")]), Ok("acme /x".into()));
    assert_eq!(name(&table, "/x", &[]), Err("the request names no tenant".into()));
    assert_eq!(
        name(&table, "/x", &[("x-tenant-id", b"nobody")]),
        Err("there is no tenant \"nobody\"".into())
    );
}

#[test]
fn a_header_that_is_not_one_valid_id_is_refused_whatever_the_next_way_says() {
    let default = NameFrom::Default(TenantId::new("acme").unwrap());
    let table = table(vec![NameFrom::Header(HEADER), default]);
    let check = |values: &[&[u8]], why: &str| {
        let fields: Vec<_> = values.iter().map(|value| ("x-tenant-id", *value)).collect();
        let expected = format!("the tenant in the header x-tenant-id {why}");
        assert_eq!(name(&table, "/x", &fields), Err(expected), "{values:?}");
    };
    let character = "has a character other than letters, digits, '.', '_' and '-'";

    check(&[b"acme", b"acme"], "is given more than once");
    check(&[b"acme", b"globex"], "is given more than once");
    check(&[b"", b"acme"], "is given more than once");
    check(&[b"acme,globex"], "is a list");
    check(&[b","], "is a list");
    check(&[b""], "is empty");
    check(&[&[b'a'; 129]], "is longer than 128 bytes");
    check(&[b"ac me"], character);
    check(&[b"ac\tme"], character);
    check(&[b"acme/.."], character);
    check(&[b"ac\xffme"], character);
    assert_eq!(name(&table, "/x", &[]), Ok("acme /x".into()));
}

#[test]
fn one_label_of_the_host_names_the_tenant() {
    let default = NameFrom::Default(TenantId::new("a.b").unwrap());
    let table = table(vec![host_way(), default]);
    let host = |host: &'static str| name(&table, "/x", &[("host", host.as_bytes())]);

    assert_eq!(host("acme.example.com"), Ok("acme /x".into()));
    assert_eq!(host("ACME.Example.com:8080"), Ok("acme /x".into()));
    assert_eq!(host("acme.example.com."), Ok("acme /x".into()));
    assert_eq!(name(&table, "http://acme.example.com/x", &[]), Ok("acme /x".into()));
    for other in ["example.com", ".example.com", "a.b.example.com", "acme.example.org", "x,y"] {
        assert_eq!(host(other), Ok("a.b /x".into()), "{other}");
    }
    assert_eq!(host("nobody.example.com"), Err("there is no tenant \"nobody\"".into()));
}

#[test]
fn two_host_fields_are_refused() {
    let table = table(vec![host_way()]);

    assert_eq!(
        name(&table, "/x", &[("host", b"acme.example.com"), ("host", b"acme.example.com")]),
        Err("the tenant in the host is given more than once".into())
    );
}

#[test]
fn the_first_segment_of_the_path_names_the_tenant() {
    let check = |way: PathTenant, path: &str, expected: Result<&str, &str>| {
        let table = table(vec![NameFrom::Path(way)]);
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(name(&table, path, &[]), expected, "{way:?} {path}");
    };

    check(PathTenant::Strip, "/acme/users?x=1", Ok("acme /users"));
    check(PathTenant::Strip, "/acme/", Ok("acme /"));
    check(PathTenant::Strip, "/acme", Ok("acme /"));
    check(PathTenant::Strip, "/acme//x", Ok("acme //x"));
    check(PathTenant::Keep, "/acme/users", Ok("acme /acme/users"));
    check(PathTenant::Keep, "/", Err("the request names no tenant"));
    check(PathTenant::Strip, "//acme", Err("the request names no tenant"));
    check(PathTenant::Strip, "*", Err("the request names no tenant"));
    check(PathTenant::Strip, "/nobody/x", Err("there is no tenant \"nobody\""));
    check(
        PathTenant::Strip,
        "/ac%6De/x",
        Err("the tenant in the path has a character other than letters, digits, '.', '_' and '-'"),
    );
}

#[test]
fn the_ways_are_asked_in_their_order() {
    let ways = vec![host_way(), NameFrom::Header(HEADER)];
    let table = table(ways);
    let both = [("host", &b"acme.example.com"[..]), ("x-tenant-id", b"a.b")];

    assert_eq!(name(&table, "/", &both), Ok("acme /".into()));
    assert_eq!(name(&table, "/", &both[1..]), Ok("a.b /".into()));
}

proptest! {
    #[test]
    fn whatever_bytes_a_client_sends_the_tenant_is_the_one_value_that_it_sent(
        values in prop::collection::vec(
            prop_oneof![
                Just(b"acme".to_vec()),
                Just(b"a.b".to_vec()),
                prop::collection::vec(any::<u8>(), 0..140),
            ],
            0..3,
        ),
    ) {
        let table = table(vec![NameFrom::Header(HEADER)]);
        let sendable: Vec<_> =
            values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok()).collect();
        let mut head = head("/x", &[]);
        for value in &sendable {
            head.headers.append(HEADER, value.clone());
        }

        if let Ok(named) = table.name(&head, &Shown::default()) {
            prop_assert_eq!(sendable.len(), 1);
            prop_assert_eq!(named.tenant.id().as_bytes(), sendable[0].as_bytes());
        }
    }

    #[test]
    fn whatever_host_a_client_sends_the_tenant_is_its_first_label(host in "[ -~]{0,12}") {
        let host = format!("{host}.example.com");
        let table = table(vec![host_way()]);
        let head = head("/x", &[("host", host.as_bytes())]);

        if let Ok(named) = table.name(&head, &Shown::default()) {
            let id = named.tenant.id();
            prop_assert_eq!(host.to_ascii_lowercase(), format!("{id}.example.com"));
        }
    }
}
