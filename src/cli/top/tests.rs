//! What the screen shows of a picture, at several sizes, and how it answers keys.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;

use crate::admin::dashboard::picture::Picture;

use super::*;

fn query() -> Query {
    Query { search: String::new(), sort: Sort::Requests, state: None, every: 1 }
}

/// As it comes over the wire, with a hostile reason.
fn picture() -> Picture {
    let rates = json!({"requests_per_second": 12.5, "client_errors_per_second": 0.0,
        "errors_per_second": 2.0, "p50_ms": 3.2, "p99_ms": 1250.0});
    let chart = json!({"requests": [0.0, 10.0, 5.0], "errors": [0.0, 1.0, 0.0],
        "p99_ms": [null, 12.0, 8.0]});
    let with = |mut fields: serde_json::Value| {
        for (name, value) in rates.as_object().unwrap() {
            fields[name] = value.clone();
        }
        fields
    };
    let fault = json!({"of": "routes", "place": "routes.toml:3:7", "key": "pools.shop.balance",
        "what": "no balancer \"p2c\"", "hint": "write \"least-request\""});
    let endpoint = |address: &str, state: &str, reason: Option<&str>| {
        json!({"address": address, "state": state, "reason": reason, "in_flight": 1,
            "failures": 0, "origin": "static"})
    };
    serde_json::from_value(json!({
        "at": "2026-03-01T09:30:00.125Z", "version": "0.1.0", "uptime_seconds": 90_061,
        "generation": 17, "live_since": null, "unready": null, "serving_last_good": false,
        "failed_since": null, "problems": [fault], "problems_total": 1, "needs_restart": [],
        "point_seconds": 5, "standing": {"active": 1, "maintenance": 0, "suspended": 0},
        "total": with(json!({"rates_over_seconds": 15.0, "own_answers_per_second": 0.0,
            "in_flight": 3, "connections": 8, "chart": chart})),
        "tenants": {"generation": 17, "total": 100_000, "matching": 1, "rates_over_seconds": 15.0,
            "next": null, "tenants": [with(json!({"id": "acme", "state": "maintenance",
            "pool": "shop", "hosts": [], "chart": chart}))]},
        "tenant": null,
        "pools": {"total": 1, "matching": 1, "endpoints": 2, "ineligible": 1, "rows": [
            with(json!({"name": "shop", "panicking": false, "size": 2, "ineligible": 1,
            "chart": chart, "sources": [{"name": "dns shop:80", "error": "no answer",
            "waiting": false}], "endpoints": [
            endpoint("10.0.0.1:80", "down", Some("connect refused\u{1b}[31m")),
            endpoint("10.0.0.2:80", "up", None)]}))]},
    }))
    .unwrap()
}

fn screen() -> Screen {
    let mut screen = Screen::new("http://127.0.0.1:9900".into(), query());
    screen.take(Update::Picture(Box::new(picture())));
    screen
}

fn drawn(screen: &mut Screen, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, screen)).unwrap();
    terminal.backend().to_string()
}

fn press(screen: &mut Screen, code: KeyCode) -> Next {
    screen.react(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

#[test]
fn each_list_shows_what_it_is_about() {
    let mut screen = screen();

    let tenants = drawn(&mut screen, 110, 24);
    for text in ["generation 17", "up 1d 1h", "12.5 req/s", "acme", "maintenance", "1.2s", "▄", "█"]
    {
        assert!(tenants.contains(text), "{text} is not in\n{tenants}");
    }
    press(&mut screen, KeyCode::Tab);
    assert!(drawn(&mut screen, 110, 24).contains("shop"));
    press(&mut screen, KeyCode::Char('3'));
    let endpoints = drawn(&mut screen, 110, 24);
    for text in ["10.0.0.1:80", "down", "connect refused\u{fffd}[31m", "dns shop:80", "no answer"] {
        assert!(endpoints.contains(text), "{text} is not in\n{endpoints}");
    }
    press(&mut screen, KeyCode::Char('4'));
    let problems = drawn(&mut screen, 110, 24);
    assert!(problems.contains("pools.shop.balance: no balancer \"p2c\""), "{problems}");
    assert!(problems.contains("routes.toml:3:7"), "{problems}");
}

#[test]
fn it_draws_on_a_screen_of_any_size() {
    for (width, height) in [(1, 1), (7, 3), (20, 8), (39, 12), (80, 15), (80, 16), (300, 90)] {
        for tab in screen::Tab::ALL {
            let mut screen = screen();
            screen.tab = tab;
            screen.lost = Some(("gone".into(), Duration::from_secs(1)));
            drawn(&mut screen, width, height);
        }
        drawn(&mut Screen::new("http://x".into(), query()), width, height);
    }
}

#[test]
fn a_gateway_that_is_gone_is_told_and_what_was_seen_stays() {
    let mut screen = screen();
    screen.take(Update::Lost("connection refused".into(), Duration::from_secs(2)));

    let text = drawn(&mut screen, 110, 24);
    assert!(text.contains("http://127.0.0.1:9900: connection refused; next try in 2s"), "{text}");
    assert!(text.contains("acme"), "{text}");

    screen.take(Update::Picture(Box::new(picture())));
    assert!(!drawn(&mut screen, 110, 24).contains("next try"));
}

#[test]
fn keys_order_search_and_quit() {
    let mut screen = screen();

    assert_eq!(press(&mut screen, KeyCode::Char('e')), Next::Ask);
    assert_eq!(screen.query.sort, Sort::Errors);
    assert_eq!(press(&mut screen, KeyCode::Char('/')), Next::Stay);
    for letter in "q1".chars() {
        assert_eq!(press(&mut screen, KeyCode::Char(letter)), Next::Ask, "typed, not obeyed");
    }
    assert_eq!((screen.query.search.as_str(), screen.tab), ("q1", screen::Tab::Tenants));
    assert!(drawn(&mut screen, 110, 24).contains("search: q1"));
    assert_eq!(press(&mut screen, KeyCode::Enter), Next::Stay);
    assert_eq!(press(&mut screen, KeyCode::Esc), Next::Ask, "the search is cleared first");
    assert_eq!(screen.query.search, "");
    assert_eq!(press(&mut screen, KeyCode::Char('s')), Next::Ask);
    assert_eq!(press(&mut screen, KeyCode::Char('q')), Next::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(screen.react(&Event::Key(interrupt)), Next::Quit);
}

#[test]
fn one_table_is_plain_text_whatever_a_reason_says() {
    let text = table::text(&picture());

    assert!(!text.contains('\u{1b}'), "{text}");
    for line in [
        "1 problem, what was before serves; generation 17, up 1d 1h, Tenantry 0.1.0",
        "acme    maintenance  shop  12.5   2      3.2ms  1.2s",
        "shop  2          1    12.5   2      3.2ms  1.2s",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }
}
