use super::*;
use crate::{Env, Startup, WorkerMode, recorder::Kept};

#[tokio::test]
async fn the_numbers_say_how_the_service_is_and_who_holds_the_lock() {
    let data = tempfile::tempdir().unwrap();
    let vars = [("SHOP_DATA_DIR", data.path().to_str().unwrap().to_owned())];
    let mut startup = Startup::new("shop", Env::from_vars("SHOP", vars), WorkerMode::Single);
    startup.allow_unshared_lock("overlay,tmpfs");
    startup.stage("database", (), async |_cx, ()| Ok(())).required();
    let (kept, metrics) = (Kept::default(), Metrics::default());
    let ready = startup.prepare().unwrap();
    metrics.look_at(ready.prepared.board.clone(), ready.lock.as_ref());
    metrics::with_local_recorder(&kept, || metrics.beat());
    assert_eq!(kept.gauge("solostart_ready"), Some(0.0));
    assert_eq!(kept.gauge("solostart_stage_state stage=database state=pending"), Some(1.0));
    let running = ready.prepared.start().await.unwrap();
    metrics::with_local_recorder(&kept, || metrics.event(&Event::Ready { took: Duration::ZERO }));
    for (name, value) in [
        ("solostart_ready", 1.0),
        ("solostart_stage_state stage=database state=pending", 0.0),
        ("solostart_stage_state stage=database state=up", 1.0),
        ("solostart_stage_healthy stage=database", 1.0),
        ("solostart_lock_held", 1.0),
        ("solostart_lock_token", running.worker().token().get() as f64),
    ] {
        assert_eq!(kept.gauge(name), Some(value), "{name}");
    }
    let age = kept.gauge("solostart_lock_renewal_age_seconds").unwrap();
    assert!((0.0..9.0).contains(&age), "{age}");
    let retried = Event::StageRetrying {
        stage: "database".into(),
        attempt: 1,
        delay: Duration::ZERO,
        error: String::new(),
    };
    metrics::with_local_recorder(&kept, || metrics.event(&retried));
    assert_eq!(kept.counter("solostart_stage_retries_total stage=database"), Some(1));
    running.shutdown("the test is over").await;
    metrics::with_local_recorder(&kept, || metrics.event(&Event::Stopped { took: Duration::ZERO }));
    assert_eq!(kept.gauge("solostart_ready"), Some(0.0));
    assert_eq!(kept.gauge("solostart_lock_held"), Some(0.0));
}

#[test]
fn every_number_is_documented() {
    let document = include_str!("../../../docs/observability.md");
    let code = include_str!("../metrics.rs");
    let names: Vec<&str> =
        code.split('"').filter(|text| text.starts_with("solostart_") && !text.contains(' ')).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(document.contains(&format!("| `{name}` |")), "{name}");
    }
}
