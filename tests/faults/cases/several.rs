//! More than one of ten endpoints breaks: two or three at once, as many as may be ejected by default, or one after the
//! other.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::endpoints::{LATE, last_behave, patient};
use super::{BOTH, Breaks, Case, Others, Out, Promise, Running, Ten, one};
use crate::origin::{Apart, Mode};
use crate::report::{Form, Report};
use crate::ten::Setup;

/// A case of so many that break.
const fn some(count: u8, id: &'static str, what: &'static str, run: fn(Form) -> Running) -> Case {
    Case { others: Others::OfSeveral(count), breaks: Breaks::Several, ..one(id, what, run) }
}

/// Of three, three attempts may meet each; two leave one for the third attempt.
const THREE_MET: Promise = Promise::Errors {
    why: "who meets all three in its three attempts, before they are out",
    most: 0.01,
};

pub(super) const TWO_KILLED: Case =
    some(2, "two-killed", "two endpoints of ten are killed at once (SIGKILL)", |form| {
        Box::pin(are_killed(2, "", form))
    });

pub(super) const THREE_KILLED: Case = Case {
    promise: THREE_MET,
    ..some(3, "three-killed", "three endpoints of ten are killed at once (SIGKILL)", |form| {
        Box::pin(are_killed(3, "", form))
    })
};

pub(super) const THREE_KILLED_FOUR: Case =
    some(3, "three-killed-four", "three are killed, with `retry = { attempts = 4 }`", |form| {
        Box::pin(are_killed(3, FOUR, form))
    });

pub(super) const TWO_SAY_503: Case = some(
    2,
    "two-say-503",
    "two endpoints of ten lie: their checks pass, users are answered 503",
    |form| Box::pin(say_503(2, "", form)),
);

pub(super) const THREE_SAY_503: Case = Case {
    promise: THREE_MET,
    ..some(
        3,
        "three-say-503",
        "three endpoints of ten lie: their checks pass, users are answered 503",
        |form| Box::pin(say_503(3, "", form)),
    )
};

pub(super) const THREE_SAY_503_FOUR: Case =
    some(3, "three-say-503-four", "three answer 503, with `retry = { attempts = 4 }`", |form| {
        Box::pin(say_503(3, FOUR, form))
    });

pub(super) const TWO_SLOW: Case = Case {
    others: Others::AllServed,
    out: Out::Never,
    ..some(2, "two-slow", "two endpoints of ten take 200 ms more for everything", |form| {
        Box::pin(last_behave(2, patient(), form, Mode::Slow(LATE)))
    })
};

pub(super) const THREE_SLOW: Case = Case {
    others: Others::AllServed,
    out: Out::Never,
    ..some(3, "three-slow", "three endpoints of ten take 200 ms more for everything", |form| {
        Box::pin(last_behave(3, patient(), form, Mode::Slow(LATE)))
    })
};

pub(super) const THREE_SLOW_BOTH: Case = Case {
    others: Others::AllServed,
    out: Out::May,
    ..some(
        3,
        "three-slow-both",
        "three are slow so, and the pool hedges and balances by `peak-ewma`",
        |form| Box::pin(last_behave(3, Setup::plain().with(BOTH), form.learnt(), Mode::Slow(LATE))),
    )
};

pub(super) const ROLLING: Case = one(
    "rolling-kill",
    "all endpoints are killed one after the other (SIGKILL), each for a second and the next one as it is started again",
    |form| Box::pin(are_killed_in_turn(form)),
);

async fn are_killed(count: usize, rules: &str, form: Form) -> Report {
    let mut ten = Setup::apart(count).with(rules).start().await;
    let kill = async |ten: &mut Ten| ten.all_apart().iter().for_each(|one| one.signal("KILL"));
    let start = async |ten: &mut Ten| ten.all_apart().iter_mut().for_each(Apart::restart);
    ten.trial(&form, kill, start).await
}

async fn say_503(count: usize, rules: &str, form: Form) -> Report {
    last_behave(count, Setup::plain().with(rules), form.asking(100), Mode::Says(503)).await
}

async fn are_killed_in_turn(form: Form) -> Report {
    // Three of them, where the form is short.
    let form = Form { broken: form.broken.max(DOWN * 3), ..form };
    let mut ten = Setup::apart(10).start().await;
    let kill = async |ten: &mut Ten| {
        let started = Instant::now();
        for turn in (0..10).cycle() {
            ten.all_apart()[turn].signal("KILL");
            sleep(DOWN).await;
            ten.all_apart()[turn].restart();
            if started.elapsed() >= form.broken {
                return;
            }
        }
    };
    ten.trial(&form, kill, async |_| ()).await
}

/// 1 s: two checks fail in it.
const DOWN: Duration = Duration::from_secs(1);
/// One more than break.
const FOUR: &str = "retry = { attempts = 4 }\n";
