//! Who takes a request: by what it is hashed, by a cookie, by how long endpoints take.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;

use http::HeaderValue;
use http::header::COOKIE;
use tenantry::control::generation::ReloadResult;
use tokio::time::sleep;

use crate::world::client::{Frames, Hyper, ask};
use crate::world::config::{NO_RETRY, pool};
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::{Origin, Step};
use crate::world::{STEP, within};

const STICKY: &str =
    "sticky = { cookie = \"stay\", keys = [\"0123456789abcdef0123456789abcdef\"] }";

/// The floor is above what a busy machine takes for a request that nobody holds up.
const HEDGE: &str = "retry = { hedge = { after = \"p95\", floor = \"1s\" } }";

async fn three() -> Vec<Origin> {
    let mut origins = Vec::new();
    for name in ["one", "two", "three"] {
        origins.push(Origin::saying(name).await);
    }
    origins
}

/// The one of [`three`] that answers with this.
fn named<'o>(origins: &'o [Origin], name: &str) -> &'o Origin {
    let at = ["one", "two", "three"].iter().position(|known| *known == name);
    &origins[at.expect("one of them")]
}

fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(|origin| origin.address).collect()
}

/// A pool that two tenants have.
fn routes(origins: &[Origin], keys: &str) -> String {
    let pool = pool("app", &addresses(origins), keys);
    format!("{pool}\n[tenants.acme]\npool = \"app\"\n[tenants.globex]\npool = \"app\"\n")
}

