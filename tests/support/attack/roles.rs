//! Two programs that hold a lock until they end: one with the library, one with a plain `flock` to compare.

use std::{env, fs::OpenOptions, path::PathBuf, process::ExitCode, thread};

use rustix::fs::{FlockOperation, flock};
use solostart::Event;

/// What each says when it holds.
pub(crate) const HELD: &str = "it is held";

/// An application without stages.
pub(crate) fn holder() -> ExitCode {
    solostart::run("attack", |startup| {
        startup.allow_unshared_lock("overlay,tmpfs").on_event(|event| {
            if matches!(event, Event::StageUp { stage, .. } if &**stage == "worker-mode") {
                eprintln!("{HELD}");
            }
        });
        startup.serve((), async |cx, ()| {
            cx.shutdown_requested().await;
            Ok(())
        });
        Ok(())
    })
}

/// The same with `flock` alone, and no other promise: `WAIT=1` waits for it.
pub(crate) fn plain_flock() -> ExitCode {
    let path = PathBuf::from(env::var_os("ATTACK_DATA_DIR").unwrap()).join("plain.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap();
    let waits = env::var_os("WAIT").is_some();
    let how = if waits { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
    if flock(&file, how).is_err() {
        return ExitCode::from(75);
    }
    eprintln!("{HELD}");
    loop {
        thread::park();
    }
}
