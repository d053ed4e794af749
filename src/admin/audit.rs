//! The audit: each request that may change something, whoever sends it and whatever comes of it, is one event
//! in the gateway's own log, and one line of the audit log where there is one. It tells who, from where, what and with
//! which outcome; bodies and secrets are never in it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::base::role::Role;
use crate::base::snapshot::Snapshot;
use crate::control::generation::Live;
use crate::telemetry::audit_log::{AuditLog, Bound, Event, Keys, Line, Turn};

use super::roles::{Caller, is_question};

/// Tells of changes. Clones tell the same.
#[derive(Clone, Debug)]
pub(super) struct Audit {
    log: AuditLog,
    live: Snapshot<Live>,
}

/// What a change was, where one was made or would be: handlers leave it in their answer.
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// The tag of what was there; `None` = nothing was.
    pub(super) before: Option<String>,
    /// The tag of what is there; `None` = nothing is.
    pub(super) after: Option<String>,
    /// The numbers of the table that was live, and of the one that is.
    pub(super) generations: (u64, u64),
    /// What is other.
    pub(super) keys: Keys,
    /// Nothing was changed.
    pub(super) dry_run: bool,
}

/// What a change is about besides its path, in words: handlers leave it in their answer.
#[derive(Clone, Debug)]
pub(super) struct About(pub(super) String);

/// A request that may change something.
#[derive(Debug)]
pub(super) struct Asked {
    audit: Audit,
    id: HeaderValue,
    from: IpAddr,
    method: Method,
    path: String,
    tenant: Option<String>,
    /// The number of the table that was live when it came.
    generation: u64,
    /// Who asks, once that is known.
    caller: Option<Caller>,
    is_answered: bool,
}

impl Audit {
    /// Tells the gateway's own log alone.
    pub(super) fn of_log() -> Self {
        Self::new(AuditLog::off(), Snapshot::new(Arc::new(Live::none())))
    }

    /// Tells this log besides the gateway's own; `live` is what is live.
    pub(super) fn new(log: AuditLog, live: Snapshot<Live>) -> Self {
        Self { log, live }
    }

    /// Hears of a request; `None` = it changes nothing. `tenant` is the one that its path names.
    pub(super) fn hear(
        &self,
        request: &Request,
        from: IpAddr,
        tenant: Option<&str>,
    ) -> Option<Asked> {
        is_told(request.method(), request.uri().path()).then(|| Asked {
            audit: self.clone(),
            id: request_id(request),
            from,
            method: request.method().clone(),
            path: request.uri().path().chars().take(LONGEST).collect(),
            tenant: tenant.map(|id| id.chars().take(LONGEST).collect()),
            generation: self.live.load().generation,
            caller: None,
            is_answered: false,
        })
    }
}

impl Asked {
    /// This is who asks.
    pub(super) fn is_of(&mut self, caller: &Caller) {
        self.caller = Some(caller.clone());
    }

    /// Tells what came of it. The answer names the request from now on.
    pub(super) async fn answered(mut self, mut answer: Response) -> Response {
        self.is_answered = true;
        let made = answer.extensions_mut().remove::<Made>();
        let about = answer.extensions_mut().remove::<About>().map(|About(about)| about);
        let status = answer.status();
        self.tell(made.as_ref(), status);
        let is_refused = status.is_client_error() && made.is_none();
        let mut line = Line { about, status: Some(status.as_u16()), ..self.line(made) };
        if is_refused {
            // Whatever went live meanwhile was somebody else's.
            let generation = self.generation;
            line.generation = Some(Turn { before: generation, after: generation });
        }
        self.audit.log.tell(&line, self.bound(status)).await;
        answer.headers_mut().insert(X_REQUEST_ID, self.id.clone());
        answer
    }

    /// Tells the gateway's own log. The path is the caller's own: it is told with its escapes.
    fn tell(&self, made: Option<&Made>, status: StatusCode) {
        // Who is not known may send any number: they are counted, and bounded in the audit log.
        let Some(caller) = &self.caller else { return };
        let tag = |tag: Option<&String>| tag.map(|tag| tag.trim_matches('"').to_owned());
        tracing::info!(
            target: TARGET,
            who = caller.name.as_deref().unwrap_or("-"),
            role = %caller.role,
            from = %caller.from.to_canonical(),
            method = %self.method,
            path = %self.path.escape_debug(),
            id = self.id.to_str().unwrap_or_default(),
            status = status.as_u16(),
            generation = made.map(|made| made.generations.1),
            dry_run = made.and_then(|made| made.dry_run.then_some(true)),
            before = tag(made.and_then(|made| made.before.as_ref())),
            after = tag(made.and_then(|made| made.after.as_ref())),
            "audit"
        );
    }

