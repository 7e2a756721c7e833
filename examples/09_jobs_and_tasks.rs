//! 9. Jobs and tasks: what happens by the clock, and what happens all the time.
//!
//! `cargo run --example 09_jobs_and_tasks` fills a basket with a task, and empties it with a job.
//!
//! To try
//! - `ORCHARD_FRAGILE=true cargo run --example 09_jobs_and_tasks`: the picker dies again and again. It is started again twice, with
//!   pauses; then the service ends with its error, because without a picker it is of no use.
//! - `ORCHARD_SCHEDULER=off …`: no job runs, and the `READY` line says so.
//! - `ORCHARD_SCHEDULER=external ORCHARD_TICK_SECRET=$(openssl rand -hex 32) …`: the jobs wait for `POST /tick/<job>`. A service that
//!   serves HTTP mounts `JobScheduler::ticks().router()` for that (feature `http-routes`).
//! - Let a job sleep for longer than its period: what is due meanwhile is skipped, and counted.

#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use solostart::{
    ServeContext, StageContext, StageResult,
    stages::{
        RunContext,
        scheduler::{JobScheduler, Scheduler},
        tasks::{Tasks, TasksHandle},
    },
};
use tokio::time::sleep;

type Basket = AtomicU32;

/// Runs until it is cancelled. A task that returns before that, with whatever result, has failed.
async fn pick(cx: RunContext, basket: Arc<Basket>, fragile: bool) -> StageResult<()> {
    for picked in 0.. {
        if fragile && picked == 5 {
            return Err("the ladder broke".into());
        }
        basket.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            () = cx.cancelled() => break,
            () = sleep(Duration::from_millis(50)) => {}
        }
    }
    Ok(())
}

async fn empty(cx: RunContext, basket: Arc<Basket>) -> StageResult<()> {
    // Somebody else may be the only worker by now; ask before an effect that must not happen twice.
    cx.worker().check()?;
    println!("{}: {} apples", cx.name(), basket.swap(0, Ordering::Relaxed));
    Ok(())
}

fn main() -> ExitCode {
    solostart::run("orchard", |startup| {
        startup.allow_unshared_lock("overlay,tmpfs");
        let env = startup.env();
        let fragile = env.var("FRAGILE").describe("Whether the picker dies.").boolean().default(false);
        let basket = startup.stage("basket", (), async |_cx: StageContext, ()| Ok(Basket::new(0))).required();

        let jobs = Scheduler::from_env(&env)
            .time_limit(Duration::from_secs(5))
            .every("empty", Duration::from_millis(200), empty)
            .time_zone("Europe/Berlin")
            .cron("count-the-day", "0 30 2 * * *", empty);
        let jobs = startup.add_with(jobs, basket);

        let tasks =
            Tasks::new().restarts(2).essential_task("pick", move |cx, basket| pick(cx, basket, fragile));
        let tasks = startup.add_with(tasks, basket);

        startup.serve(
            (jobs, tasks),
            async |cx: ServeContext, (jobs, tasks): (Arc<JobScheduler>, Arc<TasksHandle>)| {
                cx.shutdown_requested().await;
                for job in jobs.stats() {
                    println!("{} ({}): {} runs, {} skipped", job.name, job.schedule, job.runs, job.skipped);
                }
                println!("{:?}", tasks.status());
                Ok(())
            },
        );
        Ok(())
    })
}
