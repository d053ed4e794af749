//! The only spawner. Every task has an owner, hears when it shall stop, and is waited for.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::pin::pin;
use std::process::abort;
use std::task::Poll;
use std::time::Duration;

use rustix::process::{getpid, getpriority_process, setpriority_process};
use tokio::runtime::LocalRuntime;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinHandle, JoinSet, spawn_blocking, try_id};

/// Tells a task that it shall stop. Clones hear the same word.
#[derive(Clone, Debug)]
pub struct Stop {
    word: watch::Receiver<bool>,
}

impl Stop {
    /// Resolves once the owner has asked its tasks to stop (or is gone).
    pub async fn requested(&mut self) {
        // An error means that the owner is gone, which asks for the same.
        drop(self.word.wait_for(|stop| *stop).await);
    }

    /// Whether the owner has asked its tasks to stop.
    pub fn is_requested(&self) -> bool {
        *self.word.borrow()
    }
}

/// How a set of tasks ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// All ended by themselves.
    Cleanly,
    /// This many were still running at the deadline and were dropped.
    Aborted(usize),
}

/// Tasks of a runtime with several threads. Dropping it aborts what still runs.
#[derive(Debug)]
pub struct Tasks {
    owner: &'static str,
    stop: watch::Sender<bool>,
    running: JoinSet<()>,
}

impl Tasks {
    /// An empty set; `owner` names it in log lines.
    pub fn new(owner: &'static str) -> Self {
        Self { owner, stop: watch::Sender::new(false), running: JoinSet::new() }
    }

    /// Starts a task that is given the word to stop. A panic ends it, and it alone.
    pub fn spawn<F>(&mut self, task: impl FnOnce(Stop) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (owner, work) = (self.owner, task(self.word()));
        self.start(async move {
            if caught(work).await.is_err() {
                tracing::error!(owner, "a task panicked; this is a bug, please report it");
            }
        });
    }

    /// Starts a task that is begun anew, a second later, where it panics: what looks after one of many, and can find out
    /// again what it knew.
    pub fn spawn_again<F>(&mut self, task: impl Fn(Stop) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (owner, mut stop) = (self.owner, self.word());
        let mut work = task(stop.clone());
        self.start(async move {
            while caught(work).await.is_err() {
                tracing::error!(
                    owner,
                    "a task panicked and begins anew; this is a bug, please report it"
                );
                tokio::select! {
                    () = stop.requested() => return,
                    () = tokio::time::sleep(PAUSE) => work = task(stop.clone()),
                }
            }
        });
    }

    /// Starts a task that the gateway is not whole without: where it panics, the process ends, so that it is started again.
    pub fn spawn_vital<F>(&mut self, task: impl FnOnce(Stop) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (owner, work) = (self.owner, task(self.word()));
        self.start(async move {
            if caught(work).await.is_err() {
                tracing::error!(owner, "a task panicked that the gateway cannot do without");
                end(LOST_TASK);
            }
        });
    }

    fn word(&self) -> Stop {
        Stop { word: self.stop.subscribe() }
    }

    fn start(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        reap(self.owner, &mut self.running);
        self.running.spawn(work);
    }

    /// Asks all tasks to stop and waits for them, at most `limit`.
    pub async fn stop(mut self, limit: Duration) -> Stopped {
        self.stop.send_replace(true);
        wait(self.owner, &mut self.running, limit).await
    }
}

/// Tasks that stay on the thread that spawned them, inside a runtime that does. Dropping it aborts what
/// still runs.
#[derive(Debug)]
pub struct LocalTasks {
    owner: &'static str,
    stop: watch::Sender<bool>,
    running: JoinSet<()>,
}

impl LocalTasks {
    /// An empty set; `owner` names it in log lines.
    pub fn new(owner: &'static str) -> Self {
        Self { owner, stop: watch::Sender::new(false), running: JoinSet::new() }
    }

    /// Starts a task on this thread that is given the word to stop.
    pub fn spawn<F>(&mut self, task: impl FnOnce(Stop) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        self.forget_some(FORGOTTEN);
        self.running.spawn_local(task(Stop { word: self.stop.subscribe() }));
    }

    /// Forgets tasks that have ended, at most so many. Tells whether there may be more.
    pub fn forget_some(&mut self, most: usize) -> bool {
        for _ in 0..most {
            match self.running.try_join_next() {
                Some(ended) => report(self.owner, ended),
                None => return false,
            }
        }
        true
    }

