//! What a listener presents to clients, and what it asks of them. The files are looked into later,
//! when all of the config is known to be right.

use std::net::IpAddr;
use std::path::Path;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Certificate, ClientCertificates, ListenerTls};
use crate::config::spec::{
    CertificateSpec, ClientCertificatesSpec, HostSpec, ListenerTlsSpec, NamedHost,
};
use crate::config::text::{ClientMode, Written};

use super::gateway::named;

/// Checks the table `tls` of a listener.
pub(super) fn check(
    At { value: raw, start }: At<ListenerTls>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<ListenerTlsSpec> {
    let clients_key = key.name("client-certificates");
    let clients =
        raw.client_certificates.and_then(|raw| clients(raw, None, folder, &clients_key, faults));
    let certificates_key = key.name("certificates");
    let certificates: Vec<CertificateSpec> = raw
        .certificates
        .map(|list| list.value)
        .unwrap_or_default()
        .into_iter()
        .enumerate()
        .filter_map(|(index, raw)| {
            certificate(raw, clients.as_ref(), folder, &certificates_key.index(index), faults)
        })
        .collect();
    let default = match (raw.cert, raw.key) {
        (Some(cert), Some(secret)) => Some(CertificateSpec {
            certificate: named(cert, folder, &key.name("cert"), faults),
            key: named(secret, folder, &key.name("key"), faults),
            hosts: Vec::new(),
            clients: clients.clone(),
        }),
        (None, None) if !certificates.is_empty() => None,
        _ => {
            let hint = "write tls = { cert = \"cert.pem\", key = \"key.pem\" }";
            faults.add_missing(key, start, "needs both cert and key", hint);
            return None;
        }
    };
    Some(ListenerTlsSpec { default, certificates, clients })
}

fn certificate(
    At { value: raw, start }: At<Certificate>,
    listeners: Option<&ClientCertificatesSpec>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<CertificateSpec> {
    let clients_key = key.name("client-certificates");
    let clients = match raw.client_certificates {
        Some(raw) => clients(raw, listeners, folder, &clients_key, faults),
        None => listeners.cloned(),
    };
    let hosts = raw.hosts.map(|hosts| self::hosts(hosts, &key.name("hosts"), faults));
    let (Some(cert), Some(secret)) = (raw.cert, raw.key) else {
        let hint = "write cert = \"cert.pem\" and key = \"key.pem\"";
        faults.add_missing(key, start, "needs both cert and key", hint);
        return None;
    };
    Some(CertificateSpec {
        certificate: named(cert, folder, &key.name("cert"), faults),
        key: named(secret, folder, &key.name("key"), faults),
        hosts: hosts.unwrap_or_default(),
        clients,
    })
}

fn hosts(
    At { value: hosts, start }: At<Vec<At<Written<HostSpec>>>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<NamedHost> {
    if hosts.is_empty() {
        let hint = "name some, or leave it out: then the names in the certificate count";
        faults.add_missing(key, start, "there is no host", hint);
    }
    let mut named = Vec::with_capacity(hosts.len());
    for (index, At { value: Written(host), start }) in hosts.into_iter().enumerate() {
        let key = key.index(index);
        if let HostSpec::Exact(text) = &host
            && (text.starts_with('[') || text.parse::<IpAddr>().is_ok())
        {
            let what = "an address is no name that a client can ask for";
            let hint = "clients that connect to an address get the listener's cert".to_owned();
            faults.add(&key, start, what, Some(hint));
        }
        if named.iter().any(|other: &NamedHost| other.host == host) {
            faults.add(&key, start, "is there twice", Some("keep one".to_owned()));
        }
        named.push(NamedHost { place: faults.place_of(&key, start), host });
    }
    named
}

/// `None` where nobody is asked. What is not written is as the listener says.
fn clients(
    At { value: raw, start }: At<ClientCertificates>,
    listeners: Option<&ClientCertificatesSpec>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<ClientCertificatesSpec> {
    let authorities =
        raw.authorities.map(|path| named(path, folder, &key.name("authorities"), faults));
    let mode = match raw.mode {
        Some(At { value: Written(ClientMode::On(mode)), .. }) => mode,
        Some(At { value: Written(ClientMode::Off), .. }) => return None,
        None => {
            let hint = "write mode = \"required\" or mode = \"optional\"";
            faults.add_missing(key, start, "has no mode", hint);
            return None;
        }
    };
    match authorities.or_else(|| listeners.map(|listeners| listeners.authorities.clone())) {
        Some(authorities) => Some(ClientCertificatesSpec { mode, authorities }),
        None => {
            let hint = "write authorities = \"clients-ca.pem\"";
            faults.add_missing(key, start, "names no authorities that clients come from", hint);
            None
        }
    }
}
