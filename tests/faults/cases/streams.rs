//! Endpoints that speak HTTP/2 break: one connection carries all requests of a worker, and ends with all of them. Calls of
//! gRPC fail with a status of their own.

use super::endpoints::{behaves_by, is_killed, is_stopped};
use super::network::{ONE, loses};
use super::{Case, Needs, Others, one};
use crate::origin::{Mode, Speaks};
use crate::report::Form;
use crate::ten::{Setup, rules};

pub(super) const KILLED: Case =
    one("h2-killed", "an endpoint that speaks HTTP/2 is killed (SIGKILL)", |form| {
        Box::pin(is_killed(speaking(1), form))
    });

pub(super) const STOPPED: Case =
    one("h2-stopped", "an endpoint that speaks HTTP/2 is stopped (SIGSTOP)", |form| {
        Box::pin(is_stopped(speaking(1), form))
    });

pub(super) const RESETS: Case = one(
    "h2-resets",
    "an endpoint that speaks HTTP/2 resets the connection after a request, with all that is under way on it",
    |form| Box::pin(behaves_by(speaking(0), form.asking(200), Mode::ResetsRequests)),
);

pub(super) const RESETS_STREAMS: Case = one(
    "h2-resets-streams",
    "an endpoint that speaks HTTP/2 resets each stream after the request, and keeps the connection",
    |form| Box::pin(behaves_by(speaking(0), form, Mode::ResetsStreams)),
);

pub(super) const SILENT: Case =
    one("h2-silent", "an endpoint that speaks HTTP/2 takes requests and never answers", |form| {
        Box::pin(behaves_by(speaking(0), form, Mode::Silent))
    });

pub(super) const PARTITION: Case = Case {
    needs: Needs::Spaces,
    ..one(
        "h2-partition",
        "an endpoint that speaks HTTP/2 cannot be reached: all packets are lost",
        |form| Box::pin(loses(speaking(0), form, &ONE)),
    )
};

pub(super) const GRPC_KILLED: Case =
    one("grpc-killed", "an endpoint that users call by gRPC is killed (SIGKILL)", |form| {
        let form = Form { calls: true, ..form };
        Box::pin(is_killed(calling(1), form))
    });

pub(super) const GRPC_UNAVAILABLE: Case = Case {
    // Who lists a status says that calls that fail with it may be made again.
    others: Others::AllServed,
    ..one(
        "grpc-unavailable",
        "an endpoint lies: its health service says `SERVING`, calls are answered `UNAVAILABLE`, which `retry.on` lists",
        |form| {
            let form = Form { calls: true, ..form.asking(100) };
            Box::pin(behaves_by(calling(0), form, Mode::Says(503)))
        },
    )
};

/// Ten that speak HTTP/2, of which so many are processes.
fn speaking(apart: usize) -> Setup {
    // With other rules, too: the endpoints speak nothing else.
    let rules = rules() + "protocol = \"h2\"\n";
    Setup::with_apart(apart, &rules, &[const { Speaks::H2 }; 10])
}

/// The same, checked and tried again as gRPC has it.
fn calling(apart: usize) -> Setup {
    let mut setup = speaking(apart).with(UNAVAILABLE);
    setup.pool = setup.pool.replace("http = \"/healthz\"", "grpc = true");
    setup
}

/// The default, and a status of gRPC.
const UNAVAILABLE: &str = "retry = { on = [\"connect\", \"reset\", \"timeout\", \"502\", \"503\", \"504\", \"grpc-unavailable\"] }\n";
