//! Path 1: may this connection come in? Each worker has a socket of its own for each listener; the
//! kernel spreads the connections over them; where one worker has more than others, they are given on
//! ([`handover`]).

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::listening::{Accepted, Accepting, Listening};
use crate::base::memory::Refused;
use crate::base::socket;
use crate::base::tasks::Stop;

use super::connection::Serving;
use super::door::{Door, Front};
use super::handover::{self, Arrived};
use super::headcount::{Full, Place, Share};
use super::open::{self, Arrival};
use super::pleas;
use super::worker::Worker;

/// Accepts until `stop`, then what the kernel has accepted already, so that none of it is refused.
pub(super) async fn run(worker: Rc<Worker>, socket: Listening, door: Arc<Door>, mut stop: Stop) {
    let number = door.number;
    let listener: Accepting = match socket.start() {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(listener = number, %error, "a listener cannot be used");
            return;
        }
    };
    let mut taken = 0;
    loop {
        tokio::select! {
            biased;
            () = stop.requested() => break,
            accepted = listener.accept() => admit(&worker, accepted, &door).await,
        }
        taken = (taken + 1) % ACCEPTS_A_TURN;
        if taken == 0 {
            tokio::task::yield_now().await; // the runtime looks at the other sockets
        }
    }
    match listener.stop() {
        Ok(socket) => accept_rest(&worker, &socket, &door).await,
        Err(error) => tracing::warn!(listener = number, %error, "a listener was lost"),
    }
}

/// Accepts what waits in the kernel's queue. Asks the kernel itself: the runtime would tell only of
/// those that it has heard of already.
async fn accept_rest(worker: &Rc<Worker>, socket: &Listening, door: &Arc<Door>) {
    for _ in 0..QUEUE {
        let accepted = match socket.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(_) => return, // none is left
        };
        admit(worker, Ok(accepted), door).await;
    }
}

async fn admit(worker: &Rc<Worker>, accepted: io::Result<Accepted>, door: &Arc<Door>) {
    let (number, front) = (door.number, door.front());
    let (stream, address) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => return refused(worker, number, &error).await,
    };
    let share = match share(worker, address, &front) {
        Ok(share) => share,
        Err(reason) => return turn_away(worker, address, number, reason),
    };
    // Where memory is short, too, one goes for one that comes.
    let made_room = worker.account.is_full() && worker.vacate(None);
    if worker.account.is_full() && !made_room {
        worker.account.refuse(Refused::Connection);
        return turn_away(worker, address, number, "overloaded");
    }
    let full = match enter(worker, door, &front) {
        (Ok(place), vacated) => {
            let load = worker.headcount.loads.place(worker.number);
            let arrived = Arrived { address, door: Arc::clone(door), front, place, share, load };
            if let Err(error) = handover::settle(worker, stream, arrived) {
                return refused(worker, number, &error).await;
            }
            if vacated || made_room {
                // The one that goes closes its file first.
                tokio::task::yield_now().await;
            }
            return;
        }
        (Err(full), _) => full,
    };
    let (worker, door) = (Rc::clone(worker), Arc::clone(door));
    let tasks = Rc::clone(&worker.tasks);
    tasks.borrow_mut().spawn(|_stop| async move {
        match pleas::plead(&worker, &door, &front, full).await {
            Ok(place) => {
                let counted = (place, share, worker.headcount.loads.take(worker.number));
                let arrival = Arrival::new(&worker, address, &door, &front, counted);
                Serving::new(worker, stream, arrival).await;
            }
            Err(full) => turn_away(&worker, address, number, full.reason()),
        }
    });
}

/// Counts a connection as its client's. Asked first: who has too many must not drive out others.
fn share(
    worker: &Worker,
    address: Option<SocketAddr>,
    front: &Front,
) -> Result<Option<Share>, &'static str> {
    let ip = address.map(|address| address.ip());
    match (&front.spec.proxy_protocol, ip) {
        (Some(from), _) if !from.iter().any(|peers| peers.contain(ip)) => Err("proxy_untrusted"),
        (Some(_), _) => Ok(None), // its header tells whose it is
        (None, None) => Ok(None), // nobody's: over a Unix socket
        (None, Some(ip)) => open::claim(worker, ip).map(Some),
    }
}

/// Finds room for a connection on this worker; also tells whether another one goes for it.
fn enter(worker: &Worker, door: &Door, front: &Front) -> (Result<Place, Full>, bool) {
    let mut vacated = false;
    loop {
        match worker.admit(door, front) {
            Err(full) if worker.vacate(full.listener(door.number)) => vacated = true,
            entered => return (entered, vacated),
        }
    }
}

fn turn_away(worker: &Worker, address: Option<SocketAddr>, number: usize, reason: &'static str) {
    worker.meter.connection_rejected(reason);
    if worker.headcount.may_tell() {
        let (client, hint) = (address.map(|address| address.ip()), hint(reason));
        tracing::warn!(?client, reason, listener = number, "connections are refused: {hint}");
    }
}

/// What an operator can do where connections are refused.
fn hint(reason: &str) -> &'static str {
    match reason {
        "too_many" => "all of downstream.max-connections are busy; raise it, or run more gateways",
        "too_many_of_listener" => "all of the listener's max-connections are busy; raise it",
        "overloaded" => "memory.buffers is used up; raise it, or find out who takes it",
        "too_many_of_client" => {
            "a client has all of downstream.max-connections-per-client; raise it where many users \
             share an address, or set proxy-protocol behind a load balancer"
        }
        "too_much_of_client" => {
            "a client has most of memory.buffers-per-client; raise it where many users share an \
             address, or set proxy-protocol or trusted-proxies behind a load balancer"
        }
        _ => {
            "the address is not among proxy-protocol.from of the listener; add it if it is trusted"
        }
    }
}

/// The system gave no connection. Out of open files, an idle one makes room for the next; where
/// there is none, clients wait in the kernel's queue.
pub(super) async fn refused(worker: &Rc<Worker>, number: usize, error: &io::Error) {
    worker.meter.connection_rejected("accept_failed");
    let out_of_files = socket::is_out_of_files(error);
    if worker.headcount.may_tell() {
        let hint = if out_of_files {
            "raise the limit of open files (LimitNOFILE= of the service, ulimit -n), or lower \
             downstream.max-connections"
        } else {
            "it is tried again"
        };
        tracing::warn!(listener = number, %error, "a connection could not be accepted: {hint}");
    }
    let made_room = out_of_files && worker.vacate(None);
    tokio::time::sleep(if made_room { ROOM_PAUSE } else { ACCEPT_PAUSE }).await;
}

/// 8: some tenths of a millisecond, in which the requests of others wait.
const ACCEPTS_A_TURN: u32 = 8;
/// 4,096: what the queue holds; who comes after that finds the listener closed.
const QUEUE: usize = 4096;
/// 1 ms: the connection that makes room closes meanwhile.
const ROOM_PAUSE: Duration = Duration::from_millis(1);
/// 50 ms: out of file descriptors is not over in an instant, and asking again at once burns a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
