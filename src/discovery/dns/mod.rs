//! A and AAAA records of a name, asked for again whenever they run out.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::sleep;

use super::feed::Feed;
use super::resolver::{Addresses, LookupError, Resolver};

/// What a look-up brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) endpoints: Vec<Named>,
    /// How long it holds, as the server says.
    pub(super) ttl: Duration,
    /// What is wrong, where a part of the set is from an earlier answer or missing.
    pub(super) trouble: Option<String>,
}

/// One endpoint of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) address: SocketAddr,
    pub(super) weight: u32,
    pub(super) priority: u16,
}

/// A question that is asked again and again.
pub(super) trait Ask: Send {
    fn ask(&mut self) -> impl Future<Output = Result<Answer, LookupError>> + Send;
}

/// Asks for the addresses of `name` until it is dropped.
pub(super) async fn run(resolver: &Resolver, name: &str, port: u16, feed: Feed) {
    let addresses = AddressQuestion { resolver, name, port, last: Vec::new() };
    refresh(addresses, feed).await;
}

/// Asks whenever the last answer has run out, and soon again after a failure.
pub(super) async fn refresh(mut question: impl Ask, mut feed: Feed) {
    loop {
        let wait = match question.ask().await {
            Ok(answer) => {
                let endpoints = answer.endpoints.iter();
                let found = endpoints
                    .map(|named| feed.found(named.address, named.weight, named.priority))
                    .collect();
                match answer.trouble {
                    None => {
                        feed.state(found).await;
                        answer.ttl.clamp(SHORTEST, LONGEST)
                    }
                    Some(reason) => {
                        feed.state_partly(found, reason).await;
                        RETRY
                    }
                }
            }
            Err(error) => {
                feed.fail(error.to_string()).await;
                RETRY
            }
        };
        sleep(wait.mul_f64(1.0 + JITTER * fastrand::f64())).await;
    }
}

/// The addresses of `name`. Where one of the two families cannot be asked for while the other can,
/// the addresses of the lost family are those of `last`: half a name server is no reason to take
/// half of the endpoints away.
pub(super) async fn addresses(
    resolver: &Resolver,
    name: &str,
    last: &[IpAddr],
) -> Result<(Addresses, Option<String>), LookupError> {
    let mut answer = resolver.addresses(name).await?;
    let found = &answer.found;
    let lost: Vec<IpAddr> = last
        .iter()
        .filter(|old| found.iter().all(|new| new.is_ipv4() != old.is_ipv4()))
        .copied()
        .collect();
    if lost.is_empty() {
        return Ok((answer, None));
    }
    match resolver.missing_family(&answer).await {
        Ok(()) => Ok((answer, None)),
        Err(error) => {
            answer.found.extend(lost);
            Ok((answer, Some(error.to_string())))
        }
    }
}

struct AddressQuestion<'a> {
    resolver: &'a Resolver,
    name: &'a str,
    port: u16,
    last: Vec<IpAddr>,
}

impl Ask for AddressQuestion<'_> {
    async fn ask(&mut self) -> Result<Answer, LookupError> {
        let (addresses, trouble) = addresses(self.resolver, self.name, &self.last).await?;
        let named = |ip: &IpAddr| Named {
            address: SocketAddr::new(*ip, self.port),
            weight: 1,
            priority: 0,
        };
        let endpoints = addresses.found.iter().map(named).collect();
        self.last = addresses.found;
        Ok(Answer { endpoints, ttl: addresses.ttl, trouble })
    }
}

/// 1 s: a server that says 0 is not asked in a loop.
const SHORTEST: Duration = Duration::from_secs(1);

/// 60 s: a member that joins or leaves is known within a minute, whatever the TTL says.
const LONGEST: Duration = Duration::from_secs(60);

/// 5 s: soon enough for a person who waits, seldom enough for a server that is in trouble.
const RETRY: Duration = Duration::from_secs(5);

/// Up to 5 % later, so that many pools and gateways do not ask in step.
const JITTER: f64 = 0.05;

#[cfg(test)]
mod tests;
