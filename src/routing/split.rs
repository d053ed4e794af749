//! A weighted split over pools: equal keys go to the same pool.

use std::sync::Arc;

use http::HeaderMap;

use crate::config::spec::SplitBy;
use crate::pool::Pool;

use super::canary::Canary;

/// A weighted split over pools. What decides is a hash of the key that is the same in every
/// process and version, so that all gateways of a site, and all restarts, agree.
#[derive(Debug)]
pub struct Split {
    /// What the key is.
    pub by: SplitBy,
    /// The pool that is tried. Boxed: few splits have one.
    pub canary: Option<Box<Canary>>,
    /// Each pool but the last takes the points below its number that those before it leave.
    below: Box<[(u64, Arc<Pool>)]>,
    last: Arc<Pool>,
    total: u64,
}

impl Split {
    /// The pools that have a share.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.below.iter().map(|(_, pool)| pool).chain([&self.last])
    }

    /// The pools that have a share, with the part of 1 that it is.
    pub fn shares(&self) -> impl Iterator<Item = (&Arc<Pool>, f64)> {
        let ends =
            self.below.iter().map(|(end, pool)| (*end, pool)).chain([(self.total, &self.last)]);
        let share = |before: &mut u64, (end, pool)| {
            let points = end - std::mem::replace(before, end);
            Some((pool, points as f64 / self.total as f64))
        };
        ends.scan(0, share)
    }

    /// A split over pools and weights; `None` when no weight is above 0.
    pub fn new(pools: Vec<(Arc<Pool>, u32)>, by: SplitBy) -> Option<Self> {
        let mut total = 0u64;
        let mut below = Vec::with_capacity(pools.len());
        for (pool, weight) in pools.into_iter().filter(|(_, weight)| *weight > 0) {
            total += u64::from(weight);
            below.push((total, pool));
        }
        let (_, last) = below.pop()?;
        Some(Self { by, canary: None, below: below.into(), last, total })
    }

    /// The pool for a request of this tenant, by this key.
    pub fn choose(&self, of: (&str, &HeaderMap), key: &[u8]) -> &Arc<Pool> {
        match &self.canary {
            None => self.by_weight(key),
            Some(canary) => canary.choose(self, of, key),
        }
    }

    /// The pool that the weights alone give to this key.
    pub fn by_weight(&self, key: &[u8]) -> &Arc<Pool> {
        let point = (u128::from(hash(key)) * u128::from(self.total)) >> 64;
        let at = self.below.partition_point(|(below, _)| u128::from(*below) <= point);
        self.below.get(at).map_or(&self.last, |(_, pool)| pool)
    }
}

/// FNV-1a, 64 bits, then the finalizer of MurmurHash3: FNV alone leaves the upper bits, which
/// decide here, nearly equal for short keys that differ in their last byte. Never change it: a
/// user would change sides within an experiment.
pub(super) fn hash(key: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in key {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::samples::pool;

    fn split(weights: &[u32]) -> Option<Split> {
        let pools = weights.iter().enumerate().map(|(at, w)| (pool(&at.to_string()), *w)).collect();
        Split::new(pools, SplitBy::RequestId)
    }

    #[test]
    fn the_hash_is_the_same_in_every_version() {
        assert_eq!(hash(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(hash(b"acme"), 0x3a25_b665_6ba9_cfc6);
    }

    #[test]
    fn shares_follow_the_weights_and_a_weight_of_zero_gets_nothing() {
        let split = split(&[0, 1, 3, 0]).unwrap();
        let mut seen = [0u32; 4];
        for number in 0..40_000 {
            let name = &split.by_weight(format!("request-{number}").as_bytes()).label.name;
            seen[name.parse::<usize>().unwrap()] += 1;
        }

        assert_eq!((seen[0], seen[3]), (0, 0));
        assert!((9_000..11_000).contains(&seen[1]), "{seen:?}");
        let shares = split.shares().map(|(pool, share)| (pool.label.name.to_string(), share));
        assert_eq!(shares.collect::<Vec<_>>(), [("1".to_owned(), 0.25), ("2".to_owned(), 0.75)]);
    }

    #[test]
    fn a_split_without_any_weight_is_none() {
        assert!(split(&[]).is_none());
        assert!(split(&[0, 0]).is_none());
    }
}
