//! An application that can fail in every way that has a code: what the environment and the files do not bring
//! about, `SHOP_FAULT` does. The reports in `docs/failures.md` are its reports; `tests/failures.rs` collects them.

#![allow(clippy::panic, clippy::print_stderr, reason = "it fails on purpose and says when")]

use std::{future::pending, process::ExitCode, sync::Arc, thread, time::Duration};

use solostart::{
    ServeContext, StageContext, StageResult, Startup,
    stages::{
        RunContext,
        database::{Database, Migration, SqliteDatabase},
        http_session::HttpSession,
        tasks::Tasks,
    },
};

const ORDERS: Migration = Migration::new("orders", "CREATE TABLE orders (number INTEGER PRIMARY KEY) STRICT;");
const GOOD: &[Migration] = &[ORDERS];
/// The first one leaves two rows that the second one cannot do with.
const WRONG: &[Migration] = &[
    Migration::new("orders", "CREATE TABLE orders (number INTEGER) STRICT; INSERT INTO orders VALUES (7), (7);"),
    Migration::new("unique-orders", "CREATE UNIQUE INDEX orders_number ON orders (number);"),
];
/// Longer than any test waits.
const SLOW: &[Migration] = &[
    ORDERS,
    Migration::new(
        "fill-orders",
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) INSERT INTO orders \
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
        "wrong-migration" => WRONG,
        "slow-migration" => SLOW,
        _ => GOOD,
    };
    let database = startup.add(SqliteDatabase::from_env(&env).migrations(migrations));
    let http = startup.add(HttpSession::from_env(&env));
    let (starting, stopping, ending) = (fault.to_owned(), fault.to_owned(), fault.to_owned());
    let orders = startup
        .stage("orders", database, async move |cx: StageContext, _database: Arc<Database>| {
            read_orders(&starting, cx).await
        })
        .after(http)
        .stop(async move |_orders, _cx| if stopping == "stop" { pending().await } else { Ok(()) })
        .required();
    if fault == "graph" {
        startup.stage("orders", (), async |_cx, ()| Ok(())).required();
    }
    let mail = move |cx: RunContext, _orders: Arc<()>| send_mail(ending.clone(), cx);
    let tasks = startup.add_with(Tasks::new().restarts(0).essential_task("mail", mail), orders);
    startup.serve(tasks, async |cx: ServeContext, _tasks| {
        cx.shutdown_requested().await;
        Ok(())
    });
}

async fn read_orders(fault: &str, cx: StageContext) -> StageResult<()> {
    cx.step("read the open orders");
    match fault {
        "error" => Err(std::io::Error::other("order 4711 has no customer").into()),
        "panic" => panic!("order 4711 has no customer"),
        "hang" => pending().await,
        "undo" => {
            cx.on_rollback(async || pending().await);
            eprintln!("the orders are read");
            pending().await
        }
        "block" => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        _ => Ok(()),
    }
}

async fn send_mail(fault: String, cx: RunContext) -> StageResult<()> {
    if fault == "task" {
        return Err("the mail server closed the connection".into());
    }
    cx.cancelled().await;
    Ok(())
}
