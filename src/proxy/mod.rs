//! One request and its answer. Read `exchange` first: it is the table of contents of the data
//! path. Everything here runs on a worker's own thread and waits for nobody but the two peers.

mod activity;
mod alarm;
mod answer;
mod attempt;
mod choice;
mod clock;
mod connection;
mod downloads;
mod error;
mod exchange;
mod forward;
mod guard;
mod hops;
pub mod hygiene;
mod interim;
mod io;
mod listener;
mod local;
mod outgoing;
mod reply;
mod request_body;
mod rescue;
mod slots;
mod unread;
mod upgrade;
mod visit;
mod waits;
pub mod worker;

pub use rescue::PROBLEMS;
