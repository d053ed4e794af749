//! Names of tenants, and which certificate is for them.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use crate::config::spec::{DomainsSpec, EarlierHosts, TenantCertificateSpec};
use crate::model::ids::TenantId;

use super::reading::{Means, Own};
use super::*;

fn host(name: &str) -> HostSpec {
    match name.strip_prefix("*.") {
        Some(parent) => HostSpec::Below(parent.to_owned()),
        None => HostSpec::Exact(name.to_owned()),
    }
}

fn hosts(names: &[&str]) -> Vec<HostSpec> {
    names.iter().map(|name| host(name)).collect()
}

/// A certificate for these names, in files of this name.
fn made(folder: &Path, file: &str, names: &[&str]) -> TenantCertificateSpec {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let path = |end: &str| folder.join(format!("{file}.{end}"));
    std::fs::write(path("pem"), made.cert.pem()).unwrap();
    std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
    TenantCertificateSpec { certificate: path("pem"), key: path("key"), hosts: Vec::new() }
}

fn of(domains: &[&str], certificates: &[TenantCertificateSpec]) -> DomainsSpec {
    DomainsSpec { hosts: hosts(domains), certificates: certificates.to_vec(), earlier: None }
}

fn read(domains: &[&str], certificates: &[TenantCertificateSpec], before: Option<&Own>) -> Own {
    Own::read(&of(domains, certificates), before, &Means::new().unwrap())
}

fn file(found: Found<'_>) -> String {
    match found {
        Found::Entry(entry) => stem(entry),
        Found::Bare => "bare".to_owned(),
        Found::Nothing => String::new(),
    }
}

fn stem(entry: &Entry) -> String {
    entry.origin().certificate.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// What is there for a name, as a listener without certificates of its own would ask.
fn shown(tenants: &Tenants, name: &str) -> String {
    match tenants.exact(name) {
        Found::Nothing => name
            .split_once('.')
            .and_then(|(_, parent)| tenants.below(parent))
            .map_or(String::new(), |entry| stem(entry)),
        found => file(found),
    }
}

#[test]
fn a_certificate_is_for_what_its_names_and_the_tenants_domains_have_in_common() {
    let folder = tempfile::tempdir().unwrap();
    let check = |domains: &[&str], names: &[&str], expected: &[&str]| {
        let one = made(folder.path(), "one", names);
        let own = read(domains, &[one], None);
        let told: Vec<String> =
            own.in_use.iter().flat_map(|one| &one.hosts).map(ToString::to_string).collect();
        assert_eq!(told, expected, "{domains:?} and {names:?}");
        assert_eq!(own.problems.is_empty(), !expected.is_empty(), "{:?}", own.problems);
    };
    check(&["a.test"], &["a.test"], &["a.test"]);
    check(&["a.test"], &["A.TEST", "victim.test"], &["a.test"]);
    check(&["a.test"], &["b.test", "*.a.test", "10.0.0.1"], &[]);
    check(&["x.a.test", "y.a.test", "a.test"], &["*.a.test"], &["x.a.test", "y.a.test"]);
    check(&["*.a.test"], &["*.a.test"], &["*.a.test"]);
    check(&["*.a.test"], &["x.a.test", "x.y.a.test", "a.test"], &["x.a.test"]);
    check(&["*.a.test"], &["*.test", "*.x.a.test"], &[]);
}

#[test]
fn hosts_that_are_written_take_the_place_of_the_names_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = made(folder.path(), "one", &["a.test", "b.test"]);
    one.hosts = hosts(&["b.test", "c.test"]);

    let own = read(&["a.test", "b.test", "c.test"], &[one], None);

    assert_eq!(own.in_use[0].hosts, hosts(&["b.test", "c.test"]));
    let doubts: Vec<&str> = own.doubts.iter().map(|doubt| doubt.key).collect();
    assert_eq!(doubts, ["hosts"], "it is not for c.test");
}

#[test]
fn of_two_certificates_the_one_that_says_the_name_whole_is_shown_then_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let star = made(folder.path(), "star", &["*.a.test"]);
    let whole = made(folder.path(), "whole", &["x.a.test"]);
    let again = made(folder.path(), "again", &["x.a.test"]);
    let mut tenants = Tenants::default();

    let own = read(&["x.a.test", "y.a.test"], &[star, whole, again], None);
    tenants.add(&own.claims);

    assert_eq!(shown(&tenants, "x.a.test"), "whole");
    assert_eq!(shown(&tenants, "y.a.test"), "star");
    assert_eq!(shown(&tenants, "z.a.test"), "", "it is no domain of the tenant");
    assert_eq!(own.doubts.len(), 1);
    assert!(
        own.doubts[0].number == 2 && own.doubts[0].what.contains("again.pem is shown to nobody")
    );
}

