//! Addresses that are written in the routes file.

use crate::model::address::Address;

use super::feed::Feed;

/// Reports them once. They change only with the routes file, which makes a new source of them. One
/// of weight 0 gets no traffic, so it is no member.
pub(super) async fn run(endpoints: &[(Address, u32)], mut feed: Feed) {
    let found = endpoints
        .iter()
        .filter(|(_, weight)| *weight > 0)
        .map(|(address, weight)| feed.found(address.clone(), *weight, 0))
        .collect();
    feed.state(found).await;
}