    fn line(&self, made: Option<Made>) -> Line {
        let caller = self.caller.as_ref();
        let now = self.audit.live.load().generation;
        let (before, after) = made.as_ref().map_or((self.generation, now), |made| made.generations);
        let mut line = Line {
            id: self.id.to_str().ok().map(ToOwned::to_owned),
            who: caller.and_then(|caller| caller.name.as_deref()).map(ToOwned::to_owned),
            shown: caller.and_then(|caller| caller.shown.as_ref()).map(ToString::to_string),
            role: caller.map(|caller| caller.role.to_string()),
            from: Some(self.from.to_canonical().to_string()),
            method: Some(self.method.to_string()),
            path: Some(self.path.escape_debug().to_string()),
            tenant: self.tenant.as_ref().map(|id| id.escape_debug().to_string()),
            generation: Some(Turn { before, after }),
            ..Line::new(Event::Request)
        };
        if let Some(Made { before, after, keys, dry_run, .. }) = made {
            let bare = |tag: Option<String>| tag.map(|tag| tag.trim_matches('"').to_owned());
            let (before, after) = (bare(before), bare(after));
            line.etag = (before.is_some() || after.is_some()).then_some(Turn { before, after });
            line.keys = (keys != Keys::default()).then_some(keys);
            line.dry_run = dry_run.then_some(true);
        }
        line
    }

    /// How many lines such requests may have: who is refused may go on as long as it likes.
    fn bound(&self, status: StatusCode) -> Bound {
        match &self.caller {
            None => Bound::Strangers,
            Some(caller) if status.is_client_error() && caller.role != Role::Admin => {
                Bound::Refused
            }
            Some(_) => Bound::None,
        }
    }
}

impl Drop for Asked {
    /// A client that leaves is told nothing; what it has asked for may be made all the same.
    fn drop(&mut self) {
        if !self.is_answered && self.caller.is_some() {
            let about = Some("the client left before the answer".to_owned());
            self.audit.log.note(&Line { about, ..self.line(None) });
        }
    }
}

/// Whether such requests are told of.
fn is_told(method: &Method, path: &str) -> bool {
    !method.is_safe() && !is_question(method, Some(path))
}

/// The client's own id where it is short and plain, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let is_plain = |id: &&HeaderValue| {
        (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    let own = request.headers().get(X_REQUEST_ID).filter(is_plain).cloned();
    let new = || HeaderValue::try_from(format!("{:032x}", fastrand::u128(..)));
    own.unwrap_or_else(|| new().unwrap_or_else(|_| HeaderValue::from_static("unknown")))
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the log's filter knows it by.
const TARGET: &str = "tenantry::audit";

/// 300 characters: the longest id of a tenant and what is before it.
const LONGEST: usize = 300;

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::net::Ipv4Addr;
    use std::sync::Mutex;

    use axum::Extension;
    use axum::body::Body;
    use axum::response::IntoResponse;

    use super::*;

    /// What the gateway's own log has of the change of a tenant.
    async fn logged(dry_run: bool) -> String {
        let text = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&text);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || Kept(Arc::clone(&writer)));
        // Beside a single subscriber, a line that another test's thread comes to first is off everywhere.
        let _second =
            tracing::dispatcher::Dispatch::new(tracing::subscriber::NoSubscriber::default());
        let _logging = tracing::subscriber::set_default(subscriber.finish());
        let request = Request::patch("/api/v1/tenants/a").body(Body::empty()).unwrap();
        let from = Ipv4Addr::LOCALHOST.into();
        let mut asked = Audit::of_log().hear(&request, from, Some("a")).unwrap();
        asked.is_of(&Caller { name: Some("ci".into()), role: Role::Admin, from, shown: None });
        let (before, after) = (Some("\"1\"".to_owned()), Some("\"2\"".to_owned()));
        let made = Made { before, after, generations: (7, 7), keys: Keys::default(), dry_run };

        asked.answered((Extension(made), "").into_response()).await;

        let text = text.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    }

    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_only_tells_what_would_be_does_not_look_like_a_change() {
        let (made, told) = (logged(false).await, logged(true).await);

        assert!(made.contains("who=\"ci\"") && !made.contains("dry_run"), "{made}");
        assert!(told.contains("dry_run=true"), "{told}");
    }

    #[test]
    fn who_is_refused_is_bounded_but_for_admins() {
        let request = Request::post("/api/v1/reload").body(Body::empty()).unwrap();
        let from = Ipv4Addr::LOCALHOST.into();
        let bound = |role: Option<&str>, status: StatusCode| {
            let mut asked = Audit::of_log().hear(&request, from, None).unwrap();
            if let Some(role) = role {
                let role = role.parse().unwrap();
                asked.is_of(&Caller { name: None, role, from, shown: None });
            }
            asked.is_answered = true;
            asked.bound(status)
        };
        for role in ["viewer", "operator", "tenant:a"] {
            assert_eq!(bound(Some(role), StatusCode::FORBIDDEN), Bound::Refused, "{role}");
            assert_eq!(bound(Some(role), StatusCode::OK), Bound::None, "{role}");
        }
        assert_eq!(bound(Some("admin"), StatusCode::FORBIDDEN), Bound::None);
        assert_eq!(bound(None, StatusCode::UNAUTHORIZED), Bound::Strangers);
    }

    #[test]
    fn what_only_reads_is_not_told_of() {
        for read in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
            assert!(!is_told(&read, "/api/v1/reload"), "{read}");
        }
        for change in [Method::PUT, Method::PATCH, Method::POST, Method::DELETE] {
            assert!(is_told(&change, "/api/v1/reload"), "{change}");
        }
        assert!(!is_told(&Method::POST, "/api/v1/explain"));
    }
}
