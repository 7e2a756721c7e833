//! The way in for applications: the runtime, the signals, the watchdog, the report and the exit code.
//! Floor 5: the only place that joins engine, locks and reports.

use std::{io, process::ExitCode, thread};

use jiff::Timestamp;
use tokio::runtime::{Builder, Runtime};

use crate::{
    cli::{self, Request},
    codes::{GRAPH_INVALID, STARTUP_INTERRUPTED},
    contain::{contain, note_places},
    contract::outcome::{StartupError, StopReport},
    engine::running::broken,
    error::{ErrorKind, StageError, StageResult},
    instance::sharing::Surroundings,
    limits::{errno_in, no_thread, try_threads},
    report::{Identity, Report, Stalled, Words},
    settings::Env,
    startup::{Ready, Startup, WorkerMode},
};

mod deliver;
mod health_beat;
pub(crate) mod health_file;
pub(crate) mod health_place;
#[cfg_attr(not(feature = "metrics"), path = "no_metrics.rs")]
mod metrics;
mod notifying;
mod progress;
mod pulse;
mod reporter;
mod signals;
pub(crate) mod telling;
mod voice;
mod waits;
mod watchdog;

use health_beat::Saying;
use health_place::Places;
use pulse::Observers;
use reporter::{Reporter, finish_telling};
use signals::StopRequest;
pub use voice::Stderr;
use waits::About;
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
    note_places(reporter::panicked);
    signals::keep_to_errors();
    let env = Env::from_process(&Env::prefix_of(name));
    let mut startup = Startup::new(name, env.clone(), WorkerMode::Single);
    let planned = contain(|| plan(&mut startup));
    let identity = Identity {
        service: name.to_owned(),
        prefix: env.prefix().to_owned(),
        version: startup.version_text().map(str::to_owned),
        instance: startup.instance(),
        host: host(),
        at: Timestamp::now(),
        attempt: None,
        shortened: None,
        words: words_here,
    };
    let places = Places::of(&startup);
    let mut reporter = Reporter::new(startup.telling(), startup.report_to, identity);
    reporter.hear_of_panics();
    startup.plan.reported = true;
    let planned = match planned {
        Ok(Ok(())) => match cli::parse(name, startup.version_text(), std::env::args_os().skip(1)) {
            Ok(Request::Run) => Ok(()),
            Ok(request) => return ended(cli::answer(request, startup, reporter.identity())),
            Err(refused) => return ended(refused.tell()),
        },
        Ok(Err(error)) => Err(broken("plan", error)),
        Err(panic) => Err(broken("plan", StageError::new(GRAPH_INVALID, panic))),
    };
    let looking = reporter.begin_to_look_back();
    let request = StopRequest::listen(reporter.clone());
    // Made while the ledger is read, of which it needs nothing.
    let runtime = match &request {
        Ok(_) => runtime(),
        Err(error) => Err(again(error)),
    };
    let in_vain = reporter.look_back(looking);
    let observers = Observers::hear(&mut startup, reporter.systemd());
    let exit = match planned.and_then(|()| waits::prepare(startup, in_vain.as_deref())) {
        Ok((mut ready, about)) => {
            observers.look_at(&mut ready.prepared, about.lock.as_ref());
            started(ready, &about, &mut reporter, &request, &places, runtime)
        }
        Err(error) => failed(&error, &reporter, None),
    };
    reporter.settle();
    if let (Ok(request), true) = (&request, exit.holds) {
        reporter.hold(exit.code, request);
    }
    ExitCode::from(exit.code)
}

/// The end of a subcommand.
fn ended(code: u8) -> ExitCode {
    finish_telling();
    ExitCode::from(code)
}

/// The words of the platform that this process runs on.
fn words_here() -> Words {
    let surroundings = Surroundings::default();
    let platform = surroundings.platform();
    Words {
        settings: platform.settings_place(),
        who_ended_it: platform.who_ended_it(),
        grace: platform.grace(),
    }
}

/// How the process ends.
struct Exit {
    code: u8,
    /// Whether it is the end of a start that failed, which `<P>_FAILURE_HOLD` can put off.
    holds: bool,
}

