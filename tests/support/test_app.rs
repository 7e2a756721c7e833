//! An application that misbehaves on demand: `TESTAPP_SCENARIO` says how. The tests in `tests/processes.rs` and
//! `tests/budget.rs` look at it from outside, as an operator would.

#![allow(clippy::print_stderr, clippy::panic, reason = "it misbehaves on purpose and says what it does")]

use std::{
    fs::{File, OpenOptions},
    future::pending,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use solostart::{
    Analysis, ErrorKind, FailureCode, Hint, ServeContext, StageContext, StageError, StageResult, Startup,
};

const LICENCE_EXPIRED: FailureCode =
    FailureCode::new("testapp.licence-expired", ErrorKind::Config, "The licence has expired");

/// An error that only this application knows.
#[derive(Debug, thiserror::Error)]
#[error("the licence ended on {0}")]
struct Licence(&'static str);

fn main() -> ExitCode {
    solostart::run("testapp", |startup| {
        startup.version(env!("CARGO_PKG_VERSION")).allow_unshared_lock("overlay,tmpfs");
        let scenario = startup
            .env()
            .var("SCENARIO")
            .describe("How the application misbehaves.")
            .text()
            .default("ok".to_owned());
        let witness = startup
            .env()
            .var("WITNESS")
            .describe("A file that no test damages. The kernel says there whether two work at once.")
            .path()
            .optional();
        startup.analyse(|failure| {
            let Licence(ended) = failure.error.find()?;
            let analysis = Analysis::default().code(LICENCE_EXPIRED).fact("ended", *ended);
            Some(analysis.hint("Put the new licence into /data/licence.txt."))
        });
        // Two that the scenario `leak` shows where no secret may be shown.
        let _leaked = startup.env().var("UPSTREAM").describe("A service that is asked.").url().optional();
        let _hidden = startup.env().var("PASSWORD").describe("What it is asked with.").secret().optional();
        plan(startup, &scenario, witness)
    })
}

/// `worker-mode -> base -> subject`, then serve. What the scenario says happens in `subject`.
fn plan(startup: &mut Startup, scenario: &str, witness: Option<PathBuf>) -> StageResult<()> {
    // What is said while lines are drawn again and again stands between them: here the lines are what counts.
    let is_quiet = scenario.starts_with("slow-");
    let base = startup
        .stage("base", (), async move |_cx, ()| {
            eprintln!("base starts");
            Ok(witness.as_deref().map(testify).transpose()?)
        })
        .stop(async move |_base, _cx| {
            if !is_quiet {
                eprintln!("base stopped");
            }
            Ok(())
        })
        .required();
    let (starting, stopping, checked) = (scenario.to_owned(), scenario.to_owned(), scenario.to_owned());
    let looked_at = scenario.to_owned();
    let subject = startup
        .stage("subject", base, async move |cx: StageContext, _base: Arc<Option<File>>| {
            start(&starting, cx).await
        })
        .stop(async move |_subject, _cx| stop(&stopping).await)
        .check(move || if looked_at == "check-error" { Err("no luck today".into()) } else { Ok(()) })
        .health(move |_subject| {
            let blocks = checked == "health-block";
            async move { if blocks { block() } else { Ok(()) } }
        })
        .required();
    let serving = scenario.to_owned();
    let looked_after = startup.data_dir();
    startup.serve(subject, async move |cx: ServeContext, _subject: Arc<()>| match serving.as_str() {
        "serve-error" => Err("the listener broke").hint("look at the network"),
        "serve-panic" => panic!("the listener broke"),
        "finish" | "slow-finish" => Ok(()),
        "serve-hang" => pending().await,
        "serve-block" => block(),
        "serve-await-blocking" => await_blocking().await,
        "flood" => flood(&looked_after),
        "stray-panic" => {
            // Nobody waits for it, and nothing contains it.
            let thread = thread::Builder::new().name("worker-of-mine".to_owned());
            let _panicked = thread.spawn(|| panic!("the sky fell on https://user:S3CRET@host/?k=v"))?.join();
            Ok(())
        }
        _ => {
            cx.shutdown_requested().await;
            Ok(())
        }
    });
    if scenario == "plan-error" { Err("the plan is not finished".into()) } else { Ok(()) }
}

/// Writes more of a log than waits for a reader, and says when it is done.
fn flood(data: &Path) -> StageResult<()> {
    let mut log = solostart::Stderr::new();
    for line in 0..100_000 {
        writeln!(log, "flood {line} {:50}", "")?;
    }
    File::create(data.join("flooded"))?;
    Ok(())
}

/// Locks the witness for as long as this process works, and says so if somebody else works, too.
fn testify(witness: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(witness)?;
    if fs2::FileExt::try_lock_exclusive(&file).is_err() {
        eprintln!("TWO WORKERS");
    }
    Ok(file)
}

async fn start(scenario: &str, cx: StageContext) -> StageResult<()> {
    if let Some(how) = scenario.strip_prefix("slow-") {
        cx.step("migration 8/12");
        tokio::time::sleep(Duration::from_millis(1200)).await;
        return if how == "error" { Err("no luck today".into()) } else { Ok(()) };
    }
    cx.step("begin");
    cx.on_rollback(async || {
        eprintln!("subject undone");
        Ok(())
    });
    if let Some(how) = scenario.strip_prefix("undo-").map(str::to_owned) {
        cx.on_rollback(async move || stop(&format!("stop-{how}")).await);
        eprintln!("subject hangs");
        return pending().await;
    }
    match scenario {
        "error" => Err("no luck today").hint("try tomorrow"),
        "leak" => {
            let upstream = std::env::var("TESTAPP_UPSTREAM").unwrap_or_default();
            cx.step(format!("ask {upstream}"));
            // Long enough for whoever looks at steps now and then.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let error = format!("cannot reach {upstream}: error for url ({upstream})\nREADY in 0s");
            Err(StageError::from(error).fact("upstream", &*upstream).hint(format!("try\ncurl {upstream}")))
        }
        "panic" => panic!("kaput"),
        "hang" => {
            eprintln!("subject hangs");
            pending().await
        }
        "late" => {
            eprintln!("subject hangs");
            cx.cancelled().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(())
        }
        "await-blocking" => {
            eprintln!("subject hangs");
            await_blocking().await
        }
        "block" => block(),
        "licence" => Err(io::Error::other(Licence("2026-10-01")).into()),
        "listener" => {
            let first = std::net::TcpListener::bind("127.0.0.1:0")?;
            let address = first.local_addr()?;
            let second = std::net::TcpListener::bind(address);
            second.map_err(|error| {
                io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
            })?;
            Ok(())
        }
        "child" => {
            let null = Stdio::null;
            let child =
                Command::new("sleep").arg("600").stdin(null()).stdout(null()).stderr(null()).spawn()?;
            eprintln!("child {}", child.id());
            Ok(())
        }
        "spawn-blocking" => {
            tokio::task::spawn_blocking(|| thread::sleep(Duration::from_secs(3600)));
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn stop(scenario: &str) -> StageResult<()> {
    match scenario {
        "stop-error" => Err("the handle is stale".into()),
        "stop-panic" => panic!("kaput"),
        "stop-hang" => pending().await,
        "stop-block" => block(),
        "stop-await-blocking" => await_blocking().await,
        _ => Ok(()),
    }
}

/// Keeps its thread, for longer than any test waits.
fn block() -> StageResult<()> {
    eprintln!("subject blocks");
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Waits, as one should, for a blocking call that never returns.
async fn await_blocking() -> StageResult<()> {
    tokio::task::spawn_blocking(|| thread::sleep(Duration::from_secs(3600))).await?;
    Ok(())
}
