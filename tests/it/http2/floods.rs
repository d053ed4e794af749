//! What one client may cost (RFC 9113 §10.5): each flood ends its own connection, is counted, and
//! nobody else notices.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use crate::world::config::{one_tenant_with, pool};
use crate::world::gateway::Gateway;
use crate::world::load::Load;
use crate::world::origin::{Origin, Step};
use crate::world::pouring::Pouring;
use crate::world::raw_h2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Fate, GET, HEADERS, PING,
    PRIORITY, RST_STREAM, RawH2, SETTINGS, WINDOW_UPDATE, block, frame, number, request,
};
use crate::world::tls::Certificates;
use crate::world::{STEP, eventually, resting, within};

/// An endpoint that never answers the attacker, one that answers the others, and a client of those
/// that asks all the time.
struct World {
    silent: Origin,
    _well: Origin,
    gateway: Gateway,
    load: Load,
}

impl World {
    async fn start() -> Self {
        let silent = Origin::start([Step::stall().unread()]).await;
        let well = Origin::saying("well").await;
        let routes = format!(
            "{}{}[tenants.acme]\npool = \"silent\"\n[tenants.good]\npool = \"well\"\n",
            pool("silent", &[silent.address], ""),
            pool("well", &[well.address], ""),
        );
        let gateway = Gateway::start(&routes).await;
        let load = Load::start(gateway.address(), &["good"], 1);
        load.serves(10).await;
        Self { silent, _well: well, gateway, load }
    }

    async fn attacker(&self) -> RawH2 {
        RawH2::connect(self.gateway.address()).await
    }

    /// The attacker's connection has ended for this reason, and the others were served all the while.
    async fn ended(self, mut attacker: RawH2, reason: &str) {
        let code = attacker.end().await;
        let calm = reason == "http2_invalid" || code.is_none_or(|code| code == ENHANCE_YOUR_CALM);
        assert!(calm, "{code:?}");
        self.load.serves(10).await;
        self.load.stop().await;
        counted(&self.gateway, reason).await;
    }
}

/// One connection was cut off, for this reason, and was counted once.
async fn counted(gateway: &Gateway, reason: &str) {
    let series = "tenantry_downstream_rejected_connections_total{reason=\"";
    within("the count", async {
        loop {
            let metrics = gateway.admin("/metrics").await.text();
            let lines = metrics.lines().filter_map(|line| line.strip_prefix(series));
            let counts = lines.filter_map(|line| line.split_once("\"} "));
            let counts = counts.filter(|(_, count)| *count != "0").collect::<Vec<_>>();
            match counts[..] {
                [] => sleep(STEP * 10).await,
                [(told, "1")] if told == reason => return,
                _ => panic!("not one connection for {reason}: {counts:?}"),
            }
        }
    })
    .await;
}

/// The numbers of a client's streams.
fn stream(times: u32) -> u32 {
    times * 2 + 1
}

/// Repeats `bytes` until the connection ends for `reason`.
async fn flooded(first: &[u8], times: u32, bytes: impl FnMut(u32) -> Vec<u8>, reason: &str) {
    let world = World::start().await;
    let mut attacker = world.attacker().await;
    attacker.send(first).await;
    attacker.flood(times, bytes).await;
    world.ended(attacker, reason).await;
}

