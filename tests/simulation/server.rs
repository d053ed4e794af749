//! An endpoint as a queue: so many requests at once, the others one after the other behind them, for times that are drawn. It
//! does not hear of clients that leave unless it is told to, as most servers: what it has taken it works off.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::oneshot;

use super::dice::Dice;
use super::timeline::Timeline;

/// How an endpoint is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Requests that it works on at once.
    pub(crate) slots: u32,
    /// How long it works on one, on average.
    pub(crate) service: Duration,
    /// Requests that wait in it; it answers 503 to who comes beyond.
    pub(crate) backlog: usize,
    /// How much longer work takes for each request that waits for a slot, as a share: caches are cold, memory is short.
    pub(crate) strain: f64,
    /// It looks whether a client is still there before it begins with its request.
    pub(crate) notices: bool,
    /// What a new connection costs it: a handshake, a process.
    pub(crate) opening: Duration,
    /// One request of so many takes a hundred times as long; 0 = none.
    pub(crate) heavy: usize,
}

impl Form {
    /// 200 requests a second, and none waits for as long as an attempt lasts.
    pub(crate) const USUAL: Self = Self {
        slots: 4,
        service: Duration::from_millis(20),
        backlog: 64,
        strain: 0.01,
        notices: false,
        opening: Duration::from_millis(1),
        heavy: 0,
    };
}

/// How an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Condition {
    /// It does what it should.
    Sound,
    /// It takes so many times as long.
    Slow(f64),
    /// It answers 503 to all that it is asked.
    Failing,
    /// Nothing comes through, in either direction.
    Unreachable,
    /// Its process has died: connections are refused, and those that were open are reset.
    Dead,
}

/// An endpoint.
pub(crate) struct Server {
    timeline: Rc<Timeline>,
    dice: Rc<Dice>,
    form: Form,
    condition: Cell<Condition>,
    busy: Cell<u32>,
    queue: RefCell<VecDeque<Job>>,
    /// What it works on, by a number.
    under_way: RefCell<BTreeMap<u64, oneshot::Sender<StatusCode>>>,
    number: Cell<u64>,
    /// Connections of the gateway that are open and not in use.
    idle: Cell<u32>,
    /// Answers that nobody waited for any more.
    wasted: Cell<u64>,
}

struct Job {
    work: Duration,
    answer: oneshot::Sender<StatusCode>,
}

impl Server {
    pub(crate) fn new(timeline: &Rc<Timeline>, dice: &Rc<Dice>, form: Form) -> Rc<Self> {
        Rc::new(Self {
            timeline: Rc::clone(timeline),
            dice: Rc::clone(dice),
            form,
            condition: Cell::new(Condition::Sound),
            busy: Cell::default(),
            queue: RefCell::default(),
            under_way: RefCell::default(),
            number: Cell::default(),
            idle: Cell::default(),
            wasted: Cell::default(),
        })
    }

    pub(crate) fn condition(&self) -> Condition {
        self.condition.get()
    }

    /// Becomes what it is from now on. What it works on already takes as long as it was to take.
    pub(crate) fn turn(&self, condition: Condition) {
        self.condition.set(condition);
        if condition == Condition::Dead {
            // Whoever waits for an answer hears that there will be none.
            let (under_way, queue) = (self.under_way.take(), self.queue.take());
            drop((under_way, queue));
            self.idle.set(0);
        }
    }

    /// Answers that nobody waited for any more.
    pub(crate) fn wasted(&self) -> u64 {
        self.wasted.get()
    }

    /// Requests that it has begun with.
    pub(crate) fn begun(&self) -> u64 {
        self.number.get()
    }

    /// Takes a connection that is open, if there is one.
    pub(crate) fn reuse(&self) -> bool {
        let idle = self.idle.get();
        self.idle.set(idle.saturating_sub(1));
        idle > 0
    }

    /// Keeps a connection for the next request.
    pub(crate) fn keep(&self) {
        self.idle.set(self.idle.get() + 1);
    }

