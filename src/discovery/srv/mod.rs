//! SRV records of a name: each names a host, a port, a priority and a weight (RFC 2782).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::join;

use super::dns::{Answer, Ask, Named, addresses, refresh};
use super::feed::Feed;
use super::resolver::{LookupError, Resolver, Service};

/// Asks for the services under `name` until it is dropped.
pub(super) async fn run(resolver: &Resolver, name: &str, feed: Feed) {
    refresh(ServiceQuestion { resolver, name, last: BTreeMap::new() }, feed).await;
}

struct ServiceQuestion<'a> {
    resolver: &'a Resolver,
    name: &'a str,
    /// The addresses that each target had last.
    last: BTreeMap<String, Vec<IpAddr>>,
}

impl Ask for ServiceQuestion<'_> {
    async fn ask(&mut self) -> Result<Answer, LookupError> {
        let (services, ttl) = self.resolver.services(self.name).await?;
        let services: Vec<Service> =
            services.into_iter().filter(|service| service.target != ".").collect();
        if services.is_empty() {
            return Err(LookupError::Empty(
                "the service is declared as not available (target \".\")",
            ));
        }
        let targets: BTreeSet<&str> =
            services.iter().map(|service| service.target.as_str()).collect();
        let hosts = self.hosts(&targets).await;

        let endpoints = named(&services, &hosts.addresses);
        self.last = hosts.addresses;
        match hosts.trouble {
            Some(trouble) if endpoints.is_empty() => Err(LookupError::Failed(trouble)),
            trouble => Ok(Answer { endpoints, ttl: ttl.min(hosts.ttl), trouble }),
        }
    }
}

/// What is known of the targets.
struct Hosts {
    addresses: BTreeMap<String, Vec<IpAddr>>,
    ttl: Duration,
    trouble: Option<String>,
}

impl ServiceQuestion<'_> {
    /// A target that cannot be asked for keeps the addresses that it had; one that has none any
    /// more is left out.
    async fn hosts(&self, targets: &BTreeSet<&str>) -> Hosts {
        let mut hosts = Hosts { addresses: BTreeMap::new(), ttl: Duration::MAX, trouble: None };
        let targets: Vec<&str> = targets.iter().copied().collect();
        for some in targets.chunks(AT_ONCE) {
            let lookups = some.iter().map(|target| async move {
                let last = self.last.get(*target).map_or(&[][..], Vec::as_slice);
                (*target, addresses(self.resolver, target, last).await)
            });
            for (target, answer) in join::all(lookups).await {
                self.take(&mut hosts, target, answer);
            }
        }
        hosts
    }

    fn take(
        &self,
        hosts: &mut Hosts,
        target: &str,
        answer: Result<(super::resolver::Addresses, Option<String>), LookupError>,
    ) {
        let trouble = match answer {
            Ok((found, trouble)) => {
                hosts.ttl = hosts.ttl.min(found.ttl);
                hosts.addresses.insert(target.to_owned(), found.found);
                trouble
            }
            Err(LookupError::Failed(reason)) => {
                if let Some(last) = self.last.get(target) {
                    hosts.addresses.insert(target.to_owned(), last.clone());
                }
                Some(reason)
            }
            Err(LookupError::Empty(reason)) => Some(reason.to_owned()),
        };
        if let Some(reason) = trouble {
            hosts.trouble = Some(format!("target {target}: {reason}"));
        }
    }
}

fn named(services: &[Service], hosts: &BTreeMap<String, Vec<IpAddr>>) -> Vec<Named> {
    let addresses = |service: &Service| hosts.get(&service.target).cloned().unwrap_or_default();
    services
        .iter()
        .flat_map(|service| {
            addresses(service).into_iter().map(|ip| Named {
                address: SocketAddr::new(ip, service.port),
                weight: u32::from(service.weight.max(1)),
                priority: service.priority,
            })
        })
        .collect()
}

/// 16 targets at once: a large answer does not flood the name server.
const AT_ONCE: usize = 16;

#[cfg(test)]
mod tests;
