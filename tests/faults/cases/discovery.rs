//! The name server breaks, while the endpoints are well.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::rc::Rc;

use serde_json::Value;
use tokio::time::Instant;

use super::{Case, Ten, other};
use crate::names::{Mood, NameServer};
use crate::origin::Origin;
use crate::report::{Form, Report};
use crate::ten::{EJECT, Endpoints, Setup, TIMEOUTS, own_rules};
use crate::watch::eligible;

pub(super) const NO_SUCH_NAME: Case =
    other("no-such-name", "DNS says that there is no such name (NXDOMAIN)", |form| {
        Box::pin(look_ups(form, vec![Mood::NoSuchName], None))
    });

pub(super) const FAILING: Case = other("name-server-fails", "DNS fails (SERVFAIL)", |form| {
    Box::pin(look_ups(form, vec![Mood::Failing], None))
});

pub(super) const SILENT: Case = other("name-server-silent", "DNS does not answer", |form| {
    Box::pin(look_ups(form, vec![Mood::Silent], None))
});

pub(super) const FLAPPING: Case = other(
    "names-flap",
    "DNS flaps: half of the endpoints, the other half, and none in turn",
    |form| {
        let halves = [addresses(1..6), addresses(6..11)];
        let mut moods = halves.map(Mood::Addresses).to_vec();
        moods.push(Mood::NoSuchName);
        Box::pin(look_ups(form, moods, None))
    },
);

pub(super) const THOUSAND: Case =
    other("thousand-records", "DNS answers with 1,000 addresses", |form| {
        Box::pin(look_ups(form, vec![Mood::Addresses(addresses(1..1001))], Some(1000)))
    });

/// Ten addresses of a name, then these moods in turn, each until it is heard, then nine addresses: all is well
/// again when these are in use. Meanwhile so many endpoints must be in use once, where that is told.
async fn look_ups(form: Form, moods: Vec<Mood>, used: Option<usize>) -> Report {
    let server = NameServer::start(Mood::Addresses(addresses(1..11))).await;
    let origin = Origin::start("0.0.0.0:0", None);
    let wanted = Rc::new(Cell::new(10));
    let now = Rc::clone(&wanted);
    let rules = own_rules().unwrap_or_else(|| [TIMEOUTS, EJECT].concat());
    let setup = Setup {
        pool: format!("dns = \"shop.test.:{}\"\n{rules}", origin.address.port()),
        gateway: server.config(),
        endpoints: Endpoints::Here(vec![origin]),
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
        server.be(Mood::Addresses(addresses(1..10)));
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