/// From the first stage to the exit code.
fn started(
    ready: Ready,
    about: &About,
    reporter: &mut Reporter,
    request: &io::Result<StopRequest>,
    places: &Places,
    runtime: io::Result<Runtime>,
) -> Exit {
    reporter.warn(&ready.warnings, about.shortened.as_ref());
    let lived = match (request, runtime) {
        (Ok(request), Ok(runtime)) => live(ready, request, reporter, places, runtime),
        (Err(error), _) => Err(broken_by("the signal handlers", &again(error))),
        (Ok(_), Err(error)) => Err(broken_by("the tokio runtime", &error)),
    };
    match lived {
        Ok(report) => Exit { code: stopped(&report, reporter), holds: false },
        Err(error) => failed(&error, reporter, Some(about)),
    }
}

/// The operating system refuses what every process needs.
fn broken_by(what: &str, error: &io::Error) -> Box<StartupError> {
    broken("process", no_thread(error, what))
}

/// The same error once more, with its number.
fn again(error: &io::Error) -> io::Error {
    let text = || io::Error::new(error.kind(), error.to_string());
    error.raw_os_error().map_or_else(text, io::Error::from_raw_os_error)
}

/// From the first stage to the last stop.
fn live(
    ready: Ready,
    request: &StopRequest,
    reporter: &Reporter,
    places: &Places,
    runtime: Runtime,
) -> Result<StopReport, Box<StartupError>> {
    let Ready { prepared, limits, mut notes, worker, .. } = ready;
    let (board, control) = (prepared.board.clone(), prepared.control.clone());
    let mourner = reporter.clone();
    let stalled = Box::new(move |stalled: Stalled, limit| {
        let mourner = mourner.clone();
        let _told_or_too_late = deliver::within(limit, move || {
            mourner.tell(|identity| Report::stalled(&stalled, identity));
            mourner.settle();
        });
    });
    let watching = Watchdog::new(board.clone(), control, limits, request.clone(), stalled)
        .watch()
        .map_err(|error| broken_by("the watchdog", &error))?;
    let mut saying = None;
    let living = async {
        let telling = async {
            saying = Some(Saying::begin(places, board.clone()));
            reporter.show(board);
        };
        // Who tells of the start gets ready while it is under way.
        let (running, ()) = tokio::join!(prepared.start(), telling);
        let running = running?;
        notes.extend(running.get(worker).and_then(|lock| lock.note()));
        let recovered = reporter.recovered();
        notes.extend(recovered.clone());
        let status = running.status();
        notes.extend(status.notes());
        let (timeline, degraded) = (status.timeline(), status.degraded());
        reporter.ready(recovered.is_some(), |identity| Report::ready(&timeline, &degraded, &notes, identity));
        Ok(running.wait().await)
    };
    let result = runtime.block_on(living);
    drop(saying);
    drop(watching);
    // Everything that could be stopped is stopped. A blocking call that never returns must not keep the
    // process, so nothing is waited for.
    runtime.shutdown_background();
    result
}

fn runtime() -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    // As tokio has it, which would read the limits of the control group once more. With one thread, a hook that
    // blocks it would also keep the engine from naming it.
    let usual = || thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let set = std::env::var("TOKIO_WORKER_THREADS").ok().and_then(|set| set.parse().ok());
    let workers = set.filter(|&set| set > 0).unwrap_or_else(usual);
    builder.worker_threads(workers);
    // Where one of them cannot be had, tokio panics, and what it has begun never ends.
    try_threads(workers)?;
    contain(|| builder.enable_all().build()).unwrap_or_else(|panic| {
        let errno = errno_in(&panic.message);
        Err(errno.map_or_else(|| io::Error::other(panic.message), io::Error::from_raw_os_error))
    })
}

fn failed(error: &StartupError, reporter: &Reporter, about: Option<&About>) -> Exit {
    let interrupted = error.primary.error.failure_code() == STARTUP_INTERRUPTED;
    if interrupted && error.rollback.is_complete() {
        reporter.tell(|identity| Report::interrupted(error, identity));
        return Exit { code: 0, holds: false };
    }
    let kind = error.kind();
    reporter.failed(error, kind, about);
    Exit { code: kind.exit_code(), holds: !interrupted }
}

fn stopped(report: &StopReport, reporter: &Reporter) -> u8 {
    if report.is_clean() {
        reporter.tell(|identity| Report::stopped(report, identity));
        return 0;
    }
    let kind = report.failure.as_ref().map_or(ErrorKind::Software, |failure| failure.error.error_kind());
    reporter.stop_failed(report, kind);
    kind.exit_code()
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
