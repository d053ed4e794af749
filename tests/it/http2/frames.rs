//! RFC 9113 sections 3 to 7, frame by frame: what of a client ends its connection, what its stream
//! alone, and what is passed over. The library keeps most of it; that it does is shown here.

use crate::world::config::{NO_RETRY, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::raw_h2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Fate, GET, GOAWAY, HEADERS, PING, PREFACE,
    PRIORITY, PUSH_PROMISE, RST_STREAM, RawH2, SETTINGS, WINDOW_UPDATE, block, frame, request,
};

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const COMPRESSION: u32 = 9;

const PADDED: u8 = 8;
const MOST: [u8; 4] = [0x7f, 0xff, 0xff, 0xff];

async fn world() -> (Origin, Gateway) {
    let origin = Origin::saying("ok").await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;
    (origin, gateway)
}

/// The beginning of a request whose body is still to come.
fn begun(stream: u32) -> Vec<u8> {
    let put = [&[(&b":method"[..], &b"PUT"[..])], &GET[1..]].concat();
    frame(HEADERS, END_HEADERS, stream, &block(&put))
}

/// A setting.
fn set(id: u8, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, id][..], &value.to_be_bytes()].concat())
}

/// A block of fields behind and before `padding`.
fn padded(padding: u8) -> Vec<u8> {
    [&[padding][..], &block(&GET), &[0; 9]].concat()
}

/// Each of these frames breaks a rule for the whole connection. Where a more exact code is meant the
/// library often says `PROTOCOL_ERROR`.
async fn all_end(cases: &[(&str, Vec<u8>, u32)]) {
    let (_origin, gateway) = world().await;
    let mut others = Vec::new();
    for (what, frames, code) in cases {
        let mut client = RawH2::connect(gateway.address()).await;
        client.send(frames).await;
        let end = client.end().await;
        if end != Some(*code) && end != Some(PROTOCOL) {
            others.push(format!("{what}: {end:?}, not {code}"));
        }
    }
    assert!(others.is_empty(), "{others:#?}");
}

#[tokio::test]
async fn a_frame_of_no_stream_or_of_a_wrong_one_ends_the_connection() {
    let whole = block(&GET);
    let half = frame(HEADERS, END_STREAM, 1, &whole[..10]);
    let after_half = |next: Vec<u8>| [half.clone(), next].concat();
    all_end(&[
        ("DATA of no stream", frame(DATA, 0, 0, b"x"), PROTOCOL),
        ("DATA of an idle stream", frame(DATA, 0, 1, b"x"), PROTOCOL),
        ("HEADERS of no stream", frame(HEADERS, END_HEADERS, 0, &whole), PROTOCOL),
        ("HEADERS of the gateway's stream", request(2, &GET), PROTOCOL),
        ("PRIORITY of no stream", frame(PRIORITY, 0, 0, &[0, 0, 0, 5, 16]), PROTOCOL),
        ("RST_STREAM of no stream", frame(RST_STREAM, 0, 0, &[0; 4]), PROTOCOL),
        ("RST_STREAM of an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), PROTOCOL),
        ("SETTINGS of a stream", frame(SETTINGS, 0, 1, &[]), PROTOCOL),
        ("PING of a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL),
        ("GOAWAY of a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL),
        ("WINDOW_UPDATE of an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), PROTOCOL),
        ("PUSH_PROMISE of a client", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), PROTOCOL),
        ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &whole), PROTOCOL),
        (
            "CONTINUATION of no stream",
            after_half(frame(CONTINUATION, 4, 0, &whole[10..])),
            PROTOCOL,
        ),
        ("another kind within a block", after_half(frame(PING, 0, 0, &[0; 8])), PROTOCOL),
        ("another stream within a block", after_half(request(3, &GET)), PROTOCOL),
        ("an unknown kind within a block", after_half(frame(77, 0, 1, b"x")), PROTOCOL),
    ])
    .await;
}

#[tokio::test]
async fn a_frame_of_a_wrong_size_or_content_ends_the_connection() {
    let too_large = frame(DATA, 0, 1, &[0; 16_385])[..9].to_vec();
    let opened = |next: Vec<u8>| [begun(1), next].concat();
    all_end(&[
        ("a frame above the largest size", opened(too_large), FRAME_SIZE),
        ("RST_STREAM of 3 bytes", opened(frame(RST_STREAM, 0, 1, &[0; 3])), FRAME_SIZE),
        ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5]), FRAME_SIZE),
        ("SETTINGS that acknowledge something", frame(SETTINGS, ACK, 0, &[0; 6]), FRAME_SIZE),
        ("PING of 7 bytes", frame(PING, 0, 0, &[0; 7]), FRAME_SIZE),
        ("WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), FRAME_SIZE),
        ("DATA that is less than its padding", opened(frame(DATA, PADDED, 1, &[9, 0])), PROTOCOL),
        ("HEADERS that are less", frame(HEADERS, PADDED | END_HEADERS, 1, &[9, 0]), PROTOCOL),
        ("a window that grows by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL),
        ("a window that grows too much", frame(WINDOW_UPDATE, 0, 0, &MOST), FLOW_CONTROL),
        ("push that is neither on nor off", set(2, 2), PROTOCOL),
        ("windows that are too large", set(4, 1 << 31), FLOW_CONTROL),
        ("frames that are too small", set(5, 16_383), PROTOCOL),
        ("frames that are too large", set(5, 1 << 24), PROTOCOL),
        ("a field of no table", frame(HEADERS, END_HEADERS, 1, &[0x80]), COMPRESSION),
        ("a field behind the table", frame(HEADERS, END_HEADERS, 1, &[0xff, 0x7f]), COMPRESSION),
        ("half a field", frame(HEADERS, END_HEADERS, 1, &[0, 9, b'x']), COMPRESSION),
        (
            "a table that grows too much",
            frame(HEADERS, END_HEADERS, 1, &[0x3f, 0xe2, 0x1f]),
            COMPRESSION,
        ),
    ])
    .await;
    let (_origin, gateway) = world().await;
    let mut client = RawH2::connect(gateway.address()).await;
    let grown = frame(WINDOW_UPDATE, 0, 1, &MOST.map(|byte| byte >> 1));
    client.send(&[begun(1), grown, set(4, MOST_WINDOW)].concat()).await;
    assert_eq!(client.end().await, Some(FLOW_CONTROL), "a window that a setting makes too large");
}

