//! Addresses, names to resolve, and files.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::base::network::Peers;
use crate::model::address::{Address, AddressFault, UNIX};

use super::{Text, Wrong};

impl Text for SocketAddr {
    const EXPECTED: &'static str = "an address with a port, as in \"10.0.0.1:8080\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let what = format!("{text:?} is not an address with a port");
        if let Some(bare) = without_brackets(text) {
            let hint =
                format!("write \"{bare}\", or \"[{text}]:8080\" if all of it is the address");
            return Err(Wrong::new(what, hint));
        }
        if text.parse::<IpAddr>().is_ok() {
            let with_port = match text.contains(':') {
                true => format!("[{text}]:8080"),
                false => format!("{text}:8080"),
            };
            return Err(Wrong::new(what, format!("add the port, as in {with_port:?}")));
        }
        if let Some(meant) = meant(text) {
            return Err(Wrong::new(what, format!("write \"{meant}\"")));
        }
        Err(Wrong::new(what, "write \"10.0.0.1:8080\" or \"[::1]:8080\"; a port is up to 65535"))
    }
}

/// What `::1:80` may mean, which is an address of IPv6 with another last part as well.
fn without_brackets(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':').filter(|(host, _)| host.contains("::"))?;
    let port: u16 = port.parse().ok().filter(|_| !port.starts_with('0'))?;
    Some(SocketAddr::new(IpAddr::V6(host.parse().ok()?), port))
}

/// The address that other programs take such a text for: `:80` and `*:80` for every address of the
/// machine, `localhost:80` for its own alone. Blanks around it are not meant.
fn meant(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest.trim_end_matches('/'));
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let ip = match host {
        "" | "*" => IpAddr::from([0, 0, 0, 0]),
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        _ => return text.parse().ok(),
    };
    let port = port.parse().ok().filter(|port| *port > 0)?;
    Some(SocketAddr::new(ip, port))
}

impl Text for Peers {
    const EXPECTED: &'static str = "a network, as in \"10.0.0.0/8\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let hint = "write \"10.0.0.0/8\", \"fd00::/8\", one address, \"10.0.0.1\", or \"unix\" for \
                    Unix sockets";
        let peers = text.parse();
        let peers = peers.map_err(|()| Wrong::new(format!("{text:?} is not a network"), hint))?;
        if let Self::Network(network) = &peers
            && let Some(tidy) = network.tidied()
        {
            let address = text.split('/').next().unwrap_or_default();
            let what = format!("{text:?} has an address within the network");
            let hint = format!("write {tidy:?} for all of it, or {address:?} for the one address");
            return Err(Wrong::new(what, hint));
        }
        Ok(peers)
    }
}

impl Text for Address {
    const EXPECTED: &'static str = SocketAddr::EXPECTED;

    fn read(text: &str) -> Result<Self, Wrong> {
        if text.starts_with('/') {
            let what = format!("{text:?} is a path alone");
            return Err(Wrong::new(what, format!("a Unix socket is written \"{UNIX}{text}\"")));
        }
        text.parse().or_else(|fault| match fault {
            AddressFault::Relative => {
                let what = format!("the path of {text:?} is not absolute");
                Err(Wrong::new(what, "write it from the root on, as in \"unix:/run/app.sock\""))
            }
            AddressFault::TooLong => {
                let what = format!("the path of {text:?} is longer than 107 bytes");
                Err(Wrong::new(what, "no system takes a longer one; choose a shorter one"))
            }
            AddressFault::Syntax => SocketAddr::read(text).map(Self::Net),
        })
    }
}

/// The address of an endpoint: it has a port, and a name is told apart.
#[derive(Clone, Debug)]
pub(in crate::config) struct EndpointAddress(pub(in crate::config) Address);

impl Text for EndpointAddress {
    const EXPECTED: &'static str = SocketAddr::EXPECTED;

    fn read(text: &str) -> Result<Self, Wrong> {
        let wrong = match Address::read(text) {
            Ok(address) if address.net().is_none_or(|at| at.port() > 0) => {
                return Ok(Self(address));
            }
            Ok(_) => {
                let hint = "a port is from 1 to 65535, as in \"10.0.0.1:8080\"";
                return Err(Wrong::new(format!("{text:?} has the port 0"), hint));
            }
            Err(wrong) => wrong,
        };
        if text.starts_with(UNIX) || text.starts_with('/') {
            return Err(wrong);
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(Wrong::new(wrong.what, from_url(scheme, rest)));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((text, "8080"));
        if matches!(host, "" | "*") {
            return Err(Wrong::new(wrong.what, "name the machine, as in \"10.0.0.1:8080\""));
        }
        let is_name = host.parse::<IpAddr>().is_err() && host_name(host).is_some();
        if is_name && !host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            let port = if port.parse::<u16>().is_ok() { port } else { "8080" };
            let hint = format!("a name is resolved in a pool by dns = \"{host}:{port}\"");
            return Err(Wrong::new(wrong.what, hint));
        }
        Err(wrong)
    }
}

