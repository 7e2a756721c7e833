//! What an application's `tracing` subscriber sees of a start and a stop: spans, their fields and nesting, and the
//! events inside, the library's and the application's own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fmt::{Debug, Write as _},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use solostart::{Env, StageContext, Startup, WorkerMode};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// Everything that was told, one line each: the spans from the outermost on, then what was said.
///
/// The library's events come from a thread of its own, in their order; those of the hooks from where they run.
#[derive(Clone, Default)]
struct Told(Arc<(Mutex<Vec<String>>, Condvar)>);

#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // They differ from run to run.
        if ["took", "instance", "delay"].contains(&field.name()) {
            return;
        }
        match field.name() {
            "message" => write!(self.0, "{value:?}").unwrap(),
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for Told {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        cx.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let mut line = String::new();
        for span in cx.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            let fields =
                span.extensions().get::<Fields>().map_or_else(String::new, |fields| fields.0.clone());
            write!(line, "{}{{{}}} > ", span.name(), fields.trim()).unwrap();
        }
        let mut said = Fields::default();
        event.record(&mut said);
        self.push(line + &said.0);
    }

    fn on_close(&self, id: Id, cx: Context<'_, S>) {
        self.push(format!("end of {}", cx.span(&id).unwrap().name()));
    }
}

impl Told {
    fn push(&self, line: String) {
        self.0.0.lock().unwrap().push(line);
        self.0.1.notify_all();
    }

    fn lines(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }

    /// The lines of one source, in their order.
    #[track_caller]
    fn shows_in_order(&self, expected: &[&str]) {
        let missing = |lines: &[String]| {
            let mut rest = lines.iter();
            expected.iter().find(|each| !rest.any(|line| line == *each)).copied()
        };
        let lines = self.0.0.lock().unwrap();
        let enough = |lines: &mut Vec<String>| missing(lines).is_some();
        let (lines, _) = self.0.1.wait_timeout_while(lines, Duration::from_secs(20), enough).unwrap();
        if let Some(each) = missing(&lines) {
            panic!("no `{each}` in its place:\n{}", lines.join("\n"));
        }
    }
}

fn startup() -> Startup {
    let none: [(&str, &str); 0] = [];
    Startup::new("shop", Env::from_vars("SHOP", none), WorkerMode::Many { reason: "a test".to_owned() })
}

/// A stage whose first attempt fails, and whose hooks say something.
fn database(startup: &mut Startup) {
    let attempts = AtomicU32::new(0);
    let attempts = Arc::new(attempts);
    startup
        .stage("database", (), move |cx: StageContext, ()| {
            let attempts = attempts.clone();
            tracing::info!("called");
            async move {
                cx.step("connect");
                tokio::task::yield_now().await;
                tracing::info!("opening");
                match attempts.fetch_add(1, Ordering::Relaxed) {
                    0 => {
                        cx.on_rollback(async || {
                            tracing::info!("undoing");
                            Ok(())
                        });
                        Err("refused by https://user:S3CRET@host/?token=T0KEN".into())
                    }
                    _ => Ok(()),
                }
            }
        })
        .health(async |_database| {
            tracing::info!("looking");
            Ok(())
        })
        .stop(async |_database, _cx| {
            tracing::info!("closing");
            Ok(())
        })
        .retry(2)
        .required();
}

#[tokio::test(start_paused = true)]
async fn spans_and_events_tell_which_stage_and_which_attempt_said_what() {
    let told = Told::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(told.clone()));
    let mut startup = startup();
    database(&mut startup);
    let running = startup.start().await.unwrap();
    told.shows_in_order(&[
        "startup{service=\"shop\"} > stage{name=database} > attempt{n=1} > called",
        "startup{service=\"shop\"} > stage{name=database} > attempt{n=1} > opening",
        "startup{service=\"shop\"} > stage{name=database} > undo{} > undoing",
        "startup{service=\"shop\"} > stage{name=database} > attempt{n=2} > called",
        "startup{service=\"shop\"} > health{stage=database} > looking",
    ]);
    told.shows_in_order(&[
        "startup{service=\"shop\"} > stage{name=database} > stage starting stage=database",
        "startup{service=\"shop\"} > stage{name=database} > attempt{n=1} > step stage=\"database\" step=\"connect\"",
        "end of attempt",
        "startup{service=\"shop\"} > stage{name=database} > stage retries stage=database attempt=1 \
         error=\"refused by https://host/\"",
        "startup{service=\"shop\"} > stage{name=database} > attempt{n=2} > step stage=\"database\" step=\"connect\"",
        "startup{service=\"shop\"} > stage{name=database} > stage up stage=database",
        "startup{service=\"shop\"} > ready",
        "end of startup",
    ]);
    running.shutdown("over").await;
    told.shows_in_order(&[
        "end of startup",
        "shutdown{reason=over} > stop{stage=database} > stage stopping stage=database",
        "shutdown{reason=over} > stop{stage=database} > stage stopped stage=database",
        "shutdown{reason=over} > stopped",
        "end of shutdown",
    ]);
    told.shows_in_order(&["shutdown{reason=over} > stop{stage=database} > closing"]);
    let lines = told.lines().join("\n");
    assert!(!lines.contains("S3CRET") && !lines.contains("T0KEN"), "{lines}");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_is_rolled_back_within_its_span() {
    let told = Told::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(told.clone()));
    let mut startup = startup();
    database(&mut startup);
    let all = startup.stage("cache", (), async |cx: StageContext, ()| {
        cx.step("warm-up");
        tokio::time::sleep(Duration::from_secs(9)).await;
        Err::<(), _>("no luck".into())
    });
    all.required();
    let _error = startup.start().await.unwrap_err();
    told.shows_in_order(&[
        "startup{service=\"shop\"} > stage{name=cache} > attempt{n=1} > step stage=\"cache\" step=\"warm-up\"",
        "startup{service=\"shop\"} > stage{name=cache} > stage failed stage=cache code=\"stage.failed\" \
         optional=false error=\"no luck\"",
        "startup{service=\"shop\"} > rolling back error=\"no luck\"",
        "end of startup",
    ]);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_leaves_attempts_out_sees_what_a_hook_says_within_its_stage() {
    let told = Told::default();
    let filter = tracing_subscriber::filter::LevelFilter::INFO;
    let _guard =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(told.clone()).with(filter));
    let mut startup = startup();
    database(&mut startup);
    let _running = startup.start().await.unwrap();
    told.shows_in_order(&[
        "startup{service=\"shop\"} > stage{name=database} > opening",
        "startup{service=\"shop\"} > stage{name=database} > undoing",
    ]);
    told.shows_in_order(&["startup{service=\"shop\"} > stage{name=database} > stage up stage=database"]);
}
