//! The dashboard as the person sees it who is called at night: in Chromium, on a desk and on a
//! phone, with 2, with 1,000 and with 100,000 tenants; and the same in a terminal.

mod browser;
mod terminal;
mod traffic;

use serde_json::json;

use crate::world::gateway::Gateway;
use crate::world::process::Backend;
use crate::world::{PATIENCE, curl, eventually, eventually_within};

use browser::Page;
use traffic::Traffic;

/// Two tenants with a pool each.
fn routes(shop: &[&Backend], billing: &Backend, more: &str) -> String {
    let shop: Vec<String> = shop.iter().map(|one| format!("\"{}\"", one.address)).collect();
    format!(
        r#"[tenant]
from = [{{ header = "X-Tenant-ID" }}, {{ host = "{{tenant}}.localhost" }}]

[pools.shop]
endpoints = [{}]
health = {{ http = "/healthz", interval = "500ms", timeout = "500ms" }}

[pools.billing]
endpoints = ["{}"]

[tenants.acme]
pool = "shop"

[tenants.globex]
pool = "billing"
{more}"#,
        shop.join(", "),
        billing.address
    )
}

/// Nothing is cut off at the side, and every text can be read.
fn is_readable(page: &mut Page) {
    let wide = page.get("document.documentElement.scrollWidth - innerWidth");
    assert!(wide.as_i64().is_some_and(|over| over <= 0), "{wide} pixels are beyond the edge");
    let cut = "[...document.querySelectorAll('.badge')].filter((badge) => badge.checkVisibility() && badge.textContent \
        && badge.getBoundingClientRect().right > badge.closest('.name').getBoundingClientRect().right + 1).length";
    assert_eq!(page.get(cut), 0, "a badge is beyond its name's edge");
    assert_eq!(page.get(include_str!("contrast.js")), json!([]));
}

/// Drains an endpoint of the pool `shop` and lets it in again.
fn a_drain_is_shown(gateway: &Gateway, address: &str, page: &mut Page) {
    let tell = |what: &str, body: serde_json::Value| {
        let url = format!("{}/api/v1/endpoints/{what}", gateway.admin_url());
        let json = "Content-Type: application/json";
        let told = curl(&["--header", json, "--data", &body.to_string(), &url]);
        assert_eq!(told.status, 200, "{}", told.body);
    };

    tell(
        "drain",
        json!({ "pool": "shop", "address": address, "reason": "new kernel", "force": true }),
    );
    page.shows("#pools .rows", "drained: an operator keeps it out: new kernel");
    tell("undrain", json!({ "pool": "shop", "address": address }));
    page.shows("#pools .rows", "2 of 2 endpoints in use");
}

#[test]
fn the_dashboard_tells_of_traffic_trouble_and_mending() {
    let (mut one, two) = (Backend::start("shop-1"), Backend::start("shop-2"));
    let billing = Backend::start("billing-1");
    let good = routes(&[&one, &two], &billing, "");
    let mut gateway = Gateway::start(&good);
    let mut page = Page::open(&format!("{}/", gateway.admin_url()), 1280, 800);
    page.shows("#state", "serving");
    page.shows("#tenants .rows", "globex");

    for _ in 0..10 {
        gateway.get("acme", "/", &[]);
        gateway.get("globex", "/?fail=503", &[]);
    }
    page.shows("#total .wrong", "5xx/s");
    page.shows("#tenants .rows .wrong", ".");
    is_readable(&mut page);

    a_drain_is_shown(&gateway, &two.address, &mut page);

    one.crash();
    page.shows("#pools .rows", "down: connect refused");
    page.shows("#state", "endpoints out");

    let hostile = "[tenants.\"<img src=x onerror=alert(1)>\"]\npool = \"shop\"\n";
    gateway.edit(&routes(&[&two], &billing, hostile));
    page.shows("#notices", "<img src=x");
    page.shows("#notices", "generation 1 still serves");
    page.shows("#state", "config problems");
    assert_eq!(page.get("document.querySelectorAll('main img').length"), 0);
    is_readable(&mut page);
    page.shoot("desk-light-broken");

    page.scheme("dark");
    for width in [390, 320] {
        page.resize(width, 844);
        is_readable(&mut page);
    }
    page.get("document.querySelector('[data-list=pools]').click()");
    page.shows("#lists", "connect refused");
    page.get("document.querySelector('#tabs').scrollIntoView()");
    page.shoot("phone-dark-pools");

    gateway.edit(&routes(&[&two], &billing, "[tenants.new]\npool = \"shop\"\n"));
    page.shows("#about", "generation 2");
    page.shows("#lists", "1 of 1 endpoints");
    page.becomes("document.querySelector('#notices').innerText", &json!(""));

    page.resize(1280, 800);
    page.scheme("light");
    page.get("document.querySelector('#tenants button.row').click()");
    page.shows("dialog", "Since the start");
    page.shows("dialog", "requests,");
    is_readable(&mut page);
    page.shoot("desk-light-tenant");
    page.press("Escape");
    page.shows("#state", "serving");
    // A dialog says that it is closed in a task of its own, after the key.
    page.becomes("document.querySelector('dialog').open + location.hash", &json!("false"));
    page.press("/"); // the key is a way to the search
    page.becomes("document.activeElement.id", &json!("search"));
    assert_eq!(page.complaints(&gateway.admin_url()), [""; 0]);

    gateway.signal("TERM");
    gateway.wait();
    page.shows("#state", "no connection");
    gateway.launch();
    gateway.wait_ready();
    page.shows("#state", "serving");
}