    /// Answers a request; `None`: the connection is gone. Whoever drops this has left.
    pub(crate) async fn answer(self: &Rc<Self>, is_new: bool) -> Option<StatusCode> {
        match self.condition.get() {
            Condition::Unreachable => std::future::pending().await,
            Condition::Dead => None,
            Condition::Failing => Some(StatusCode::SERVICE_UNAVAILABLE),
            Condition::Sound | Condition::Slow(_) => match self.take(is_new) {
                Some(answer) => answer.await.ok(),
                None => Some(StatusCode::SERVICE_UNAVAILABLE),
            },
        }
    }

    /// Takes a request, where there is room for it.
    fn take(self: &Rc<Self>, is_new: bool) -> Option<oneshot::Receiver<StatusCode>> {
        let opening = if is_new { self.form.opening } else { Duration::ZERO };
        let (answer, receiver) = oneshot::channel();
        let is_heavy = self.form.heavy > 0 && self.dice.below(self.form.heavy) == 0;
        let times = if is_heavy { 100 } else { 1 };
        let job = Job { work: self.dice.time(self.form.service) * times + opening, answer };
        if self.busy.get() < self.form.slots {
            self.busy.set(self.busy.get() + 1);
            self.timeline.begin(Rc::clone(self).work(job));
        } else if self.queue.borrow().len() < self.form.backlog {
            self.queue.borrow_mut().push_back(job);
        } else {
            return None;
        }
        Some(receiver)
    }

    /// Works on one request after the other until none is left.
    async fn work(self: Rc<Self>, first: Job) {
        let mut next = Some(first);
        while let Some(Job { work, answer }) = next {
            if !self.form.notices || !answer.is_closed() {
                let number = self.number.get();
                self.number.set(number + 1);
                self.under_way.borrow_mut().insert(number, answer);
                self.timeline.sleep(work.mul_f64(self.slowness())).await;
                self.deliver(number);
            }
            next = self.queue.borrow_mut().pop_front();
        }
        self.busy.set(self.busy.get() - 1);
    }

    fn deliver(&self, number: u64) {
        if self.condition.get() == Condition::Unreachable {
            return; // who waits for it hears nothing
        }
        let answer = self.under_way.borrow_mut().remove(&number);
        if answer.is_some_and(|answer| answer.send(StatusCode::OK).is_err()) {
            self.wasted.set(self.wasted.get() + 1);
        }
    }

    /// How many times as long as usual its work takes now.
    fn slowness(&self) -> f64 {
        let waiting = self.queue.borrow().len() as f64;
        let strain = 1.0 + self.form.strain * waiting / f64::from(self.form.slots);
        let slow = if let Condition::Slow(times) = self.condition.get() { times } else { 1.0 };
        slow * strain.min(MOST_STRAIN)
    }
}

/// 1.5: an endpoint that is overrun loses a third of what it can do.
const MOST_STRAIN: f64 = 1.5;

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// When each of so many requests that come at once is answered, and by what.
    async fn answers(form: Form, count: usize) -> Vec<(Duration, StatusCode)> {
        let (timeline, dice) = (Rc::new(Timeline::default()), Rc::new(Dice::of(1, 1)));
        let server = Server::new(&timeline, &dice, form);
        let told = Rc::new(RefCell::new(Vec::new()));
        let began = Instant::now();
        for _ in 0..count {
            let (server, told) = (Rc::clone(&server), Rc::clone(&told));
            timeline.begin(async move {
                let answer = server.answer(false).await.expect("it is sound");
                told.borrow_mut().push((began.elapsed(), answer));
            });
        }
        timeline.run_until(began + Duration::from_secs(600)).await;
        timeline.end();
        let told = told.borrow();
        told.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn it_serves_as_many_as_its_slots_can_bear() {
        let form = Form { strain: 0.0, backlog: usize::MAX, ..Form::USUAL };

        let told = answers(form, 10_000).await;

        let last = told.last().expect("answers").0.as_secs_f64();
        assert!((45.0..55.0).contains(&last), "10,000 at 200 a second took {last} s");
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_beyond_its_backlog_is_refused_at_once() {
        let told = answers(Form { backlog: 6, ..Form::USUAL }, 12).await;

        let refused = told.iter().filter(|(_, status)| status.is_server_error());
        let times: Vec<Duration> = refused.map(|(time, _)| *time).collect();
        assert_eq!(times, [Duration::ZERO; 2], "4 are worked on and 6 wait");
    }
}
