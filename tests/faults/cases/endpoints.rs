//! Endpoints break: one of ten, or all of them.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{default_provider, sign};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{BOTH, Breaks, Case, Others, Out, Promise, Ten, kept, one};
use crate::origin::{Mode, Speaks};
use crate::report::{Form, Report};
use crate::suite::renews;
use crate::ten::{HEALTH, Setup, rules};
use crate::verdict::OF_ONE;

pub(super) const KILLED: Case = one("killed", "an endpoint is killed (SIGKILL)", |form| {
    Box::pin(is_killed(Setup::apart(1), form))
});

pub(super) const STOPPED: Case = one("stopped", "an endpoint is stopped (SIGSTOP)", |form| {
    Box::pin(is_stopped(Setup::apart(1), form))
});

pub(super) const RESETS_CONNECTIONS: Case =
    one("resets-connections", "an endpoint resets connections as they open", |form| {
        Box::pin(behaves(form, Mode::ResetsConnections))
    });

pub(super) const RESETS_HANDSHAKES: Case = Case {
    others: Others::AllServed,
    ..one("resets-handshakes", "an endpoint resets within TLS handshakes", |form| {
        Box::pin(async move {
            let certificates = Certificates::new();
            let sound = server(Shown::new(&certificates.until(SystemTime::now() + HOUR)));
            // Handshakes are of new connections.
            let rules = rules() + &certificates.rules() + "connections = { max-age = \"1s\" }\n";
            behaves_by(
                Setup::by(&rules, &vec![Speaks::Tls(sound); 10]),
                form,
                Mode::ResetsHandshakes,
            )
            .await
        })
    })
};

pub(super) const RESETS_UPLOADS: Case = Case {
    // Those that have no body are served, so that few fail in a row.
    out: Out::May,
    ..one(
        "resets-uploads",
        "an endpoint resets within the body of a request, which half of the users send (100 KB)",
        |form| {
            Box::pin(behaves(
                Form { posts: 2, upload: 100_000, ..form.asking(100) },
                Mode::ResetsUploads,
            ))
        },
    )
};

pub(super) const RESETS_REQUESTS: Case =
    one("resets-requests", "an endpoint resets after the request", |form| {
        Box::pin(behaves(form, Mode::ResetsRequests))
    });

pub(super) const RESETS_HEADS: Case =
    one("resets-heads", "an endpoint resets within the head of its answer", |form| {
        Box::pin(behaves(form, Mode::ResetsHeads))
    });

pub(super) const RESETS_BODIES: Case = Case {
    promise: Promise::Errors { why: "the user has a part of the answer already", most: OF_ONE },
    // Endpoints are judged by the heads of their answers.
    out: Out::May,
    ..one("resets-bodies", "an endpoint resets within the body of its answer", |form| {
        Box::pin(behaves(form, Mode::ResetsBodies))
    })
};

pub(super) const SILENT: Case =
    one("silent", "an endpoint takes requests and never answers", |form| {
        Box::pin(behaves(form, Mode::Silent))
    });

pub(super) const STOPPED_HEDGED: Case = one(
    "stopped-hedged",
    "an endpoint is stopped (SIGSTOP), and the pool hedges (`retry = { hedge = {} }`)",
    |form| Box::pin(is_stopped(Setup::apart(1).with(HEDGE), form)),
);

pub(super) const STOPPED_BOTH: Case = kept(
    "stopped-both",
    "an endpoint is stopped (SIGSTOP), and the pool hedges and balances by `peak-ewma`",
    |form| Box::pin(is_stopped(Setup::apart(1).with(BOTH), form.learnt())),
);

pub(super) const SILENT_HEDGED: Case = one(
    "silent-hedged",
    "an endpoint takes requests and never answers, and the pool hedges",
    |form| Box::pin(behaves_by(Setup::plain().with(HEDGE), form, Mode::Silent)),
);

pub(super) const DRIPS_HEDGED: Case =
    one("drips-hedged", "an endpoint sends a byte a second, and the pool hedges", |form| {
        Box::pin(behaves_by(Setup::plain().with(HEDGE), form, Mode::Drips))
    });

pub(super) const SLOW_HEDGED: Case = Case {
    others: Others::AllServed,
    // One that loses each time is taken out.
    out: Out::May,
    ..one(
        "slow-hedged",
        "an endpoint takes 200 ms more for everything, and the pool hedges",
        |form| Box::pin(behaves_by(Setup::plain().with(HEDGE), form, Mode::Slow(LATE))),
    )
};