    /// How many tasks have not ended yet.
    pub fn running(&mut self) -> usize {
        reap(self.owner, &mut self.running);
        self.running.len()
    }

    /// Asks all tasks to stop, without waiting.
    pub fn ask(&self) {
        self.stop.send_replace(true);
    }

    /// Asks all tasks to stop and waits for them, at most `limit`.
    pub async fn stop(mut self, limit: Duration) -> Stopped {
        self.ask();
        wait(self.owner, &mut self.running, limit).await
    }
}

/// Runs a thread's work to its end. As one task among those that the work starts: a runtime asks what
/// it is given to wait for whenever any of its tasks has something to do.
///
/// # Panics
/// Where the work does.
pub fn run_here<F>(runtime: &LocalRuntime, work: impl FnOnce() -> F + 'static) -> F::Output
where
    F: Future + 'static,
    F::Output: 'static,
{
    let ended = runtime.block_on(runtime.spawn_local(async { work().await }));
    ended.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

/// Starts work that grows with what is configured, on a thread that may be busy for long and steps
/// back for all others: where it shares a core with a worker, the system lets one that has just
/// begun go on for milliseconds, and a request waits each time that its worker is woken.
pub fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    spawn_blocking(move || {
        step_back();
        work()
    })
}

/// Lowers the calling thread's priority below that of the process's first one, for good: an ordinary
/// user may not raise it again. Where the system forbids even that, it stays.
pub fn step_back() {
    let lowered = getpriority_process(Some(getpid()))
        .and_then(|niceness| setpriority_process(None, (niceness + MORE_NICE).min(LEAST_URGENT)));
    if let Err(error) = lowered {
        tracing::debug!(%error, "a thread in the background keeps its priority");
    }
}

/// 8 that have ended for each that is started: of thousands that end at once, none who comes then
/// waits for all.
const FORGOTTEN: usize = 8;
/// 5: about a quarter of a core while a worker would take all of it, so that a busy gateway hears of
/// its edits, too.
const MORE_NICE: i32 = 5;
/// 19: setpriority(2) knows no higher.
const LEAST_URGENT: i32 = 19;

thread_local! {
    /// What the runtime takes for the task at work while a thread of its own runs none: such a thread is
    /// work for the runtime, too.
    static NO_TASK: Cell<Option<Id>> = const { Cell::new(None) };
}

/// For each thread of a runtime with several, whenever it parks: it runs no task there.
pub fn note_parking() {
    NO_TASK.set(try_id());
}

/// Has the process end when a thread that [`note_parking`] knows panics outside of all tasks. The runtime
/// would lose the thread and with it its sockets and its clock, and leave all that it runs waiting for ever; it ends
/// the process by itself in debug builds alone. What panics within a task is caught, and harms that alone.
pub fn end_with_a_lost_thread() {
    let tell = take_hook();
    set_hook(Box::new(move |panic| {
        tell(panic);
        if NO_TASK.get().is_some_and(|none| try_id() == Some(none)) {
            end(LOST_THREAD);
        }
    }));
}

/// Tells why, whether somebody reads it or not, and ends the process.
fn end(why: &[u8]) -> ! {
    drop(io::stderr().write_all(why));
    abort();
}

/// What `work` comes to, or that it has panicked, which the hook has told of.
async fn caught<F: Future>(work: F) -> std::thread::Result<F::Output> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        // It is not polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled.map_or_else(|panic| Poll::Ready(Err(panic)), |polled| polled.map(Ok))
    })
    .await
}

/// 1 s: what panics each time does little else, and fills no log.
const PAUSE: Duration = Duration::from_secs(1);

/// Before it, the panic has told where it was.
const LOST_TASK: &[u8] =
    b"a task has panicked that the gateway cannot do without: the process ends, \
    so that it is started again; this is a bug, please report it with the lines above\n";

/// Before it, the panic has told where it was.
const LOST_THREAD: &[u8] =
    b"a thread of the runtime has panicked outside of all tasks: the process ends, \
    so that it is started again; this is a bug, please report it with the lines above\n";

/// Work that may wait for the system, on a thread that may wait. Such work cannot be interrupted:
/// dropping this leaves it to its end, and nobody hears of what it came to.
#[derive(Debug)]
pub struct Blocking<T> {
    running: JoinHandle<T>,
}

