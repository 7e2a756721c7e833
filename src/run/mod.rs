//! The way in for applications: the runtime, the signals, the watchdog, the report and the exit code.
//! Floor 5: the only place that joins engine, locks and reports.

use std::{
    io::{self, Write},
    process::ExitCode,
    thread,
};

use tokio::runtime::{Builder, Runtime};

use crate::{
    cli::{self, Request},
    clock,
    codes::{GRAPH_INVALID, STAGE_FAILED, STARTUP_INTERRUPTED},
    contract::{
        outcome::{StartupError, StopReport},
        panic::{contain, note_places},
    },
    engine::running::broken,
    error::{ErrorKind, StageError, StageResult},
    report::{self, Identity, Stalled},
    settings::Env,
    startup::{Ready, Startup, WorkerMode},
};

mod signals;
mod watchdog;

use signals::StopRequest;
use watchdog::Watchdog;

/// Runs an application: starts its stages, serves, and stops it clean. Call it from `main` and return
/// what it returns.
///
/// `name` is the application's, lower-case words joined by hyphens; in capitals, with underscores, it is
/// the prefix of its environment variables. `plan` adds the stages; it must not do anything else.
///
/// Exactly one worker may run, unless the plan calls
/// [`allow_many_workers`](Startup::allow_many_workers).
///
/// It owns the tokio runtime, because a blocking call that never returns would otherwise keep the process
/// alive for ever. SIGTERM and SIGINT stop the service in order, also while it starts; a second one ends
/// the process at once. What went wrong is printed on stderr as one block.
///
/// ```no_run
/// use std::{process::ExitCode, sync::Arc};
/// use solostart::ServeContext;
///
/// fn main() -> ExitCode {
///     solostart::run("shop", |startup| {
///         let greeting = startup.stage("greeting", (), async |_cx, ()| Ok("hello".to_owned())).required();
///         startup.serve(greeting, async |cx: ServeContext, greeting: Arc<String>| {
///             println!("{greeting}");
///             cx.shutdown_requested().await;
///             Ok(())
///         });
///         Ok(())
///     })
/// }
/// ```
///
/// # Exit codes
/// 0 when it stopped as asked, also during the start; otherwise those of [`ErrorKind`], and 130 or 143
/// after a second signal.
pub fn run(name: &str, plan: impl FnOnce(&mut Startup) -> StageResult<()>) -> ExitCode {
    note_places();
    let env = Env::from_process(&Env::prefix_of(name));
    let mut startup = Startup::new(name, env.clone(), WorkerMode::Single);
    let planned = contain(|| plan(&mut startup));
    let identity = Identity {
        service: name.to_owned(),
        prefix: env.prefix().to_owned(),
        version: startup.version_text().map(str::to_owned),
        instance: startup.instance(),
        host: host(),
        at: clock::wall_clock(),
    };
    let ready = match planned {
        Ok(Ok(())) => match cli::parse(name, startup.version_text(), std::env::args_os().skip(1)) {
            Ok(Request::Run) => startup.prepare(),
            Ok(request) => return ExitCode::from(cli::answer(&request, &startup)),
            Err(refused) => return ExitCode::from(refused.tell()),
        },
        Ok(Err(error)) => Err(broken("plan", error)),
        Err(panic) => Err(broken("plan", StageError::new(GRAPH_INVALID, panic))),
    };
    let exit = match ready.and_then(|ready| live(ready, &identity)) {
        Ok(report) => stopped(&report, &identity),
        Err(error) => failed(&error, &identity),
    };
    ExitCode::from(exit)
}

/// From the first stage to the last stop.
fn live(ready: Ready, identity: &Identity) -> Result<StopReport, Box<StartupError>> {
    let Ready { prepared, limits, warnings, mut notes, worker } = ready;
    write_stderr(&report::warnings(&warnings));
    let broken_by = |what: &str, error: io::Error| {
        let error = StageError::new(STAGE_FAILED, error).fact("what", what.to_owned());
        broken("process", error.kind(ErrorKind::Temporary))
    };
    let request = StopRequest::listen().map_err(|error| broken_by("signal handlers", error))?;
    let runtime = runtime().map_err(|error| broken_by("tokio runtime", error))?;
    let (board, control) = (prepared.board.clone(), prepared.control.clone());
    let mourner = identity.clone();
    let stalled = Box::new(move |stalled: &Stalled| {
        report::emergency(stalled, ErrorKind::Software.exit_code(), &mourner)
    });
    let watching = Watchdog::new(board, control, limits, request, stalled)
        .watch()
        .map_err(|error| broken_by("watchdog thread", error))?;
    let result = runtime.block_on(async {
        let running = prepared.start().await?;
        notes.extend(running.get(worker).and_then(|lock| lock.note()));
        let status = running.status();
        notes.extend(status.notes());
        write_stderr(&report::ready(&status.timeline(), &status.degraded(), &notes));
        Ok(running.wait().await)
    });
    drop(watching);
    // Everything that could be stopped is stopped. A blocking call that never returns must not keep the
    // process, so nothing is waited for.
    runtime.shutdown_background();
    result
}

fn runtime() -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    let chosen = std::env::var_os("TOKIO_WORKER_THREADS").is_some();
    if !chosen && thread::available_parallelism().is_ok_and(|cores| cores.get() == 1) {
        // With one thread, a hook that blocks it would also keep the engine from naming it.
        builder.worker_threads(2);
    }
    builder.enable_all().build()
}

fn failed(error: &StartupError, identity: &Identity) -> u8 {
    if error.primary.error.failure_code() == STARTUP_INTERRUPTED {
        if error.rollback.is_complete() {
            write_stderr(&report::interrupted(error));
            return 0;
        }
        let exit = ErrorKind::Software.exit_code();
        write_stderr(&report::startup_failure(error, exit, identity));
        return exit;
    }
    let exit = error.kind().exit_code();
    write_stderr(&report::startup_failure(error, exit, identity));
    exit
}

fn stopped(report: &StopReport, identity: &Identity) -> u8 {
    if report.is_clean() {
        write_stderr(&report::stopped(report));
        return 0;
    }
    let kind = report.failure.as_ref().map_or(ErrorKind::Software, |failure| failure.error.error_kind());
    write_stderr(&report::stop_failure(report, kind.exit_code(), identity));
    kind.exit_code()
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Writes what the operator must see. A closed or full stderr changes nothing: there is nobody to tell.
fn write_stderr(text: &str) {
    let _nobody_reads = io::stderr().lock().write_all(text.as_bytes());
}
