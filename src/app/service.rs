//! What the service manager is told (`NOTIFY_SOCKET`, see `sd_notify(3)`): ready, reloading, stopping,
//! a line for `systemctl status`, and the watchdog's ping. Without such a manager all of it is
//! nothing.

use std::fmt;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

use crate::base::pulse::Pulses;
use crate::base::tasks::Stop;
use crate::control::Control;
use crate::control::generation::Live;

/// The gateway serves, or has ended a reload.
pub fn ready(control: &Control) {
    tell(&[NotifyState::Ready, NotifyState::Status(&status(control))]);
}

/// The routes are loaded because somebody asked for it.
pub fn reloading() {
    // `Type=notify-reload` wants the time, to know which reload it is.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The gateway ends, within `limit`. The manager waits so long, also where its own limit is
/// shorter.
pub fn stopping(limit: Duration) {
    let most = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
    let status = format!("draining, for {limit:?} at most");
    tell(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(most),
        NotifyState::Status(&status),
    ]);
}

/// Whether there is somebody to tell.
pub fn is_there() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Pings the watchdog, where there is one, while every worker is at work, and keeps the status line
/// true, until `stop`. It is a task of the control runtime: where that is stuck, so are the pings.
/// A reload that takes long withholds none, as requests are served meanwhile.
pub async fn keep_told(control: Control, mut pulses: Pulses, mut stop: Stop) {
    let watchdog = sd_notify::watchdog_enabled();
    let (every, patience) = pace(watchdog);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = status(&control);
    loop {
        tokio::select! {
            () = stop.requested() => return,
            _ = ticks.tick() => {}
        }
        let silent = pulses.silent(patience);
        if silent.is_empty() && watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        } else if watchdog.is_some() {
            tracing::error!(workers = ?silent, ?patience, "workers do not answer: the watchdog is not pinged");
        }
        let now = status(&control);
        if now != told {
            tell(&[NotifyState::Status(&now)]);
            told = now;
        }
    }
}

/// How often to look, and how long a worker may be silent: at least three pings in the watchdog's
/// time, of which one may be late.
fn pace(watchdog: Option<Duration>) -> (Duration, Duration) {
    let every = watchdog.map_or(LOOK, |limit| (limit / 3).clamp(LEAST_LOOK, LOOK));
    let patience = watchdog.map_or(LEAST_PATIENCE, |limit| (limit / 2).max(LEAST_PATIENCE));
    (every, patience)
}

/// One line for people.
fn status(control: &Control) -> String {
    let tenants = control.table.load().tenants().len();
    line(&control.live.load(), tenants)
}

fn line(live: &Live, tenants: usize) -> String {
    let Live { generation, problems, .. } = live;
    let serving = format!(
        "serving {}, {}, generation {generation}",
        Counted(tenants, "tenant"),
        Counted(live.pools.len(), "pool"),
    );
    let count = Counted(problems.len(), "problem");
    match (live.serving_last_good, problems.is_empty()) {
        (true, _) => format!("{serving}: THE LAST GOOD ROUTES, as those on disk have {count}"),
        (false, false) => format!("{serving}; the routes on disk are refused for {count}"),
        (false, true) => serving,
    }
}

/// A number with its noun.
struct Counted(usize, &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, noun) = self;
        write!(f, "{count} {noun}{}", if *count == 1 { "" } else { "s" })
    }
}

fn tell(news: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(news) {
        tracing::warn!(%error, "the service manager cannot be told: {news:?}");
    }
}

/// 1 s: who looks after an edit is told what became of it.
const LOOK: Duration = Duration::from_secs(1);
/// 100 ms: below that the pings themselves would be work.
const LEAST_LOOK: Duration = Duration::from_millis(100);
/// 3 s: a worker beats once a second, and a machine may be busy.
const LEAST_PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    use crate::control::generation::Fault;

    #[test]
    fn a_watchdog_hears_three_times_in_its_time() {
        let seconds = Duration::from_secs;

        assert_eq!(pace(None), (seconds(1), seconds(3)));
        assert_eq!(pace(Some(seconds(2))), (seconds(2) / 3, seconds(3)));
        assert_eq!(pace(Some(seconds(30))), (seconds(1), seconds(15)));
        assert_eq!(pace(Some(Duration::from_millis(1))).0, Duration::from_millis(100));
    }

    #[test]
    fn the_status_line_says_what_is_served_and_what_is_refused() {
        let mut live = Live::none();
        live.generation = 3;
        assert_eq!(line(&live, 1), "serving 1 tenant, 0 pools, generation 3");

        live.problems = vec![Fault {
            file: "routes.toml".into(),
            line: None,
            column: None,
            key: None,
            what: "it is empty".to_owned(),
            hint: None,
        }];
        assert!(line(&live, 2).ends_with("; the routes on disk are refused for 1 problem"));
        live.serving_last_good = true;
        assert!(line(&live, 2).contains("generation 3: THE LAST GOOD ROUTES"));
    }
}
