//! Reads the certificates of one tenant: which can be used, for which of its domains, and all that is wrong.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::Error as TlsError;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::ProducesTickets;

use crate::config::pem::{self, PemFault, certificates_in, signing_key_in};
use crate::config::spec::{DomainsSpec, HostSpec, TenantCertificateSpec};
use crate::tls::certificates::{Entry, Origin};
use crate::tls::demand::{Demand, Demands, new_tickets};
use crate::tls::doubt::{self, Doubt};
use crate::tls::leaf::Leaf;
use crate::tls::server::{ServerTlsError, covers, host, join};

use super::{Claim, Right};

/// What a tenant presents.
#[derive(Clone, Default)]
pub struct Own {
    /// What it says of each name, for [`super::Tenants`].
    pub claims: Vec<Claim>,
    /// The certificates that are in use.
    pub in_use: Vec<InUse>,
    /// What is wrong: what was in use stays.
    pub problems: Vec<Wrong>,
    /// What makes one doubt those that are in use.
    pub doubts: Vec<Wrong>,
    /// Makes and reads the tickets of its sessions. Nobody else's are read by it, so that no session of another
    /// tenant goes on where a host has changed hands and its new tenant's files are read.
    tickets: Option<Arc<dyn ProducesTickets>>,
}

/// A certificate that is in use.
#[derive(Clone, Debug)]
pub struct InUse {
    entry: Arc<Entry>,
    /// The names that it is shown for.
    pub hosts: Vec<HostSpec>,
    /// When it ends, in Unix time.
    pub end: u64,
    /// The names that it is for by the file of the routes; empty = those in it.
    wanted: Vec<HostSpec>,
}

/// Something that is wrong with one of the certificates, or odd about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The place of the certificate in the tenant's list, from 0.
    pub number: usize,
    /// The key that it is about.
    pub key: &'static str,
    /// What it is.
    pub what: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// What all tenants' certificates are made with.
#[derive(Debug)]
pub struct Means {
    provider: Arc<CryptoProvider>,
    nothing: Arc<Demand>,
}

impl Means {
    /// # Errors
    /// When the cryptography refuses its own defaults.
    pub fn new() -> Result<Self, TlsError> {
        let provider = crate::tls::provider();
        let nothing = Demands::default().of(None, &provider)?;
        Ok(Self { provider, nothing })
    }
}

impl InUse {
    /// The file of the chain.
    pub fn file(&self) -> &Path {
        &self.entry.origin().certificate
    }

    /// The certificate itself.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        self.entry.leaf()
    }

    /// The names that it could be shown for, were all of them its tenant's.
    fn names(&self) -> Vec<HostSpec> {
        match self.wanted.is_empty() {
            true => Leaf::read(self.entry.leaf())
                .map(|leaf| leaf.dns_names().iter().map(|name| host(name)).collect())
                .unwrap_or_default(),
            false => self.wanted.clone(),
        }
    }

    /// Of these files, for these names.
    fn is_of(&self, spec: &TenantCertificateSpec) -> bool {
        let origin = self.entry.origin();
        (&origin.certificate, &origin.key, &self.wanted)
            == (&spec.certificate, &spec.key, &spec.hosts)
    }
}

impl Own {
    /// Of a tenant with domains and no certificate.
    pub fn bare(spec: &DomainsSpec) -> Self {
        Self { claims: claims(spec, &mut [], 0), ..Self::default() }
    }

    /// What is in use, for these domains, before any file is read. What was wrong is.
    pub fn within(spec: &DomainsSpec, before: Option<&Self>) -> Self {
        let mut own = before.cloned().unwrap_or_default();
        own.claims = claims(spec, &mut own.in_use, 0);
        own.in_use.retain(|one| !one.hosts.is_empty());
        own
    }

    /// The same, of a tenant with a file that is still being read.
    pub fn late(spec: &DomainsSpec, before: Option<&Self>, file: &Path) -> Self {
        let named = |(number, one): (usize, &TenantCertificateSpec)| match file {
            file if file == one.certificate => Some((number, CERT)),
            file if file == one.key => Some((number, KEY)),
            _ => None,
        };
        let named = spec.certificates.iter().enumerate().find_map(named);
        let (number, key) = named.unwrap_or((0, CERT));
        let what = format!("{} does not answer: it is still being read", file.display());
        let hint = "look at the file system that it is on; what was in use stays until it answers";
        Self::unread(spec, before, Wrong { number, key, what, hint })
    }

    /// The same, where reading has failed in a way that nobody has thought of.
    pub fn failed(spec: &DomainsSpec, before: Option<&Self>) -> Self {
        let what = "reading the certificates failed".to_owned();
        let hint = "this is a bug, please report it with the log";
        Self::unread(spec, before, Wrong { number: 0, key: CERT, what, hint })
    }

    fn unread(spec: &DomainsSpec, before: Option<&Self>, wrong: Wrong) -> Self {
        let mut own = Self::within(spec, before);
        own.problems = vec![wrong];
        own
    }

