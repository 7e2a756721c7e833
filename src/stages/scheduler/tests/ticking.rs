use tokio::sync::Notify;

use super::*;

const SECRET: &str = "0123456789abcdef";
const HEADER: &[u8] = b"Bearer 0123456789abcdef";

fn from(vars: &[(&str, &str)]) -> Scheduler<Arc<Notify>> {
    let env = Env::from_vars("SHOP", vars.iter().copied());
    let stage = Scheduler::from_env(&env).every("nightly", SECOND, async |_, end: Arc<Notify>| {
        end.notified().await;
        Ok(())
    });
    assert!(env.check().unwrap().is_empty());
    stage
}

fn external() -> Scheduler<Arc<Notify>> {
    from(&[("SHOP_SCHEDULER", "external"), ("SHOP_TICK_SECRET", SECRET)])
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_when_it_is_asked_for_and_not_by_itself() {
    let (stage, end) = (external(), Arc::new(Notify::new()));
    let start = Start::unhurried();
    let scheduler = Arc::new(stage.start(start.cx.clone(), end.clone()).await.unwrap());
    assert_eq!(start.note().as_deref(), Some("scheduler external"));
    sleep(60 * SECOND).await;
    let ticks = scheduler.ticks();
    assert_eq!(scheduler.stats()[0].runs, 0);
    assert_eq!(ticks.handle("POST", "/tick/nightly", Some(HEADER)), TickAnswer::Begun);
    assert_eq!(ticks.handle("POST", "/tick/nightly", Some(HEADER)), TickAnswer::Running);
    end.notify_one();
    sleep(SECOND).await;
    assert_eq!((scheduler.stats()[0].runs, scheduler.stats()[0].skipped), (1, 1));
    let shouted = b"bEARER 0123456789abcdef";
    assert_eq!(ticks.handle("POST", "/tick/nightly", Some(shouted)), TickAnswer::Begun);
    end.notify_one();
    sleep(SECOND).await;
    stop(&stage, &scheduler).await.unwrap();
    assert_eq!(ticks.handle("POST", "/tick/nightly", Some(HEADER)), TickAnswer::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn nobody_learns_anything_without_the_secret() {
    let (stage, end) = (external(), Arc::new(Notify::new()));
    let scheduler = up(&stage, end).await;
    let ticks = scheduler.ticks();
    let wrong: [Option<&[u8]>; 9] = [
        None,
        Some(b""),
        Some(b"Bearer"),
        Some(b"Bearer "),
        Some(b"0123456789abcdef"),
        Some(b"Basic  0123456789abcdef"),
        Some(b"Bearer 0123456789abcdeF"),
        Some(b"Bearer 0123456789abcdef0"),
        Some(b"Bearer \xff\x00"),
    ];
    for path in ["/tick/nightly", "/tick/unknown"] {
        for header in wrong {
            assert_eq!(ticks.handle("POST", path, header), TickAnswer::Unauthorized, "{header:?}");
        }
    }
    assert_eq!(scheduler.stats()[0].runs, 0);
    for path in
        ["/tick/unknown", "/tick/", "/tick", "/tick/nightly/", "/tick/a/nightly", "/", "", "tick/nightly"]
    {
        assert_eq!(ticks.handle("POST", path, Some(HEADER)), TickAnswer::NotFound, "{path}");
    }
    for method in ["GET", "HEAD", "PUT", "post", ""] {
        assert_eq!(ticks.handle(method, "/tick/nightly", Some(HEADER)), TickAnswer::MethodNotAllowed);
    }
    let shown = format!("{ticks:?} {scheduler:?} {stage:?}");
    assert!(!shown.contains(SECRET), "{shown}");
    stop(&stage, &scheduler).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_secret_or_in_another_mode_there_is_no_endpoint() {
    for (vars, note) in [
        (
            &[("SHOP_SCHEDULER", "external")][..],
            "scheduler external, but without SHOP_TICK_SECRET no job runs",
        ),
        (&[("SHOP_TICK_SECRET", SECRET)], "scheduler internal"),
        (&[("SHOP_SCHEDULER", "off"), ("SHOP_TICK_SECRET", SECRET)], "scheduler off: no job runs"),
    ] {
        let stage = from(vars);
        let start = Start::unhurried();
        let scheduler = Arc::new(stage.start(start.cx.clone(), Arc::new(Notify::new())).await.unwrap());
        assert_eq!(start.note().as_deref(), Some(note));
        for header in [None, Some(HEADER)] {
            let answer = scheduler.ticks().handle("POST", "/tick/nightly", header);
            assert_eq!(answer, TickAnswer::NotFound);
        }
        stop(&stage, &scheduler).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_tick_is_refused_while_the_service_drains_and_once_the_right_is_lost() {
    for drains in [true, false] {
        let stage = external();
        let start = Start::unhurried();
        let scheduler = Arc::new(stage.start(start.cx.clone(), Arc::new(Notify::new())).await.unwrap());
        if drains {
            start.cx.board().set_phase(Phase::Draining);
        } else {
            start.worker.lose("the lock file was replaced");
        }
        let answer = scheduler.ticks().handle("POST", "/tick/nightly", Some(HEADER));
        assert_eq!(answer, TickAnswer::Unavailable);
        stop(&stage, &scheduler).await.unwrap();
    }
}

#[test]
fn a_secret_that_can_be_guessed_or_not_be_sent_is_a_configuration_error_that_does_not_show_it() {
    for secret in ["hunter2", "sixteen letters!", "0123456789abcd\u{e9}f"] {
        let env = Env::from_vars("SHOP", [("SHOP_TICK_SECRET", secret)]);
        let _stage = Scheduler::<()>::from_env(&env);
        let problems = env.check().unwrap_err().to_string();
        assert!(problems.contains("SHOP_TICK_SECRET: is too short"), "{problems}");
        assert!(!problems.contains(secret), "{problems}");
    }
}
