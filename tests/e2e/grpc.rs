//! gRPC by grpcio, whose HTTP/2 is its own: a client and a server in processes of their own, and the
//! built program between them. `tests/it/http2/grpc.rs` has the same with tonic,
//! `tests/it/http2/grpcio.rs` with one of each.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::world::gateway::Gateway;
use crate::world::process::{Process, run};
use crate::world::{PYTHON, eventually, free_port};

fn talk(arguments: &[&str]) -> Command {
    python("talk.py", arguments)
}

fn python(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(PYTHON);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/grpc").join(script))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

#[test]
fn a_client_and_a_server_by_grpcio_talk_through_the_gateway() {
    let mut server = Process::start(talk(&["server"]).stdin(Stdio::piped()).stdout(Stdio::piped()));
    let address = server.lines().next().expect("the server's address");
    let routes = format!(
        r#"[pools.talk]
endpoints = ["{address}"]
protocol = "h2"

[pools.gone]
endpoints = ["127.0.0.1:{}"]
protocol = "h2"

[tenants.acme]
pool = "talk"

[tenants.gone]
pool = "gone"
"#,
        free_port()
    );
    let gateway = Gateway::start_with("[downstream]\nmax-body = \"64MiB\"\n", &routes);

    let client = run(&mut talk(&["client", &gateway.listener().to_string()]));

    let told = String::from_utf8_lossy(&client.stdout);
    let errors = String::from_utf8_lossy(&client.stderr);
    // Whose clock strikes first is chance.
    let overdue = ["overdue: DEADLINE_EXCEEDED", "overdue: CANCELLED"];
    let is_overdue = |line: &&str| overdue.iter().any(|start| line.starts_with(start));
    let (late, others): (Vec<&str>, Vec<&str>) = told.lines().partition(is_overdue);
    assert_eq!(late.len(), 1, "{told}\n{errors}");
    assert_eq!(others, EXPECTED, "{errors}\n{}", gateway.log());
}

#[test]
fn the_health_service_of_grpcio_says_who_serves() {
    let piped = |command: &mut Command| {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start a server")
    };
    let mut healthy = piped(&mut python("health.py", &[]));
    let mut without = piped(&mut talk(&["server"]));
    let address = |child: &mut Child| {
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("the server's address");
        line.trim().to_owned()
    };
    let (first, second) = (address(&mut healthy), address(&mut without));
    let mut input = healthy.stdin.take().expect("its input");
    writeln!(input, "- 1\nshop.Cart 1").expect("set a status");
    let pool = |service: &str| {
        format!(
            "endpoints = [\"{first}\", \"{second}\"]\nhealth = {{ grpc = {service}, interval = \"100ms\", \
             timeout = \"100ms\", rise = 1, fall = 1 }}\npanic-below = \"0%\"\n"
        )
    };
    let routes = format!(
        "[pools.cart]\n{}[pools.other]\n{}[pools.whole]\n{}[tenants.acme]\npool = \"cart\"\n",
        pool("\"shop.Cart\""),
        pool("\"shop.Other\""),
        pool("true")
    );
    let gateway = Gateway::start(&routes);
    let said = |pool: usize, endpoint: &str| {
        let pools = gateway.admin("/api/v1/pools").json();
        let members = pools[pool]["members"].as_array().cloned().unwrap_or_default();
        let member = members.into_iter().find(|member| member["address"] == endpoint);
        let member = member.unwrap_or_default();
        format!("{} {}", member["health"], member["reason"].as_str().unwrap_or_default())
    };
    let becomes = |pool, endpoint: &str, text: &str| {
        eventually(text, || said(pool, endpoint), |said| said == text);
    };

    becomes(0, &first, "\"up\" ");
    becomes(1, &first, "\"down\" the health service does not know \"shop.Other\"");
    becomes(2, &first, "\"up\" ");
    let none = "\"down\" there is no health service: grpc.health.v1.Health/Check is UNIMPLEMENTED";
    becomes(0, &second, none);

    writeln!(input, "shop.Cart 2").expect("set a status");
    becomes(0, &first, "\"down\" the health service says NOT_SERVING, expected SERVING");
    writeln!(input, "shop.Cart 1").expect("set a status");
    becomes(0, &first, "\"up\" ");

    drop(input);
    healthy.wait().expect("wait for the server");
    becomes(0, &first, "\"down\" connect refused");
    drop(without.stdin.take());
    without.wait().expect("wait for the server");
}

/// What the client tells of each of its calls but the one that is late.
const EXPECTED: [&str; 15] = [
    "one: b'hello'",
    "down: [b'0', b'1', b'2']",
    "up: b'3 of 6 bytes'",
    "both, in turns: [b'one', b'', b'three']",
    "metadata: ['a, b; c', b'\\x00\\xff,\\n', 'grpcio']",
    "16 MiB: True",
    "200 at once: True",
    "failed: NOT_FOUND 'nothing: 5 % of \u{e9}' {'x-why': 'because', 'x-details-bin': b'\\x00\\x01\\xff'}",
    "failed within: NOT_FOUND 'nothing: 5 % of \u{e9}' {'x-why': 'because', 'x-details-bin': b'\\x00\\x01\\xff'}",
    "failed while asked: NOT_FOUND 'nothing: 5 % of \u{e9}' {'x-why': 'because', 'x-details-bin': b'\\x00\\x01\\xff'}",
    "cancelled: CANCELLED",
    "nobody: UNIMPLEMENTED 'There is no such tenant: there is no tenant \"nobody\"' {}",
    "nobody's stream: UNIMPLEMENTED 'There is no such tenant: there is no tenant \"nobody\"' {}",
    "gone: UNAVAILABLE 'No endpoint could be reached' {}",
    "still here: b'hello'",
];