const MOST_WINDOW: u32 = (1 << 31) - 1;

#[tokio::test]
async fn what_begins_no_connection_gets_none() {
    let (origin, gateway) = world().await;
    for hello in
        [&b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / "]
    {
        let bytes = [hello, &request(1, &GET)].concat();
        let mut client = RawH2::silent(gateway.address()).await;
        client.send(&bytes).await;
        client.finish().await;
        assert_ne!(client.fate(1).await.status(), 200, "{}", hello.escape_ascii());
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_stream_that_breaks_a_rule_ends_and_the_others_do_not() {
    let (_origin, gateway) = world().await;
    let cases = [
        ("a window that grows too much", frame(WINDOW_UPDATE, 0, 1, &MOST), FLOW_CONTROL),
        ("a window that grows by nothing", frame(WINDOW_UPDATE, 0, 1, &[0; 4]), PROTOCOL),
        ("a priority of 4 bytes", frame(PRIORITY, 0, 1, &[0; 4]), FRAME_SIZE),
        ("a second head", frame(HEADERS, END_HEADERS, 1, &block(&[(b"x-a", b"1")])), PROTOCOL),
        (
            "a body after its end",
            [frame(DATA, END_STREAM, 1, b"x"), frame(DATA, 0, 1, b"y")].concat(),
            STREAM_CLOSED,
        ),
    ];
    for (what, frames, code) in cases {
        let mut client = RawH2::connect(gateway.address()).await;
        client.send(&[begun(1), frames].concat()).await;
        let fate = client.fate(1).await;
        // RFC 9113 §5.4.1: any error of a stream may be made one of the connection.
        let fates = [Fate::Reset(code), Fate::GoAway(code), Fate::GoAway(PROTOCOL)];
        assert!(fates.contains(&fate), "{what}: {fate:?}");
        if fate == Fate::Reset(code) {
            client.send(&request(3, &GET)).await;
            assert_eq!(client.fate(3).await.status(), 200, "{what}");
        }
    }
}

#[tokio::test]
async fn what_is_not_known_or_comes_late_is_passed_over() {
    let (_origin, gateway) = world().await;
    let again = || request(5, &GET);
    let cases = [
        ("frames of unknown kinds", [frame(77, 0xff, 1, b"x"), frame(0xff, 0, 0, b"")].concat()),
        ("an unknown setting", set(77, 1)),
        ("many settings, the last counts", [set(4, 0), set(4, 65_535)].concat()),
        ("no streams to a client", set(3, 0)),
        ("unused flags", frame(PING, 0xfe, 0, &[0; 8])),
        ("a priority of an idle stream", frame(PRIORITY, 0, 9, &[0, 0, 0, 5, 16])),
        ("a priority of a stream that is over", frame(PRIORITY, 0, 3, &[0, 0, 0, 5, 16])),
        ("a window of a stream that is over", frame(WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1])),
        ("a reset of a stream that is over", frame(RST_STREAM, 0, 3, &[0, 0, 0, 8])),
        ("an answer to no PING", frame(PING, ACK, 0, &[7; 8])),
        ("a reserved bit", frame(WINDOW_UPDATE, 0, 1 << 31, &[0x80, 0, 0, 1])),
        ("an unknown error", [begun(7), frame(RST_STREAM, 0, 7, &[9; 4])].concat()),
    ];
    for (what, frames) in cases {
        let mut client = RawH2::connect(gateway.address()).await;
        client.send(&request(3, &GET)).await;
        assert_eq!(client.fate(3).await.status(), 200);
        let last = if what == "an unknown error" { request(9, &GET) } else { again() };
        let number = if what == "an unknown error" { 9 } else { 5 };
        client.send(&[frames, last].concat()).await;
        assert_eq!(client.fate(number).await, Fate::Answer(200, b"ok".to_vec()), "{what}");
    }
}

#[tokio::test]
async fn a_block_of_fields_may_be_padded_cut_and_given_a_priority() {
    let (_origin, gateway) = world().await;
    let whole = block(&GET);
    let ends = END_HEADERS | END_STREAM;
    let cut = |size: usize| {
        [
            frame(HEADERS, END_STREAM, 1, &whole[..size]),
            frame(CONTINUATION, 0, 1, b""),
            frame(CONTINUATION, END_HEADERS, 1, &whole[size..]),
        ]
        .concat()
    };
    let weighed = [&[0, 0, 0, 9, 16][..], &whole].concat();
    for (what, frames) in [
        ("padding", frame(HEADERS, ends | PADDED, 1, &padded(9))),
        ("a priority", frame(HEADERS, ends | 0x20, 1, &weighed)),
        ("unused flags", frame(HEADERS, ends | 0xd2, 1, &whole)),
        ("no first part", cut(0)),
        ("a cut within a name", cut(3)),
        ("an empty last part", cut(whole.len())),
        (
            "padded data",
            [begun(1), frame(DATA, PADDED | END_STREAM, 1, &[3, b'x', 0, 0, 0])].concat(),
        ),
    ] {
        let mut client = RawH2::connect(gateway.address()).await;
        client.send(&frames).await;
        assert_eq!(client.fate(1).await, Fate::Answer(200, b"ok".to_vec()), "{what}");
    }
}

#[tokio::test]
async fn the_gateway_says_hello_and_answers_what_wants_an_answer() {
    let (_origin, gateway) = world().await;
    let mut client = RawH2::connect(gateway.address()).await;
    let hello = client.next().await.expect("a frame");
    assert_eq!((hello.kind, hello.flags & ACK, hello.stream), (SETTINGS, 0, 0));
    let push = hello.payload.chunks(6).find(|setting| setting[..2] == [0, 2]);
    assert!(push.is_none_or(|push| push[2..] == [0; 4]), "{hello:?}");

    client.send(&[set(3, 1), frame(PING, 0, 0, b"any data")].concat()).await;
    let mut acknowledged = 0;
    let echo = loop {
        let frame = client.next().await.expect("a frame");
        acknowledged += usize::from(frame.kind == SETTINGS && frame.flags == ACK);
        if frame.kind == PING {
            break frame;
        }
    };
    assert_eq!((echo.flags, echo.stream, echo.payload), (ACK, 0, b"any data".to_vec()));
    assert_eq!(acknowledged, 2, "those of the hello and those after it");
}

#[tokio::test]
async fn the_name_of_a_requests_id_is_spelled_out_once() {
    /// `x-request-id` in Huffman's code (RFC 7541 appendix B).
    const SPELLED: &[u8] = b"\xf2\xb5\x85\xed\x69\x50\x95\x8d\x27";
    let (_origin, gateway) = world().await;
    let mut client = RawH2::silent(gateway.address()).await;
    client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;

    let mut spelled = Vec::new();
    for stream in [1, 3, 5, 7] {
        client.send(&request(stream, &GET)).await;
        loop {
            let frame = client.next().await.expect("an answer");
            if frame.kind == HEADERS {
                spelled.push(frame.payload.windows(SPELLED.len()).any(|part| part == SPELLED));
            }
            if frame.stream == stream && frame.flags & END_STREAM != 0 {
                break;
            }
        }
    }

    assert_eq!(spelled, [true, false, false, false]);
}

#[tokio::test]
async fn an_answer_waits_for_its_window_and_keeps_to_the_size_of_frames() {
    let body = "x".repeat(40_000);
    let origin = Origin::start([Step::ok(&body)]).await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;
    let mut client = RawH2::connect(gateway.address()).await;
    client.send(&[set(4, 5), request(1, &GET)].concat()).await;
    assert_eq!(data(&mut client, 5).await, [5]);

    // The window is smaller now than what was sent already.
    client.send(&[set(4, 2), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 3])].concat()).await;
    client.send(&frame(PING, 0, 0, b"any data")).await;
    while client.next().await.expect("an answer to the PING").kind != PING {}
    client.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).await;
    assert_eq!(data(&mut client, 1).await, [1]);

    client.send(&frame(WINDOW_UPDATE, 0, 1, &50_000_u32.to_be_bytes())).await;
    let sizes = data(&mut client, body.len() - 6).await;
    assert!(sizes.iter().all(|size| *size <= 16_384), "{sizes:?}");
}

/// The sizes of the frames that bring so much of stream 1.
async fn data(client: &mut RawH2, size: usize) -> Vec<usize> {
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < size {
        let frame = client.next().await.expect("a frame");
        if frame.kind == DATA {
            sizes.push(frame.payload.len());
        }
    }
    sizes
}
