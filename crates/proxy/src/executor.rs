//! Tasks of one thread.

use tokio_util::task::TaskTracker;

/// Starts tasks on the thread that it is used on; clones share one count of what runs.
#[derive(Clone, Debug, Default)]
pub struct Executor {
    tasks: TaskTracker,
}

// === impl Executor ===

impl Executor {
    /// Starts a task on this thread; it ends by itself or with the thread.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.spawn_local(task);
    }

    /// No task but those that others start is to come.
    pub fn close(&self) {
        self.tasks.close();
    }

    /// Resolves once it is closed and every task has ended.
    pub async fn ended(&self) {
        self.tasks.wait().await;
    }
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(async move {
            task.await;
        });
    }
}