    /// Reads the certificates of a tenant. Where one cannot be used, those that were in use `before` stay beside those
    /// that can, for the names that none of these is for.
    pub fn read(spec: &DomainsSpec, before: Option<&Self>, means: &Means) -> Self {
        Self::read_by(spec, before, means, &mut pem::read)
    }

    /// As [`Self::read`]; `read` is asked for each of the files once, in their order.
    pub fn read_by(
        spec: &DomainsSpec,
        before: Option<&Self>,
        means: &Means,
        read: &mut dyn FnMut(&Path) -> Result<Vec<u8>, PemFault>,
    ) -> Self {
        let tickets = before.and_then(|before| before.tickets.clone());
        let mut own = Self { tickets, ..Self::default() };
        if own.tickets.is_none() {
            own.tickets = new_tickets().map_err(|error| own.unavailable(error)).ok();
        }
        for (number, certificate) in spec.certificates.iter().enumerate() {
            let pems = (read(&certificate.certificate), read(&certificate.key));
            match own.one((number, certificate), spec, means, pems) {
                Ok(one) => own.in_use.push(one),
                Err((key, error)) => own.refuse(number, key, &error),
            }
        }
        let good = own.in_use.len();
        if let Some(before) = before.filter(|_| !own.problems.is_empty()) {
            let is_left = |old: &&InUse| {
                let mut good = own.in_use.iter().map(|one| one.entry.origin());
                !good.any(|origin| origin == old.entry.origin())
            };
            let kept: Vec<InUse> = before.in_use.iter().filter(is_left).cloned().collect();
            own.in_use.extend(kept);
        }
        own.claims = claims(spec, &mut own.in_use, good);
        own.tell_taken(spec, good);
        // One of before that is for nothing any more is let go of.
        let mut at = 0;
        own.in_use.retain(|one| {
            at += 1;
            at <= good || !one.hosts.is_empty()
        });
        own
    }

    fn one(
        &mut self,
        (number, spec): (usize, &TenantCertificateSpec),
        domains: &DomainsSpec,
        means: &Means,
        (chain, secret): (Result<Vec<u8>, PemFault>, Result<Vec<u8>, PemFault>),
    ) -> Result<InUse, (&'static str, ServerTlsError)> {
        let (path, key) = (&spec.certificate, &spec.key);
        let chain = chain
            .and_then(|pem| certificates_in(&pem))
            .map_err(|fault| (CERT, ServerTlsError::Certificate { path: path.clone(), fault }))?;
        let secret = secret
            .and_then(|pem| signing_key_in(&pem))
            .map_err(|fault| (KEY, ServerTlsError::Key { path: key.clone(), fault }))?;
        let origin = Origin { certificate: path.clone(), key: key.clone(), clients: None };
        let config = join(&means.provider, &origin, &means.nothing, chain.clone(), secret);
        let config = config.map_err(|error| match error {
            ServerTlsError::Certificate { .. } => (CERT, error),
            error => (KEY, error),
        })?;
        let none = || (CERT, ServerTlsError::Nameless { path: path.clone() });
        let leaf = chain.first().ok_or_else(none)?.clone();
        let read = Leaf::read(&leaf).ok_or_else(none)?;
        let (end, names) = (read.end(), read.dns_names());
        for doubt in doubt::of_chain(path, &chain) {
            self.doubt(number, CERT, &doubt);
        }
        for wanted in &spec.hosts {
            if !names.iter().any(|name| covers(name, wanted)) {
                let doubt = Doubt::Unnamed { path: path.clone(), host: wanted.clone() };
                self.doubt(number, HOSTS, &doubt);
            }
        }
        let names = match spec.hosts.is_empty() {
            true => names.iter().map(|name| host(name)).collect(),
            false => spec.hosts.clone(),
        };
        let met = Reach::of(&domains.hosts).meet(&names);
        if met.is_empty() {
            return Err((CERT, ServerTlsError::Foreign { path: path.clone() }));
        }
        if let Some((host, ..)) = met.into_iter().find(|(host, ..)| domains.is_taken(host)) {
            self.doubt(number, CERT, &Doubt::Elsewhere { path: path.clone(), host });
        }
        let tickets = self.tickets.clone();
        let entry = Entry::of_tenant(config, Arc::clone(&means.nothing), leaf, (origin, tickets));
        let (entry, wanted) = (Arc::new(entry), spec.hosts.clone());
        Ok(InUse { entry, hosts: Vec::new(), end, wanted })
    }

    /// Tells of those that are good and shown to nobody, as others of the tenant are for the same names.
    fn tell_taken(&mut self, spec: &DomainsSpec, good: usize) {
        let idle = self.in_use.iter().take(good).filter(|one| one.hosts.is_empty());
        // One whose names are another tenant's was told.
        let reach = Reach::of(&spec.hosts);
        let is_free =
            |one: &&InUse| !reach.meet(&one.names()).iter().any(|(host, ..)| spec.is_taken(host));
        let idle = idle.filter(is_free);
        let idle: Vec<usize> = idle
            .filter_map(|one| spec.certificates.iter().position(|spec| one.is_of(spec)))
            .collect();
        for number in idle {
            let Some(certificate) = spec.certificates.get(number) else { continue };
            let path = certificate.certificate.clone();
            self.doubt(number, CERT, &Doubt::Idle { path });
        }
    }

