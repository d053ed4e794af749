//! A WebSocket peer by tungstenite: plays the scripts of `cases`.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use serde_json::Value;
use tokio_tungstenite::tungstenite;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::StatusCode;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Bytes, Error, HandshakeError, Message, WebSocket};

use super::{Log, Logs};
use crate::world::DEADLINE;

/// Serves the cases until the test's process ends.
pub(super) fn serve(cases: Vec<[Value; 2]>, logs: Logs) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a server");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (cases, logs) = (cases.clone(), logs.clone());
            thread::spawn(move || answer(stream, &cases, &logs));
        }
    });
    address
}

fn answer(stream: TcpStream, cases: &[[Value; 2]], logs: &Logs) {
    stream.set_nodelay(true).expect("set nodelay");
    let mut number = 0;
    #[expect(clippy::result_large_err, reason = "the library asks for it")]
    let judge = |request: &Request, response: Response| {
        number = request.uri().path().trim_matches('/').parse().expect("a number");
        match cases[number][1][0][1].as_u64() {
            Some(status) if cases[number][1][0][0] == "refuse" => {
                let mut refusal = ErrorResponse::new(Some("no".to_owned()));
                let status = u16::try_from(status).expect("a status");
                *refusal.status_mut() = StatusCode::from_u16(status).expect("a status");
                Err(refusal)
            }
            _ => Ok(response),
        }
    };
    let accepted = tungstenite::accept_hdr_with_config(stream, judge, Some(config()));
    let log = match accepted {
        Ok(socket) => play(socket, &cases[number][1]),
        Err(_) => vec!["refused".to_owned()],
    };
    logs.tell(number, log);
}

/// Plays all cases in turn.
pub(super) fn ask(cases: &[[Value; 2]], address: SocketAddr, logs: &Logs) {
    for (number, [script, _]) in cases.iter().enumerate() {
        let url = format!("ws://{address}/{number}");
        let mut request = url.into_client_request().expect("a request");
        request.headers_mut().insert("x-tenant-id", "acme".parse().expect("a value"));
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).expect("set nodelay");
        let asked = tungstenite::client::client_with_config(request, stream, Some(config()));
        let log = match asked {
            Ok((socket, _)) => play(socket, script),
            Err(HandshakeError::Failure(Error::Http(answer))) => {
                vec![format!("refused: {}", answer.status())]
            }
            Err(error) => vec![format!("failed: {error}")],
        };
        logs.tell(number, log);
    }
}

fn config() -> WebSocketConfig {
    let largest = Some(64 << 20);
    WebSocketConfig::default().max_message_size(largest).max_frame_size(largest)
}

/// What a peer does, and what it has seen.
struct Player {
    socket: WebSocket<TcpStream>,
    log: Log,
}

fn play(socket: WebSocket<TcpStream>, script: &Value) -> Log {
    socket.get_ref().set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let mut player = Player { socket, log: Vec::new() };
    for step in script.as_array().expect("a script") {
        if let Err(error) = player.step(step) {
            let late = matches!(&error, Error::Io(why) if why.kind() == ErrorKind::WouldBlock);
            assert!(!late, "nothing came at {step} after {:?}", player.log);
            player.log.push(format!("ended: {error}"));
            break;
        }
    }
    player.log
}

impl Player {
    fn step(&mut self, step: &Value) -> Result<(), Error> {
        let number = step[1].as_u64().unwrap_or_default();
        let text = step[1].as_str().unwrap_or_default().to_owned();
        match step[0].as_str().expect("a name") {
            "text" => self.socket.send(Message::text(text)),
            "binary" => self.socket.send(Message::binary(binary(number as usize))),
            "parts" => self.parts(&step[1], false),
            "parts-ping" => self.parts(&step[1], true),
            "pong" => self.socket.send(Message::Pong(text.into())),
            "ping" => {
                self.socket.send(Message::Ping(text.into()))?;
                while !matches!(self.next()?, Message::Pong(_)) {}
                Ok(())
            }
            "take" => (0..number).try_for_each(|_| self.message().map(drop)),
            "echo" => (0..number).try_for_each(|_| {
                let message = self.message()?;
                self.socket.send(message)
            }),
            "close" => {
                let code = u16::try_from(number).expect("a code").into();
                let reason = step[2].as_str().unwrap_or_default().into();
                self.socket.close(Some(CloseFrame { code, reason }))?;
                loop {
                    self.next()?;
                }
            }
            "end" => loop {
                self.next()?;
            },
            other => panic!("no step {other}"),
        }
    }

    /// The next that comes, which is logged.
    fn next(&mut self) -> Result<Message, Error> {
        let message = self.socket.read()?;
        self.log.push(match &message {
            Message::Text(text) => format!("text of {} bytes, {:x}", text.len(), sum(text)),
            Message::Binary(data) => format!("binary of {} bytes, {:x}", data.len(), sum(data)),
            other => format!("{other:?}"),
        });
        Ok(message)
    }

    /// The next text or binary.
    fn message(&mut self) -> Result<Message, Error> {
        loop {
            let message = self.next()?;
            if message.is_text() || message.is_binary() {
                return Ok(message);
            }
        }
    }

    fn parts(&mut self, parts: &Value, pings: bool) -> Result<(), Error> {
        let parts = parts.as_array().expect("parts");
        for (number, part) in parts.iter().enumerate() {
            let kind = if number == 0 { Data::Text } else { Data::Continue };
            let part = part.as_str().unwrap_or_default();
            let data = Bytes::from(part.to_owned());
            let last = number + 1 == parts.len();
            let frame = Frame::message(data, OpCode::Data(kind), last);
            self.socket.send(Message::Frame(frame))?;
            if pings {
                self.socket.send(Message::Ping(format!("after {part}").into()))?;
            }
        }
        Ok(())
    }
}

fn binary(size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let block: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(997).collect();
    let mut bytes = block.repeat(size / block.len() + 1);
    bytes.truncate(size);
    bytes
}

fn sum(data: impl AsRef<[u8]>) -> u64 {
    let parts = data.as_ref().chunks(8);
    parts.fold(0, |sum: u64, part| {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        (sum.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95)
    })
}
