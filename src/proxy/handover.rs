//! Connections that another worker serves than the one that they came to, since that one has more of
//! them than others: see [`Loads`](crate::base::loads).

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TrySendError;

use crate::base::loads::Load;
use crate::base::tasks::Stop;

use super::connection::Serving;
use super::door::{Door, Front};
use super::headcount::{Place, Share};
use super::listener;
use super::open::Arrival;
use super::post::Post;
use super::worker::Worker;

/// A connection that may come in, and what counts it.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) address: Option<SocketAddr>,
    pub(super) door: Arc<Door>,
    pub(super) front: Arc<Front>,
    pub(super) place: Place,
    pub(super) share: Option<Share>,
    /// Whose it is.
    pub(super) load: Load,
}

/// One on its way to another worker: no runtime knows it.
#[derive(Debug)]
pub(super) struct Moved(std::net::TcpStream, Arrived);

/// The ways of connections to all workers.
pub(super) fn ways(workers: usize) -> Post<Moved> {
    Post::new(workers, MOST)
}

/// Serves a connection here, or gives it to the worker whose it is. Where that one is ending, or is
/// behind, it stays here.
///
/// # Errors
/// When the runtime does not give it back, or does not take it again.
pub(super) fn settle(worker: &Rc<Worker>, stream: TcpStream, arrived: Arrived) -> io::Result<()> {
    if arrived.load.worker() == worker.number {
        begin(worker, stream, arrived);
        return Ok(());
    }
    let way = &worker.headcount.moves.ways()[arrived.load.worker()];
    let back = match way.try_send(Moved(stream.into_std()?, arrived)) {
        Ok(()) => return Ok(()),
        Err(TrySendError::Full(back) | TrySendError::Closed(back)) => back,
    };
    let Moved(stream, arrived) = back;
    let load = worker.headcount.loads.take(worker.number);
    begin(worker, TcpStream::from_std(stream)?, Arrived { load, ..arrived });
    Ok(())
}

fn begin(worker: &Rc<Worker>, stream: TcpStream, arrived: Arrived) {
    let Arrived { address, door, front, place, share, load } = arrived;
    let arrival = Arrival::new(worker, address, &door, &front, (place, share, load));
    let serving = Serving::new(Rc::clone(worker), stream, arrival);
    worker.tasks.borrow_mut().spawn(|_stop| serving);
}

/// Serves what other workers give to this one. After `stop` it takes what was given already, so that
/// none of it is lost.
pub(super) async fn take(worker: Rc<Worker>, mut stop: Stop) {
    let Some(mut given) = worker.headcount.moves.take(worker.number) else { return };
    loop {
        tokio::select! {
            biased;
            () = stop.requested() => break,
            Some(moved) = given.recv() => serve(&worker, moved).await,
        }
    }
    given.close();
    while let Some(moved) = given.recv().await {
        serve(&worker, moved).await;
    }
}

async fn serve(worker: &Rc<Worker>, Moved(stream, arrived): Moved) {
    arrived.load.note_moved();
    match TcpStream::from_std(stream) {
        Ok(stream) => begin(worker, stream, arrived),
        Err(error) => listener::refused(worker, arrived.door.number, &error).await,
    }
}

/// 256: as many as may come before a worker has looked at its sockets once or twice.
const MOST: usize = 256;
