//! The same with the library, whose defaults make it the only worker: what that adds to an idle service.

use std::{process::ExitCode, sync::Arc};

use solostart::{ServeContext, WorkerLock};

fn main() -> ExitCode {
    solostart::run("only-worker", |startup| {
        startup.allow_unshared_lock("overlay,tmpfs");
        startup.serve(startup.worker_mode(), async |cx: ServeContext, _lock: Arc<WorkerLock>| {
            cx.shutdown_requested().await;
            Ok(())
        });
        Ok(())
    })
}