async fn get(gateway: &Gateway, tenant: &str, field: &str) -> Answer {
    let tenant = format!("X-Tenant-ID: {tenant}");
    let answer = ask(gateway.address(), "GET /a", &["Host: a", &tenant, field]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// The cookie that an answer sets, as it is sent back.
fn set(answer: &Answer) -> Option<String> {
    let set = answer.one("set-cookie")?;
    Some(format!("Cookie: {}", set.split(';').next().unwrap_or_default()))
}

fn counted(outcome: &str) -> String {
    format!("tenantry_sticky_requests_total{{pool=\"app\",outcome=\"{outcome}\"}}")
}

#[tokio::test]
async fn a_key_keeps_to_its_endpoint_also_after_a_restart() {
    for balance in ["ring-hash", "maglev"] {
        let origins = three().await;
        let keys = format!("balance = \"{balance}\"\nhash = {{ header = \"X-User\" }}");
        let routes = routes(&origins, &keys);
        let (first, second) = (Gateway::start(&routes).await, Gateway::start(&routes).await);

        let mut homes = BTreeSet::new();
        for user in 0..40 {
            let field = format!("X-User: {user}");
            let home = get(&first, "acme", &field).await.text();
            assert_eq!(home, get(&first, "acme", &field).await.text(), "{balance}");
            assert_eq!(home, get(&second, "acme", &field).await.text(), "{balance}");
            homes.insert(home);
        }

        assert_eq!(homes.len(), 3, "{balance}: users spread");
    }
}

#[tokio::test]
async fn the_first_part_that_a_request_has_is_hashed_and_tenants_have_keys_of_their_own() {
    let origins = three().await;
    let keys = "balance = \"maglev\"\nhash = [{ cookie = \"session\" }, \"tenant\"]";
    let gateway = Gateway::start(&routes(&origins, keys)).await;

    let mut homes = BTreeSet::new();
    for session in 0..40 {
        let field = format!("Cookie: a=1; session={session}");
        let own = get(&gateway, "acme", &field).await.text();
        homes.insert((own, get(&gateway, "globex", &field).await.text()));
    }
    assert!(homes.iter().any(|(own, other)| own != other), "{homes:?}");

    let home = get(&gateway, "acme", "Accept: */*").await.text();
    for other in 0..10 {
        assert_eq!(home, get(&gateway, "acme", &format!("X-User: {other}")).await.text());
    }
}

#[tokio::test]
async fn a_cookie_keeps_a_client_on_its_endpoint_and_is_not_passed_on() {
    let origins = three().await;
    let routes = routes(&origins, STICKY);
    let gateway = Gateway::start(&routes).await;
    let first = get(&gateway, "acme", "Cookie: theme=dark").await;
    let (home, cookie) = (first.text(), set(&first).expect("a cookie"));
    let attributes = first.one("set-cookie").expect("a cookie");
    assert!(attributes.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{attributes}");
    assert_eq!(first.one("cache-control").as_deref(), Some("private"));

    for _ in 0..10 {
        let answer = get(&gateway, "acme", &format!("{cookie}; theme=dark")).await;
        assert_eq!((answer.text(), set(&answer)), (home.clone(), None));
    }
    gateway.metric_becomes(&counted("new"), 1.0).await;
    gateway.metric_becomes(&counted("kept"), 10.0).await;
    let second = Gateway::start(&routes).await;
    assert_eq!(get(&second, "acme", &cookie).await.text(), home);

    for asked in origins.iter().flat_map(Origin::asked) {
        assert!(!asked.all("cookie").concat().contains("stay"), "{:?}", asked.all("cookie"));
    }
    let themes = origins
        .iter()
        .flat_map(Origin::asked)
        .filter(|asked| asked.all("cookie") == ["theme=dark"]);
    assert_eq!(themes.count(), 11);
}

#[tokio::test]
async fn a_cookie_is_worth_nothing_at_another_tenant() {
    let origins = three().await;
    let gateway = Gateway::start(&routes(&origins, STICKY)).await;
    let cookie = set(&get(&gateway, "acme", "Accept: */*").await).expect("a cookie");

    let other = get(&gateway, "globex", &cookie).await;

    assert!(set(&other).is_some_and(|own| own != cookie), "it gets one of its own");
}

/// The cookie that takes the place of this one, once there is one: meanwhile it is kept.
async fn renewed(gateway: &Gateway, cookie: &str, home: &str) -> String {
    let another = async {
        loop {
            let answer = get(gateway, "acme", cookie).await;
            assert_eq!(answer.text(), home);
            if let Some(another) = set(&answer) {
                return another;
            }
            sleep(STEP).await;
        }
    };
    within("another cookie", another).await
}

#[tokio::test]
async fn the_key_of_cookies_is_exchanged_on_a_running_gateway_and_clients_stay() {
    let [old_key, new_key] = ["0123456789abcdef".repeat(2), "fedcba9876543210".repeat(2)];
    let origins = three().await;
    // Three requests in a row without a cookie that is good come to three endpoints.
    let keys =
        "balance = \"round-robin\"\nsticky = { cookie = \"stay\", key-file = \"stay.keys\" }";
    let routes = routes(&origins, keys);
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("routes.toml"), &routes).expect("write the routes");
    fs::write(folder.path().join("stay.keys"), &old_key).expect("write the key");
    let gateway = Gateway::start_in(folder, 1, "").await.expect("it starts");
    let replace = |keys: &str| {
        fs::write(gateway.path("new"), keys).expect("write the keys");
        fs::rename(gateway.path("new"), gateway.path("stay.keys")).expect("rename them");
    };
    let is_kept = async |cookie: &str, home: &str| {
        for _ in 0..4 {
            let answer = get(&gateway, "acme", cookie).await;
            assert_eq!((answer.text().as_str(), set(&answer)), (home, None));
        }
    };
    let first = get(&gateway, "acme", "Accept: */*").await;
    let (home, old) = (first.text(), set(&first).expect("a cookie"));
    is_kept(&old, &home).await;

    replace(&format!("{new_key}\n{old_key}\n"));
    let new = renewed(&gateway, &old, &home).await;
    assert_ne!(new, old);
    is_kept(&new, &home).await;

    replace(&new_key);
    let reload = gateway.reload(&routes).await;
    assert!(matches!(reload, ReloadResult::Live { .. }), "{reload:?}");
    is_kept(&new, &home).await;
    let mut homes = BTreeSet::new();
    for _ in 0..3 {
        let answer = get(&gateway, "acme", &old).await;
        assert!(set(&answer).is_some_and(|own| own != old), "it is worth nothing");
        homes.insert(answer.text());
    }
    assert_eq!(homes.len(), 3, "{homes:?}");
}

#[tokio::test]
async fn a_client_whose_endpoint_is_lost_goes_on_elsewhere_and_stays_there() {
    let mut origins = three().await;
    let gateway = Gateway::start(&routes(&origins, STICKY)).await;
    let first = get(&gateway, "acme", "Accept: */*").await;
    let (home, cookie) = (first.text(), set(&first).expect("a cookie"));
    origins.retain(|origin| origin.asked().is_empty());
    assert_eq!(origins.len(), 2);

    let reload = gateway.reload(&routes(&origins, STICKY)).await;
    assert!(matches!(reload, ReloadResult::Live { .. }), "{reload:?}");
    let second = get(&gateway, "acme", &cookie).await;
    let moved = set(&second).expect("another cookie");

    assert_ne!(second.text(), home);
    for _ in 0..10 {
        assert_eq!(get(&gateway, "acme", &moved).await.text(), second.text());
    }
}

#[tokio::test]
async fn a_client_whose_endpoint_fails_is_served_by_another_one_and_stays_there() {
    let origins = three().await;
    let gateway = Gateway::start(&routes(&origins, STICKY)).await;
    let first = get(&gateway, "acme", "Accept: */*").await;
    let cookie = set(&first).expect("a cookie");
    let home = origins.iter().find(|origin| !origin.asked().is_empty()).expect("one was asked");
    home.rescript([Step::reset()]);

    let second = get(&gateway, "acme", &cookie).await;

    assert_ne!(second.text(), first.text());
    let moved = set(&second).expect("another cookie");
    assert_eq!(get(&gateway, "acme", &moved).await.text(), second.text());
    gateway.metric_becomes(&counted("moved"), 1.0).await;
}

#[tokio::test]
async fn a_client_whose_endpoint_is_slow_once_is_answered_by_another_one_and_stays() {
    let origins = three().await;
    let gateway = Gateway::start(&routes(&origins, &format!("{STICKY}\n{HEDGE}"))).await;
    let first = get(&gateway, "acme", "Accept: */*").await;
    let (home, cookie) = (first.text(), set(&first).expect("a cookie"));
    for _ in 0..120 {
        assert_eq!(get(&gateway, "acme", &cookie).await.text(), home);
    }
    let own = named(&origins, &home);
    own.rescript([Step::stall()]);

    let second = get(&gateway, "acme", &cookie).await;

    assert_ne!(second.text(), home);
    assert_eq!(set(&second), None, "its endpoint has not failed");
    gateway.metric_becomes(&counted("hedged"), 1.0).await;
    own.rescript([Step::ok(&home)]);
    assert_eq!(get(&gateway, "acme", &cookie).await.text(), home);
}

#[tokio::test]
async fn a_key_whose_endpoint_is_slow_has_its_second_attempt_at_the_same_other_one() {
    let origins = three().await;
    let keys = format!("balance = \"maglev\"\nhash = {{ header = \"X-User\" }}\n{HEDGE}");
    let gateway = Gateway::start(&routes(&origins, &keys)).await;
    let home = get(&gateway, "acme", "X-User: 7").await.text();
    for _ in 0..120 {
        assert_eq!(get(&gateway, "acme", "X-User: 7").await.text(), home);
    }
    let own = named(&origins, &home);
    own.rescript([Step::stall()]);

    let mut others = BTreeSet::new();
    for _ in 0..4 {
        others.insert(get(&gateway, "acme", "X-User: 7").await.text());
    }

    assert!(others.len() == 1 && !others.contains(&home), "{others:?}");
}

#[tokio::test]
async fn a_cookie_in_crumbs_of_http2_is_found_and_taken_out() {
    let origins = three().await;
    let gateway = Gateway::start(&routes(&origins, STICKY)).await;
    let first = get(&gateway, "acme", "Accept: */*").await;
    let cookie = set(&first).expect("a cookie");
    let cookie = cookie.strip_prefix("Cookie: ").expect("a field");
    let mut client = Hyper::h2(gateway.address()).await;

    for _ in 0..5 {
        let mut request = client.request("GET", "acme", "/a", Frames::default());
        for crumb in ["a=1", cookie, "b=2"] {
            let crumb = HeaderValue::try_from(crumb).expect("a value");
            request.headers_mut().append(COOKIE, crumb);
        }
        assert_eq!(client.ask(request).await.text(), first.text());
    }

    let home = origins.iter().find(|origin| origin.asked().len() == 6).expect("all were one's");
    assert_eq!(home.asked()[5].all("cookie"), ["a=1; b=2"]);
}

#[tokio::test]
async fn an_answer_that_caches_have_already_sets_no_cookie() {
    let origins = [Origin::start([Step::answer(304, "")]).await];
    let gateway = Gateway::start(&routes(&origins, STICKY)).await;

    let answer = ask(gateway.address(), "GET /a", &["Host: a", "X-Tenant-ID: acme"]).await;

    assert_eq!((answer.status, set(&answer)), (304, None));
    assert_eq!(answer.one("cache-control"), None);
}

#[tokio::test]
async fn a_change_of_endpoints_moves_the_keys_of_those_that_left_alone() {
    let mut origins = three().await;
    let keys = "balance = \"maglev\"\nhash = { header = \"X-User\" }";
    let gateway = Gateway::start(&routes(&origins, keys)).await;
    let mut homes = Vec::new();
    for user in 0..40 {
        homes.push(get(&gateway, "acme", &format!("X-User: {user}")).await.text());
    }
    origins.truncate(2);

    let reload = gateway.reload(&routes(&origins, keys)).await;
    assert!(matches!(reload, ReloadResult::Live { .. }), "{reload:?}");
    // Whether control has worked out the new table by now or not.
    let mut moved = 0;
    for (user, home) in homes.iter().enumerate() {
        let now = get(&gateway, "acme", &format!("X-User: {user}")).await.text();
        assert_ne!(now, "three");
        moved += usize::from(home != "three" && now != *home);
    }

    assert!(moved <= 6, "{moved} of 40 moved");
}

#[tokio::test]
async fn an_endpoint_that_fails_at_once_is_not_taken_for_the_fastest() {
    for retry in [NO_RETRY.to_owned(), HEDGE.replace("hedge", "on = [\"connect\"], hedge")] {
        let good = Origin::saying("good").await;
        let bad = Origin::start([Step::answer(503, "")]).await;
        let keys = format!("balance = \"peak-ewma\"\n{retry}\neject = {{ failures = 0 }}");
        let pool = pool("app", &[good.address, bad.address], &keys);
        let gateway = Gateway::start(&format!("{pool}\n[tenants.acme]\npool = \"app\"\n")).await;

        for _ in 0..40 {
            gateway.get("/").await;
        }

        // One that is taken for the fastest has nearly all. A failure counts as a second: where a busy machine
        // took that long at the good one, the other has a request more.
        let (failed, served) = (bad.asked().len(), good.asked().len());
        assert!((1..=3).contains(&failed), "{failed}: known by its first answer: {retry}");
        assert!(served >= 37, "{served}: {retry}");
    }
}

#[tokio::test]
async fn an_endpoint_that_loses_to_second_attempts_is_known_to_be_slow() {
    let origins = [Origin::saying("one").await, Origin::saying("two").await];
    let keys = format!("balance = \"peak-ewma\"\n{HEDGE}\neject = {{ failures = 0 }}");
    let gateway = Gateway::start(&routes(&origins, &keys)).await;
    for _ in 0..120 {
        get(&gateway, "acme", "Accept: */*").await;
    }

    for _ in 0..10 {
        let fastest = get(&gateway, "acme", "Accept: */*").await.text();
        let slow = usize::from(fastest == "two");
        origins[slow].rescript([Step::stall()]);
        let before = origins[slow].asked().len();

        for _ in 0..30 {
            assert_ne!(get(&gateway, "acme", "Accept: */*").await.text(), fastest);
        }

        let lost = origins[slow].asked().len() - before;
        assert!(lost <= 3, "{lost} of 30");
        if lost > 0 {
            return;
        }
        // Its last answer has made it the slower one by chance: all went to the other, and nothing was shown.
        origins[slow].rescript([Step::ok(&fastest)]);
    }
    panic!("the fastest was never asked again");
}
