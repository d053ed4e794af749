//! The stream of pictures: opened, read, and opened again when it ends.

use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, bail};
use http::{StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::admin::dashboard::picture::Picture;
use crate::cli::asking::{self, Admin, Credentials};
use crate::control::roster::State;
use crate::telemetry::recent::Sort;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) search: String,
    pub(super) sort: Sort,
    pub(super) state: Option<State>,
    pub(super) every: u8,
}

/// What is heard.
#[derive(Debug)]
pub(super) enum Update {
    /// What is to be seen now.
    Picture(Box<Picture>),
    /// Nobody answers, and why; it is tried again in this time.
    Lost(String, Duration),
}

/// Who is asked.
#[derive(Clone, Debug)]
pub(super) struct Source {
    admin: Uri,
    shown: Credentials,
    /// As messages name it.
    pub(super) name: String,
}

impl Source {
    /// The admin API at this URL.
    ///
    /// # Errors
    /// When it is no URL of one, or a file that is to be shown cannot be used.
    pub(super) fn new(admin: Uri, shown: Credentials) -> anyhow::Result<Self> {
        let name = Admin::new(&admin, &shown)?.to_string();
        Ok(Self { admin, shown, name })
    }
}

impl Query {
    fn path(&self) -> String {
        let sort = match self.sort {
            Sort::Requests => "requests",
            Sort::Errors => "errors",
            Sort::P99 => "p99",
            Sort::Id => "id",
        };
        let state = match self.state {
            None => "",
            Some(State::Active) => "active",
            Some(State::Maintenance) => "maintenance",
            Some(State::Suspended) => "suspended",
            Some(State::Quarantined) => "quarantined",
        };
        let (search, every) = (escaped(&self.search), self.every);
        format!("/api/v1/events?limit=100&sort={sort}&state={state}&every={every}&search={search}")
    }
}

/// A text as a part of a query: all but letters, digits and a few signs as `%XX`.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |escaped, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
            escaped + char::from(byte).encode_utf8(&mut [0; 4])
        }
        _ => escaped + &format!("%{byte:02X}"),
    })
}

/// The first picture.
///
/// # Errors
/// When there is none in time.
pub(super) async fn first(source: &Source, query: &Query) -> anyhow::Result<Picture> {
    let first = async { Stream::open(source, query).await?.next().await };
    let first = timeout(PATIENCE, first).await;
    first
        .map_err(|_| anyhow::anyhow!("no answer within {PATIENCE:?}"))
        .and_then(|done| done)
        .with_context(|| format!("the admin API at {} cannot be asked", source.name))
}

/// Tells what is heard, for ever. What is wished for anew is asked for at once.
pub(super) async fn follow(
    source: Source,
    mut wished: watch::Receiver<Query>,
    news: mpsc::Sender<Update>,
) {
    let mut pauses = PAUSES.iter();
    loop {
        let query = wished.borrow_and_update().clone();
        let lost = tokio::select! {
            changed = wished.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            lost = read(&source, &query, &news) => lost,
        };
        let Lost { error, heard } = lost;
        if heard {
            // It was there just now: a stream may end and be opened again.
            pauses = PAUSES.iter();
        }
        let pause = pauses.next().copied().unwrap_or(LONGEST);
        if !pause.is_zero() && news.send(Update::Lost(error.to_string(), pause)).await.is_err() {
            return;
        }
        tokio::select! {
            () = sleep(pause) => {}
            changed = wished.changed() => if changed.is_err() { return },
        }
    }
}

struct Lost {
    error: anyhow::Error,
    /// Whether anything came.
    heard: bool,
}

async fn read(source: &Source, query: &Query, news: &mpsc::Sender<Update>) -> Lost {
    let mut heard = false;
    let done = async {
        let mut stream = timeout(PATIENCE, Stream::open(source, query)).await??;
        loop {
            let picture =
                timeout(PATIENCE + Duration::from_secs(query.every.into()), stream.next());
            let picture =
                picture.await.map_err(|_| anyhow::anyhow!("nothing comes any more"))??;
            heard = true;
            if news.send(Update::Picture(Box::new(picture))).await.is_err() {
                bail!("nobody looks any more");
            }
        }
    };
    let done: anyhow::Result<()> = done.await;
    let error = done.err().unwrap_or_else(|| anyhow::anyhow!("the stream ended"));
    Lost { error, heard }
}

/// An open stream.
struct Stream {
    /// What moves the bytes.
    connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
    /// Kept: a connection whose sender is gone is closed.
    _sender: http1::SendRequest<Empty<Bytes>>,
    body: Incoming,
    /// What came and is no whole event yet.
    rest: Vec<u8>,
    ended: bool,
}

impl Stream {
    async fn open(source: &Source, query: &Query) -> anyhow::Result<Self> {
        // What is shown is read anew each time: tokens and certificates are renewed.
        let admin = Admin::new(&source.admin, &source.shown)?;
        let request = admin.request(&query.path())?;
        let stream = TokioIo::new(admin.connect().await?);
        let (mut sender, connection) = http1::handshake(stream).await?;
        let mut connection = Box::pin(connection);
        let answer = tokio::select! {
            answer = sender.send_request(request) => answer?,
            ended = connection.as_mut() => {
                ended?;
                bail!("the connection was closed");
            }
        };
        let (status, body) = (answer.status(), answer.into_body());
        let ended = false;
        let stream = Self { connection, _sender: sender, body, rest: Vec::new(), ended };
        if status == StatusCode::OK { Ok(stream) } else { Err(stream.refusal(status).await) }
    }

    async fn refusal(mut self, status: StatusCode) -> anyhow::Error {
        let body = Limited::new(self.body, MOST).collect();
        let body = tokio::select! {
            body = body => body.map(http_body_util::Collected::to_bytes).unwrap_or_default(),
            _ = self.connection.as_mut() => Bytes::new(),
        };
        match (status, asking::detail(&body)) {
            (StatusCode::UNAUTHORIZED, detail) => anyhow::anyhow!(
                "it does not let in: {detail}; see --token-file, TENANTRY_ADMIN_TOKEN and --cert"
            ),
            (StatusCode::NOT_FOUND, _) => {
                anyhow::anyhow!("it has no /api/v1/events: it is no Tenantry, or an older one")
            }
            (_, detail) => anyhow::anyhow!("it answered {status}: {detail}"),
        }
    }

    /// The next picture.
    async fn next(&mut self) -> anyhow::Result<Picture> {
        loop {
            if let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.rest.drain(..end + 2).collect();
                let mut lines = event.split(|byte| *byte == b'\n');
                if let Some(data) = lines.find_map(|line| line.strip_prefix(b"data: ")) {
                    return serde_json::from_slice(data)
                        .context("it says what this version does not understand");
                }
                continue;
            }
            if self.rest.len() > MOST {
                bail!("it says more than a picture has");
            }
            let frame = if self.ended {
                self.body.frame().await
            } else {
                tokio::select! {
                    frame = self.body.frame() => frame,
                    _ = self.connection.as_mut() => {
                        self.ended = true;
                        continue;
                    }
                }
            };
            let frame = frame.context("the gateway has ended the stream")??;
            if let Ok(data) = frame.into_data() {
                self.rest.extend_from_slice(&data);
            }
        }
    }
}

/// 10 s: a picture of very many pools takes some.
const PATIENCE: Duration = Duration::from_secs(10);

/// 16 MiB: a hundred tenants and their charts take less than one.
const MOST: usize = 16 << 20;

/// Before each next try.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(2)];

/// 5 s: whoever looks at the screen sees that it is back soon.
const LONGEST: Duration = Duration::from_secs(5);
