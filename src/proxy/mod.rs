//! One request and its answer. Read `exchange` first: it is the table of contents of the data
//! path. Everything here runs on a worker's own thread and waits for nobody but the two peers.

mod activity;
mod alarm;
mod answer;
mod attempt;
mod budget;
mod choice;
mod clock;
mod connection;
pub mod door;
mod downloads;
mod ear;
mod error;
mod exchange;
mod extended;
mod forward;
mod frames;
mod grpc;
mod guard;
mod handshakes;
pub mod headcount;
mod hops;
mod http1;
pub mod hygiene;
mod incoming;
mod io;
mod listener;
mod local;
mod open;
mod outgoing;
mod pace;
mod pleas;
pub mod proxy_header;
mod reply;
mod request_body;
mod rescue;
mod seats;
mod secured;
mod settings;
mod slots;
mod unread;
mod upgrade;
mod visit;
mod waits;
pub mod worker;

pub use rescue::PROBLEMS;
