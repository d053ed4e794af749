//! The name server breaks, while the endpoints are well.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Case, Promise, Ten};
use crate::names::{Mood, NameServer};
use crate::origin::Origin;
use crate::report::{Form, Report};
use crate::ten::{EJECT, Endpoints, Setup, TIMEOUTS, eligible};

pub(super) const NO_SUCH_NAME: Case = Case {
    id: "no-such-name",
    what: "DNS says that there is no such name (NXDOMAIN)",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| Box::pin(said(form, |_| Mood::NoSuchName)),
};

pub(super) const FAILING: Case = Case {
    id: "name-server-fails",
    what: "DNS fails (SERVFAIL)",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| Box::pin(said(form, |_| Mood::Failing)),
};

pub(super) const SILENT: Case = Case {
    id: "name-server-silent",
    what: "DNS does not answer",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| Box::pin(said(form, |_| Mood::Silent)),
};

pub(super) const FLAPPING: Case = Case {
    id: "names-flap",
    what: "DNS flaps: half of the endpoints, the other half, and none in turn",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| {
        Box::pin(said(form, |turn| match turn % 3 {
            0 => Mood::Addresses(addresses(1..6)),
            1 => Mood::Addresses(addresses(6..11)),
            _ => Mood::NoSuchName,
        }))
    },
};

pub(super) const THOUSAND: Case = Case {
    id: "thousand-records",
    what: "DNS answers with 1,000 addresses",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| {
        Box::pin(async move {
            let (report, most) = look_ups(form, |_| Mood::Addresses(addresses(1..1001))).await;
            assert!(most == 1000 || report.too_busy().is_some(), "{most} are used of 1,000");
            report
        })
    },
};

async fn said(form: Form, moods: fn(usize) -> Mood) -> Report {
    look_ups(form, moods).await.0
}

/// Ten addresses of a name, then what `moods` says in turn, each for 700 ms, then nine addresses: all is well again
/// when these are in use. With the report, how many endpoints were in use at most.
async fn look_ups(form: Form, moods: fn(usize) -> Mood) -> (Report, usize) {
    let server = NameServer::start(Mood::Addresses(addresses(1..11))).await;
    let origin = Origin::start("0.0.0.0:0", None).await;
    let wanted = Rc::new(Cell::new(10));
    let (now, most) = (Rc::clone(&wanted), Rc::new(Cell::new(0)));
    let seen = Rc::clone(&most);
    let setup = Setup {
        pool: format!("dns = \"shop.test.:{}\"\n{TIMEOUTS}{EJECT}", origin.address.port()),
        gateway: server.config(),
        endpoints: Endpoints::Named(origin),
        is_well: Box::new(move |pool: &Value| {
            seen.set(seen.get().max(eligible(pool)));
            pool["sources"][0]["result"] == "found" && eligible(pool) == now.get()
        }),
    };
    let mut ten = setup.start().await;
    let breaks = async |_: &mut Ten| {
        let end = Instant::now() + form.broken;
        for turn in 0.. {
            server.be(moods(turn));
            sleep(Duration::from_millis(700)).await;
            if Instant::now() >= end {
                return;
            }
        }
    };
    let mends = async |_: &mut Ten| {
        wanted.set(9);
        server.be(Mood::Addresses(addresses(1..10)));
    };
    let report = ten.trial(&form, breaks, mends).await;
    (report, most.get())
}

/// All of them are the same endpoint.
fn addresses(numbers: std::ops::Range<u16>) -> Vec<Ipv4Addr> {
    let address = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(127, 3, high, low)
    };
    numbers.map(address).collect()
}
