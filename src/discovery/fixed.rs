//! Addresses that are written in the routes file.

use crate::config::spec::EndpointSpec;

use super::feed::Feed;

/// Reports them once. They change only with the routes file, which makes a new source of them.
pub(super) async fn run(endpoints: &[EndpointSpec], mut feed: Feed) {
    let found = feed.written(endpoints);
    feed.state(found).await;
}
