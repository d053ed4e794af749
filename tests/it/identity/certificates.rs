//! Client certificates that a tenant demands.

use rcgen::{DnType, SanType};

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
        Self::naming(kinds, "{ certificate-cn = \"{tenant}\" }").await
    }

    /// The header names the tenant, else `ways` do.
    async fn naming(kinds: &str, ways: &str) -> Self {
        let (authority, origin) = (Authority::new(), Origin::saying("hello").await);
        let (key, keys) = (MadeKey::new(), authority.server(&[HOST]).keys);
        let listener = format!("[listeners.tls]\n{keys}{}", authority.demand("optional"));
        let routes = format!(
            "[tenant]\nfrom = [{{ header = \"X-Tenant-ID\" }}, {ways}]\n\
             [identity]\nsubject-header = \"X-Subject\"\n[pools.app]\nendpoints = [\"{}\"]\n\
             [tenants.globex]\npool = \"app\"\n[tenants.initech]\npool = \"app\"\n[tenants.acme]\npool = \"app\"\n\
             authenticate = [{kinds}]\nkeys.ci = {{ {} }}\n",
            origin.address, key.hash
        );
        let gateway = Gateway::start_with(&listener, &routes).await;
        Self { authority, gateway, origin, key }
    }

    async fn ask(&self, shown: Option<&str>, fields: &[&str]) -> Answer {
        self.shows(shown.map(|name| self.authority.client_named(name)), fields).await
    }

    async fn shows(&self, shown: Option<Shown>, fields: &[&str]) -> Answer {
        let visitor = Wishes { shown, ..Wishes::of(&self.authority) }.client();
        let stream = visitor.connect(self.gateway.address(), HOST).await;
        let host = format!("Host: {HOST}");
        Client::over(stream).ask(head("GET /", &[&[host.as_str()], fields].concat())).await
    }

    /// What a client is told at this tenant by its certificate with this common name and these SPIFFE ids.
    async fn says(&self, tenant: &str, name: &str, ids: &[&str]) -> (u16, Option<String>) {
        let shown = self.authority.client(|params| {
            params.distinguished_name.push(DnType::CommonName, name);
            let uri = |id: &&str| format!("spiffe://x/{id}").try_into().expect("a URI");
            params.subject_alt_names = ids.iter().map(uri).map(SanType::URI).collect();
        });
        let answer = self.shows(Some(shown), &[&format!("X-Tenant-ID: {tenant}")]).await;
        if answer.status == 200 { (200, None) } else { told(&answer) }
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

/// A common name that names nothing, or nothing of use, before the URIs that do.
const WAYS: &str =
    "{ certificate-cn = \"{tenant}\" }, { certificate-uri = \"spiffe://x/{tenant}\" }";

#[tokio::test]
async fn a_certificate_is_refused_whichever_of_its_names_is_another_tenant() {
    let world = World::naming("\"client-certificate\"", WAYS).await;

    for (name, ids) in [
        ("web-1", &["globex"][..]),
        ("web-1", &["globex", "acme"]),
        ("web-1", &["globex", "initech"]),
        ("web-1", &["nobody", "globex"]),
        ("Web 1, all", &["globex"]),
        ("globex", &["initech"]),
        ("globex", &["no", "body"]),
    ] {
        let told = world.says("initech", name, ids).await;
        assert_eq!(told, (403, Some("other-tenant".to_owned())), "{name} {ids:?}");
        let told = world.says("acme", name, ids).await;
        assert_eq!(told, (403, Some("other-tenant".to_owned())), "{name} {ids:?} at acme");
    }
    assert_eq!(world.origin.connections(), 0);
}

#[tokio::test]
async fn names_in_a_certificate_that_are_no_tenant_take_nothing_from_its_client() {
    let world = World::naming("\"client-certificate\"", WAYS).await;

    for (name, ids) in [
        ("web-1", &["initech"][..]),
        ("initech", &["initech", "initech"]),
        ("initech", &["nobody"]),
        ("initech", &["globex"]), // without the header it is initech, too: the first way decides
        ("web-1", &[]),
        ("Operations, all", &["operators"]),
        ("Operations, all", &["nobody", "no-one"]),
        ("web-1", &["of/globex"]),
    ] {
        assert_eq!(world.says("initech", name, ids).await, (200, None), "{name} {ids:?}");
    }
    // Who demands one believes one that says clearly that it is of here.
    assert_eq!(world.says("acme", "web-1", &["acme"]).await, (200, None));
    for (name, ids) in [("web-1", &[][..]), ("web-1", &["acme", "nobody"]), ("web 1", &["nobody"])]
    {
        let told = world.says("acme", name, ids).await;
        assert_eq!(told, (401, Some("unauthenticated".to_owned())), "{name} {ids:?}");
    }
}
