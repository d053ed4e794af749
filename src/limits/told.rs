//! What answers tell of limits: the fields `RateLimit-Policy` and `RateLimit` of the IETF's
//! draft-ietf-httpapi-ratelimit-headers-10, which are lists of structured fields (RFC 9651).

use std::time::Duration;

use crate::config::spec::{Period, QuotaSpec, RateSpec};

use super::limit::Limit;

/// The two fields, as far as they were told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// `RateLimit-Policy`
    pub policy: String,
    /// `RateLimit`
    pub state: String,
}

impl Told {
    /// Nothing is to be told.
    pub fn is_empty(&self) -> bool {
        self.policy.is_empty()
    }

    /// Tells of requests in a time: how many may follow at once, and how long it takes until another
    /// one may, or until as many may as ever. The quota is the burst, and its window the time in which
    /// that comes back: as many come through in the long run.
    pub fn rate(&mut self, limit: Limit, rate: &RateSpec, (remaining, reset): (u64, Duration)) {
        let window = seconds(rate.refill()).max(1);
        add(&mut self.policy, limit, &[(";q=", rate.burst.into()), (";w=", window)]);
        add(&mut self.state, limit, &[(";r=", remaining), (";t=", seconds(reset))]);
    }

    /// Tells of requests at once, and how many may come beside those that are under way.
    pub fn concurrency(&mut self, limit: Limit, most: u32, remaining: u32) {
        add(&mut self.policy, limit, &[(";q=", most.into())]);
        self.policy.push_str(";qu=\"concurrent-requests\"");
        add(&mut self.state, limit, &[(";r=", remaining.into())]);
    }

    /// Tells of requests in a day or a month: how many are left, and for how long.
    pub fn quota(&mut self, limit: Limit, quota: &QuotaSpec, (left, rest): (u64, Duration)) {
        add(&mut self.policy, limit, &[(";q=", quota.requests)]);
        if quota.period == Period::Day {
            self.policy.push_str(";w=86400"); // months are not alike
        }
        add(&mut self.state, limit, &[(";r=", left), (";t=", seconds(rest))]);
    }
}

/// Adds an item with numbers to a list. By hand: where all answers tell of limits, what formats anything costs more than
/// all that the limits do.
fn add(list: &mut String, limit: Limit, numbers: &[(&str, u64)]) {
    if list.is_empty() {
        list.reserve(USUAL);
    } else {
        list.push_str(", ");
    }
    list.push('"');
    list.push_str(limit.as_str());
    list.push('"');
    for (key, number) in numbers {
        list.push_str(key);
        spell(*number, list);
    }
}

/// Writes a number in digits.
fn spell(mut number: u64, text: &mut String) {
    let mut digits = [b'0'; 20]; // as many as the largest has
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.push_str(str::from_utf8(&digits[from..]).unwrap_or_default()); // digits are text
}

/// Whole seconds, rounded up.
pub fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// 128 bytes: four items.
const USUAL: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn items_stand_in_a_list_with_what_is_known_of_each() {
        let mut told = Told::default();
        let (day, month) = (Period::Day, Period::Month);
        for (limit, period) in [(Limit::SubjectQuota, day), (Limit::TenantQuota, month)] {
            let quota = QuotaSpec { requests: 1000, period };
            told.quota(limit, &quota, (0, Duration::from_millis(1)));
        }
        told.concurrency(Limit::TenantConcurrency, 10, 9);
        assert_eq!(
            told.policy,
            "\"subject-quota\";q=1000;w=86400, \"tenant-quota\";q=1000, \
             \"tenant-concurrency\";q=10;qu=\"concurrent-requests\""
        );
        assert_eq!(
            told.state,
            "\"subject-quota\";r=0;t=1, \"tenant-quota\";r=0;t=1, \"tenant-concurrency\";r=9"
        );
    }

    proptest! {
        #[test]
        fn a_number_is_spelled_as_it_is_written(number: u64, few in 0..20_u64) {
            for number in [number, few, u64::MAX] {
                let mut text = "q=".to_owned();
                spell(number, &mut text);
                prop_assert_eq!(text, format!("q={number}"));
            }
        }
    }
}
