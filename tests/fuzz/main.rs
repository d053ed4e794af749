//! What libFuzzer does with the targets of `fuzz/`, without it: the committed seeds, then mutations
//! of them by a seeded generator. A failure names its input and keeps it in a file.
//!
//! `TENANTRY_FUZZ_SEED` begins another row of inputs, `TENANTRY_FUZZ_INPUTS` sets how many each
//! target gets, `TENANTRY_FUZZ_SECONDS` for how long it gets them.

#![expect(clippy::expect_used, reason = "a test that cannot set up its world has failed")]

mod bending;
mod breaking;
mod broken;
mod seeds;

#[path = "../../fuzz/src/lib.rs"]
pub mod entries;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use bending::bent;
use seeds::{seeds, words};

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// Runs the seeds of a target, then as many mutations of them. libFuzzer keeps it in a static.
fn fuzz<T: Sync>(target: &str, inputs: u64, entry: &T, run: fn(&T, &[u8])) {
    let run = |input: &[u8]| run(entry, input);
    let (seeds, words) = (seeds(target), words(target));
    let seed = number("TENANTRY_FUZZ_SEED").unwrap_or(1);
    let inputs = number("TENANTRY_FUZZ_INPUTS").unwrap_or(inputs);
    let seconds = number("TENANTRY_FUZZ_SECONDS").map(Duration::from_secs);
    for (name, input) in &seeds {
        judged(target, name, input, &run);
    }
    let started = Instant::now();
    let more = |number| seconds.map_or(number < inputs, |seconds| started.elapsed() < seconds);
    for number in (0..).take_while(|number| more(*number)) {
        let input = bent(&seeds, &words, seed, number);
        judged(target, &format!("seed-{seed}-{number}"), &input, &run);
    }
}

fn judged(target: &str, name: &str, input: &[u8], run: &impl Fn(&[u8])) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(input))) else { return };
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}-{name}"));
    let kept = std::fs::write(&path, input);
    let why = panic.downcast_ref::<String>().map_or("the line above tells why", String::as_str);
    let (input, path) = (input.escape_ascii(), path.display());
    panic!("{target}, {name}: {why}\nThe input is {input}\nIt is in {path}: {kept:?}");
}

mod requests {
    use crate::entries::requests::Requests;

    #[test]
    fn what_a_client_sends_reaches_an_endpoint_in_good_order_or_not_at_all() {
        crate::fuzz("requests", 400, &Requests::start(), Requests::run);
    }
}

mod answers {
    use crate::entries::answers::Answers;

    #[test]
    fn what_an_endpoint_says_is_one_answer_to_the_client_and_harms_nobody_else() {
        crate::fuzz("answers", 400, &Answers::start(), Answers::run);
    }
}

mod frames {
    use crate::entries::frames::Frames;

    #[test]
    fn frames_of_a_client_reach_an_endpoint_in_good_order_or_not_at_all() {
        crate::fuzz("frames", 400, &Frames::start(), Frames::run);
    }
}

mod routes {
    use crate::entries::routes::Routes;

    #[test]
    fn a_text_of_routes_means_something_that_can_run_or_has_problems_at_places() {
        crate::fuzz("routes", 1_500, &Routes::start(), Routes::run);
    }
}

mod matching {
    use crate::entries::matching::Matching;

    #[test]
    fn a_request_finds_the_tenant_and_the_route_that_the_written_rule_gives() {
        crate::fuzz("matching", 2_000, &Matching::start(), Matching::run);
    }
}

mod forwarded {
    use crate::entries::forwarded::Forwarded;

    #[test]
    fn what_proxies_say_of_a_client_is_read_as_it_is_written_and_no_further_than_it_is_trusted() {
        crate::fuzz("forwarded", 400, &Forwarded::start(), Forwarded::run);
    }
}

mod proxy_header {
    use crate::entries::proxy_header::ProxyHeader;

    #[test]
    fn a_proxy_header_is_read_as_its_specification_says() {
        crate::fuzz("proxy_header", 400, &ProxyHeader::start(), ProxyHeader::run);
    }
}
