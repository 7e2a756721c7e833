//! Failures that the operator can mend: each is brought about, what its report says is done, word for word where it
//! is a command or a variable, and then the service starts. `docs/runbook.md` has the table of them.

use std::fs;

use solostart::stages::database::rusqlite::Connection;

use crate::{
    cases::upstream,
    shop::{DATA, Report, Shop},
};

pub(crate) fn env_invalid() -> String {
    let shop = Shop::new();
    let vars = [("SHOP_HTTP_TIMEOUT", "30"), ("SHOP_INSTANCE_MODE", "share"), ("SHOP_LOCK_WIAT", "5s")];
    let report = shop.fails(&vars);
    shop.looks(&report, "shop check");
    shop.does(&report, "shop env");
    report.done("Correct these variables");
    let report = report.0;
    for right in ["write 30s", "refuse", "did you mean SHOP_LOCK_WAIT?"] {
        let told: String = report.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(right), "no {right}: {report}");
    }
    shop.starts(&[("SHOP_HTTP_TIMEOUT", "30s"), ("SHOP_INSTANCE_MODE", "refuse"), ("SHOP_LOCK_WAIT", "5s")]);
    report
}

pub(crate) fn worker_count_configured() -> String {
    let shop = Shop::new();
    let report = shop.fails(&[("WEB_CONCURRENCY", "2"), ("GUNICORN_CMD_ARGS", "--workers 4 --timeout 30")]);
    report.done("Set WEB_CONCURRENCY to 1");
    report.done("Remove -w and --workers from GUNICORN_CMD_ARGS");
    shop.looks(&report, "env");
    shop.starts(&[("WEB_CONCURRENCY", "1"), ("GUNICORN_CMD_ARGS", "--timeout 30")]);
    report.0
}

pub(crate) fn lock_held() -> String {
    let shop = Shop::new();
    let mut first = shop.up(&[]);
    let report = shop.fails(&[]);
    let listed = shop.does(&report, "ps -fp ");
    assert!(listed.contains(&first.id().to_string()), "{listed}");
    // By another lock file, the database itself is met.
    let apart = [("SHOP_LOCK_PATH", "/srv/apart.lock")];
    let data = shop.fails(&apart);
    assert!(data.0.contains("[lock.held]"), "{}", data.0);
    assert!(shop.does(&data, "ps -fp ").contains(&first.id().to_string()));
    data.done("or let one of them run");
    first.terminate();
    assert_eq!(first.wait().code(), 0);
    shop.starts(&apart);
    shop.starts(&[]);
    report.0
}

pub(crate) fn lock_holder_unresponsive() -> String {
    let shop = Shop::new();
    let mut first = shop.up(&[("SHOP_LEASE_TTL", "2s")]);
    first.pause();
    let report = loop {
        let report = shop.fails(&[]);
        // While the lease is fresh it is only another instance.
        if !report.0.contains("[lock.held]") {
            break report;
        }
        shop.sh(&format!("rm -f {DATA}/shop.ledger.json"));
    };
    shop.does(&report, "kill -KILL ");
    first.wait();
    shop.starts(&[]);
    report.0
}

/// Another program locks the file, as a backup may.
pub(crate) fn lock_busy() -> String {
    let shop = Shop::new();
    shop.starts(&[]);
    let backup =
        shop.background(&format!("exec flock -o {DATA}/shop.lock -c 'echo locked >&2; exec sleep 600'"));
    let report = shop.fails(&[]);
    let listed = shop.does(&report, "ps -fp ");
    assert!(listed.contains("flock"), "{listed}");
    report.done("Let it finish, or end it");
    backup.kill();
    shop.starts(&[]);
    report.0
}

pub(crate) fn lock_not_shared() -> String {
    let shop = Shop::new();
    let report = shop.fails(&[("SHOP_ALLOW_UNSHARED_LOCK", "")]);
    let (name, value) = report.variable("SHOP_ALLOW_UNSHARED_LOCK=");
    shop.starts(&[(&name, &value)]);
    report.0
}

