//! The network loses packets: to one endpoint, or to all.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{Breaks, Case, Others, Out, Promise, Ten, one};
use crate::report::{Form, Report};
use crate::ten::{Setup, TIMEOUTS};
use crate::world::process::run;

pub(super) const LOSS: Case = Case {
    // Two checks in a row must lose a packet.
    out: Out::May,
    is_apart: true,
    ..one("loss", "30 % of the packets to and from an endpoint are lost", |form| {
        Box::pin(loses(form, ONE, "numgen random mod 100 < 30"))
    })
};

pub(super) const PARTITION: Case = Case {
    is_apart: true,
    ..one("partition-of-one", "an endpoint cannot be reached: all packets are lost", |form| {
        Box::pin(loses(form, ONE, ""))
    })
};

/// Nobody has to wait for `attempt`, 15 s: who waits is sent elsewhere once checks find the endpoint down.
pub(super) const PARTITION_BY_DEFAULT: Case = Case {
    is_apart: true,
    ..one("partition-by-default", "the same, where the pool has the default `timeouts`", |form| {
        Box::pin(async move {
            let mut setup = Setup::plain();
            setup.pool = setup.pool.replace(TIMEOUTS, "");
            loses_by(setup, form, ONE, "").await
        })
    })
};

pub(super) const PARTITION_OF_ALL: Case = Case {
    promise: Promise::Errors { why: "there is nobody to serve them", most: 1.0 },
    others: Others::Lost,
    breaks: Breaks::All,
    is_apart: true,
    ..one("partition-of-all", "no endpoint can be reached: all packets are lost", |form| {
        Box::pin(loses(form, "127.0.2.0/24", ""))
    })
};

async fn loses(form: Form, addresses: &str, when: &str) -> Report {
    loses_by(Setup::plain(), form, addresses, when).await
}

async fn loses_by(setup: Setup, form: Form, addresses: &str, when: &str) -> Report {
    let mut ten = setup.start().await;
    let mut lost = 0;
    let lose = async |_: &mut Ten| filter(&losing(addresses, when));
    let find = async |_: &mut Ten| {
        lost = dropped();
        filter("delete table ip faults\n");
    };
    let mut report = ten.trial(&form, lose, find).await;
    assert!(lost > 0, "no packet was lost");
    report.note = format!("{lost} packets were lost");
    report
}

/// Where a packet arrives, not where it is sent: the sender must not notice.
pub(crate) fn losing(addresses: &str, when: &str) -> String {
    format!(
        "table ip faults {{\n\
         chain arriving {{\n\
         type filter hook input priority 0;\n\
         ip daddr {addresses} {when} counter drop\n\
         ip saddr {addresses} {when} counter drop\n\
         }}\n}}\n"
    )
}

/// How many packets the rules have dropped.
fn dropped() -> usize {
    let rules = run(Command::new("nft").args(["list", "table", "ip", "faults"]));
    let rules = String::from_utf8_lossy(&rules.stdout);
    let counts = rules.split("counter packets ").skip(1);
    counts.filter_map(|rest| rest.split(' ').next()?.parse::<usize>().ok()).sum()
}

/// Tells the kernel's packet filter, which is this case's own.
fn filter(rules: &str) {
    let started = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn();
    let mut nft = started.expect("start nft");
    let mut stdin = nft.stdin.take().expect("its standard input");
    stdin.write_all(rules.as_bytes()).expect("tell nft");
    drop(stdin);
    assert!(nft.wait().expect("nft's end").success(), "nft refuses:\n{rules}");
}

/// The address of the endpoint that breaks.
const ONE: &str = "127.0.2.10";
