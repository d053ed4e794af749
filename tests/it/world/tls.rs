//! Certificates made for one test.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::wire::Stream;
use super::within;

/// An authority and a certificate of its making for some names, as files.
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// For these host names or addresses.
    pub(crate) fn of(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority_key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::new()).expect("an authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = authority.self_signed(&authority_key).expect("an authority's certificate");
        let issuer = Issuer::new(authority, authority_key);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(names).expect("a leaf");
        let leaf = leaf.signed_by(&key, &issuer).expect("a leaf's certificate");
        let made = Self { folder };
        let files =
            [("ca.pem", ca.pem()), ("leaf.pem", leaf.pem()), ("leaf.key", key.serialize_pem())];
        for (name, text) in files {
            fs::write(made.path(name), text).expect("write a certificate");
        }
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The authority's file, for `tls = { ca = … }` of a pool.
    pub(crate) fn ca(&self) -> String {
        self.path("ca.pem").display().to_string()
    }

    /// The line for a listener.
    pub(crate) fn listener(&self) -> String {
        let (cert, key) = (self.path("leaf.pem"), self.path("leaf.key"));
        format!("tls = {{ cert = \"{}\", key = \"{}\" }}\n", cert.display(), key.display())
    }

    /// What an origin presents, with these protocols.
    pub(crate) fn server(&self, protocols: &[&str]) -> Arc<ServerConfig> {
        let leaf = CertificateDer::from_pem_file(self.path("leaf.pem")).expect("the leaf");
        let key = PrivateKeyDer::from_pem_file(self.path("leaf.key")).expect("the key");
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf], key)
            .expect("certificate and key");
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// Connects as a client that trusts the authority and offers these protocols.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        name: &'static str,
        protocols: &[&str],
    ) -> TlsStream<TcpStream> {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("connect");
        self.handshake(stream, name, protocols).await
    }

    /// As [`Certificates::connect`], on a stream that is there.
    pub(crate) async fn handshake<S: Stream>(
        &self,
        stream: S,
        name: &'static str,
        protocols: &[&str],
    ) -> TlsStream<S> {
        let connector = TlsConnector::from(self.client(protocols));
        let name = ServerName::try_from(name).expect("a name");
        within("a handshake", connector.connect(name, stream)).await.expect("a handshake")
    }

    /// What such a client says first.
    pub(crate) fn hello(&self, name: &'static str, protocols: &[&str]) -> Vec<u8> {
        let name = ServerName::try_from(name).expect("a name");
        let client = rustls::ClientConnection::new(self.client(protocols), name);
        let mut hello = Vec::new();
        client.expect("a client").write_tls(&mut hello).expect("room");
        hello
    }

    fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).expect("the ca")).expect("ca");
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
