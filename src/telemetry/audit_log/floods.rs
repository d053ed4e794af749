//! Lines of which anybody may have too many written: some are, and the others are counted.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::throttle::Throttle;

use super::line::{Event, Line};

/// How many lines there may be of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// All of them.
    None,
    /// Of requests that are refused to one who is known, some a minute: what one asks for hides nothing of another.
    Refused,
    /// Of those who are not known, some a minute: anybody may send them.
    Strangers,
}

#[derive(Debug)]
pub(super) struct Floods {
    /// By who they are and what they are known by: no more than there are tokens.
    refused: Mutex<HashMap<String, Throttle>>,
    strangers: Mutex<Throttle>,
}

impl Default for Floods {
    fn default() -> Self {
        Self { refused: Mutex::default(), strangers: Mutex::new(Throttle::new(STRANGERS, MINUTE)) }
    }
}

impl Floods {
    pub(super) fn admits(&self, bound: Bound, line: &Line) -> bool {
        match bound {
            Bound::None => true,
            Bound::Refused => {
                let [shown, who] = [&line.shown, &line.who].map(|it| it.as_deref().unwrap_or("-"));
                let mut refused = locked(&self.refused);
                let own = refused.entry(format!("{shown} {who}"));
                own.or_insert_with(|| Throttle::new(REFUSED, MINUTE)).admits()
            }
            Bound::Strangers => locked(&self.strangers).admits(),
        }
    }

    /// Lines that tell how many have none.
    pub(super) fn append_left_out(&self, bytes: &mut Vec<u8>) {
        let mut refused = locked(&self.refused);
        let known = refused.values().map(Throttle::take_left_out).sum();
        refused.retain(|_, throttle| !throttle.is_over());
        drop(refused);
        let unknown = locked(&self.strangers).take_left_out();
        for (who, count) in [("known", known), ("unknown", unknown)] {
            if count > 0 {
                let line = Line {
                    who: Some(who.to_owned()),
                    count: Some(count),
                    ..Line::new(Event::LeftOut)
                };
                line.append_to(bytes);
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const MINUTE: Duration = Duration::from_secs(60);

/// 20 a minute: enough to see that somebody tries, and from where.
pub(super) const STRANGERS: u32 = 20;

/// 50 a minute: a script that does not look at its answers.
pub(super) const REFUSED: u32 = 50;