pub(super) const SLOW_BALANCED: Case = Case {
    others: Others::AllServed,
    out: Out::Never,
    ..one(
        "slow-balanced",
        "the same, and the pool balances by how long endpoints take (`peak-ewma`)",
        |form| {
            let setup = patient().with("balance = \"peak-ewma\"\n");
            Box::pin(behaves_by(setup, form, Mode::Slow(LATE)))
        },
    )
};

pub(super) const SLOW_BOTH: Case = Case {
    others: Others::AllServed,
    ..kept(
        "slow-both",
        "an endpoint takes 200 ms more for everything, and the pool hedges and balances by `peak-ewma`",
        |form| {
            let setup = Setup::plain().with(BOTH);
            Box::pin(behaves_by(setup, form.learnt(), Mode::Slow(LATE)))
        },
    )
};

pub(super) const DRIPS: Case =
    one("drips", "an endpoint sends a byte a second", |form| Box::pin(behaves(form, Mode::Drips)));

pub(super) const DRIPS_BODIES: Case = Case {
    promise: Promise::Errors { why: "the user has the head already, and waits", most: OF_ONE },
    out: Out::May,
    ..one("drips-bodies", "an endpoint sends a byte a second once the head is sent", |form| {
        Box::pin(behaves(form, Mode::DripsBodies))
    })
};

pub(super) const GARBAGE: Case =
    one("garbage", "an endpoint answers with bytes that are no HTTP", |form| {
        Box::pin(behaves(form, Mode::Garbage))
    });

pub(super) const SLOW: Case = Case {
    others: Others::AllServed,
    // Checks have more time than that.
    out: Out::Never,
    ..one("slow", "an endpoint takes 200 ms more for everything", |form| {
        Box::pin(behaves_by(patient(), form, Mode::Slow(LATE)))
    })
};

pub(super) const FLAPS: Case = Case {
    out: Out::May,
    ..one("flaps", "an endpoint flaps: half a second well, half a second of resets", |form| {
        Box::pin(flaps(Setup::plain(), form))
    })
};

pub(super) const FLAPS_BOTH: Case = kept(
    "flaps-both",
    "an endpoint flaps so, and the pool hedges and balances by `peak-ewma`",
    |form| Box::pin(flaps(Setup::plain().with(BOTH), form.learnt())),
);

async fn flaps(setup: Setup, form: Form) -> Report {
    let mut ten = setup.start().await;
    let flap = async |ten: &mut Ten| {
        let end = Instant::now() + form.broken;
        while Instant::now() < end {
            ten.be(Mode::ResetsConnections);
            sleep(Duration::from_millis(500)).await;
            ten.be(Mode::Sound);
            sleep(Duration::from_millis(500)).await;
        }
    };
    let report = ten.trial(&form, flap, async |_| ()).await;
    assert!(ten.hurt() > 0, "nobody has met it");
    report
}

pub(super) const SAYS_503: Case =
    one("says-503", "an endpoint lies: its checks pass, users are answered 503", |form| {
        Box::pin(behaves(form.asking(100), Mode::Says(503)))
    });

pub(super) const SAYS_503_BOTH: Case = kept(
    "says-503-both",
    "an endpoint lies by 503, and the pool hedges and balances by `peak-ewma`",
    |form| Box::pin(behaves_by(Setup::plain().with(BOTH), form.learnt(), Mode::Says(503))),
);

pub(super) const SAYS_500: Case = Case {
    promise: Promise::Errors {
        why: "500 is an answer (`retry.on` may name it), up to the ejection",
        most: OF_ONE,
    },
    ..one("says-500", "an endpoint lies: its checks pass, users are answered 500", |form| {
        Box::pin(behaves(form.asking(100), Mode::Says(500)))
    })
};

pub(super) const SAYS_500_LISTED: Case =
    one("says-500-listed", "the same, and `retry.on` has `500` beside its defaults", |form| {
        let setup = Setup::plain().with(ON_500);
        Box::pin(behaves_by(setup, form.asking(100), Mode::Says(500)))
    });

async fn behaves(form: Form, mode: Mode) -> Report {
    behaves_by(Setup::plain(), form, mode).await
}

/// As [`Setup::plain`]. Where it is not for the page, which shows the rules that it is of, checks have more time than
/// the endpoint takes on a busy machine, too.
pub(super) fn patient() -> Setup {
    let mut setup = Setup::plain();
    if !renews() {
        setup.pool = setup.pool.replace(HEALTH, &HEALTH.replace("250ms", "450ms"));
    }
    setup
}

/// As the setup has it: with further lines of the pool, a row of its own.
pub(super) async fn behaves_by(setup: Setup, form: Form, mode: Mode) -> Report {
    last_behave(1, setup, form, mode).await
}