#[test]
fn a_domain_of_one_tenant_is_not_shown_the_certificate_that_another_has_for_a_star() {
    let folder = tempfile::tempdir().unwrap();
    let star = made(folder.path(), "star", &["*.a.test", "shop.a.test"]);
    let wide = read(&["*.a.test"], &[star], None);
    let shop = made(folder.path(), "shop", &["shop.a.test"]);
    let (with, without) =
        (read(&["shop.a.test"], &[shop], None), Own::bare(&of(&["shop.a.test"], &[])));
    let mut tenants = Tenants::default();

    tenants.add(&wide.claims);
    assert_eq!(shown(&tenants, "shop.a.test"), "star", "nobody else has it");
    tenants.add(&without.claims);
    assert_eq!(shown(&tenants, "shop.a.test"), "bare");
    assert_eq!(shown(&tenants, "other.a.test"), "star");
    tenants.remove(&without.claims);
    tenants.add(&with.claims);
    assert_eq!(shown(&tenants, "shop.a.test"), "shop");
    tenants.remove(&wide.claims);
    assert_eq!(shown(&tenants, "shop.a.test"), "shop");
    tenants.remove(&with.claims);
    assert!(tenants.is_empty());
}

#[test]
fn what_was_in_use_stays_while_something_is_wrong_as_far_as_the_names_are_the_tenants() {
    let folder = tempfile::tempdir().unwrap();
    let one = made(folder.path(), "one", &["a.test"]);
    let two = made(folder.path(), "two", &["b.test", "c.test"]);
    let domains = ["a.test", "b.test", "c.test"];
    let first = read(&domains, &[one.clone(), two.clone()], None);
    let leaf = |own: &Own, file: &str| {
        let found = own.in_use.iter().find(|one| one.file().ends_with(file));
        found.map(|one| one.leaf().clone())
    };

    // One is renewed, the other broken: each for itself.
    std::fs::write(&two.certificate, "nothing").unwrap();
    let renewed = made(folder.path(), "one", &["a.test"]);
    let second = read(&domains, &[renewed, two.clone()], Some(&first));
    assert_ne!(leaf(&second, "one.pem"), leaf(&first, "one.pem"));
    assert_eq!(leaf(&second, "two.pem"), leaf(&first, "two.pem"));
    assert_eq!((second.problems[0].number, second.problems[0].key), (1, "cert"));
    assert!(second.problems[0].what.contains("two.pem has no certificate in it"));

    // A domain is another's now: what was in use for it is so no more.
    let third = read(&["a.test", "c.test"], &[one.clone(), two.clone()], Some(&second));
    assert_eq!(third.in_use[1].hosts, hosts(&["c.test"]));
    // Another file in its place is wrong, too.
    let none = TenantCertificateSpec { certificate: folder.path().join("none.pem"), ..two };
    let fourth = read(&["a.test", "c.test"], &[one.clone(), none], Some(&third));
    assert_eq!(fourth.in_use[1].hosts, hosts(&["c.test"]));
    assert!(fourth.problems[0].what.contains("none.pem cannot be read"));
    // All is good: what is not named any more is gone.
    let last = read(&["a.test", "c.test"], &[one], Some(&fourth));
    assert_eq!((last.in_use.len(), last.problems.len()), (1, 0));
}

#[test]
fn no_key_is_in_what_is_told_of_a_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let one = made(folder.path(), "one", &["a.test"]);
    let secret = std::fs::read_to_string(&one.key).unwrap();
    let lines: Vec<&str> = secret.lines().filter(|line| !line.contains("-----")).collect();
    let own = read(&["a.test"], std::slice::from_ref(&one), None);
    // A key in the place of the certificate is not told, either.
    let turned =
        TenantCertificateSpec { certificate: one.key.clone(), key: one.certificate.clone(), ..one };
    let wrong = read(&["a.test"], &[turned], Some(&own));
    let mut tenants = Tenants::default();
    tenants.add(&own.claims);

    let told = format!("{own:?}{tenants:?}{wrong:?}{:?}", wrong.problems);

    assert_eq!(wrong.problems.len(), 1);
    assert!(lines.iter().all(|line| !told.contains(line)));
}

/// What a tenant says, in a word: its domains, and which of them a certificate is for.
fn said(domains: &[usize], has: bool, entries: &[Arc<Entry>]) -> Vec<Claim> {
    const NAMES: [&str; 6] = ["a.t", "b.t", "x.b.t", "*.t", "*.b.t", "y.b.t"];
    let claim = |name: &usize| {
        let host = host(NAMES[name % NAMES.len()]);
        let right = match host {
            HostSpec::Exact(_) => Right::Domain,
            HostSpec::Below(_) => Right::Star,
        };
        let entry = has.then(|| Arc::clone(&entries[name % entries.len()]));
        Claim { host, right, entry }
    };
    domains.iter().map(claim).collect()
}