/// What to write in a pool in place of a URL.
fn from_url(scheme: &str, rest: &str) -> String {
    let (default, tls) = match scheme {
        "https" => ("443", ", and tls = true"),
        _ => ("80", ""),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let with_port = match authority.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => authority.to_owned(),
        _ => format!("{authority}:{default}"),
    };
    match with_port.parse::<SocketAddr>() {
        Ok(address) => format!("write the address alone, \"{address}\"{tls}"),
        Err(_) => format!("a name is resolved in a pool by dns = \"{with_port}\"{tls}"),
    }
}

/// A DNS name with a port.
#[derive(Clone, Debug)]
pub(in crate::config) struct DnsName {
    /// The name.
    pub(in crate::config) name: String,
    /// The port of every address.
    pub(in crate::config) port: u16,
}

impl Text for DnsName {
    const EXPECTED: &'static str = "a name with a port, as in \"app.internal:8080\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let what = format!("{text:?} is not a name with a port");
        if text.is_empty() {
            return Err(Wrong::new(what, "write \"app.internal:8080\""));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(Wrong::new(what, from_url(scheme, rest)));
        }
        if text.parse::<SocketAddr>().is_ok() {
            return Err(Wrong::new(what, format!("write endpoints = [{text:?}]")));
        }
        let Some((name, port)) = text.rsplit_once(':') else {
            return Err(Wrong::new(what, format!("add the port, as in \"{text}:8080\"")));
        };
        let Some(port) = port.parse::<u16>().ok().filter(|port| *port > 0) else {
            return Err(Wrong::new(what, "a port is from 1 to 65535, as in \"app.internal:8080\""));
        };
        match host_name(name) {
            Some(name) => Ok(Self { name, port }),
            None => Err(Wrong::new(what, "write \"app.internal:8080\"")),
        }
    }
}

/// The name of SRV records.
#[derive(Clone, Debug)]
pub(in crate::config) struct SrvName(pub(in crate::config) String);

impl Text for SrvName {
    const EXPECTED: &'static str = "a name, as in \"_http._tcp.app.internal\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        if let Some(name) = host_name(text) {
            return Ok(Self(name));
        }
        let hint = "write \"_http._tcp.app.internal\"; the records carry the ports";
        Err(Wrong::new(format!("{text:?} is not a name of SRV records"), hint))
    }
}

/// A DNS server, the port being 53 where none is written.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct DnsServer(pub(in crate::config) SocketAddr);

impl Text for DnsServer {
    const EXPECTED: &'static str = "an address, as in \"10.0.0.2\" or \"10.0.0.2:53\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let with_port = text.parse::<SocketAddr>();
        let address = with_port.or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53)));
        match address {
            Ok(address) if address.port() > 0 => Ok(Self(address)),
            _ => Err(Wrong::new(
                format!("{text:?} is not the address of a server"),
                "write \"10.0.0.2\" or \"10.0.0.2:53\"",
            )),
        }
    }
}

/// A watched list of endpoints.
#[derive(Clone, Debug)]
pub(in crate::config) struct ListFile(pub(in crate::config) PathBuf);

impl Text for ListFile {
    const EXPECTED: &'static str = "a path, as in \"endpoints.json\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let path = FilePath::read(text)?.0;
        match path.extension().and_then(|kind| kind.to_str()) {
            Some("json" | "toml") => Ok(Self(path)),
            _ => Err(Wrong::new(
                format!("{text:?} is neither *.json nor *.toml"),
                "name it \"endpoints.json\" (file_sd) or \"endpoints.toml\"",
            )),
        }
    }
}

/// A path on the disk, relative to the file that names it.
#[derive(Clone, Debug)]
pub(in crate::config) struct FilePath(pub(in crate::config) PathBuf);

impl Text for FilePath {
    const EXPECTED: &'static str = "a path, as in \"routes.toml\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        if text.is_empty() {
            return Err(Wrong::new("the path is empty", "write a path, or leave the key out"));
        }
        if text.contains('\0') {
            return Err(Wrong::new(
                "no path has a NUL byte",
                "write a path, as in \"routes.toml\"",
            ));
        }
        Ok(Self(PathBuf::from(text)))
    }
}

/// A host name in lower case, if the text is one: labels of letters, digits, '-' and '_'.
pub(super) fn host_name(text: &str) -> Option<String> {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        !label.is_empty() && label.len() <= 63 && label.bytes().all(allowed)
    };
    (labels.len() <= 253 && labels.split('.').all(label)).then(|| text.to_ascii_lowercase())
}
