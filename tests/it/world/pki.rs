//! An authority that makes certificates for one test, and clients that trust it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use rustls::client::{ClientSessionStore, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{AlertDescription, ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::demanding::Demanding;
use super::{STEP, within};

/// An authority, with what it has made as files.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    made: AtomicUsize,
}

/// A certificate and its key, as files.
pub(crate) struct Pair {
    /// Their keys in the config, one a line.
    pub(crate) keys: String,
    /// The certificate's file.
    pub(crate) cert: PathBuf,
    /// The key's file.
    pub(crate) key: PathBuf,
    /// The certificate that the files were made with.
    pub(crate) certificate: CertificateDer<'static>,
}

/// A certificate and its key.
pub(crate) struct Made {
    /// The certificate itself.
    pub(crate) certificate: CertificateDer<'static>,
    /// The certificate as PEM.
    pub(crate) cert: String,
    /// The key as PEM.
    pub(crate) key: String,
}

impl Pair {
    /// Writes another pair to the files, the certificate first.
    pub(crate) fn write(&self, made: &Made) {
        fs::write(&self.cert, &made.cert).expect("write a certificate");
        fs::write(&self.key, &made.key).expect("write a key");
    }

    /// Puts another pair in the place of the files, the key first.
    pub(crate) fn replace(&self, made: &Made) {
        for (path, text) in [(&self.key, &made.key), (&self.cert, &made.cert)] {
            let new = path.with_extension("new");
            fs::write(&new, text).expect("write a file");
            fs::rename(&new, path).expect("rename a file");
        }
    }
}

/// A certificate that a client shows.
pub(crate) struct Shown {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = folder.path().display().to_string(); // two authorities are never of one name
        params.distinguished_name.push(DnType::CommonName, name);
        let made = params.self_signed(&key).expect("an authority's certificate");
        fs::write(folder.path().join("ca.pem"), made.pem()).expect("write a certificate");
        let certificate = made.der().clone();
        Self { folder, issuer: Issuer::new(params, key), certificate, made: AtomicUsize::new(0) }
    }

    /// The file of its own certificate.
    pub(crate) fn file(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    /// For an origin: presents a certificate for these names, and demands one of the same making.
    pub(crate) fn demanding(&self, names: &[&str]) -> Demanding {
        let made = self.made_for(names);
        let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).expect("a key");
        let presented = CertifiedKey::from_der(vec![made.certificate], key, &provider());
        Demanding::of(presented.expect("a certificate and its key"), self.certificate.clone())
    }

    /// The key that has clients show certificates of its making.
    pub(crate) fn demand(&self, mode: &str) -> String {
        let file = self.file();
        format!("client-certificates = {{ mode = \"{mode}\", authorities = \"{file}\" }}\n")
    }

    /// A certificate for these names.
    pub(crate) fn server(&self, names: &[&str]) -> Pair {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let path = |end: &str| self.folder.path().join(format!("{number}.{end}"));
        let made = self.made_for(names);
        let (cert, key) = (path("pem"), path("key"));
        let keys = format!("cert = \"{}\"\nkey = \"{}\"\n", cert.display(), key.display());
        let pair = Pair { keys, cert, key, certificate: made.certificate.clone() };
        pair.write(&made);
        pair
    }

    /// A certificate for these names that is in no file yet.
    pub(crate) fn made_for(&self, names: &[&str]) -> Made {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.made(CertificateParams::new(names).expect("names"))
    }

    /// A certificate of its making.
    pub(crate) fn made(&self, params: CertificateParams) -> Made {
        let key = KeyPair::generate().expect("a key");
        let made = params.signed_by(&key, &self.issuer).expect("a certificate");
        Made { certificate: made.der().clone(), cert: made.pem(), key: key.serialize_pem() }
    }

    /// A client's certificate without any name, before the change.
    pub(crate) fn client(&self, change: impl FnOnce(&mut CertificateParams)) -> Shown {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        Shown { certificate: certificate.der().clone(), key }
    }

    /// A client's certificate with this common name.
    pub(crate) fn client_named(&self, common_name: &str) -> Shown {
        self.client(|params| params.distinguished_name.push(DnType::CommonName, common_name))
    }
}

/// A client in the making.
pub(crate) struct Wishes<'a> {
    /// Whom it trusts.
    pub(crate) authority: &'a Authority,
    /// The protocols that it offers.
    pub(crate) protocols: &'a [&'a str],
    /// The versions of TLS that it speaks.
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
    /// What it shows.
    pub(crate) shown: Option<Shown>,
    /// Whether it tells which name it asks for.
    pub(crate) tells_name: bool,
    /// Where it keeps its sessions; `None` = in a place of its own.
    pub(crate) sessions: Option<Arc<dyn ClientSessionStore>>,
    /// The time that it takes for now, in seconds since 1970; `None` = it knows the time.
    pub(crate) clock: Option<u64>,
}

