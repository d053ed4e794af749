//! Endpoints that speak HTTP/2, where one connection carries the requests of a worker, and gRPC. They behave as those of
//! HTTP/1.1 do; not each of their ways to break has a counterpart here.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request as Head, Response};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::calls::{CONTENT_TYPE, GRPC_STATUS, OK, SOUND_MESSAGE, UNAVAILABLE};
use super::origin::{End, Event, Mode, Request};

/// Answers requests as they come; `None` where the gateway has left.
pub(crate) async fn converse(
    stream: TcpStream,
    mut mode: watch::Receiver<Mode>,
    note: impl Fn(Event) + Clone + 'static,
) -> Option<End> {
    let reset = Rc::new(Notify::new());
    let endpoint = Endpoint { mode: mode.clone(), note: note.clone(), reset: Rc::clone(&reset) };
    tokio::select! {
        _ = mode.wait_for(|mode| *mode == Mode::ResetsConnections) => {
            note(Event::Hurt);
            Some(End::Reset)
        }
        () = reset.notified() => Some(End::Reset),
        () = answer_all(stream, endpoint) => None,
    }
}

/// What each request of a connection is answered by.
#[derive(Clone)]
struct Endpoint<N> {
    mode: watch::Receiver<Mode>,
    note: N,
    /// Ends the connection, with all that is under way on it.
    reset: Rc<Notify>,
}

async fn answer_all<N: Fn(Event) + Clone + 'static>(stream: TcpStream, endpoint: Endpoint<N>) {
    let Ok(mut connection) = server::handshake(stream).await else { return };
    let mut answering = JoinSet::new();
    while let Some(Ok((request, answer))) = connection.accept().await {
        let endpoint = endpoint.clone();
        // What it gives tells only that the gateway has given the request up.
        answering.spawn_local(async move { endpoint.answer(request, answer).await.is_ok() });
        while answering.try_join_next().is_some() {}
    }
}

impl<N: Fn(Event)> Endpoint<N> {
    async fn answer(
        &self,
        request: Head<RecvStream>,
        mut answer: SendResponse<Bytes>,
    ) -> Result<(), h2::Error> {
        let path = request.uri().path();
        let is_check = path == "/healthz" || path == GRPC_CHECK;
        let is_call =
            request.headers().get("content-type").is_some_and(|kind| kind == CONTENT_TYPE);
        let to_come = usize::from(!request.body().is_end_stream());
        if !is_check {
            (self.note)(Event::Request);
        }
        let now = self.mode.borrow().as_met_by(&Request { is_check, to_come });
        if now != Mode::Sound {
            (self.note)(Event::Hurt);
        }
        read(request.into_body()).await?;
        match now {
            Mode::Sound => {}
            Mode::Slow(time) => sleep(time).await,
            Mode::Silent => std::future::pending().await,
            Mode::ResetsRequests | Mode::ResetsUsers => {
                sleep(TOGETHER).await;
                self.reset.notify_one();
                return Ok(());
            }
            Mode::ResetsStreams => {
                answer.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
            Mode::Says(_) if is_call => {
                return answer.send_response(call_head(Some(UNAVAILABLE)), true).map(drop);
            }
            Mode::Says(status) => {
                let head = Response::builder().status(status).body(()).expect("a head");
                return answer.send_response(head, true).map(drop);
            }
            other => panic!("endpoints of HTTP/2 know no {other:?}"),
        }
        match is_call {
            true => answer_call(&mut answer, if is_check { SERVING } else { SOUND_MESSAGE }),
            false => {
                let head = Response::builder().header("content-length", SOUND.len());
                let mut body = answer.send_response(head.body(()).expect("a head"), false)?;
                body.send_data(Bytes::from_static(SOUND), true)
            }
        }
    }
}

fn answer_call(answer: &mut SendResponse<Bytes>, message: &'static [u8]) -> Result<(), h2::Error> {
    let mut body = answer.send_response(call_head(None), false)?;
    body.send_data(Bytes::from_static(message), false)?;
    body.send_trailers(HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static(OK))]))
}

/// The head of an answer to a call, which ends with it where it has a status.
fn call_head(status: Option<&'static str>) -> Response<()> {
    let mut head = Response::builder().header("content-type", CONTENT_TYPE);
    if let Some(status) = status {
        head = head.header(GRPC_STATUS, status);
    }
    head.body(()).expect("a head")
}

async fn read(mut body: RecvStream) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    Ok(())
}

/// 100 ms, in which others come that end with the connection.
const TOGETHER: Duration = Duration::from_millis(100);
const SOUND: &[u8] = b"sound";
const GRPC_CHECK: &str = "/grpc.health.v1.Health/Check";
/// A message of two bytes: its field 1 is 1.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