impl<T: Send + 'static> Blocking<T> {
    /// Starts the work.
    pub fn start(work: impl FnOnce() -> T + Send + 'static) -> Self {
        Self { running: in_background(work) }
    }

    /// What it came to; `None` where it panicked or the process is ending. A wait that is dropped
    /// can be taken up again; one that has ended cannot.
    pub async fn ended(&mut self) -> Option<T> {
        match (&mut self.running).await {
            Ok(done) => Some(done),
            Err(error) => {
                report("blocking", Err(error));
                None
            }
        }
    }
}

/// Forgets the tasks that have ended, so that a long-lived owner does not collect them.
fn reap(owner: &str, running: &mut JoinSet<()>) {
    while let Some(ended) = running.try_join_next() {
        report(owner, ended);
    }
}

async fn wait(owner: &str, running: &mut JoinSet<()>, limit: Duration) -> Stopped {
    let all = async {
        while let Some(ended) = running.join_next().await {
            report(owner, ended);
        }
    };
    if tokio::time::timeout(limit, all).await.is_ok() {
        return Stopped::Cleanly;
    }
    let left = running.len();
    running.shutdown().await;
    Stopped::Aborted(left)
}

fn report(owner: &str, ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(owner, %error, "a task panicked; this is a bug, please report it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tasks_that_heed_the_word_stop_cleanly() {
        let mut tasks = Tasks::new("test");
        tasks.spawn(|mut stop| async move { stop.requested().await });

        assert_eq!(tasks.stop(Duration::from_secs(1)).await, Stopped::Cleanly);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deaf_task_is_dropped_at_the_deadline() {
        let mut tasks = Tasks::new("test");
        tasks.spawn(|_stop| std::future::pending());

        assert_eq!(tasks.stop(Duration::from_secs(1)).await, Stopped::Aborted(1));
    }

    #[tokio::test]
    async fn a_wait_for_blocking_work_can_be_dropped_and_taken_up_again() {
        let (go, wait) = std::sync::mpsc::channel::<u32>();
        let mut work = Blocking::start(move || wait.recv().unwrap());
        tokio::select! {
            biased;
            _ = work.ended() => panic!("it cannot have ended"),
            () = std::future::ready(()) => {}
        }

        go.send(7).unwrap();

        assert_eq!(work.ended().await, Some(7));
        assert_eq!(Blocking::<()>::start(|| panic!("on purpose")).ended().await, None);
    }

    #[tokio::test]
    async fn work_in_the_background_steps_back_for_all_other_threads() {
        let of_this_thread = || getpriority_process(None).unwrap();
        let before = of_this_thread();

        for _ in 0..2 {
            let niceness = in_background(of_this_thread).await.unwrap();
            assert_eq!(niceness, (before + MORE_NICE).min(LEAST_URGENT));
        }

        assert_eq!(of_this_thread(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_looks_after_one_of_many_begins_anew_after_a_panic() {
        let mut tasks = Tasks::new("test");
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        tasks.spawn_again(move |_stop| {
            let begun = begun.clone();
            async move {
                begun.send(tokio::time::Instant::now()).unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
                panic!("on purpose");
            }
        });

        let first = begins.recv().await.unwrap();
        let second = begins.recv().await.unwrap();
        assert_eq!((second - first).as_millis(), 1_010);
        begins.recv().await.unwrap();

        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(tasks.stop(Duration::from_millis(1)).await, Stopped::Cleanly, "from its pause");
    }

    /// Runs in a process of its own, which ends by it.
    #[test]
    fn the_process_ends_with_a_task_that_it_cannot_do_without() {
        const MARK: &str = "TENANTRY_TEST_VITAL";
        if std::env::var_os(MARK).is_some() {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut tasks = Tasks::new("test");
                tasks.spawn_vital(|_stop| async { panic!("on purpose") });
                tokio::time::sleep(Duration::from_secs(20)).await;
            });
            return; // it has not ended, which the other process sees
        }
        let name = "base::tasks::tests::the_process_ends_with_a_task_that_it_cannot_do_without";
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let ended = again.args(["--exact", name, "--nocapture"]).env(MARK, "").output().unwrap();

        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && told.contains("cannot do without"), "{told}");
        assert!(told.contains("on purpose"), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_one_task_leaves_the_others_running() {
        let mut tasks = Tasks::new("test");
        tasks.spawn(|_stop| async { panic!("on purpose") });
        tasks.spawn(|mut stop| async move { stop.requested().await });

        assert_eq!(tasks.stop(Duration::from_secs(1)).await, Stopped::Cleanly);
    }
}
