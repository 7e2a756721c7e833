use super::*;
use crate::{codes, settings::Env};

#[test]
fn every_problem_of_the_environment_is_listed_with_its_remedy() {
    let set = [
        ("BANBOARD_HTTP_TIMEOUT", "30"),
        ("BANBOARD_STAGE_TIMEOUT_HTTP_SESSION", "soon"),
        ("BANBOARD_LOCK_WIAT", "5s"),
    ];
    let env = Env::from_vars("BANBOARD", set);
    let _stand_in = env.var("DATABASE_PATH").example("/data/app.db").path().required();
    for name in ["HTTP_TIMEOUT", "LOCK_WAIT", "STAGE_TIMEOUT_HTTP_SESSION"] {
        let _stand_in = env.var(name).duration().optional();
    }
    let primary = failure("configuration", env.check().unwrap_err().into_stage_error());
    let mut error = failed(StageFailure { phase: FailurePhase::Check, ..primary });
    error.timeline.stages.clear();
    shows(
        &report(&error),
        r#"
================================================================================
STARTUP FAILED  configuration  [env.invalid]                    exit 78 (CONFIG)
================================================================================
3 problems in the environment.

Found
  BANBOARD_DATABASE_PATH  missing; required: a path, for instance /data/app.db
  BANBOARD_HTTP_TIMEOUT   "30" has no unit; write 30s (or 500ms, 2m)
  BANBOARD_STAGE_TIMEOUT_HTTP_SESSION
                          "soon" is not a duration; write a duration such as
                          500ms, 30s or 1m30s
  BANBOARD_LOCK_WIAT      warning: unknown; did you mean BANBOARD_LOCK_WAIT?

Do this
  1. Correct these variables in the `environment:` or `env_file:` of this
     service.
  2. See what the process really gets: banboard env
  3. Look for what else is wrong: banboard check

Restarting will NOT help: the same environment is read on every start.
Nothing was started, and nothing is running.
Failed before the first stage was started. More: banboard explain env.invalid
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}

#[test]
fn more_problems_than_lines_are_all_named() {
    let name = |at: usize| format!("BANBOARD_SETTING_NUMBER_{at}");
    let what = "\"apples\" is not a duration; write a duration such as 500ms, 30s or 1m30s";
    let error = StageError::new(codes::ENV_INVALID, "40 problems in the environment");
    let error = (0..40).fold(error, |error, at| error.fact(name(at), what));
    let text = report(&failed(failure("configuration", error)));
    assert!((0..40).all(|at| text.contains(&name(at))), "{text}");
    assert!(text.contains("BANBOARD_SETTING_NUMBER_0   \"apples\" is not a duration"), "{text}");
    assert!(text.contains("Do this\n  1. Correct these variables"), "{text}");
}

#[test]
fn several_configured_workers_are_refused_with_their_variables() {
    let error = StageError::new(
        codes::WORKER_COUNT_CONFIGURED,
        "This service must run as exactly one worker process, but the environment asks for more than \
         one. Two workers would run every scheduled task twice.",
    )
    .fact("WEB_CONCURRENCY", "asks for 2 workers")
    .fact("GUNICORN_CMD_ARGS", "--workers asks for 4")
    .fact("BANBOARD_WORKERS", "not set (1 is the default)")
    .fact("TOKIO_WORKER_THREADS", "threads, not workers: fine")
    .hint("Set WEB_CONCURRENCY to 1, or remove it, in `environment:` or `env_file:`")
    .hint("Remove -w and --workers from GUNICORN_CMD_ARGS, in `environment:` or `env_file:`")
    .hint("See what the process really gets: docker compose config");
    let mut error = failed(failure("worker-mode", error));
    error.primary.at = ms(2);
    error.never_started = vec![
        never("database", &[("worker-mode", StageState::Failed)]),
        never("cache", &[("database", StageState::Skipped)]),
    ];
    shows(
        &report(&error),
        r#"
================================================================================
STARTUP FAILED  worker-mode  [worker.count-configured]          exit 78 (CONFIG)
================================================================================
This service must run as exactly one worker process, but the environment asks
for more than one. Two workers would run every scheduled task twice.

Found
  WEB_CONCURRENCY       asks for 2 workers
  GUNICORN_CMD_ARGS     --workers asks for 4
  BANBOARD_WORKERS      not set (1 is the default)
  TOKIO_WORKER_THREADS  threads, not workers: fine

Do this
  1. Set WEB_CONCURRENCY to 1, or remove it, in `environment:` or `env_file:`
  2. Remove -w and --workers from GUNICORN_CMD_ARGS, in `environment:` or
     `env_file:`
  3. See what the process really gets: docker compose config

Restarting will NOT help: the same environment is read on every start.
No stage was up, so there was nothing to roll back. Nothing is running.
Failed after 2 ms. More: banboard explain worker.count-configured
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}

#[test]
fn a_held_lock_names_its_holder() {
    let error = StageError::new(
        codes::LOCK_HELD,
        "Another process has the lock /data/app.lock, so another instance of this service is running. \
         Only one may run; the other one was not disturbed.",
    )
    .fact("the other", "2b90aa41 (banboard 1.4.1, host 9c1d77e0b3aa, pid 1 there)")
    .fact("started", "2026-11-20T06:02:10Z (3 h 25 m ago)")
    .fact("held by", "process 4711, says the kernel, state S (alive)")
    .fact("evidence", "flock on /data/app.lock is held (/data on ext4, volume app_data)")
    .fact("this instance", "7f3c19d2 (banboard 1.4.2, host 4be1c0ffee12, pid 1 there)")
    .hint("See who runs: docker ps --filter volume=app_data")
    .hint("The versions differ (1.4.1 and 1.4.2): a rolling update? Use `order: stop-first` or `strategy: Recreate`")
    .hint("Leave /data/app.lock in place: without it two would run");
    shows(
        &report(&failed(failure("worker-mode", error))),
        r#"
================================================================================
STARTUP FAILED  worker-mode  [lock.held]                        exit 78 (CONFIG)
================================================================================
Another process has the lock /data/app.lock, so another instance of this service
is running. Only one may run; the other one was not disturbed.

Found
  the other      2b90aa41 (banboard 1.4.1, host 9c1d77e0b3aa, pid 1 there)
  started        2026-11-20T06:02:10Z (3 h 25 m ago)
  held by        process 4711, says the kernel, state S (alive)
  evidence       flock on /data/app.lock is held (/data on ext4, volume
                 app_data)
  this instance  7f3c19d2 (banboard 1.4.2, host 4be1c0ffee12, pid 1 there)

Do this
  1. See who runs: docker ps --filter volume=app_data
  2. The versions differ (1.4.1 and 1.4.2):
     a rolling update? Use `order: stop-first` or `strategy: Recreate`
  3. Leave /data/app.lock in place: without it two would run

Restarting will NOT help: the other instance must end first.
No stage was up, so there was nothing to roll back. Nothing is running.
Failed after 48 ms. More: banboard explain lock.held
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}

#[test]
fn a_database_that_cannot_be_written_is_told_with_owner_command_and_rollback() {
    let error = StageError::new(
        codes::DB_NOT_WRITABLE,
        "/data/app.db cannot be written by this process: Permission denied (os error 13)",
    )
    .fact("process", "uid 10001, gid 10001")
    .fact("file", "/data/app.db, owner 0:0, mode 0644")
    .fact("mount", "/data on ext4, read-write, 41.2 GiB free")
    .hint("Give it to the user of this process, once: docker run --rm -v app_data:/data busybox chown -R 10001:10001 /data")
    .hint("Or run as its owner: `user: \"0:0\"` in compose.yaml (less safe for 0:0)");
    let mut error = failed(failure("database", error));
    error.primary.step = Some("open".to_owned());
    error.rollback = rolled_back(ms(3), &["http-session", "worker-mode"]);
    error.never_started = vec![
        never("cache", &[("database", StageState::Failed)]),
        never("scheduler", &[("database", StageState::Failed), ("cache", StageState::Skipped)]),
        never("tasks", &[("scheduler", StageState::Skipped)]),
    ];
    shows(
        &report(&error),
        r#"
================================================================================
STARTUP FAILED  database  [db.not-writable]                     exit 77 (NOPERM)
================================================================================
/data/app.db cannot be written by this process: Permission denied (os error 13).

Found
  process    uid 10001, gid 10001
  file       /data/app.db, owner 0:0, mode 0644
  mount      /data on ext4, read-write, 41.2 GiB free
  last step  open

Not started
  cache      needs database (failed)
  scheduler  needs database (failed), cache (not started)
  tasks      needs scheduler (not started)

Do this
  1. Give it to the user of this process, once:
     docker run --rm -v app_data:/data busybox chown -R 10001:10001 /data
  2. Or run as its owner: `user: "0:0"` in compose.yaml (less safe for 0:0)

Restarting will NOT help: owners and permissions do not change by themselves.
Rolled back in 3 ms: http-session, worker-mode. Nothing is running.
Failed after 48 ms. More: banboard explain db.not-writable
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}