    fn unavailable(&mut self, error: TlsError) {
        self.refuse(0, KEY, &ServerTlsError::Unavailable(error));
    }

    fn refuse(&mut self, number: usize, key: &'static str, error: &ServerTlsError) {
        self.problems.push(Wrong { number, key, what: error.to_string(), hint: error.hint() });
    }

    fn doubt(&mut self, number: usize, key: &'static str, doubt: &Doubt) {
        self.doubts.push(Wrong { number, key, what: doubt.to_string(), hint: doubt.hint() });
    }
}

/// The files that a tenant's certificates and keys are read from.
pub fn files(spec: &DomainsSpec) -> impl Iterator<Item = &PathBuf> {
    spec.certificates.iter().flat_map(|one| [&one.certificate, &one.key])
}

/// Which certificate is for which name: one that is written whole before one with a star, then the first of them.
/// Tells each the names that it is for.
/// Those from `good` on are for what none before them is for. Nothing is said of hosts that name a tenant before
/// domains are asked.
fn claims(spec: &DomainsSpec, in_use: &mut [InUse], good: usize) -> Vec<Claim> {
    let domains = &spec.hosts;
    let reach = Reach::of(domains);
    let mut chosen: HashMap<HostSpec, (Right, (bool, Precision), usize)> = HashMap::new();
    for (number, one) in in_use.iter_mut().enumerate() {
        one.hosts.clear();
        let met = reach.meet(&one.names()).into_iter();
        for (host, right, precision) in met.filter(|(host, ..)| !spec.is_taken(host)) {
            let rank = (number >= good, precision);
            let best = chosen.entry(host).or_insert((right, rank, number));
            if rank < best.1 {
                *best = (right, rank, number);
            }
        }
    }
    let mut claims = Vec::with_capacity(chosen.len().max(domains.len()));
    for domain in domains {
        // Of a star nothing is said by that, and what was shown for it until its file is read goes.
        if !chosen.contains_key(domain) && !spec.is_taken(domain) {
            claims.push(Claim { host: domain.clone(), right: Right::Domain, entry: None });
        }
    }
    for (host, (right, _, number)) in chosen {
        let Some(one) = in_use.get_mut(number) else { continue };
        one.hosts.push(host.clone());
        claims.push(Claim { host, right, entry: Some(Arc::clone(&one.entry)) });
    }
    in_use.iter_mut().for_each(|one| one.hosts.sort_unstable_by_key(ToString::to_string));
    claims
}

/// How a name says a host: the better one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    Whole,
    Star,
}

/// The names that are within some domains.
struct Reach<'d> {
    domains: HashSet<&'d HostSpec>,
    /// Those that are written whole, by what stands behind their first label.
    by_parent: HashMap<&'d str, Vec<&'d HostSpec>>,
}

impl<'d> Reach<'d> {
    fn of(domains: &'d [HostSpec]) -> Self {
        let mut by_parent: HashMap<&str, Vec<&HostSpec>> = HashMap::new();
        for domain in domains {
            if let HostSpec::Exact(name) = domain
                && let Some((_, parent)) = name.split_once('.')
            {
                by_parent.entry(parent).or_default().push(domain);
            }
        }
        Self { domains: domains.iter().collect(), by_parent }
    }

    /// What these names have in common with the domains, and by what right.
    fn meet(&self, names: &[HostSpec]) -> Vec<(HostSpec, Right, Precision)> {
        let mut met = Vec::new();
        for name in names {
            match name {
                HostSpec::Exact(_) if self.domains.contains(name) => {
                    met.push((name.clone(), Right::Domain, Precision::Whole));
                }
                HostSpec::Exact(text) => {
                    let parent = text.split_once('.').filter(|(label, _)| !label.is_empty());
                    let star = parent.map(|(_, parent)| HostSpec::Below(parent.to_owned()));
                    if star.is_some_and(|star| self.domains.contains(&star)) {
                        met.push((name.clone(), Right::Star, Precision::Whole));
                    }
                }
                HostSpec::Below(parent) => {
                    if self.domains.contains(name) {
                        met.push((name.clone(), Right::Star, Precision::Star));
                    }
                    let whole = self.by_parent.get(parent.as_str()).into_iter().flatten();
                    met.extend(
                        whole.map(|host| (HostSpec::clone(host), Right::Domain, Precision::Star)),
                    );
                }
            }
        }
        met
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own")
            .field("in_use", &self.in_use)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

const CERT: &str = "cert";
const KEY: &str = "key";
const HOSTS: &str = "hosts";
