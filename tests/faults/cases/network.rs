//! The network loses packets, to one endpoint or to all, or is slow.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};

use super::{BOTH, Breaks, Case, Needs, Others, Out, Promise, Ten, kept, one};
use crate::compiled::Compiled;
use crate::own::tied;
use crate::report::{Form, Report};
use crate::ten::{Setup, TIMEOUTS};
use crate::world::process::run;

pub(super) const LOSS: Case = Case {
    // Two checks in a row must lose a packet.
    out: Out::May,
    needs: Needs::Spaces,
    ..one("loss", "30 % of the packets to and from an endpoint are lost", |form| {
        Box::pin(loses(Setup::plain(), form, &SOME))
    })
};

pub(super) const LOSS_BOTH: Case = Case {
    needs: Needs::Spaces,
    ..kept(
        "loss-both",
        "30 % of an endpoint's packets are lost so, and the pool hedges and balances by `peak-ewma`",
        |form| Box::pin(loses(Setup::plain().with(BOTH), form.learnt(), &SOME)),
    )
};

pub(super) const PARTITION_BOTH: Case = Case {
    needs: Needs::Spaces,
    ..kept(
        "partition-both",
        "an endpoint cannot be reached, and the pool hedges and balances by `peak-ewma`",
        |form| Box::pin(loses(Setup::plain().with(BOTH), form.learnt(), &ONE)),
    )
};

pub(super) const PARTITION: Case = Case {
    needs: Needs::Spaces,
    ..one("partition-of-one", "an endpoint cannot be reached: all packets are lost", |form| {
        Box::pin(loses(Setup::plain(), form, &ONE))
    })
};

/// Nobody has to wait for `attempt`, 15 s: who waits is sent elsewhere once checks find the endpoint down.
pub(super) const PARTITION_BY_DEFAULT: Case = Case {
    needs: Needs::Spaces,
    ..one("partition-by-default", "the same, where the pool has the default `timeouts`", |form| {
        Box::pin(async move {
            let mut setup = Setup::plain();
            setup.pool = setup.pool.replace(TIMEOUTS, "");
            loses(setup, form, &ONE).await
        })
    })
};

pub(super) const PARTITION_OF_ALL: Case = Case {
    promise: Promise::Errors { why: "there is nobody to serve them", most: 1.0 },
    others: Others::Lost,
    breaks: Breaks::All,
    needs: Needs::Spaces,
    ..one("partition-of-all", "no endpoint can be reached: all packets are lost", |form| {
        Box::pin(loses(Setup::plain(), form, &ALL))
    })
};

/// Connections to it do not open, and what is sent over those that are open does not arrive.
pub(super) const PARTITION_TO: Case = Case {
    needs: Needs::Spaces,
    ..one("partition-to-one", "an endpoint is not reached: packets to it are lost", |form| {
        Box::pin(loses(Setup::plain(), form, &ONE[..1]))
    })
};

/// It has the requests, and nobody has its answers.
pub(super) const PARTITION_FROM: Case = Case {
    needs: Needs::Spaces,
    ..one("partition-from-one", "an endpoint is not heard: packets from it are lost", |form| {
        Box::pin(loses(Setup::plain(), form, &ONE[1..]))
    })
};

