//! The network loses packets: to one endpoint, or to all.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{Case, Promise, Ten};
use crate::report::{Form, Report};
use crate::ten::{Setup, TIMEOUTS};

pub(super) const LOSS: Case = Case {
    id: "loss",
    what: "30 % of the packets to and from an endpoint are lost",
    promise: Promise::NoErrors,
    is_apart: true,
    run: |form| Box::pin(loses(form, "127.0.2.10", "numgen random mod 100 < 30")),
};

pub(super) const PARTITION: Case = Case {
    id: "partition-of-one",
    what: "an endpoint cannot be reached: all packets are lost",
    promise: Promise::NoErrors,
    is_apart: true,
    run: |form| Box::pin(loses(form, "127.0.2.10", "")),
};

pub(super) const PARTITION_BY_DEFAULT: Case = Case {
    id: "partition-by-default",
    what: "the same, where the pool has the default `timeouts`",
    promise: Promise::Errors("who has asked it waits for `attempt`, 15 s, and leaves after 10 s"),
    is_apart: true,
    run: |form| {
        Box::pin(async move {
            let mut setup = Setup::plain().await;
            setup.pool = setup.pool.replace(TIMEOUTS, "");
            loses_by(setup, form, "127.0.2.10", "").await
        })
    },
};

pub(super) const PARTITION_OF_ALL: Case = Case {
    id: "partition-of-all",
    what: "no endpoint can be reached: all packets are lost",
    promise: Promise::Errors("there is nobody to serve them"),
    is_apart: true,
    run: |form| Box::pin(loses(form, "127.0.2.0/24", "")),
};

async fn loses(form: Form, addresses: &str, when: &str) -> Report {
    loses_by(Setup::plain().await, form, addresses, when).await
}

/// Where a packet arrives, not where it is sent: the sender must not notice.
async fn loses_by(setup: Setup, form: Form, addresses: &str, when: &str) -> Report {
    let mut ten = setup.start().await;
    let lose = async |_: &mut Ten| {
        filter(&format!(
            "table ip faults {{\n\
             chain arriving {{\n\
             type filter hook input priority 0;\n\
             ip daddr {addresses} {when} drop\n\
             ip saddr {addresses} {when} drop\n\
             }}\n}}\n"
        ));
    };
    ten.trial(&form, lose, async |_| filter("delete table ip faults\n")).await
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
