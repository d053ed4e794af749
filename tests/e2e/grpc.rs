//! gRPC by grpcio, whose HTTP/2 is its own: a client and a server in processes of their own, and the
//! built program between them. `tests/it/http2/grpc.rs` has the same with tonic,
//! `tests/it/http2/grpcio.rs` with one of each.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::world::gateway::Gateway;
use crate::world::process::{Process, run};
use crate::world::{PYTHON, free_port};

fn talk(arguments: &[&str]) -> Command {
    let mut command = Command::new(PYTHON);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/grpc/talk.py"))
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
    assert_eq!(told.lines().collect::<Vec<_>>(), EXPECTED, "{errors}\n{}", gateway.log());
}

/// What the client tells of each of its calls.
const EXPECTED: [&str; 16] = [
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
    "overdue: DEADLINE_EXCEEDED 'Deadline Exceeded' {}",
    "nobody: UNIMPLEMENTED 'There is no such tenant: there is no tenant \"nobody\"' {}",
    "nobody's stream: UNIMPLEMENTED 'There is no such tenant: there is no tenant \"nobody\"' {}",
    "gone: UNAVAILABLE 'No endpoint could be reached' {}",
    "still here: b'hello'",
];
