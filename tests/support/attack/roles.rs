//! Small programs: one that holds both locks until it ends, and two to compare with, that know nothing of the
//! library.

use std::{
    env,
    fs::{File, OpenOptions},
    io::Write,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::Duration,
};

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

/// A program that ends when the clock shows that it was paused. It stores a line before, as a worker does that was
/// writing: nobody ends before the disk has answered.
pub(crate) fn bystander() -> ExitCode {
    let mut last = monotonic();
    eprintln!("{HELD}");
    loop {
        thread::sleep(Duration::from_millis(10));
        let now = monotonic();
        // A paused process is not paused for less, and a busy machine seldom keeps one from running for so long.
        if now - last >= Duration::from_millis(250) {
            let path = PathBuf::from(env::var_os("ATTACK_DATA_DIR").unwrap()).join("last-words");
            let mut file = File::create(path).unwrap();
            file.write_all(b"it was paused\n").and_then(|()| file.sync_data()).unwrap();
            return ExitCode::from(70);
        }
        last = now;
    }
}
