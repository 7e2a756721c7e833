//! Small programs: one that holds both locks until it ends, and two to compare with, that know nothing of the
//! library.

use std::{env, fs::OpenOptions, path::PathBuf, process::ExitCode, thread, time::Duration};

use rustix::fs::{FlockOperation, flock};
use solostart::Event;

use crate::worker::monotonic;

/// What each says when it holds, or is there.
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

/// A program that ends as soon as the clock shows that it was paused.
pub(crate) fn bystander() -> ExitCode {
    eprintln!("{HELD}");
    loop {
        let before = monotonic();
        thread::sleep(Duration::from_millis(10));
        // A paused process is not paused for less, and a busy machine seldom keeps one from running for so long.
        if monotonic() - before >= Duration::from_millis(250) {
            return ExitCode::from(70);
        }
    }
}
