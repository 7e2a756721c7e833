//! Background tasks that run for as long as the service does, as one stage.

mod supervise;

use std::{borrow::Cow, fmt, future::Future, sync::Arc};

use tokio::{runtime::Handle, time::Instant};

use self::supervise::{Policy, Task};
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
/// cancelled. A task that ends before, whether with `Ok`, an error or a panic, is told as
/// [`Event::TaskEnded`](crate::Event::TaskEnded), makes the stage unhealthy, and is started again after a pause.
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
///   chance), five times in a row unless said otherwise; a minute of running begins the row anew.
/// - A task that is given up keeps the stage unhealthy, or ends the service where it is
///   [essential](Self::essential_task): everything is stopped in order, and the report names the task. While the
///   service starts it is the same: only an essential task fails the start.
/// - Of a task that ends again and again, one end is told in 30 s, and the last.
/// - Nothing is started again once the right to be the only worker is lost.
/// - A stop cancels all tasks and waits for them. Those that do not end in time are dropped, and named. One that fails
///   or panics while it stops makes the stop fail, as a stop hook does: what it was to write may be lost.
pub struct Tasks<N = ()> {
    name: &'static str,
    /// For the tasks that are added next.
    restarts: u32,
    tasks: Vec<Entry<N>>,
}

struct Entry<N> {
    name: Cow<'static, str>,
    policy: Policy,
    work: Work<N>,
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
    pub fn task<F, Fut>(self, name: impl Into<Cow<'static, str>>, run: F) -> Self
    where
        F: Fn(RunContext, N) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static,
    {
        self.add(name.into(), false, Work::new(run))
    }

    /// Adds a task without which the service is of no use: when it is given up, the service ends. With
    /// [`restarts(0)`](Self::restarts) that is when it ends for the first time.
    ///
    /// Its own error is the cause in the report and decides the exit code, under the failure code
    /// `task.failed` unless it has one of its own. Where the stage is optional, the service goes on without it.
    #[must_use]
    pub fn essential_task<F, Fut>(self, name: impl Into<Cow<'static, str>>, run: F) -> Self
    where
        F: Fn(RunContext, N) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static,
    {
        self.add(name.into(), true, Work::new(run))
    }

    fn add(mut self, name: Cow<'static, str>, essential: bool, work: Work<N>) -> Self {
        let policy = Policy { restarts_in_a_row: self.restarts, essential };
        self.tasks.push(Entry { name, policy, work });
        self
    }

    /// How often in a row a task is started again before it is given up, for the tasks that are added after
    /// this call; 5 unless said otherwise.
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

    fn check(&self) -> StageResult<()> {
        match repeated_name(self.tasks.iter().map(|entry| &entry.name)) {
            Some(name) => Err(StageError::from(format!("two tasks are named `{name}`")).fatal()),
            None => Ok(()),
        }
    }

    async fn start(&self, cx: StageContext, needs: N) -> StageResult<TasksHandle> {
        self.check()?;
        // Copied before the first task runs: the application's code may panic.
        let copies: Vec<N> = self.tasks.iter().map(|_| needs.clone()).collect();
        // From here on nothing can fail or wait, so there is nothing to undo.
        let in_flight = InFlight::default();
        let begin = |(entry, needs): (&Entry<N>, N)| {
            let run = RunContext::new(entry.name.clone(), in_flight.stopping().clone(), cx.clone());
            let task = Task::new(run, in_flight.cut().clone(), entry.policy);
            in_flight.spawn_on(task.clone().supervise(entry.work.clone(), needs), &Handle::current());
            task
        };
        let tasks = self.tasks.iter().zip(copies).map(begin).collect();
        Ok(TasksHandle { tasks, in_flight })
    }

    async fn stop(&self, handle: Arc<TasksHandle>, cx: StopContext) -> StageResult<()> {
        let ended = handle.finish(cx.deadline()).await;
        for task in &handle.tasks {
            task.tell_the_rest();
        }
        let late = handle.tasks.iter().filter_map(|task| task.failed_late());
        let mut wrong: Vec<StageError> = ended.err().into_iter().chain(late).collect();
        if wrong.len() <= 1 {
            return wrong.pop().map_or(Ok(()), Err);
        }
        let texts: Vec<_> = wrong.iter().map(ToString::to_string).collect();
        Err(StageError::new(wrong[0].failure_code(), texts.join("; ")))
    }

    async fn health(&self, handle: Arc<TasksHandle>) -> StageResult<()> {
        // A check that fails before the service is ready fails the start, and no task but an essential one does that:
        // whether one ends just before the others are up or just after must not matter.
        let early = handle.tasks.first().is_some_and(|task| task.is_early());
        let status = if early { Vec::new() } else { handle.status() };
        let down: Vec<_> = status.iter().filter_map(TaskStatus::complaint).collect();
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
            .field("tasks", &self.tasks.iter().map(|entry| &entry.name).collect::<Vec<_>>())
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

    /// Waits for the tasks, which were asked to end, and drops what does not in time.
    async fn finish(&self, deadline: Instant) -> StageResult<()> {
        if self.in_flight.finish(soft_deadline(deadline)).await == 0 {
            return Ok(());
        }
        let runs = |status: &TaskStatus| matches!(status.state, TaskState::Running | TaskState::Waiting);
        let late: Vec<_> = self.status().into_iter().filter(runs).map(|status| status.name).collect();
        let late = late.join(", ");
        let stuck = self.in_flight.cut_short(soft_deadline(deadline)).await;
        let how = if stuck == 0 { "and were dropped" } else { "and block their thread" };
        let error = format!("tasks that did not end in time {how}: {late}");
        Err(StageError::from(error).kind(ErrorKind::Temporary))
    }
}

#[cfg(test)]
mod tests;
