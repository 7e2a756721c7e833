//! Background tasks that run for as long as the service does, as one stage.

mod supervise;

use std::{borrow::Cow, fmt, future::Future, sync::Arc};

use tokio::runtime::Handle;

use self::supervise::Task;
pub use self::supervise::{TaskState, TaskStatus};
use crate::{
    contract::{
        context::{StageContext, StopContext},
        stage::Stage,
    },
    error::{ErrorKind, StageError, StageResult},
    stages::{
        RunContext,
        in_flight::{InFlight, soft_deadline},
        work::{Work, repeated_name},
    },
};

/// Named background tasks; the stage's output is a [`TasksHandle`].
///
/// Each task is a closure that gets a [`RunContext`] and what the stage needs, and runs until it is
/// cancelled. A task that ends before, whether with `Ok`, an error or a panic, is told as an error, makes the
/// stage unhealthy, and is started again after a pause.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use solostart::stages::{RunContext, database::Database, tasks::Tasks};
///
/// let tasks = Tasks::new().task("expire-bans", async |cx: RunContext, database: Arc<Database>| {
///     while !cx.is_cancelled() {
///         database.write(|tx| Ok(tx.execute("DELETE FROM bans WHERE until < unixepoch()", [])?)).await?;
///         tokio::select! {
///             () = cx.cancelled() => {}
///             () = tokio::time::sleep(Duration::from_secs(60)) => {}
///         }
///     }
///     Ok(())
/// });
/// ```
///
/// # Guarantees
/// - A task that fails is started again after 1 s, 2 s, 4 s and so on up to 30 s (and up to as much again by
///   chance), five times in a row unless said otherwise; a minute of running begins the row anew. A task that
///   is given up keeps the stage unhealthy.
/// - Nothing is started again once the right to be the only worker is lost.
/// - A stop cancels all tasks and waits for them. Those that do not end in time are dropped, and named.
pub struct Tasks<N = ()> {
    name: &'static str,
    restarts: u32,
    tasks: Vec<(Cow<'static, str>, Work<N>)>,
}

impl<N: Send + 'static> Tasks<N> {
    /// No tasks yet, as a stage named `tasks`.
    #[must_use]
    pub fn new() -> Self {
        Self { name: "tasks", restarts: 5, tasks: Vec::new() }
    }

    /// Names the stage, for a service with several groups of tasks.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Adds a task. Its name is for logs, health and reports, and must differ from the others'.
    #[must_use]
    pub fn task<F, Fut>(mut self, name: impl Into<Cow<'static, str>>, run: F) -> Self
    where
        F: Fn(RunContext, N) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static,
    {
        self.tasks.push((name.into(), Work::new(run)));
        self
    }

    /// How often in a row a task is started again before it is given up; 5 unless said otherwise.
    #[must_use]
    pub fn restarts(mut self, limit: u32) -> Self {
        self.restarts = limit;
        self
    }
}

impl<N: Send + 'static> Default for Tasks<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N: Clone + Send + 'static> Stage for Tasks<N> {
    type Needs = N;
    type Output = TasksHandle;

    fn name(&self) -> &'static str {
        self.name
    }

    async fn start(&self, cx: StageContext, needs: N) -> StageResult<TasksHandle> {
        if let Some(name) = repeated_name(self.tasks.iter().map(|(name, _)| name)) {
            return Err(StageError::from(format!("two tasks are named `{name}`")).fatal());
        }
        // From here on nothing can fail or wait, so there is nothing to undo.
        let in_flight = InFlight::default();
        let begin = |(name, work): &(Cow<'static, str>, Work<N>)| {
            let run = RunContext::new(name.clone(), in_flight.stopping().clone(), cx.worker());
            let task = Task::new(run, in_flight.cut().clone(), self.restarts);
            in_flight.spawn_on(task.clone().supervise(work.clone(), needs.clone()), &Handle::current());
            task
        };
        let tasks = self.tasks.iter().map(begin).collect();
        Ok(TasksHandle { tasks, in_flight })
    }

    async fn stop(&self, handle: Arc<TasksHandle>, cx: StopContext) -> StageResult<()> {
        if handle.in_flight.finish(soft_deadline(cx.deadline())).await == 0 {
            return Ok(());
        }
        let late = handle.names_of(|status| matches!(status.state, TaskState::Running | TaskState::Waiting));
        let stuck = handle.in_flight.cut_short(soft_deadline(cx.deadline())).await;
        let how = if stuck == 0 { "and were dropped" } else { "and block their thread" };
        Err(StageError::from(format!("tasks that did not end in time {how}: {late}"))
            .kind(ErrorKind::Temporary))
    }

    async fn health(&self, handle: Arc<TasksHandle>) -> StageResult<()> {
        let down: Vec<_> = handle.status().iter().filter_map(TaskStatus::complaint).collect();
        if down.is_empty() {
            Ok(())
        } else {
            Err(StageError::from(down.join("; ")).kind(ErrorKind::Temporary))
        }
    }
}

impl<N> fmt::Debug for Tasks<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("name", &self.name)
            .field("tasks", &self.tasks.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The tasks that are up: how each of them fares.
#[derive(Debug)]
pub struct TasksHandle {
    tasks: Vec<Arc<Task>>,
    in_flight: InFlight,
}

impl TasksHandle {
    /// How each task fares at this moment, in the order in which they were added.
    #[must_use]
    pub fn status(&self) -> Vec<TaskStatus> {
        self.tasks.iter().map(|task| task.status()).collect()
    }

    fn names_of(&self, which: impl Fn(&TaskStatus) -> bool) -> String {
        let names: Vec<_> = self.status().into_iter().filter(which).map(|status| status.name).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests;