/// A thousand tenants of twenty pools, whose names are of all lengths.
fn thousand(good: &Backend, dead: &str) -> String {
    let mut text = String::from("[tenant]\nfrom = [{ header = \"X-Tenant-ID\" }]\n");
    for pool in 0..20 {
        let name = format!("pool-{pool:02}{}", "-of-a-long-name".repeat(pool % 4));
        let second = if pool == 7 { format!(", \"{dead}\"") } else { String::new() };
        text += &format!("[pools.{name}]\nendpoints = [\"{}\"{second}]\n", good.address);
        text += "retry = { attempts = 1 }\n";
        if pool == 7 {
            text += "health = { tcp = true, interval = \"200ms\", fall = 1 }\n";
        }
        for tenant in (pool..1000).step_by(20) {
            let state = if tenant % 100 == 99 { "state = \"maintenance\"\n" } else { "" };
            text += &format!("[tenants.t{tenant:04}]\npool = \"{name}\"\n{state}");
        }
    }
    text
}

#[test]
fn a_thousand_tenants_under_traffic_are_seen_on_a_desk_and_on_a_phone() {
    let backend = Backend::start("shop-1");
    let endless = "[downstream]\nmax-requests = 100000000\n"; // the traffic has one connection
    let gateway = Gateway::start_with(endless, &thousand(&backend, "127.0.0.1:1"));
    let traffic = Traffic::start(&gateway, 1000, 321);
    let mut page = Page::open(&format!("{}/", gateway.admin_url()), 1280, 800);

    page.shows("#tenants .count", "1,000");
    page.shows("#pools .count", "20, 1 of 21 endpoints out");
    page.shows("#tenants .rows li:first-child", "t0321");
    page.shows("#pools .rows li:first-child", "down: connect refused");
    page.shows("#pools .rows li:first-child .badge", "1 out");
    page.shows("#total .wrong", "5xx/s");
    page.shows("#tenants .more", "The first 25 of 1,000");
    // A chart has a point each five seconds.
    page.shows("#total .tile .beside", "peak");
    for scheme in ["light", "dark"] {
        page.scheme(scheme);
        for (device, width, height) in [("desk", 1280, 800), ("phone", 390, 844)] {
            page.resize(width, height);
            is_readable(&mut page);
            page.shoot(&format!("{device}-{scheme}-thousand"));
        }
    }
    page.get("document.querySelector('#tenants .more').scrollIntoView()");
    page.shoot("phone-dark-thousand-tenants");

    page.get("document.querySelector('#tenants .more button').click()");
    page.shows("#tenants .more", "The first 100 of 1,000");
    page.get("document.querySelector('#sort').value = 'errors'");
    page.get("document.querySelector('#sort').dispatchEvent(new Event('change'))");
    page.shows("#tenants .rows li:first-child .wrong", ".");
    page.get("document.querySelector('#which').value = 'maintenance'");
    page.get("document.querySelector('#which').dispatchEvent(new Event('change'))");
    page.shows("#tabs", "Tenants 10\n");
    page.shows("#tenants .rows", "maintenance");
    assert_eq!(page.complaints(&gateway.admin_url()), [""; 0]);
    drop(traffic);
}

#[test]
fn one_of_a_hundred_thousand_tenants_is_found() {
    let backend = Backend::start("shop-1");
    let mut text = routes(&[&backend], &backend, "");
    for number in 0..100_000 {
        text += &format!("[tenants.t{number:06}]\npool = \"billing\"\n");
    }
    let mut gateway = Gateway::prepare("", &text);
    gateway.launch();
    let began = || gateway.ended().is_some() || gateway.admin("/readyz").status == 200;
    eventually_within(PATIENCE, "so large a start", began, |began| *began);
    gateway.wait_ready();
    let mut page = Page::open(&format!("{}/", gateway.admin_url()), 390, 844);
    page.shows("#tabs", "Tenants 100,002");
    // One request is in the rates for some seconds only, and a picture of so many may take as long.
    let shown = "document.querySelector('#tenants .rows').innerText.includes('t054321')";
    let ask = || gateway.get("t054321", "/", &[]).status;
    eventually("its row", || (ask(), page.get(shown)), |(_, shown)| *shown == json!(true));

    page.get("document.querySelector('#search').focus()");
    page.write("t07777");
    page.shows("#tabs", "Tenants 10\n");
    page.shows("#tenants .rows", "t077770");
    is_readable(&mut page);
    page.shoot("phone-light-search");
    page.get("document.querySelector('#which').value = 'suspended'");
    page.get("document.querySelector('#which').dispatchEvent(new Event('change'))");
    page.shows("#tenants", "No tenant matches.");
    page.get("location.hash = 'tenant=t077777'");
    page.shows("dialog", "t077777.localhost");
    assert_eq!(page.complaints(&gateway.admin_url()), [""; 0]);
}
