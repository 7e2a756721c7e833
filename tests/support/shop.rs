//! An application that can fail in every way that has a code: what the environment and the files do not bring
//! about, `SHOP_FAULT` does. The reports in `docs/failures.md` are its reports; `tests/failures.rs` collects them.

#![allow(clippy::panic, clippy::print_stderr, reason = "it fails on purpose and says when")]

use std::{future::pending, process::ExitCode, sync::Arc, thread, time::Duration};

use solostart::{
    ErrorKind, ServeContext, StageContext, StageError, StageResult, Startup,
    stages::{
        RunContext,
        database::{Database, Migration, SqliteDatabase},
        http_session::HttpSession,
        tasks::Tasks,
    },
};
use tokio::sync::Notify;

const ORDERS: Migration =
    Migration::new("orders", "CREATE TABLE orders (number INTEGER PRIMARY KEY, customer INTEGER) STRICT;");
const GOOD: &[Migration] = &[ORDERS];
/// The newer version's. Where there are two orders with one number, it cannot be done.
const MORE: &[Migration] =
    &[ORDERS, Migration::new("one-customer", "CREATE UNIQUE INDEX one_customer ON orders (customer);")];
/// Longer than any test waits.
const SLOW: &[Migration] = &[
    ORDERS,
    Migration::new(
        "fill-orders",
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) INSERT INTO orders (number) \
         SELECT max(n) FROM n;",
    ),
];

fn main() -> ExitCode {
    solostart::run("shop", |startup| {
        startup.version("1.4.2");
        let fault = startup.env().var("FAULT").describe("What goes wrong.").text().default("none".to_owned());
        plan(startup, &fault);
        Ok(())
    })
}

/// `worker-mode -> database, http-session -> orders -> tasks`, then serve.
fn plan(startup: &mut Startup, fault: &str) {
    let env = startup.env();
    let migrations = match fault {
        "newer" | "wrong-migration" => MORE,
        "slow-migration" => SLOW,
        _ => GOOD,
    };
    let database = startup.add(SqliteDatabase::from_env(&env).migrations(migrations));
    let http = startup.configure(HttpSession::from_env(&env), ()).after(database).required();
    let (starting, stopping, ending) = (fault.to_owned(), fault.to_owned(), fault.to_owned());
    let orders = startup
        .stage("orders", database, async move |cx: StageContext, database: Arc<Database>| {
            read_orders(&starting, cx, &database).await
        })
        .after(http)
        .stop(async move |_orders, _cx| if stopping == "stop" { pending().await } else { Ok(()) })
        .required();
    if fault == "graph" {
        startup.stage("orders", (), async |_cx, ()| Ok(())).required();
    }
    let serving = Arc::new(Notify::new());
    let told = serving.clone();
    let mail = move |cx: RunContext, _orders: Arc<()>| send_mail(ending.clone(), cx, told.clone());
    let tasks = startup.add_with(Tasks::new().restarts(0).essential_task("mail", mail), orders);
    startup.serve(tasks, async move |cx: ServeContext, _tasks| {
        serving.notify_one();
        cx.shutdown_requested().await;
        Ok(())
    });
}

async fn read_orders(fault: &str, cx: StageContext, database: &Database) -> StageResult<()> {
    cx.step("read the open orders");
    match fault {
        "error" => Err(std::io::Error::other("order 4711 has no customer").into()),
        "busy" => order(ErrorKind::Temporary),
        "unavailable" => order(ErrorKind::Unavailable),
        "misconfigured" => order(ErrorKind::Config),
        "not-permitted" => order(ErrorKind::Permission),
        "data" => order(ErrorKind::Data),
        "io" => order(ErrorKind::Io),
        "cannot-create" => order(ErrorKind::CannotCreate),
        "panic" => panic!("order 4711 has no customer"),
        "hang" => pending().await,
        "undo" => {
            cx.on_rollback(async || pending().await);
            eprintln!("the orders are read");
            pending().await
        }
        "same-customer" => Ok(database
            .write(|tx| Ok(tx.execute_batch("INSERT INTO orders (customer) VALUES (7), (7)")?))
            .await?),
        "block" => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        _ => Ok(()),
    }
}

/// An error that says what kind it is, and has no code.
fn order(kind: ErrorKind) -> StageResult<()> {
    Err(StageError::from("order 4711 has no customer").kind(kind))
}

async fn send_mail(fault: String, cx: RunContext, serving: Arc<Notify>) -> StageResult<()> {
    if fault == "task" {
        serving.notified().await;
        return Err("the mail server closed the connection".into());
    }
    cx.cancelled().await;
    Ok(())
}
