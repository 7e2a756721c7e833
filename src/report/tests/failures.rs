use super::*;
use crate::{
    codes,
    error::{ErrorKind, Hint},
};

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Layer(&'static str, #[source] Option<Box<Layer>>);

fn layers(messages: &[&'static str]) -> Layer {
    let inner = (messages.len() > 1).then(|| Box::new(layers(&messages[1..])));
    Layer(messages[0], inner)
}

fn steps(steps: &[(&str, u64)]) -> Vec<(String, Duration)> {
    steps.iter().map(|&(step, took)| (step.to_owned(), ms(took))).collect()
}

fn timed_out() -> StageFailure {
    let error = StageError::new(codes::STAGE_TIMEOUT, "it did not finish within 30.00s").fatal();
    StageFailure { elapsed: ms(30_001), at: ms(30_656), ..failure("http-session", error) }
}

#[test]
fn a_timeout_says_where_the_time_went_and_how_to_allow_more() {
    let mut error = failed(timed_out());
    error.primary.step = Some("read the first page".to_owned());
    error.primary.steps =
        steps(&[("resolve api.example.com", 21), ("connect", 480), ("read the first page", 29_500)]);
    error.primary.attempts = 2;
    error.rollback = rolled_back(ms(45), &["cache", "database", "worker-mode"]);
    shows(
        &report(&error),
        r#"
================================================================================
STARTUP FAILED  http-session  [stage.timeout]                 exit 75 (TEMPFAIL)
================================================================================
The stage `http-session` did not start in time: it did not finish within 30.00s.

Found
  attempts  2 in 30.00 s

Where the time went
  resolve api.example.com  21 ms
  connect                  0.48 s
  read the first page      29.50 s  <- here when the time was over

Do this
  1. Only slow? Allow more time, and keep BANBOARD_STARTUP_TIMEOUT above it:
     BANBOARD_STAGE_TIMEOUT_HTTP_SESSION=60s
  2. Not only slow? Check what the last step talks to: is it running, and can it
     be reached?

Restarting MAY help: it was busy or slow, and that may have passed.
Rolled back in 45 ms: cache, database, worker-mode. Nothing is running.
Failed after 30.66 s. More: banboard explain stage.timeout
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}

#[test]
fn only_the_last_steps_of_many_have_a_line_each() {
    let mut error = failed(timed_out());
    error.primary.steps = (1..=12).map(|at| (format!("migration {at}/12"), ms(1000))).collect();
    error.primary.step = Some("migration 12/12".to_owned());
    let text = report(&error);
    assert!(text.contains("\n  9 earlier steps  9.00 s\n  migration 10/12  1.00 s\n"), "{text}");
    assert!(text.contains("\n  migration 12/12  1.00 s  <- here when the time was over\n"), "{text}");
}

#[test]
fn a_start_that_took_too_long_as_a_whole_names_the_stages_that_were_starting() {
    let error = StageError::new(codes::STARTUP_TIMEOUT, "the start did not finish within 2m00s")
        .fact("http-session", "starting for 110.20s at `connect`")
        .fact("scheduler", "starting for 12ms");
    let minutes = Duration::from_secs(120);
    let mut error = failed(StageFailure { elapsed: minutes, at: minutes, ..failure("startup", error) });
    error.cancelled = names(&["http-session", "scheduler"]);
    error.never_started = vec![never("tasks", &[("scheduler", StageState::Cancelled)])];
    error.rollback = rolled_back(ms(2004), &["database", "worker-mode"]);
    shows(
        &report(&error),
        r#"
================================================================================
STARTUP FAILED  startup  [startup.timeout]                    exit 75 (TEMPFAIL)
================================================================================
The start did not finish within 2m00s.

Found
  http-session  starting for 110.20s at `connect`
  scheduler     starting for 12ms

Not started
  http-session  was starting, and was cancelled
  scheduler     was starting, and was cancelled
  tasks         needs scheduler (cancelled)

Do this
  1. Only slow? Allow more time: BANBOARD_STARTUP_TIMEOUT=240s
  2. Not only slow? Check what the stages above wait for: is it running, and can
     it be reached?

Restarting MAY help: it was busy or slow, and that may have passed.
Rolled back in 2.00 s: database, worker-mode. Nothing is running.
Failed after 2 min 00 s. More: banboard explain startup.timeout
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}

#[test]
fn a_panic_is_told_with_its_place() {
    let error =
        StageError::new(codes::STAGE_PANICKED, "index out of bounds: the len is 3 but the index is 7")
            .fact("place", "src/tasks.rs:88:21")
            .hint("This is a defect of the application: report it with the place above.");
    let mut error = failed(failure("tasks", error));
    error.primary.step = Some("load the jobs".to_owned());
    error.rollback = rolled_back(ms(45), &["scheduler", "cache", "database", "worker-mode"]);
    shows(
        &report(&error),
        r#"
================================================================================
STARTUP FAILED  tasks  [stage.panicked]                       exit 70 (SOFTWARE)
================================================================================
The stage `tasks` panicked while it was starting: index out of bounds: the len
is 3 but the index is 7.

Found
  place      src/tasks.rs:88:21
  last step  load the jobs

Do this
  1. This is a defect of the application: report it with the place above.

Restarting will NOT help: this needs a corrected version of the program.
Rolled back in 45 ms: scheduler, cache, database, worker-mode. Nothing is
running.
Failed after 48 ms. More: banboard explain stage.panicked
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}

#[test]
fn independent_failures_and_what_they_kept_from_starting_stand_beside_the_first() {
    let error = StageError::new(
        codes::HTTP_DNS,
        layers(&[
            "error sending request for url (https://me:pw@api.example.com/v1?key=abc)",
            "client error (Connect)",
            "dns error",
            "failed to lookup address information: Name or service not known",
        ]),
    )
    .hint("Spelling: is api.example.com right in BANBOARD_HTTP_PROBE_URL?");
    let primary = failure("http-session", error);
    let mut error = failed(StageFailure { attempts: 4, elapsed: ms(3010), at: ms(3665), ..primary });
    let second = StageError::from(layers(&["cannot read the snapshot", "unexpected end of file"]));
    let third = StageError::new(codes::STAGE_PANICKED, "no row").fact("place", "src/mail.rs:7:1");
    error.also = vec![
        StageFailure { step: Some("warm-up".to_owned()), at: ms(3670), ..failure("cache", second) },
        StageFailure { at: ms(3700), ..failure("mail", third) },
    ];
    error.cancelled = names(&["metrics"]);
    error.never_started = vec![
        never("scheduler", &[("cache", StageState::Failed), ("http-session", StageState::Failed)]),
        never("tasks", &[("scheduler", StageState::Skipped), ("metrics", StageState::Cancelled)]),
    ];
    error.rollback = rolled_back(ms(45), &["database", "worker-mode"]);
    shows(
        &report(&error),
        r#"
================================================================================
STARTUP FAILED  http-session  [http.dns]                   exit 69 (UNAVAILABLE)
================================================================================
The name of the upstream cannot be resolved: error sending request for url
(https://api.example.com/v1).

Found
  attempts   4 in 3.01 s
  caused by  client error (Connect)
             dns error
             failed to lookup address information: Name or service not known

Also failed, independently
  cache  [stage.failed] after 3.67 s, at `warm-up`: cannot read the snapshot:
         unexpected end of file
  mail   [stage.panicked] after 3.70 s: no row; place: src/mail.rs:7:1

Not started
  metrics    was starting, and was cancelled
  scheduler  needs cache (failed), http-session (failed)
  tasks      needs scheduler (not started), metrics (cancelled)

Do this
  1. Spelling: is api.example.com right in BANBOARD_HTTP_PROBE_URL?

Restarting MAY help: the other side may answer later.
Rolled back in 45 ms: database, worker-mode. Nothing is running.
Failed after 3.67 s. More: banboard explain http.dns
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}

#[test]
fn stages_that_wait_behind_a_failure_are_summarised_where_they_are_many() {
    let mut error = failed(timed_out());
    error.never_started = (0..100_000)
        .map(|at| NeverStarted { stage: format!("job-{at}").into(), waited_for: Vec::new() })
        .collect();
    let text = report(&error);
    assert!(text.contains("more: job-"), "{text}");
    assert!(text.contains("Do this") && text.contains("Restarting MAY help"), "{text}");
}

#[test]
fn what_could_not_be_rolled_back_is_named_with_its_reason() {
    let error = Err::<(), _>("no queue named `mail`").hint("Create it: banboard queues --add mail");
    let mut error = failed(failure("tasks", error.unwrap_err().kind(ErrorKind::Config)));
    error.rollback = StopSummary {
        problems: vec![
            problem("cache", StopHook::Stop, StageError::from("did not finish within its slice of 4.00s")),
            problem(
                "tasks",
                StopHook::Undo,
                StageError::new(codes::STAGE_PANICKED, "queue is gone").fact("place", "src/queue.rs:12:5"),
            ),
        ],
        stuck: vec![("http-session".into(), Some("drain connections".to_owned()))],
        left_up: vec![("worker-mode".into(), "http-session".into())],
        leaked: vec![("database".into(), 3)],
        ..rolled_back(ms(8000), &["scheduler", "database"])
    };
    shows(
        &report(&error),
        r#"
================================================================================
STARTUP FAILED  tasks  [stage.misconfigured]                    exit 78 (CONFIG)
================================================================================
The stage `tasks` could not start: no queue named `mail`.

Do this
  1. Create it: banboard queues --add mail

Restarting will NOT help: the same settings are read on every start.
ROLLBACK INCOMPLETE after 8.00 s. The end of this process ends what is left.
Stopped: scheduler, database.
  cache         STOP FAILED: did not finish within its slice of 4.00s
  tasks         UNDO PANICKED: queue is gone; place: src/queue.rs:12:5
  http-session  STILL RUNS, at `drain connections`
  worker-mode   LEFT UP, because http-session still needs it
  database      LEAKED: stopped, but the program still holds 3 references to it
Failed after 48 ms. More: banboard explain stage.misconfigured
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}

#[test]
fn a_failed_health_check_is_not_called_a_failed_start() {
    let mut error = failed(failure("database", StageError::from("no answer within 5.00s")));
    error.primary.phase = FailurePhase::ReadyCheck;
    let text = report(&error);
    assert!(text.contains("The stage `database` started, but its health check failed: no answer"), "{text}");
}

#[test]
fn a_start_that_was_interrupted_is_not_called_failed() {
    let error = StageError::new(codes::STARTUP_INTERRUPTED, "the start was interrupted: SIGTERM");
    let mut error = failed(StageFailure { at: ms(1200), ..failure("startup", error) });
    error.rollback = StopSummary { stuck: vec![("cache".into(), None)], ..rolled_back(ms(8000), &[]) };
    shows(
        &report(&error),
        r#"
================================================================================
STARTUP INTERRUPTED  startup  [startup.interrupted]           exit 70 (SOFTWARE)
================================================================================
The start was interrupted: SIGTERM.

Do this
  1. See who asked: docker events --since 10m --until 0s --filter event=kill

The service can start again once this process has ended.
ROLLBACK INCOMPLETE after 8.00 s. The end of this process ends what is left.
  cache  STILL RUNS
Interrupted after 1.20 s. More: banboard explain startup.interrupted
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}

#[test]
fn every_exit_code_stands_with_its_name() {
    let id = identity();
    let error = failed(failure("cache", StageError::from("x")));
    for (code, shown) in
        [(0, "exit 0 (OK)"), (69, "exit 69 (UNAVAILABLE)"), (78, "exit 78 (CONFIG)"), (3, "exit 3")]
    {
        let text = startup_failure(&error, code, &id);
        assert!(text.lines().nth(1).unwrap().ends_with(shown), "{text}");
    }
}

#[test]
fn when_everything_goes_wrong_at_once_every_part_still_says_what_matters_most() {
    let text = "a value that is rather long and goes on and on, over the end of the line for sure";
    let mut error = StageError::new(codes::DB_MIGRATION_TIMEOUT, text.repeat(9));
    error = (0..12).fold(error, |error, at| error.fact(format!("fact {at}"), text));
    let command = "docker run --rm -v app_data:/data busybox chown -R 10001:10001 /data";
    error = (0..5).fold(error, |error, at| error.hint(format!("Action {at}, once: {command}")));
    let mut error = failed(failure("database", error));
    error.primary.steps = (1..=12).map(|at| (format!("migration {at}/12"), ms(1000))).collect();
    error.primary.step = Some("migration 12/12".to_owned());
    error.also = (0..4).map(|at| failure(format!("other-{at}"), StageError::from(text))).collect();
    error.never_started = (0..30).map(|_| never("job", &[("database", StageState::Failed)])).collect();
    error.rollback = StopSummary {
        stuck: vec![("http-session".into(), Some("drain connections".to_owned()))],
        left_up: vec![("worker-mode".into(), "http-session".into())],
        ..rolled_back(ms(8000), &["scheduler"])
    };
    let text = report(&error);
    for expected in [
        "STARTUP FAILED  database  [db.migration-timeout]",
        "\nFound\n  fact 0 ",
        "more: fact 2, fact 3,",
        "1.00 s  <- here when the time was over\n",
        "\nAlso failed, independently\n  4 in all: other-0, other-1,",
        "\nNot started\n  30 in all: job\n",
        &format!("\nDo this\n  1. Action 0, once:\n     {command}\n  ... and 3 more\n"),
        "\nRestarting will NOT help: ",
        "\n  http-session  STILL RUNS, at `drain connections`\n  worker-mode   LEFT UP, because",
        "\nFailed after 48 ms. More: banboard explain db.migration-timeout\nbanboard 1.4.2  instance",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
}