pub(crate) fn lock_unsupported() -> String {
    let shop = Shop::new();
    shop.sh(&format!("mkdir {DATA}/shop.lock"));
    let report = shop.fails(&[]);
    assert!(shop.does(&report, "ls -lid ").contains("drwx"));
    shop.does(&report, "mv ");
    shop.starts(&[]);
    report.0
}

pub(crate) fn lock_replaced() -> String {
    let shop = Shop::new();
    shop.up(&[("SHOP_LEASE_TTL", "2s")]).kill();
    // As if another machine had held it: the next start has to watch it before it takes it. SQLite would resolve the
    // path that leads there, so a copy is changed.
    let copy = tempfile::tempdir().unwrap();
    let copied = copy.path().join("shop.lease.db");
    for ending in ["", "-wal"] {
        let name = format!("shop.lease.db{ending}");
        fs::copy(shop.file(&name), copy.path().join(&name)).unwrap();
    }
    let lease = Connection::open(&copied).unwrap();
    lease.execute_batch("UPDATE solostart_lease SET boot_id = 'another', lock = 'another'").unwrap();
    drop(lease);
    shop.sh(&format!("rm {DATA}/shop.lease.db-wal {DATA}/shop.lease.db-shm"));
    fs::copy(&copied, shop.file("shop.lease.db")).unwrap();
    let start = shop.run(&[]);
    let open = format!("/proc/{}/fd", start.id());
    let watches = || {
        let files = fs::read_dir(&open).unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        files.into_iter().any(|file| file.ends_with("shop.lease.db-shm"))
    };
    while !watches() {}
    shop.sh(&format!("cd {DATA}; cp shop.lease.db copy; mv copy shop.lease.db"));
    let report = Report::of(start);
    shop.starts(&[]);
    report.0
}

pub(crate) fn http_ca_file() -> String {
    let shop = Shop::new();
    let vars = [("SHOP_HTTP_CA_FILE", "/srv/ca.pem")];
    shop.sh("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=shop \
             -keyout /dev/null -outform der -out /srv/ca.der 2>/dev/null; cp /srv/ca.der /srv/ca.pem");
    let report = shop.fails(&vars);
    let command = report.done("openssl x509").replace("CERTIFICATE", "/srv/ca.der");
    shop.sh(&format!("{command} > /srv/ca.pem"));
    shop.starts(&vars);
    report.0
}

pub(crate) fn lock_lost() -> String {
    let shop = Shop::new();
    let first = shop.up(&[]);
    shop.sh(&format!("rm {DATA}/shop.lock"));
    let report = Report::of(first);
    assert!(shop.looks(&report, "shop lock status").contains("shop.lock"));
    shop.starts(&[]);
    report.0
}

pub(crate) fn lock_expired() -> String {
    let shop = Shop::new();
    let first = shop.up(&[("SHOP_LEASE_TTL", "2s")]);
    shop.sh(&format!("dd if=/dev/zero of={DATA}/rubbish bs=1k 2>&1 || true"));
    let report = Report::of(first);
    assert!(shop.does(&report, "df -h").contains("100%"));
    assert!(shop.does(&report, "du -xhd1").contains(DATA));
    shop.sh(&format!("rm {DATA}/rubbish"));
    shop.starts(&[]);
    report.0
}

