//! How often a tenant's own token may ask for changes: each takes a check that all others wait for.
//!
//! **Invariant:** what one token asks for is held against no other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::spec::RateSpec;

use super::roles::Caller;

/// What tokens have asked for lately. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    rate: RateSpec,
    /// When each has all of its changes again (the generic cell rate algorithm).
    whole: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Pace {
    pub(super) fn new(rate: RateSpec) -> Self {
        Self { rate, whole: Arc::default() }
    }

    /// Takes one change of who is bound to a tenant; all others have any number.
    ///
    /// # Errors
    /// When it has none left: how long until it has one.
    pub(super) fn take(&self, caller: &Caller) -> Result<(), Duration> {
        if caller.tenant().is_none() {
            return Ok(());
        }
        let shown = caller.shown.as_ref().map(ToString::to_string).unwrap_or_default();
        let key = format!("{shown} {}", caller.name.as_deref().unwrap_or_default());
        let now = Instant::now();
        let mut all = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, whole| *whole > now);
        }
        let whole = all.entry(key).or_insert(now);
        let next = (*whole).max(now) + self.rate.rate.per / self.rate.rate.count.max(1);
        let beyond = next.saturating_duration_since(now).saturating_sub(self.rate.refill());
        if beyond.is_zero() {
            *whole = next;
            return Ok(());
        }
        Err(beyond)
    }
}

/// 4,096: more than a file of tokens has. Those that were replaced go once they have all of theirs again.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::advance;

    use crate::base::role::Role;
    use crate::base::units::Rate;

    use super::super::roles::Shown;
    use super::*;

    fn caller(mark: &str, role: &str) -> Caller {
        Caller {
            name: Some("ci".into()),
            role: role.parse::<Role>().unwrap(),
            from: Ipv4Addr::LOCALHOST.into(),
            shown: Some(Shown::Token(mark.into())),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_has_its_changes_at_once_and_then_as_many_as_its_rate_says() {
        let minute = Duration::from_secs(60);
        let pace = Pace::new(RateSpec { rate: Rate { count: 10, per: minute }, burst: 20 });
        let own = caller("1", "tenant:acme");
        for _ in 0..20 {
            assert_eq!(pace.take(&own), Ok(()));
        }

        assert_eq!(pace.take(&own), Err(Duration::from_secs(6)));
        assert_eq!(pace.take(&caller("2", "tenant:acme")), Ok(()), "another token of the tenant");
        assert_eq!(pace.take(&caller("1", "admin")), Ok(()), "who runs the gateway");
        advance(Duration::from_secs(6)).await;
        assert_eq!(pace.take(&own), Ok(()));
        assert_eq!(pace.take(&own), Err(Duration::from_secs(6)), "refused ones cost nothing");
        advance(minute * 3).await;
        for _ in 0..20 {
            assert_eq!(pace.take(&own), Ok(()));
        }
        assert!(pace.take(&own).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_that_were_replaced_are_forgotten() {
        let second = Duration::from_secs(1);
        let pace = Pace::new(RateSpec { rate: Rate { count: 1, per: second }, burst: 1 });
        for number in 0..MOST * 2 {
            advance(second).await;
            assert_eq!(pace.take(&caller(&number.to_string(), "tenant:a")), Ok(()));
        }

        assert!(pace.whole.lock().unwrap().len() <= MOST);
    }
}
