//! Client certificates that a tenant demands.

use crate::world::client::{Client, head};
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::Origin;
use crate::world::pki::{Authority, Shown, Wishes};

use super::MadeKey;

const HOST: &str = "shop.example";

struct World {
    authority: Authority,
    gateway: Gateway,
    origin: Origin,
    key: MadeKey,
}

impl World {
    async fn new(kinds: &str) -> Self {
        let (authority, origin) = (Authority::new(), Origin::saying("hello").await);
        let (key, keys) = (MadeKey::new(), authority.server(&[HOST]).keys);
        let listener = format!("[listeners.tls]\n{keys}{}", authority.demand("optional"));
        let routes = format!(
            "[tenant]\nfrom = [{{ header = \"X-Tenant-ID\" }}, {{ certificate-cn = \"{{tenant}}\" }}]\n\
             [identity]\nsubject-header = \"X-Subject\"\n[pools.app]\nendpoints = [\"{}\"]\n\
             [tenants.globex]\npool = \"app\"\n[tenants.acme]\npool = \"app\"\n\
             authenticate = [{kinds}]\nkeys.ci = {{ {} }}\n",
            origin.address, key.hash
        );
        let gateway = Gateway::start_with(&listener, &routes).await;
        Self { authority, gateway, origin, key }
    }

    async fn ask(&self, shown: Option<&str>, fields: &[&str]) -> Answer {
        let shown: Option<Shown> = shown.map(|name| self.authority.client_named(name));
        let visitor = Wishes { shown, ..Wishes::of(&self.authority) }.client();
        let stream = visitor.connect(self.gateway.address(), HOST).await;
        let host = format!("Host: {HOST}");
        Client::over(stream).ask(head("GET /", &[&[host.as_str()], fields].concat())).await
    }
}

fn told(answer: &Answer) -> (u16, Option<String>) {
    (answer.status, answer.problem())
}

const ACME: &str = "X-Tenant-ID: acme";

#[tokio::test]
async fn a_tenant_that_demands_a_certificate_takes_its_own_and_no_other() {
    let world = World::new("\"client-certificate\"").await;
    let key = world.key.field();

    assert_eq!(world.ask(Some("acme"), &[ACME]).await.text(), "hello");
    assert_eq!(world.ask(Some("acme"), &[]).await.text(), "hello");
    for (shown, fields, status, problem) in [
        (None, vec![ACME], 401, "unauthenticated"),
        (None, vec![ACME, &*key], 401, "unauthenticated"),
        (Some("globex"), vec![ACME], 403, "other-tenant"),
        (Some("globex"), vec![ACME, &*key], 403, "other-tenant"),
        (Some("nobody"), vec![ACME], 401, "unauthenticated"),
    ] {
        let answer = world.ask(shown, &fields).await;
        assert_eq!(told(&answer), (status, Some(problem.to_owned())), "{shown:?} {fields:?}");
    }
    let asked = world.origin.wait_for(2).await;
    assert!(asked.iter().all(|asked| asked.all("x-subject") == ["acme"]));
}

#[tokio::test]
async fn either_of_two_kinds_will_do() {
    let world = World::new("\"client-certificate\", \"api-key\"").await;
    let key = world.key.field();

    let by_certificate = world.ask(Some("acme"), &[ACME]).await;
    let by_key = world.ask(None, &[ACME, &key]).await;
    let by_none = world.ask(None, &[ACME]).await;
    let at_odds = world.ask(Some("globex"), &[ACME, &key]).await;

    let statuses = [by_certificate, by_key, by_none, at_odds].map(|answer| answer.status);
    assert_eq!(statuses, [200, 200, 401, 403]);
    let asked = world.origin.wait_for(2).await;
    assert_eq!(asked[0].all("x-subject"), ["acme"]);
    assert_eq!(asked[1].all("x-subject"), ["ci"]);
    assert!(!world.origin.heads().concat().contains("tenantry_"));
}

#[tokio::test]
async fn a_certificate_of_another_tenant_is_refused_by_a_tenant_that_demands_nothing() {
    let world = World::new("\"api-key\"").await;
    let (globex, key) = ("X-Tenant-ID: globex", world.key.field());

    for (shown, fields, status, problem) in [
        (Some("acme"), vec![globex], 403, "other-tenant"),
        (Some("globex"), vec![ACME], 403, "other-tenant"),
        (Some("globex"), vec![ACME, &*key], 403, "other-tenant"),
        (Some("acme"), vec![ACME], 401, "unauthenticated"),
    ] {
        let answer = world.ask(shown, &fields).await;
        assert_eq!(told(&answer), (status, Some(problem.to_owned())), "{shown:?} {fields:?}");
    }
    assert_eq!(world.origin.connections(), 0);
    for (shown, fields) in [
        (Some("globex"), vec![globex]),
        (Some("globex"), vec![]),
        (None, vec![globex]),
        (Some("nobody"), vec![globex]),
        (Some("acme"), vec![ACME, &*key]),
    ] {
        assert_eq!(world.ask(shown, &fields).await.text(), "hello", "{shown:?} {fields:?}");
    }
}
