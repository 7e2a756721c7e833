//! 12. Testing your own graph: every fault in every stage, without a line of mocks. Feature `testing`.
//!
//! `cargo run --features testing --example 12_test_your_graph` plays them all, and says what came of each. In a project
//! of your own this is a test, and `solostart` with the feature `testing` stands under `[dev-dependencies]`.
//!
//! To try
//! - Take the `stop` of `connection` away, or forget to decrease the count: the check fails and names the fault.
//! - Make `cache` required: more starts fail, and every one of them still releases the connection.
//! - Play one fault alone: `startup.inject(&FaultPlan::new().with("cache", Fault::Hang))`.

#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]
#![allow(clippy::panic, reason = "a check fails by panicking, as in any test")]

use std::sync::{
    Arc,
    atomic::{AtomicI32, AtomicU32, Ordering},
};

use solostart::{
    Env, StageContext, Startup, WorkerMode,
    testing::{Ended, Fault, SingleFault, for_each_single_fault},
};

/// How many connections are open at this moment: what the application promises to release.
static OPEN: AtomicI32 = AtomicI32::new(0);

/// What `main` of the application hands to `solostart::run`, too.
fn plan(startup: &mut Startup) {
    let connection = startup
        .stage("connection", (), async |cx: StageContext, ()| {
            OPEN.fetch_add(1, Ordering::Relaxed);
            cx.on_rollback(async || {
                OPEN.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            });
            Ok("connected")
        })
        .stop(async |_connection, _cx| {
            OPEN.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        })
        .required();
    startup.stage("cache", connection, async |_cx, connection: Arc<&str>| Ok(connection.len())).optional();
}

fn build() -> Startup {
    let mode = WorkerMode::Many { reason: "no lock in this test".to_owned() };
    let mut startup = Startup::new("shop", Env::from_vars("SHOP", [("SHOP_STAGE_TIMEOUT", "5s")]), mode);
    plan(&mut startup);
    startup
}

/// What must hold whatever went wrong. That each stage is released once and in order is checked already.
fn check(played: &SingleFault) {
    assert_eq!(OPEN.load(Ordering::Relaxed), 0, "{played} leaves a connection open");
    let came_up = matches!(played.ended, Ended::Stopped(_));
    if played.stage == "cache" && played.fault == Fault::Panic {
        assert!(came_up, "the shop can do without its cache");
    }
    println!("{played}: {}", if came_up { "came up, and stopped" } else { "failed, and was rolled back" });
}

fn main() {
    // Time limits cost nothing: each fault is played on a clock that is paused.
    let count = AtomicU32::new(0);
    for_each_single_fault(build, |played| {
        check(played);
        count.fetch_add(1, Ordering::Relaxed);
    });
    println!("{} faults played", count.into_inner());
}
