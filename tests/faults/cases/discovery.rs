//! The name server breaks, while the endpoints are well.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::rc::Rc;

use serde_json::Value;
use tokio::time::Instant;

use super::{Case, Ten, other};
use crate::names::{Mood, NameServer};
use crate::origin::{Origin, Speaks};
use crate::report::{Form, Report};
use crate::ten::{EJECT, Endpoints, Setup, TIMEOUTS, own_rules};
use crate::watch::eligible;

pub(super) const NO_SUCH_NAME: Case =
    other("no-such-name", "DNS says that there is no such name (NXDOMAIN)", |form| {
        Box::pin(look_ups(form, Asked::Addresses, vec![Mood::NoSuchName], None))
    });

pub(super) const FAILING: Case = other("name-server-fails", "DNS fails (SERVFAIL)", |form| {
    Box::pin(look_ups(form, Asked::Addresses, vec![Mood::Failing], None))
});

pub(super) const SILENT: Case = other("name-server-silent", "DNS does not answer", |form| {
    Box::pin(look_ups(form, Asked::Addresses, vec![Mood::Silent], None))
});

pub(super) const FLAPPING: Case = other(
    "names-flap",
    "DNS flaps: half of the endpoints, the other half, and none in turn",
    |form| {
        let halves = [addresses(1..6), addresses(6..11)];
        let mut moods = halves.map(Mood::Addresses).to_vec();
        moods.push(Mood::NoSuchName);
        Box::pin(look_ups(form, Asked::Addresses, moods, None))
    },
);

pub(super) const THOUSAND: Case =
    other("thousand-records", "DNS answers with 1,000 addresses", |form| {
        Box::pin(look_ups(
            form,
            Asked::Addresses,
            vec![Mood::Addresses(addresses(1..1001))],
            Some(1000),
        ))
    });

pub(super) const SERVICES_FLAP: Case = other(
    "services-flap",
    "`SRV` records flap: half of the targets, the other half, and no such name in turn",
    |form| {
        let halves = [addresses(1..6), addresses(6..11)];
        let mut moods = halves.map(|half| Mood::Targets(half, 0)).to_vec();
        moods.push(Mood::NoSuchName);
        Box::pin(look_ups(form, Asked::Services, moods, None))
    },
);

pub(super) const TARGET_GONE: Case = other(
    "target-gone",
    "`SRV` records name ten targets, and there is no such name as half of these (NXDOMAIN)",
    |form| {
        let moods = vec![Mood::Targets(addresses(1..11), 5)];
        Box::pin(look_ups(form, Asked::Services, moods, Some(5)))
    },
);

/// What the pool is told by.
#[derive(Clone, Copy)]
enum Asked {
    Addresses,
    Services,
}

impl Asked {
    fn mood(self, addresses: Vec<Ipv4Addr>) -> Mood {
        match self {
            Self::Addresses => Mood::Addresses(addresses),
            Self::Services => Mood::Targets(addresses, 0),
        }
    }

    fn line(self, port: u16) -> String {
        match self {
            Self::Addresses => format!("dns = \"shop.test.:{port}\"\n"),
            Self::Services => "srv = \"_http._tcp.shop.test.\"\n".to_owned(),
        }
    }
}

/// Ten addresses of a name, then these moods in turn, each until it is heard, then nine addresses: all is well
/// again when these are in use. Meanwhile so many endpoints must be in use once, where that is told.
async fn look_ups(form: Form, asked: Asked, moods: Vec<Mood>, used: Option<usize>) -> Report {
    let server = NameServer::start(asked.mood(addresses(1..11))).await;
    let origin = Origin::start("0.0.0.0:0", Speaks::H1);
    server.lead_to(origin.address.port());
    let wanted = Rc::new(Cell::new(10));
    let now = Rc::clone(&wanted);
    let rules = own_rules().unwrap_or_else(|| [TIMEOUTS, EJECT].concat());
    let setup = Setup {
        pool: asked.line(origin.address.port()) + &rules,
        gateway: server.config(),
        endpoints: Endpoints { here: vec![origin], apart: Vec::new() },
        is_well: Box::new(move |pool: &Value| {
            pool["sources"][0]["result"] == "found" && eligible(pool) == now.get()
        }),
    };
    let mut ten = setup.start().await;
    let breaks = async |ten: &mut Ten| {
        let end = Instant::now() + form.broken;
        for (turn, mood) in moods.iter().cycle().enumerate() {
            server.be(mood.clone());
            server.heard().await;
            if let Some(used) = used {
                ten.becomes(|pool| eligible(pool) == used).await;
            }
            let is_over = turn + 1 >= moods.len() && Instant::now() >= end;
            if moods.len() == 1 || is_over {
                return;
            }
        }
    };
    let mends = async |_: &mut Ten| {
        wanted.set(9);
        server.be(asked.mood(addresses(1..10)));
    };
    ten.trial(&form, breaks, mends).await
}

/// All of them are the same endpoint.
fn addresses(numbers: std::ops::Range<u16>) -> Vec<Ipv4Addr> {
    let address = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(127, 3, high, low)
    };
    numbers.map(address).collect()
}