/// A mount that is read-only; and a mode, which only somebody without the rights of root feels.
pub(crate) fn db_not_writable() -> String {
    let powerless: &[&str] = &["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let shop = Shop::new();
    shop.sh(&format!("chmod 0555 {DATA}"));
    let report = Report::of(shop.run_through(powerless, &[]));
    assert!(report.0.contains("[db.not-writable]"), "{}", report.0);
    shop.does(&report, "chmod ");
    let mut process = shop.run_through(powerless, &[]);
    process.wait_for("READY").terminate();
    assert_eq!(process.wait().code(), 0);

    let shop = Shop::new();
    shop.sh(&format!("mount --bind {DATA} {DATA}; mount -o remount,bind,ro {DATA}"));
    let report = shop.fails(&[]);
    shop.does(&report, "mount -o remount,");
    shop.starts(&[]);
    report.0
}

pub(crate) fn db_dir_missing() -> String {
    let shop = Shop::new();
    let there = [("SHOP_DATA_DIR", "/srv/volume/shop")];
    let report = shop.fails(&there);
    shop.does(&report, "install -d ");
    shop.starts(&there);
    report.0
}

pub(crate) fn db_foreign() -> String {
    let shop = Shop::new();
    // SQLite does not open what is reached through the root of another mount namespace, so it is copied.
    let aside = tempfile::tempdir().unwrap();
    let theirs = aside.path().join("theirs.db");
    let rows = "CREATE TABLE somebodys (row INTEGER); INSERT INTO somebodys VALUES (1);";
    Connection::open(&theirs).unwrap().execute_batch(rows).unwrap();
    fs::copy(&theirs, shop.file("shop.db")).unwrap();
    let report = shop.fails(&[]);
    assert_eq!(fs::read(shop.file("shop.db")).unwrap(), fs::read(&theirs).unwrap(), "it is left as it was");
    report.done("Point the service at its own file");
    shop.starts(&[("SHOP_DATABASE_PATH", &format!("{DATA}/own.db"))]);
    report.0
}

pub(crate) fn db_corrupt() -> String {
    let shop = Shop::new();
    shop.starts(&[]);
    fs::write(shop.file("shop.db"), "This is no database, but it is somebody's.").unwrap();
    let report = shop.fails(&[]);
    shop.does(&report, "cp -a ");
    shop.sh(&format!("test -s {DATA}.broken/shop.db; cd {DATA}; for f in shop.db*; do mv $f ../$f; done"));
    shop.starts(&[]);
    report.0
}

/// A backup is restored after a kill, and the log forgotten.
pub(crate) fn db_replaced() -> String {
    let shop = Shop::new();
    let first = shop.up(&[]);
    shop.sh(&format!("cp {DATA}/shop.db {DATA}/backup"));
    first.kill();
    shop.sh(&format!("cp {DATA}/backup {DATA}/shop.db"));
    let report = shop.fails(&[]);
    shop.does(&report, "mv /srv/shop/shop.db-wal");
    shop.starts(&[]);

    // And the same where another program has only written the time of the file.
    shop.up(&[]).kill();
    shop.sh(&format!("touch {DATA}/shop.db"));
    let touched = shop.fails(&[]);
    shop.does(&touched, "mv /srv/shop/shop.db-stamp");
    shop.starts(&[]);
    report.0
}

pub(crate) fn db_busy() -> String {
    let shop = Shop::new();
    shop.starts(&[]);
    let script = format!(
        "exec python3 -c 'import sqlite3, sys, time
c = sqlite3.connect(\"{DATA}/shop.db\")
c.execute(\"BEGIN EXCLUSIVE\")
print(\"locked\", file=sys.stderr, flush=True)
time.sleep(600)'"
    );
    let other = shop.background(&script);
    let report = shop.fails(&[]);
    let users = shop.does(&report, "fuser -v ");
    assert!(users.contains(&other.id().to_string()), "{users}");
    report.done("End it");
    other.kill();
    shop.starts(&[]);
    report.0
}

pub(crate) fn db_disk_full() -> String {
    let shop = Shop::new();
    shop.sh(&format!("cat /dev/zero > {DATA}/core 2>/dev/null || true"));
    let report = shop.fails(&[]);
    assert!(shop.does(&report, "df -h ").contains("100%"));
    assert!(shop.does(&report, "du -xhd1 ").contains("/srv"));
    shop.sh(&format!("rm {DATA}/core"));
    shop.starts(&[]);
    report.0
}

/// A disk that does not take what it was given.
pub(crate) fn db_io() -> String {
    let shop = Shop::new();
    let report = Report::of(shop.run_through(&filtered("fsync", "EIO"), &[]));
    shop.does(&report, "dmesg | tail");
    shop.starts(&[]);
    report.0
}

/// What starts a program under a filter that answers `call` with `error`.
fn filtered(call: &'static str, error: &'static str) -> [&'static str; 4] {
    ["python3", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/filter.py"), call, error]
}

pub(crate) fn process_filtered() -> String {
    let shop = Shop::new();
    for call in ["faccessat2", "statx", "openat2"] {
        let mut process = shop.run_through(&filtered(call, "EPERM"), &[]);
        process.wait_for("READY").terminate();
        assert_eq!(process.wait().code(), 0, "{call}");
    }
    let report = Report::of(shop.run_through(&filtered("clone3", "EPERM"), &[]));
    // Without the filter is what all of them come to.
    report.done("seccomp=unconfined");
    shop.starts(&[]);
    report.0
}

/// The size of files, and the descriptors of a process. What raises them is pasted into the shell that starts it.
pub(crate) fn process_limit() -> String {
    let limited = |limit: &str, raise: &str| format!("trap '' XFSZ; ulimit -S {limit}; {raise} exec \"$0\"");
    let raised = |limit: &str, says: &str| {
        let shop = Shop::new();
        let report = Report::of(shop.run_through(&["sh", "-ec", &limited(limit, "")], &[]));
        assert!(report.0.contains("[process.limit]") && report.text().contains(says), "{}", report.0);
        let raise = report.done("ulimit -");
        let mut process = shop.run_through(&["sh", "-ec", &limited(limit, &format!("{raise};"))], &[]);
        process.wait_for("READY").terminate();
        assert_eq!(process.wait().code(), 0);
        report.0
    };
    for descriptors in ["-n 12", "-n 13", "-n 16", "-n 18"] {
        raised(descriptors, "Too many open files");
    }
    raised("-f 16", "size of files")
}

pub(crate) fn db_migration_failed() -> String {
    let shop = Shop::new();
    shop.starts(&[("SHOP_FAULT", "same-customer")]);
    let report = shop.fails(&[("SHOP_FAULT", "newer")]);
    report.done("Start the version that ran before");
    shop.starts(&[]);
    report.0
}

pub(crate) fn db_schema_newer() -> String {
    let shop = Shop::new();
    shop.starts(&[("SHOP_FAULT", "newer")]);
    let report = shop.fails(&[]);
    report.done("tart the newer version again");
    shop.starts(&[("SHOP_FAULT", "newer")]);
    report.0
}

pub(crate) fn http_connect() -> String {
    let shop = Shop::new();
    let vars = [("SHOP_HTTP_PROBE_URL", "http://127.0.0.1:9/health"), ("SHOP_HTTP_RETRY_BUDGET", "1s")];
    let report = shop.fails(&vars);
    shop.looks(&report, "curl -v http://127.0.0.1:9");
    let url = format!("http://127.0.0.1:{}/health", upstream(b"HTTP/1.1 204 No Content\r\n\r\n"));
    shop.starts(&[("SHOP_HTTP_PROBE_URL", &url)]);
    report.0
}

pub(crate) fn http_tls() -> String {
    let shop = Shop::new();
    let port = upstream(b"HTTP/1.1 204 No Content\r\n\r\n");
    let report = shop.fails(&[("SHOP_HTTP_PROBE_URL", &format!("https://127.0.0.1:{port}/health"))]);
    shop.looks(&report, "openssl s_client -connect 127.0.0.1:");
    report.done("the URL begins with http://");
    shop.starts(&[("SHOP_HTTP_PROBE_URL", &format!("http://127.0.0.1:{port}/health"))]);
    report.0
}

pub(crate) fn http_status() -> String {
    let shop = Shop::new();
    let wrong = upstream(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    let report = shop.fails(&[("SHOP_HTTP_PROBE_URL", &format!("http://127.0.0.1:{wrong}/health"))]);
    assert!(shop.does(&report, "curl -v http://").contains("404"));
    let right = upstream(b"HTTP/1.1 204 No Content\r\n\r\n");
    shop.starts(&[("SHOP_HTTP_PROBE_URL", &format!("http://127.0.0.1:{right}/health"))]);
    report.0
}