/// All packets that are these.
pub(super) async fn loses(setup: Setup, form: Form, packets: &[&str]) -> Report {
    let mut ten = setup.start().await;
    let mut lost = 0;
    let lose = async |_: &mut Ten| filter(&losing(packets));
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
pub(crate) fn losing(packets: &[&str]) -> String {
    let rules: Vec<String> = packets.iter().map(|these| format!("{these} counter drop")).collect();
    format!(
        "table ip faults {{\n\
         chain arriving {{\n\
         type filter hook input priority 0;\n\
         {}\n\
         }}\n}}\n",
        rules.join("\n")
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

pub(super) const SLOW: Case = Case {
    others: Others::AllServed,
    // Two checks in a row must be among the slowest.
    out: Out::May,
    needs: Needs::Link,
    ..one(
        "slow-network",
        "packets to an endpoint take 100 ms more, give or take 50 ms, and overtake one another",
        |form| Box::pin(is_slow("", form)),
    )
};

pub(super) const SLOW_BOTH: Case = Case {
    others: Others::AllServed,
    needs: Needs::Link,
    ..kept(
        "slow-network-both",
        "packets to an endpoint are late so, and the pool hedges and balances by `peak-ewma`",
        |form| Box::pin(is_slow(BOTH, form.learnt())),
    )
};

async fn is_slow(rules: &str, form: Form) -> Report {
    for line in LINK {
        let told = run(Command::new("ip").args(line.split(' ')));
        assert!(told.status.success(), "{line}: {}", String::from_utf8_lossy(&told.stderr));
    }
    let setup = Setup::with_one_behind(IpAddr::V4(HERE), IpAddr::V4(THERE)).with(rules);
    let link = Link::start(setup.one().port());
    let mut ten = setup.start().await;
    let slow = async |_: &mut Ten| fs::write(link.mark(), "").expect("be slow");
    let well = async |_: &mut Ten| fs::remove_file(link.mark()).expect("be quick again");
    let mut report = ten.trial(&form, slow, well).await;
    let late = link.late();
    assert!(late > 0, "no packet was late");
    report.note = format!("{late} packets were late");
    report
}

/// The other end of the link. What is sent to [`THERE`] comes back to [`HERE`], as if it were from there: whoever connects
/// to an endpoint there reaches the one here.
struct Link {
    program: Compiled,
    running: Child,
}

impl Link {
    /// Packets to this port can be late.
    fn start(port: u16) -> Self {
        let program = Compiled::program(LINK_END);
        let mut command = tied(program.made_at());
        command.arg(port.to_string()).arg(program.path("slow"));
        let counted = File::create(program.path("late")).expect("a file");
        let running = command.stdin(Stdio::null()).stdout(counted).spawn().expect("start it");
        Self { program, running }
    }

    /// While there is such a file, packets are late.
    fn mark(&self) -> std::path::PathBuf {
        self.program.path("slow")
    }

    /// How many packets were late.
    fn late(&self) -> u64 {
        fs::metadata(self.program.path("late")).expect("what was late").len()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(self.running.kill());
        drop(self.running.wait());
    }
}

/// A link without its other end.
pub(crate) const LINK: [&str; 3] =
    ["tuntap add dev slow mode tun", "address add 10.9.0.1/30 dev slow", "link set slow up"];
const HERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// Sends each packet back with its two addresses exchanged, which leaves its checksums right. Where the file is there, those
/// to the port wait for 50 to 150 ms, each for itself, and are counted by a byte.
const LINK_END: &str = r#"
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static struct packet {
    double due;
    ssize_t size;
    unsigned char bytes[2048];
} held[1024], spare;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

int main(int count, char **words) {
    struct ifreq name = {.ifr_name = "slow", .ifr_flags = IFF_TUN | IFF_NO_PI};
    int link = open("/dev/net/tun", O_RDWR), port = count == 3 ? atoi(words[1]) : 0;
    if (link < 0 || !port || ioctl(link, TUNSETIFF, &name)) return 1;
    for (;;) {
        double next = 1e3;
        struct packet *packet = &spare;
        for (struct packet *one = held; one < held + 1024; one++) {
            double left = one->size > 0 ? one->due - now() : 0;
            if (left > 0 && left < next) next = left;
            if (one->size > 0 && left <= 0) one->size = 0 * write(link, one->bytes, one->size);
            if (one->size <= 0) packet = one;
        }
        struct pollfd wait = {link, POLLIN, 0};
        if (poll(&wait, 1, (int)next + 1) <= 0) continue;
        packet->size = read(link, packet->bytes, sizeof packet->bytes);
        int head = (packet->bytes[0] & 15) * 4;
        if (packet->size < head + 20 || packet->bytes[0] >> 4 != 4) {
            packet->size = 0;
            continue;
        }
        unsigned char from[4];
        memcpy(from, packet->bytes + 12, 4);
        memcpy(packet->bytes + 12, packet->bytes + 16, 4);
        memcpy(packet->bytes + 16, from, 4);
        packet->due = now();
        int to = packet->bytes[head + 2] << 8 | packet->bytes[head + 3];
        if (to == port && !access(words[2], F_OK)) {
            packet->due += 50 + rand() % 101;
            if (write(1, ".", 1) < 1) return 1;
        }
    }
}
"#;

/// To the endpoint that breaks, and from it.
pub(super) const ONE: [&str; 2] = ["ip daddr 127.0.2.10", "ip saddr 127.0.2.10"];
/// To all of them, and from them.
const ALL: [&str; 2] = ["ip daddr 127.0.2.0/24", "ip saddr 127.0.2.0/24"];
/// Three of ten to the endpoint that breaks, and from it.
pub(crate) const SOME: [&str; 2] = [
    "ip daddr 127.0.2.10 numgen random mod 100 < 30",
    "ip saddr 127.0.2.10 numgen random mod 100 < 30",
];
