//! One endpoint of ten breaks.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{default_provider, sign};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::{Instant, sleep};

use super::{Case, Promise, Ten};
use crate::origin::{Mode, Origin};
use crate::report::{Form, Report};
use crate::ten::{One, Setup, THE_ONE};

pub(super) const KILLED: Case = Case {
    id: "killed",
    what: "an endpoint is killed (SIGKILL)",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| {
        Box::pin(async move {
            let mut ten = Setup::apart().await.start().await;
            let kill = async |ten: &mut Ten| ten.apart().signal("KILL");
            ten.trial(&form, kill, async |ten| ten.apart().restart()).await
        })
    },
};

pub(super) const STOPPED: Case = Case {
    id: "stopped",
    what: "an endpoint is stopped (SIGSTOP)",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| {
        Box::pin(async move {
            let mut ten = Setup::apart().await.start().await;
            let stop = async |ten: &mut Ten| ten.apart().signal("STOP");
            ten.trial(&form, stop, async |ten| ten.apart().signal("CONT")).await
        })
    },
};

pub(super) const RESETS_CONNECTIONS: Case = Case {
    id: "resets-connections",
    what: "an endpoint resets connections as they open",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| Box::pin(behaves(form, Mode::ResetsConnections)),
};

pub(super) const RESETS_REQUESTS: Case = Case {
    id: "resets-requests",
    what: "an endpoint resets after the request",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| Box::pin(behaves(form, Mode::ResetsRequests)),
};

pub(super) const RESETS_HEADS: Case = Case {
    id: "resets-heads",
    what: "an endpoint resets within the head of its answer",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| Box::pin(behaves(form, Mode::ResetsHeads)),
};

pub(super) const RESETS_BODIES: Case = Case {
    id: "resets-bodies",
    what: "an endpoint resets within the body of its answer",
    promise: Promise::Errors("the user has a part of the answer already"),
    is_apart: false,
    run: |form| Box::pin(behaves(form, Mode::ResetsBodies)),
};

pub(super) const SILENT: Case = Case {
    id: "silent",
    what: "an endpoint takes requests and never answers",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| Box::pin(behaves(form, Mode::Silent)),
};

pub(super) const DRIPS: Case = Case {
    id: "drips",
    what: "an endpoint sends a byte a second",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| Box::pin(behaves(form, Mode::Drips)),
};

pub(super) const GARBAGE: Case = Case {
    id: "garbage",
    what: "an endpoint answers with bytes that are no HTTP",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| Box::pin(behaves(form, Mode::Garbage)),
};

pub(super) const SLOW: Case = Case {
    id: "slow",
    what: "an endpoint takes 200 ms more for everything",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| Box::pin(behaves(form, Mode::Slow(Duration::from_millis(200)))),
};

pub(super) const FLAPS: Case = Case {
    id: "flaps",
    what: "an endpoint flaps: half a second well, half a second of resets",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| {
        Box::pin(async move {
            let mut ten = Setup::plain().await.start().await;
            let flap = async |ten: &mut Ten| {
                let end = Instant::now() + form.broken;
                while Instant::now() < end {
                    ten.be(Mode::ResetsConnections);
                    sleep(Duration::from_millis(500)).await;
                    ten.be(Mode::Sound);
                    sleep(Duration::from_millis(500)).await;
                }
            };
            ten.trial(&form, flap, async |_| ()).await
        })
    },
};

pub(super) const SAYS_503: Case = Case {
    id: "says-503",
    what: "an endpoint lies: its checks pass, users are answered 503",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| Box::pin(behaves(form, Mode::Says(503))),
};

pub(super) const SAYS_500: Case = Case {
    id: "says-500",
    what: "an endpoint lies: its checks pass, users are answered 500",
    promise: Promise::Errors("500 is an answer (`retry.on` may name it), up to the ejection"),
    is_apart: false,
    run: |form| Box::pin(behaves(form, Mode::Says(500))),
};

async fn behaves(form: Form, mode: Mode) -> Report {
    let mut ten = Setup::plain().await.start().await;
    ten.trial(&form, async |ten| ten.be(mode), async |ten| ten.be(Mode::Sound)).await
}

pub(super) const EXPIRES: Case = Case {
    id: "expires",
    what: "the certificate of an endpoint expires",
    promise: Promise::NoErrors,
    is_apart: false,
    run: |form| Box::pin(expires(form)),
};

async fn expires(form: Form) -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, &authority.pem).expect("write a certificate");
    let end = SystemTime::now() + form.before + Duration::from_secs(4);
    let shown = Arc::new(Shown(Mutex::new(authority.certificate(end))));
    let sound = authority.certificate(SystemTime::now() + HOUR);
    let one = Origin::start(THE_ONE, Some(server(Arc::clone(&shown)))).await;
    let nine = server(Arc::new(Shown(Mutex::new(Arc::clone(&sound)))));
    let mut setup = Setup::with(One::Here(one), Some(nine)).await;
    // Connections that are open do not look at certificates again.
    setup.pool += &format!(
        "tls = {{ ca = \"{}\", server-name = \"localhost\" }}\nconnections = {{ max-age = \"2s\" }}\n",
        ca.display()
    );
    let mut ten = setup.start().await;
    let form = Form { before: end.duration_since(SystemTime::now()).unwrap_or_default(), ..form };
    let renew = async |_: &mut Ten| {
        *shown.0.lock().unwrap_or_else(PoisonError::into_inner) = sound;
    };
    ten.trial(&form, async |_| (), renew).await
}

/// An authority that makes certificates for `localhost`.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("an authority's certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// One that is good until `end`.
    fn certificate(&self, end: SystemTime) -> Arc<CertifiedKey> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a leaf");
        params.not_after = end.into();
        let leaf = params.signed_by(&key, &self.issuer).expect("a leaf's certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let key = sign::any_supported_type(&key).expect("a key to sign with");
        Arc::new(CertifiedKey::new(vec![leaf.der().clone()], key))
    }
}

/// The certificate that an endpoint shows at the moment.
#[derive(Debug)]
struct Shown(Mutex<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Shows it in each handshake: none is resumed.
fn server(shown: Arc<Shown>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

const HOUR: Duration = Duration::from_secs(3600);
