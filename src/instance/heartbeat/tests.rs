use std::time::Instant;

use super::*;
use crate::contract::guard::{LockLost, Loss, WorkerGuard};

const SHORT: Duration = Duration::from_millis(1);
const NEVER: Duration = Duration::from_secs(3600);

fn beat(
    interval: Duration,
    verify: impl Fn() -> Result<(), Doubt> + Send + 'static,
) -> (Heartbeat, WorkerGuard) {
    let keeper = Arc::new(GuardKeeper::exclusive());
    let guard = keeper.guard();
    (Heartbeat::start(verify, keeper, interval).unwrap(), guard)
}

async fn lost(guard: &WorkerGuard) -> (Loss, String) {
    let LockLost { loss, reason, .. } =
        tokio::time::timeout(Duration::from_secs(10), guard.lost()).await.expect("lost");
    assert!(guard.check().is_err());
    (loss, reason)
}

fn unclear() -> Doubt {
    Doubt::Unclear(io::Error::other("no memory"))
}

#[tokio::test]
async fn a_changed_file_loses_the_right_at_the_first_look() {
    let (looked, looks) = mpsc::channel();
    let (_heartbeat, guard) = beat(SHORT, move || {
        looked.send(()).unwrap();
        Err(Doubt::Changed("the lock file was removed".to_owned()))
    });
    assert_eq!(lost(&guard).await, (Loss::Taken, "the lock file was removed".to_owned()));
    assert_eq!(looks.iter().count(), 1);
}

#[tokio::test]
async fn a_file_that_cannot_be_looked_at_ends_the_right_after_a_few_tries_although_nobody_took_it() {
    let (looked, looks) = mpsc::channel();
    let (_heartbeat, guard) = beat(SHORT, move || {
        looked.send(()).unwrap();
        Err(unclear())
    });
    assert_eq!(
        lost(&guard).await,
        (Loss::Expired, "the lock file cannot be looked at: no memory".to_owned())
    );
    assert_eq!(looks.iter().count(), TRIES as usize);
}

#[test]
fn a_failure_that_passes_costs_nothing() {
    let (script, next) = mpsc::channel();
    for _ in 0..2 {
        (1..TRIES).for_each(|_| script.send(Err(unclear())).unwrap());
        script.send(Ok(())).unwrap();
    }
    drop(script);
    let (done, all) = mpsc::channel();
    let (_heartbeat, guard) = beat(SHORT, move || {
        next.recv().unwrap_or_else(|_| {
            // The script is over: nobody waits a second time.
            let _told = done.send(());
            Ok(())
        })
    });
    all.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(guard.check(), Ok(()));
}

#[tokio::test]
async fn a_panic_of_the_thread_loses_the_right() {
    let (_heartbeat, guard) = beat(SHORT, || panic!("on purpose"));
    assert_eq!(lost(&guard).await, (Loss::Defect, "the thread that verifies it panicked".to_owned()));
}

#[tokio::test]
async fn dropping_ends_the_thread_at_once_and_the_right_with_it() {
    let (heartbeat, guard) = beat(NEVER, || Ok(()));
    assert_eq!(guard.check(), Ok(()));
    let start = Instant::now();
    drop(heartbeat);
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(lost(&guard).await, (Loss::NotHeld, "it was given back".to_owned()));
}
