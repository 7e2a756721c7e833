//! One case for each failure code: what brings it about, and the report. Where the report can be acted on there, doing
//! so is in `mended.rs`.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use crate::{
    mended,
    shop::{Report, Shop},
    support,
};

/// The code, and what makes its report.
pub(crate) type Case = (&'static str, fn() -> String);

pub(crate) const CASES: &[Case] = &[
    ("env.invalid", mended::env_invalid),
    ("worker.count-configured", mended::worker_count_configured),
    ("lock.held", mended::lock_held),
    ("lock.holder-unresponsive", mended::lock_holder_unresponsive),
    ("lock.busy", mended::lock_busy),
    ("lock.not-shared", mended::lock_not_shared),
    ("lock.unsupported", mended::lock_unsupported),
    ("lock.replaced", mended::lock_replaced),
    ("lock.lost", mended::lock_lost),
    ("lock.expired", mended::lock_expired),
    ("db.not-writable", mended::db_not_writable),
    ("db.dir-missing", mended::db_dir_missing),
    ("db.foreign", mended::db_foreign),
    ("db.corrupt", mended::db_corrupt),
    ("db.replaced", mended::db_replaced),
    ("db.busy", mended::db_busy),
    ("db.disk-full", mended::db_disk_full),
    ("db.io", mended::db_io),
    ("db.migration-failed", mended::db_migration_failed),
    ("db.migration-timeout", db_migration_timeout),
    ("db.schema-newer", mended::db_schema_newer),
    ("process.limit", mended::process_limit),
    ("process.filtered", mended::process_filtered),
    ("http.dns", http_dns),
    ("http.connect", mended::http_connect),
    ("http.tls", mended::http_tls),
    ("http.ca-file", mended::http_ca_file),
    ("http.status", mended::http_status),
    ("stage.failed", || fault("error", &[])),
    ("stage.busy", || fault("busy", &[])),
    ("stage.unavailable", || fault("unavailable", &[])),
    ("stage.misconfigured", || fault("misconfigured", &[])),
    ("stage.not-permitted", || fault("not-permitted", &[])),
    ("stage.data", || fault("data", &[])),
    ("stage.io", || fault("io", &[])),
    ("stage.cannot-create", || fault("cannot-create", &[])),
    ("stage.timeout", || fault("hang", &[("SHOP_STAGE_TIMEOUT_ORDERS", "1s")])),
    ("stage.panicked", || fault("panic", &[])),
    ("stage.blocked-executor", || fault("block", SHORT_STAGE)),
    ("task.failed", || fault("task", &[])),
    ("startup.timeout", || fault("hang", SHORT_START)),
    ("startup.interrupted", startup_interrupted),
    ("graph.invalid", || fault("graph", &[])),
    ("rollback.incomplete", rollback_incomplete),
    ("command.refused", command_refused),
    ("compose.invalid", || Shop::new().compose("services:\n  shop:\n    imgae: shop\n").0),
    ("compose.unsafe", compose_unsafe),
];

const SHORT_STOP: &[(&str, &str)] = &[("SHOP_SHUTDOWN_TIMEOUT", "1s")];
const SHORT_START: &[(&str, &str)] =
    &[("SHOP_STARTUP_TIMEOUT", "6s"), ("SHOP_LEASE_TTL", "2s"), SHORT_STOP[0]];
const SHORT_STAGE: &[(&str, &str)] = &[("SHOP_STAGE_TIMEOUT_ORDERS", "1s"), SHORT_STOP[0]];

/// The service with a defect of its own, which no setting mends.
fn fault(fault: &str, vars: &[(&str, &str)]) -> String {
    let shop = Shop::new();
    let report = shop.fails(&[&[("SHOP_FAULT", fault)], vars].concat());
    if report.0.contains("shop report --json") {
        assert!(shop.does(&report, "shop report --json").contains(fault_code(&report.0)), "{}", report.0);
    }
    for looks in ["shop env", "dmesg", "id"] {
        if report.0.contains(&format!(": {looks}")) {
            shop.looks(&report, looks);
        }
    }
    report.0
}

fn fault_code(report: &str) -> &str {
    report.split(['[', ']']).nth(1).unwrap()
}

fn db_migration_timeout() -> String {
    let shop = Shop::new();
    let slow = ("SHOP_FAULT", "slow-migration");
    let report = shop.fails(&[slow, ("SHOP_STAGE_TIMEOUT_DATABASE", "1s")]);
    // This migration never ends, so that more time is allowed is all that can be seen.
    let (name, value) = report.variable("SHOP_STAGE_TIMEOUT_DATABASE=");
    shop.run(&[slow, (&name, &value)]).wait().assert_says("SHOP_STAGE_TIMEOUT_DATABASE=4s");
    report.0
}

fn http_dns() -> String {
    let shop = Shop::offline();
    let report = shop.fails(&[
        ("SHOP_HTTP_PROBE_URL", "https://api.example.com/health?key=s3cret"),
        ("SHOP_HTTP_RETRY_BUDGET", "1s"),
    ]);
    assert!(report.paste("getent").contains("api.example.com"), "{}", report.0);
    report.0
}

fn startup_interrupted() -> String {
    let shop = Shop::new();
    let mut process = shop.run(&[("SHOP_FAULT", "undo"), SHORT_STOP[0]]);
    process.wait_for("orders are read").terminate();
    Report::of(process).0
}

fn rollback_incomplete() -> String {
    let shop = Shop::new();
    let mut process = shop.up(&[("SHOP_FAULT", "stop"), SHORT_STOP[0]]);
    process.terminate();
    let report = Report::of(process);
    shop.does(&report, "shop report --json");
    report.0
}

fn command_refused() -> String {
    let shop = Shop::new();
    shop.starts(&[]);
    let report = Report::of(shop.ask(&["lock", "break", "--token", "17"]));
    report.done("Look again who holds it");
    assert!(
        shop.sh(&format!("{} lock status", support::example("shop").display())).contains("nobody has it")
    );
    report.0
}

fn compose_unsafe() -> String {
    let shop = Shop::new();
    let report = shop.compose(
        "services:\n  shop:\n    image: shop\n    container_name: shop\n    environment:\n      SHOP_DATA_DIR: /data\n    \
         volumes: [data:/data]\n    deploy:\n      replicas: 2\nvolumes:\n  data:\n",
    );
    report.0
}

/// An upstream that gives everybody the same answer, on the port that is returned.
pub(super) fn upstream(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _asked = stream.read(&mut [0; 4096]);
            let _went_away = stream.write_all(answer);
        }
    });
    port
}