/// So many of them.
pub(super) async fn last_behave(count: usize, setup: Setup, form: Form, mode: Mode) -> Report {
    let mut ten = setup.start().await;
    let breaks = async |ten: &mut Ten| ten.last_be(count, mode);
    let report = ten.trial(&form, breaks, async |ten| ten.last_be(count, Mode::Sound)).await;
    assert!(ten.hurt() > 0, "nobody has met it");
    report
}

pub(super) async fn is_killed(setup: Setup, form: Form) -> Report {
    let mut ten = setup.start().await;
    let kill = async |ten: &mut Ten| ten.apart().signal("KILL");
    ten.trial(&form, kill, async |ten| ten.apart().restart()).await
}

pub(super) async fn is_stopped(setup: Setup, form: Form) -> Report {
    let mut ten = setup.start().await;
    let stop = async |ten: &mut Ten| ten.apart().signal("STOP");
    ten.trial(&form, stop, async |ten| ten.apart().signal("CONT")).await
}

pub(super) const ALL_SAY_503: Case = Case {
    promise: Promise::Errors { why: "there is nobody to serve them", most: 1.0 },
    others: Others::Lost,
    breaks: Breaks::All,
    ..one(
        "all-say-503",
        "all ten endpoints lie: their checks pass, users are answered 503",
        |form| Box::pin(all_behave(form, Mode::Says(503))),
    )
};

pub(super) const ALL_RESET: Case = Case {
    promise: Promise::Errors { why: "there is nobody to serve them", most: 1.0 },
    others: Others::Lost,
    breaks: Breaks::All,
    ..one("all-reset", "all ten endpoints reset after the request, and their checks pass", |form| {
        Box::pin(all_behave(form, Mode::ResetsUsers))
    })
};

/// With enough requests that their budget of retries, and what is in it from the beginning, is well below what they
/// would have without one.
async fn all_behave(form: Form, mode: Mode) -> Report {
    let form = form.asking(150);
    let report = last_behave(10, Setup::plain(), form, mode).await;
    assert!(report.broken.failed > 20, "hardly anybody has met them: {report:?}");
    report
}

pub(super) const EXPIRES: Case = Case {
    others: Others::AllServed,
    ..one("expires", "the certificate of an endpoint expires", |form| Box::pin(expires(form)))
};

async fn expires(form: Form) -> Report {
    let certificates = Certificates::new();
    let sound = certificates.until(SystemTime::now() + HOUR);
    let shown = Shown::new(&sound);
    let mut ten = vec![Speaks::Tls(server(Shown::new(&sound))); 9];
    ten.push(Speaks::Tls(server(Arc::clone(&shown))));
    // Connections that are open do not look at certificates again.
    let rules = rules() + &certificates.rules() + "connections = { max-age = \"2s\" }\n";
    let mut ten = Setup::by(&rules, &ten).start().await;
    // A certificate tells its last second, and is good until that ends.
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let last = Duration::from_secs((clock() + form.before).as_secs());
    shown.show(certificates.until(UNIX_EPOCH + last));
    // As of now: a key may take its time.
    let before = (last + Duration::from_secs(1)).saturating_sub(clock());
    // Connections grow old, and then two checks fail.
    let form = Form { before, broken: form.broken.max(Duration::from_secs(4)), ..form };
    ten.trial(&form, async |_| (), async |_| shown.show(sound)).await
}

/// An authority that makes certificates for `localhost`.
struct Certificates {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("an authority's certificate").pem();
        let folder = tempfile::tempdir().expect("a folder");
        let this = Self { issuer: Issuer::new(params, key), folder };
        fs::write(this.file(), &pem).expect("write a certificate");
        this
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The lines of the pool that have the gateway trust it.
    fn rules(&self) -> String {
        format!("tls = {{ ca = \"{}\", server-name = \"localhost\" }}\n", self.file().display())
    }

    /// One that is good until `end`.
    fn until(&self, end: SystemTime) -> Arc<CertifiedKey> {
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

impl Shown {
    fn new(certificate: &Arc<CertifiedKey>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Arc::clone(certificate))))
    }

    fn show(&self, certificate: Arc<CertifiedKey>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = certificate;
    }
}

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
/// 200 ms: less than a check may take.
pub(super) const LATE: Duration = Duration::from_millis(200);
/// A second attempt where the first takes longer than 95 of 100.
const HEDGE: &str = "retry = { hedge = {} }\n";
/// The default, and 500.
const ON_500: &str =
    "retry = { on = [\"connect\", \"reset\", \"timeout\", \"500\", \"502\", \"503\", \"504\"] }\n";
