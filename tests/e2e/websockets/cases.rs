//! What WebSocket peers do in each case: a script for the client and one for the server.
//!
//! A step is a list: its name and what it needs.
//!
//! - `text T`, `binary SIZE`: one message,
//! - `parts [T…]`: one message in so many frames; `parts-ping`: with a ping after each of them,
//! - `ping T`: waits for the pong; `pong T`: one that nobody asked for,
//! - `take N`: as many messages; `echo N`: gives them back,
//! - `close CODE REASON`: closes and waits for the end; `end`: reads on until the end,
//! - `refuse STATUS`: what a server answers instead of switching.

use serde_json::{Value, json};

/// A case: what it is, and what both do.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) client: Value,
    pub(super) server: Value,
}

impl Case {
    /// Nobody sends a message in parts.
    pub(super) fn has_whole_messages(&self) -> bool {
        let in_parts = |script: &Value| script.to_string().contains("\"parts");
        !in_parts(&self.client) && !in_parts(&self.server)
    }
}

/// All cases. The client asks for the number of the case as the path.
pub(super) fn all() -> Vec<Case> {
    let mut cases = vec![
        case(
            "messages of all lengths",
            json!([
                ["text", "hello"],
                ["text", ""],
                ["text", "gr\u{fc}\u{df}e \u{1f980}"],
                ["binary", 0],
                ["binary", 125],
                ["binary", 126],
                ["binary", 65535],
                ["binary", 65536],
                ["take", 8],
                ["close", 1000, "done"]
            ]),
            json!([["echo", 8], ["end"]]),
        ),
        case(
            "messages of 16 MiB",
            json!([["binary", 16 << 20], ["take", 1], ["close", 1000, ""]]),
            json!([["echo", 1], ["end"]]),
        ),
        case(
            "what compresses well",
            json!([["text", "again and ".repeat(50_000)], ["take", 1], ["close", 1000, ""]]),
            json!([["echo", 1], ["end"]]),
        ),
        case(
            "fragments",
            json!([["parts", ["one", "", "two", "three"]], ["take", 2], ["close", 1000, ""]]),
            json!([["echo", 1], ["parts", ["", "x", "yz"]], ["end"]]),
        ),
        case(
            "control frames between fragments",
            // The text tells that the last ping was read: one that comes beside the server's close
            // may go without a pong.
            json!([["parts-ping", ["one", "two", "three"]], ["text", ""], ["take", 1], ["end"]]),
            json!([["take", 2], ["parts-ping", ["x", "y", "z"]], ["close", 1000, ""]]),
        ),
        case(
            "pings and pongs",
            json!([
                ["ping", "p".repeat(125)],
                ["ping", ""],
                ["pong", "unasked"],
                ["text", "go"],
                ["take", 1],
                ["close", 1000, ""]
            ]),
            json!([["take", 1], ["ping", "s"], ["text", "gone"], ["end"]]),
        ),
        case("a refused switch", json!([["end"]]), json!([["refuse", 403]])),
        case("the longest reason", json!([["close", 4000, "r".repeat(123)]]), json!([["end"]])),
    ];
    for code in CODES {
        let name = |side| format!("the {side} closes with {code}");
        let closing = json!([["close", code, "because"]]);
        cases.push(case(&name("client"), closing.clone(), json!([["end"]])));
        cases.push(case(&name("server"), json!([["end"]]), closing));
    }
    cases
}

fn case(name: &str, client: Value, server: Value) -> Case {
    Case { name: name.to_owned(), client, server }
}

/// Every code that may be sent (RFC 6455 §7.4), and the bounds of those that are free to use.
const CODES: [u16; 16] = [
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
];