fn entries() -> Vec<Arc<Entry>> {
    let folder = tempfile::tempdir().unwrap();
    let own = |number: usize| {
        let one = made(folder.path(), &number.to_string(), &["a.test"]);
        let own = read(&["a.test"], &[one], None);
        own.claims[0].entry.clone().unwrap()
    };
    (0..3).map(own).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever was edited before, what is shown is what the last words of all say.
    #[test]
    fn edits_leave_what_a_new_table_would_have(
        edits in proptest::collection::vec((0_usize..4, proptest::collection::btree_set(0_usize..6, 0..4), any::<bool>()), 0..30),
    ) {
        let entries = entries();
        let (mut tenants, mut now) = (Tenants::default(), BTreeMap::new());
        for (tenant, domains, has) in edits {
            // A domain is one tenant's: the check of the files sees to it.
            let free = |name: &usize| {
                now.iter().all(|(other, (names, _)): (&usize, &(Vec<usize>, bool))| {
                    *other == tenant || !names.contains(name)
                })
            };
            let domains: Vec<usize> = domains.into_iter().filter(free).collect();
            if let Some((domains, has)) = now.insert(tenant, (domains.clone(), has)) {
                tenants.remove(&said(&domains, has, &entries));
            }
            tenants.add(&said(&domains, has, &entries));
        }
        let mut anew = Tenants::default();
        now.values().for_each(|(domains, has)| anew.add(&said(domains, *has, &entries)));
        for name in ["a.t", "b.t", "x.b.t", "y.b.t", "z.b.t", "z.t", "t", ".t", ""] {
            prop_assert_eq!(shown(&tenants, name), shown(&anew, name), "{}", name);
        }
        prop_assert_eq!(tenants.names, anew.names);
    }
}

/// Connections keep the table that they were begun with: those of many moments share nearly all of it.
#[test]
fn an_edit_copies_a_few_parts_of_many() {
    let folder = tempfile::tempdir().unwrap();
    let one = made(folder.path(), "one", &["*.t"]);
    let names: Vec<String> = (0..10_000).map(|number| format!("h{number}.t")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let own = read(&names, &[one], None);
    let mut before = Tenants::default();
    before.add(&own.claims);

    let mut now = before.clone();
    now.add(&said(&[0, 1], true, &entries()));

    let shared = before.parts.iter().zip(&now.parts).filter(|(one, other)| Arc::ptr_eq(one, other));
    assert!(shared.count() >= PARTS - 2);
    let fullest = before.parts.iter().map(|part| part.exact.len()).max();
    assert!(fullest < Some(200), "names are spread: {fullest:?}");
}

#[test]
fn a_host_that_names_another_tenant_before_domains_are_asked_is_shown_nobodys_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let made = made(
        folder.path(),
        "acme",
        &["globex.example.com", "acme.example.com", "*.example.com", "acme.test", "x.y.test"],
    );
    let domains =
        ["globex.example.com", "acme.example.com", "*.example.com", "acme.test", "*.y.test"];
    let earlier = |ways: &[(&str, &str)]| {
        let ways = ways.iter().map(|(before, after)| ((*before).into(), (*after).into()));
        let own = TenantId::new("acme").unwrap();
        Some(Box::new(EarlierHosts { own, ways: ways.collect() }))
    };
    let shown_by = |ways: &[(&str, &str)]| {
        let spec =
            DomainsSpec { earlier: earlier(ways), ..of(&domains, std::slice::from_ref(&made)) };
        let own = Own::read(&spec, None, &Means::new().unwrap());
        let mut tenants = Tenants::default();
        tenants.add(&own.claims);
        let asked = ["globex.example.com", "acme.example.com", "z.example.com", "acme.test"];
        let found = asked.map(|name| shown(&tenants, name));
        let bare = Own::bare(&spec);
        let mut none = Tenants::default();
        none.add(&bare.claims);
        assert_ne!(file(none.exact("globex.example.com")) == "bare", found[0].is_empty());
        (found, own.doubts.first().map(|doubt| doubt.what.clone()), own.problems.len())
    };
    let yes = String::from("acme");
    let no = String::new();

    let (found, doubt, problems) = shown_by(&[("", ".example.com")]);
    assert_eq!(found, [no.clone(), yes.clone(), no.clone(), yes.clone()]);
    assert!(doubt.unwrap().contains("is not shown for globex.example.com"));
    assert_eq!(problems, 0);
    // Of two ways, the first that fits decides.
    let (found, ..) = shown_by(&[("glo", ".example.com"), ("", ".example.com")]);
    assert_eq!(found, [no.clone(), yes.clone(), no.clone(), yes.clone()]);
    let all = [yes.clone(), yes.clone(), yes.clone(), yes.clone()];
    assert_eq!(shown_by(&[("", ".other.com"), ("", "")]).0, all, "a label by itself is no host");
    assert_eq!(shown_by(&[("a.", ".example.com")]), (all, None, 0));
    let star = HostSpec::Below("b.example.com".to_owned());
    assert!(earlier(&[("a.", ".example.com")]).unwrap().take(&star));
    assert!(!earlier(&[("a.b.", ".example.com")]).unwrap().take(&star));
}