#[tokio::test]
async fn a_client_that_resets_what_it_begins_is_cut_off() {
    let world = World::start().await;
    let mut attacker = world.attacker().await;
    let begun_and_reset = |times| {
        let stream = stream(times);
        [request(stream, &GET), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    attacker.flood(5_000, begun_and_reset).await;
    let begun = world.silent.connections();
    assert!(begun <= 200, "{begun} requests reached the endpoint");
    // By our own bound or by the library's: that depends on how many come in one read.
    world.ended(attacker, "http2_resets").await;
}

#[tokio::test]
async fn a_client_that_resets_one_by_one_is_cut_off() {
    let world = World::start().await;
    let mut attacker = world.attacker().await;
    let reset = |times| frame(RST_STREAM, 0, stream(times), &[0, 0, 0, 8]);
    // Each one is at the endpoint before it is reset: none of them waits to be looked at.
    for times in 0..100 {
        attacker.send(&request(stream(times), &GET)).await;
        let begun = || world.silent.connections();
        eventually("the request", begun, |begun| *begun > times as usize).await;
        attacker.send(&reset(times)).await;
    }
    attacker.send(&request(stream(100), &GET)).await;
    attacker.flood(1, |_| reset(100)).await;
    world.ended(attacker, "http2_resets").await;
}

/// A request of this stream, and what provokes the gateway to reset it.
type Provocation = fn(u32) -> Vec<u8>;

/// Ways to make the gateway reset a stream, and the reason that its client is cut off for: two of
/// them break the protocol for the whole connection.
const PROVOCATIONS: [(&str, Provocation, &str); 5] = [
    ("a window that grows too much", grow_too_much, "http2_provoked_resets"),
    ("a body that is too long", send_too_much, "http2_provoked_resets"),
    ("a malformed head", |stream| with(stream, b"connection", b"close"), "http2_provoked_resets"),
    ("a window that grows by nothing", grow_by_nothing, "http2_invalid"),
    ("a body after its end", send_after_the_end, "http2_invalid"),
];

fn with(stream: u32, name: &[u8], value: &[u8]) -> Vec<u8> {
    request(stream, &[&GET[..], &[(name, value)]].concat())
}

fn grow_too_much(stream: u32) -> Vec<u8> {
    let most = [0x7f, 0xff, 0xff, 0xff];
    [request(stream, &GET), frame(WINDOW_UPDATE, 0, stream, &most)].concat()
}

fn grow_by_nothing(stream: u32) -> Vec<u8> {
    [request(stream, &GET), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
}

fn send_after_the_end(stream: u32) -> Vec<u8> {
    [request(stream, &GET), frame(DATA, 0, stream, b"more")].concat()
}

fn send_too_much(stream: u32) -> Vec<u8> {
    let changed: [(&[u8], &[u8]); 2] = [(b":method", b"PUT"), (b"content-length", b"1")];
    let head = block(&[&changed[..1], &GET[1..], &changed[1..]].concat());
    let body = frame(DATA, END_STREAM, stream, b"more");
    [frame(HEADERS, END_HEADERS, stream, &head), body].concat()
}

#[tokio::test]
async fn a_client_that_makes_the_gateway_reset_streams_is_cut_off() {
    for (what, provoke, reason) in PROVOCATIONS {
        let world = World::start().await;
        let mut attacker = world.attacker().await;
        attacker.flood(5_000, |times| provoke(stream(times))).await;
        let begun = world.silent.connections();
        assert!(begun <= 300, "{what}: {begun} requests reached the endpoint");
        world.ended(attacker, reason).await;
    }
}

#[tokio::test]
async fn a_client_that_never_ends_a_head_is_cut_off() {
    let first = frame(HEADERS, 0, 1, &block(&GET));
    let more = block(&[(b"x-a", b"1")]);
    flooded(&first, 5_000, |_| frame(CONTINUATION, 0, 1, &more), "http2_continuations").await;
    flooded(&first, 5_000, |_| frame(CONTINUATION, 0, 1, &[]), "http2_continuations").await;
}

#[tokio::test]
async fn a_client_whose_frames_carry_nothing_is_cut_off() {
    let hundred = |frame: Vec<u8>| move |_| frame.repeat(100);
    let first = request(1, &GET);
    let frames = [
        (frame(PING, 0, 0, &[7; 8]), "http2_pings"),
        (frame(PING, ACK, 0, &[7; 8]), "http2_pings"),
        (frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]), "http2_settings"),
        (frame(SETTINGS, 0, 0, &[]), "http2_settings"),
        (frame(PRIORITY, 0, 3, &[0, 0, 0, 5, 16]), "http2_priorities"),
        (frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), "http2_window_updates"),
        (frame(77, 0, 0, b"unknown"), "http2_flood"),
    ];
    for (frame, reason) in frames {
        flooded(&first, 3_000, hundred(frame), reason).await;
    }
}

#[tokio::test]
async fn a_client_of_empty_parts_of_a_body_is_cut_off() {
    let put = [&[(&b":method"[..], &b"PUT"[..])], &GET[1..]].concat();
    let first = frame(HEADERS, END_HEADERS, 1, &block(&put));
    flooded(&first, 5_000, |_| frame(DATA, 0, 1, b"").repeat(10), "http2_tiny_data").await;
}

#[tokio::test]
async fn frames_that_break_the_protocol_end_the_connection_and_are_counted() {
    let world = World::start().await;
    let mut attacker = world.attacker().await;
    attacker.send(&frame(DATA, 0, 0, b"of no stream")).await;
    world.ended(attacker, "http2_invalid").await;
}

#[tokio::test]
async fn a_flood_within_tls_is_cut_off_and_counted_as_any_other() {
    let certificates = Certificates::of(&["localhost"]);
    let origin = Origin::saying("well").await;
    let tls = certificates.listener();
    let gateway = Gateway::start_with(&tls, &one_tenant_with(&[origin.address], "")).await;
    let stream = certificates.connect(gateway.address(), "localhost", &["h2"]).await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let pings = frame(PING, 0, 0, &[7; 8]).repeat(1_000);
    let flooding = async {
        drop(writer.write_all(HELLO).await);
        while writer.write_all(&pings).await.is_ok() {}
    };
    let reading = async {
        let mut part = vec![0; 4 << 10];
        while let Ok(1..) = reader.read(&mut part).await {}
    };

    Box::pin(within("the end", async { tokio::join!(flooding, reading) })).await;

    counted(&gateway, "http2_pings").await;
}

