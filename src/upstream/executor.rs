//! Runs the tasks that HTTP/2 connections ask for on the worker's own thread.

use std::cell::RefCell;
use std::rc::Rc;

use hyper::rt::Executor;

use crate::base::tasks::LocalTasks;

/// Spawns onto one worker's tasks, so that they are owned and stopped with it.
#[derive(Clone, Debug)]
pub(super) struct LocalExecutor(Rc<RefCell<LocalTasks>>);

impl LocalExecutor {
    /// Spawns onto `tasks`.
    pub(super) fn new(tasks: Rc<RefCell<LocalTasks>>) -> Self {
        Self(tasks)
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        self.0.borrow_mut().spawn(|_stop| task);
    }
}
