//! Works when a connection opens, and with TLS, when the handshake succeeds.

use std::future::Future;
use std::pin::Pin;

use crate::model::address::Address;

use super::way::Way;
use super::{Probe, ProbeError};

#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) way: Way,
}

impl Probe for Tcp {
    fn check(
        &self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = Result<(), ProbeError>> + Send + '_>> {
        Box::pin(async move {
            let to = self.way.to(&address)?;
            self.way.open(&to).await.map(drop)
        })
    }
}