/// A request whose fields take few bytes on the wire and many once they are read: one field goes to
/// the table and is named again by one byte each time.
fn bomb(name: &[u8], value: &[u8], times: usize) -> Vec<Vec<u8>> {
    let mut fields = block(&GET);
    fields.push(0x40);
    for text in [name, value] {
        number(&mut fields, 0, 7, text.len());
        fields.extend_from_slice(text);
    }
    fields.resize(fields.len() + times, 0xbe);
    let mut frames = Vec::new();
    let parts: Vec<&[u8]> = fields.chunks(16 << 10).collect();
    for (number, part) in parts.iter().enumerate() {
        let kind = if number == 0 { HEADERS } else { CONTINUATION };
        let end = if number + 1 == parts.len() { END_HEADERS } else { 0 };
        frames.push(frame(kind, end | u8::from(number == 0), 1, part));
    }
    frames
}

#[tokio::test]
async fn a_head_that_grows_as_it_is_read_is_refused_and_a_huge_one_ends_the_connection() {
    let long = vec![b'x'; 3_000];
    let cases: [(&[u8], &[u8], usize, bool); 5] = [
        (b"x-a", &long, 15, false),
        (b"cookie", b"a=b", 200, false),
        (b"cookie", b"a=b", 1_700, false),
        (b"x-a", &long, 16_000, true),
        (b"cookie", b"a=b", 30_000, true),
    ];
    for (name, value, times, ends) in cases {
        let world = World::start().await;
        let mut attacker = world.attacker().await;
        attacker.send(&bomb(name, value, times).concat()).await;
        let fate = attacker.fate(1).await;
        let what = format!("{times} of {}", name.escape_ascii());
        if ends {
            assert!(
                matches!(fate, Fate::GoAway(ENHANCE_YOUR_CALM) | Fate::Closed),
                "{what}: {fate:?}"
            );
            assert_eq!(world.silent.connections(), 0, "{what}");
            world.ended(attacker, "http2_huge_head").await;
        } else {
            assert_eq!(fate.status(), 431, "{what}: {fate:?}");
            assert_eq!(world.silent.connections(), 0, "{what}");
            world.load.stop().await;
        }
    }
}

/// What begins a connection.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn pouring() -> (Pouring, Gateway) {
    let origin = Pouring::start().await;
    let keys = "protocol = \"h2\"";
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], keys)).await;
    (origin, gateway)
}

fn pour(stream: u32) -> Vec<u8> {
    let poured = |(name, value)| (name, if name == b":path" { &b"/pour"[..] } else { value });
    let fields = GET.map(poured);
    request(stream, &fields)
}

#[tokio::test]
async fn a_client_that_never_reads_a_hundred_answers_is_held_to_its_buffers() {
    // One takes no byte from its socket; the other reads, and opens no window.
    for window in [0x7fff_ffff_u32, 0] {
        let (origin, gateway) = pouring().await;
        let mut client = RawH2::connect(gateway.address()).await;
        let size = window.to_be_bytes();
        client.send(&frame(SETTINGS, 0, 0, &[&[0, 4], &size[..]].concat())).await;
        client.send(&frame(WINDOW_UPDATE, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes())).await;
        for times in 0..100 {
            client.send(&pour(stream(times))).await;
        }

        let poured = resting("the end of the pouring", || origin.poured()).await;

        // At each stream the window and the buffer, 64 KiB each, and a frame between them; besides,
        // what the client's socket holds.
        let bound = (100 * (64 + 64 + 16)) << 10;
        let socket = if window == 0 { 0 } else { 16 << 20 };
        assert!(poured <= bound + socket, "{window}: {poured} bytes went somewhere");
        assert_eq!(gateway.get("/").await.text(), "ok", "{window}");
    }
}

#[tokio::test]
async fn answers_that_nobody_reads_leave_room_for_those_of_others_on_their_connection() {
    let (origin, gateway) = pouring().await;
    let mut stuck = RawH2::connect(gateway.address()).await;
    stuck.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
    for times in 0..60 {
        stuck.send(&pour(stream(times))).await;
    }
    resting("the end of the pouring", || origin.poured()).await;

    assert_eq!(gateway.get("/").await.text(), "ok");
    gateway.metric_becomes("tenantry_upstream_connections{pool=\"app\"}", 1.0).await;
}

#[tokio::test]
async fn streams_beyond_the_most_are_refused_and_many_more_end_the_connection() {
    let world = World::start().await;
    let mut client = world.attacker().await;
    for times in 0..150 {
        client.send(&request(stream(times), &GET)).await;
    }
    for times in 100..150 {
        // REFUSED_STREAM: nothing was done, it may be sent again.
        assert_eq!(client.fate(stream(times)).await, Fate::Reset(7), "{times}");
    }
    let begun = || world.silent.connections();
    eventually("the requests", begun, |begun| *begun == 100).await;

    client.flood(1_000, |times| request(stream(150 + times), &GET)).await;

    assert_eq!(world.silent.connections(), 100);
    world.ended(client, "http2_provoked_resets").await;
}