/// A clock that stands.
#[derive(Debug)]
struct Standing(UnixTime);

impl TimeProvider for Standing {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

impl<'a> Wishes<'a> {
    /// HTTP/1.1 by TLS of any version.
    pub(crate) fn of(authority: &'a Authority) -> Self {
        Self {
            authority,
            protocols: &["http/1.1"],
            versions: rustls::DEFAULT_VERSIONS,
            shown: None,
            tells_name: true,
            sessions: None,
            clock: None,
        }
    }

    /// A client that resumes no session.
    pub(crate) fn forgetful_client(self) -> Visitor {
        let mut client = self.client();
        Arc::make_mut(&mut client.config).resumption = Resumption::disabled();
        client
    }

    pub(crate) fn client(self) -> Visitor {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate.clone()).expect("an authority");
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(self.versions)
            .expect("protocol versions")
            .with_root_certificates(roots);
        let mut config = match self.shown {
            None => config.with_no_client_auth(),
            Some(shown) => config
                .with_client_auth_cert(vec![shown.certificate], shown.key)
                .expect("a client's certificate"),
        };
        config.alpn_protocols =
            self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.enable_sni = self.tells_name;
        if let Some(sessions) = self.sessions {
            config.resumption = Resumption::store(sessions);
        }
        if let Some(clock) = self.clock {
            let clock = UnixTime::since_unix_epoch(Duration::from_secs(clock));
            config.time_provider = Arc::new(Standing(clock));
        }
        Visitor { config: Arc::new(config) }
    }
}

/// A client, which keeps its sessions.
pub(crate) struct Visitor {
    config: Arc<ClientConfig>,
}

impl Visitor {
    /// A connection for a name.
    pub(crate) async fn connect(&self, address: SocketAddr, name: &str) -> TlsStream<TcpStream> {
        self.try_connect(address, name).await.expect("a handshake")
    }

    /// The alert that a connection for a name ends with, at once or at its first read.
    pub(crate) async fn refusal(&self, address: SocketAddr, name: &str) -> AlertDescription {
        let error = match self.try_connect(address, name).await {
            Err(error) => error,
            Ok(mut stream) => {
                let read = within("an alert", stream.read(&mut [0])).await;
                read.expect_err("the connection is open")
            }
        };
        let cause = error.get_ref().and_then(|error| error.downcast_ref());
        match cause {
            Some(rustls::Error::AlertReceived(alert)) => *alert,
            _ => panic!("no alert but {error:?}"),
        }
    }

    /// Whether it comes in and is answered.
    pub(crate) async fn is_served(&self, address: SocketAddr, name: &str) -> bool {
        let Ok(mut stream) = self.try_connect(address, name).await else { return false };
        let asked = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        let asked = stream.write_all(asked.as_bytes()).await;
        let mut said = Vec::new();
        let read = within("an answer", stream.read_to_end(&mut said)).await;
        asked.is_ok() && read.is_ok() && said.starts_with(b"HTTP/1.1 ")
    }

    /// The certificate that it is shown for a name.
    pub(crate) async fn is_shown(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> CertificateDer<'static> {
        let stream = self.connect(address, name).await;
        let shown = stream.get_ref().1.peer_certificates().expect("it is shown a chain");
        shown[0].clone().into_owned()
    }

    /// Waits until it is shown this certificate for a name. Where a name changes hands and the files of who has it now are
    /// slow, it is shown the listener's own meanwhile, which is not for that name.
    pub(crate) async fn comes_to_see(
        &self,
        address: SocketAddr,
        name: &str,
        wanted: &CertificateDer<'static>,
    ) {
        let sees = async || {
            let stream = self.try_connect(address, name).await.ok()?;
            Some(stream.get_ref().1.peer_certificates()?.first()? == wanted)
        };
        let seen = async {
            while sees().await != Some(true) {
                sleep(STEP).await;
            }
        };
        within("the other certificate", seen).await;
    }

    /// Whether it refuses what it is shown for a name.
    pub(crate) async fn distrusts(&self, address: SocketAddr, name: &str) -> bool {
        let error = self.try_connect(address, name).await.expect_err("it trusts");
        let cause = error.get_ref().and_then(|error| error.downcast_ref());
        matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
    }

    async fn try_connect(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let stream = within("a connection", TcpStream::connect(address)).await?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connector = TlsConnector::from(Arc::clone(&self.config));
        within("a handshake", connector.connect(name, stream)).await
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
