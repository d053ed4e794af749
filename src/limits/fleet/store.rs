//! What is asked of the store in which the words lie that gateways share.

use std::future::Future;

use crate::limits::gcra::{Pace, Ticks};

use super::fault::Fault;

/// One question, of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The limit, with its pace: one that becomes another is another word.
    pub key: String,
    /// Its pace.
    pub pace: Pace,
    /// Requests that have passed, and are to be counted whether there is room or not.
    pub spent: u64,
    /// How far the gateway's own word lies ahead, the least that can be true of the word of all: so
    /// a store that has lost its words gives nobody more than what the others have taken. 0 where it has
    /// heard of that already.
    pub own: u64,
    /// Requests that it would like to have beforehand.
    pub wanted: u64,
    /// Requests that it had beforehand and does not need.
    pub back: u64,
    /// How long ago the first of those that are spent may have passed.
    pub age: Ticks,
}

/// What the store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How many of those that are wanted it has.
    pub granted: u64,
    /// How far the word lies ahead of the store's now.
    pub ahead: u64,
    /// The key had held something else than a word of a limit.
    pub replaced: bool,
}

/// Where the words lie.
pub trait Store: Send {
    /// Reaches it, anew where it was reached before.
    fn open(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Asks it, of so many limits in one go; the answers come in order. Bounded in time.
    fn ask(&mut self, asks: &[Ask]) -> impl Future<Output = Result<Vec<Answer>, Fault>> + Send;

    /// Where it is, for people.
    fn place(&self) -> &str;
}
