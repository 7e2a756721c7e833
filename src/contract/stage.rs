//! The trait for stages that are worth reusing.

use std::{future::Future, sync::Arc};

use super::context::{StageContext, StopContext};
use crate::error::StageResult;

/// A stage that can be reused: how one kind of resource starts, stops and shows its health.
///
/// A stage that is used once is shorter as closures: see `Startup::stage`. All three hooks
/// run inside the runtime as tasks of their own; a panic in one becomes an error that names the stage.
///
/// ```
/// use std::sync::Arc;
/// use solostart::{Stage, StageContext, StageResult, StopContext};
///
/// struct Greeter;
///
/// impl Stage for Greeter {
///     type Needs = ();
///     type Output = String;
///
///     fn name(&self) -> &'static str {
///         "greeter"
///     }
///
///     async fn start(&self, cx: StageContext, (): ()) -> StageResult<String> {
///         cx.step("choose words");
///         Ok("hello".to_owned())
///     }
///
///     async fn stop(&self, _greeting: Arc<String>, _cx: StopContext) -> StageResult<()> {
///         Ok(())
///     }
/// }
/// ```
pub trait Stage: Send + Sync + 'static {
    /// What the start hook receives, in the shape of [`Needs::Values`](crate::Needs::Values):
    /// `()`, `Arc<T>`, `Option<Arc<T>>`, or a tuple of them.
    type Needs: Clone + Send + 'static;

    /// The resource. Stages that need this one share it as `Arc<Output>`.
    type Output: Send + Sync + 'static;

    /// The name in logs, reports and `<P>_STAGE_TIMEOUT_<STAGE>`: lower-case words joined by hyphens.
    fn name(&self) -> &'static str;

    /// Whether the stage could start, as far as that can be seen without taking or writing anything: what the
    /// subcommand `check` asks, beside a service that may be running. It may block.
    ///
    /// # Errors
    /// What would keep the stage from starting.
    fn check(&self) -> StageResult<()> {
        Ok(())
    }

    /// Acquires the resource. Called again for each attempt where the stage retries.
    ///
    /// # Cancel safety
    /// The future can be dropped at any await, after a grace: what must be undone then belongs into
    /// [`StageContext::on_rollback`], not into code after the await and not into `Drop`.
    ///
    /// # Errors
    /// Whatever prevents the resource from being usable. What this call had already acquired must be
    /// undone through `on_rollback`; [`stop`](Self::stop) is not called for a start that failed.
    fn start(
        &self,
        cx: StageContext,
        needs: Self::Needs,
    ) -> impl Future<Output = StageResult<Self::Output>> + Send;

    /// Releases the resource: called exactly once for each successful start, after every dependant has
    /// stopped, for rollback and for shutdown alike.
    ///
    /// # Errors
    /// What could not be released. The others are stopped all the same.
    fn stop(
        &self,
        output: Arc<Self::Output>,
        cx: StopContext,
    ) -> impl Future<Output = StageResult<()>> + Send {
        let _unused = (output, cx);
        async { Ok(()) }
    }

    /// Shows that the resource works: called once before the service is ready, then periodically.
    ///
    /// # Errors
    /// Why it does not work at the moment.
    fn health(&self, output: Arc<Self::Output>) -> impl Future<Output = StageResult<()>> + Send {
        let _unused = output;
        async { Ok(()) }
    }
}
