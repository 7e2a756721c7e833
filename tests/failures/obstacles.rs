//! Further situations for the codes that have more than one: each has the report of its own reason, and what that
//! tells is done until the service starts.

use rustix::process::geteuid;

use crate::shop::{DATA, Report, Shop};

/// The code, and a situation that brings it about.
pub(crate) type Situation = (&'static str, fn() -> Report);

pub(crate) const SITUATIONS: &[Situation] = &[
    ("db.not-writable", ran_once_as_root),
    ("db.not-writable", one_file_of_roots),
    ("db.not-writable", directory_that_may_not_be_entered),
    ("db.not-writable", immutable_directory),
    ("db.not-writable", append_only_file),
    ("db.dir-missing", link_to_nowhere),
    ("db.dir-missing", database_that_leads_to_nowhere),
    ("db.dir-missing", file_in_the_way),
    ("db.dir-missing", links_in_a_circle),
    ("db.dir-missing", disk_that_is_not_mounted),
    ("db.disk-full", without_inodes),
    ("db.schema-newer", format_that_is_not_known),
    ("env.invalid", path_that_is_too_long),
    ("lock.held", holder_that_is_stopped),
    ("lock.holder-unresponsive", holder_that_was_stopped_for_long),
    ("lock.unsupported", link_in_the_place_of_the_lock),
];

/// The user that the service has from now on. Only root can become another one.
const OTHER: u32 = 1000;

fn user() -> u32 {
    if geteuid().is_root() { OTHER } else { 0 }
}

fn starts_as_other(shop: &Shop, vars: &[(&str, &str)]) {
    let mut process = shop.run_as(user(), vars);
    process.wait_for("READY").terminate();
    assert_eq!(process.wait().code(), 0);
}

/// A start that was killed leaves a log and its index beside each database.
fn left_behind(shop: &Shop) {
    shop.up(&[]).kill();
}

fn ran_once_as_root() -> Report {
    let shop = Shop::new();
    left_behind(&shop);
    // Without root there is nobody else: then the modes are in the way of who has no rights beyond them.
    if !geteuid().is_root() {
        shop.sh(&format!("chmod 0400 {DATA}/shop.*"));
        let report = Report::of(shop.run_through(POWERLESS, &[]));
        shop.does(&report, "chmod ");
        return report;
    }
    shop.sh(&format!("chown {OTHER}:{OTHER} {DATA}"));
    let report = Report::of(shop.run_as(OTHER, &[]));
    let text = report.text();
    assert!(text.contains("shop.lock, owner 0:0") && text.contains("as well shop.db, "), "{}", report.0);
    shop.does(&report, "sudo chown -R ");
    starts_as_other(&shop, &[]);
    report
}

const POWERLESS: &[&str] = &["setpriv", "--bounding-set=-all", "--inh-caps=-all"];

fn one_file_of_roots() -> Report {
    let files =
        ["shop.lock", "shop.lease.db", "shop.lease.db-wal", "shop.lease.db-shm", "shop.db", "shop.db-wal"];
    let mut last = None;
    for file in files {
        let shop = Shop::new();
        left_behind(&shop);
        shop.sh(&format!(
            "chown -R {0}:{0} {DATA}; chown 0:0 {DATA}/{file}; chmod 0400 {DATA}/{file}",
            user()
        ));
        let (report, give) = if geteuid().is_root() {
            (Report::of(shop.run_as(OTHER, &[])), Some("sudo chown -R "))
        } else {
            (Report::of(shop.run_through(POWERLESS, &[])), None)
        };
        assert!(report.text().contains(&format!("{file}, owner 0:0")), "{file}: {}", report.0);
        for begin in give.into_iter().chain(["chmod -R u+rwX "]) {
            shop.does(&report, begin);
        }
        if geteuid().is_root() {
            starts_as_other(&shop, &[]);
        }
        last = Some(report);
    }
    last.unwrap()
}

fn directory_that_may_not_be_entered() -> Report {
    let shop = Shop::new();
    shop.sh(&format!(
        "mkdir -p /srv/closed/data; chown {0}:{0} /srv/closed/data; chmod 0600 /srv/closed",
        user()
    ));
    let there = [("SHOP_DATA_DIR", "/srv/closed/data")];
    let report = if geteuid().is_root() {
        Report::of(shop.run_as(OTHER, &there))
    } else {
        Report::of(shop.run_through(POWERLESS, &there))
    };
    shop.does(&report, if geteuid().is_root() { "sudo chmod o+x " } else { "chmod u+rwx " });
    starts_as_other(&shop, &there);
    report
}

/// Whether this user and this file system have attributes. Where they have not, nothing can have one.
fn marked(shop: &Shop, how: &str, file: &str) -> bool {
    shop.sh(&format!("chattr {how} {file} 2>&1 && echo marked || true")).contains("marked")
}

fn immutable_directory() -> Report {
    let shop = Shop::new();
    if !marked(&shop, "+i", DATA) {
        return link_to_nowhere();
    }
    let report = shop.fails(&[]);
    assert!(shop.does(&report, "lsattr -a ").contains("-i-"), "{}", report.0);
    shop.does(&report, "chattr -i ");
    shop.starts(&[]);
    report
}

fn append_only_file() -> Report {
    let shop = Shop::new();
    shop.starts(&[]);
    if !marked(&shop, "+a", &format!("{DATA}/shop.lock")) {
        return link_to_nowhere();
    }
    let report = shop.fails(&[]);
    assert!(shop.does(&report, "lsattr -a ").contains("-a-"), "{}", report.0);
    shop.does(&report, "chattr -a ");
    shop.starts(&[]);
    report
}

fn link_to_nowhere() -> Report {
    let shop = Shop::new();
    shop.sh("ln -s /srv/not-mounted/data /srv/link");
    let there = [("SHOP_DATA_DIR", "/srv/link")];
    let report = shop.fails(&there);
    shop.does(&report, "install -d ");
    shop.starts(&there);
    report
}

fn database_that_leads_to_nowhere() -> Report {
    let shop = Shop::new();
    shop.sh(&format!("ln -s /srv/not-mounted/shop.db {DATA}/shop.db"));
    let report = shop.fails(&[]);
    assert!(report.text().contains("Mount what it leads to: /srv/not-mounted/shop.db"), "{}", report.0);
    shop.does(&report, "install -D ");
    shop.starts(&[]);
    report
}

fn file_in_the_way() -> Report {
    let shop = Shop::new();
    shop.sh("echo precious >/srv/file");
    let there = [("SHOP_DATA_DIR", "/srv/file/data")];
    let report = shop.fails(&there);
    assert!(shop.does(&report, "ls -lid ").contains("/srv/file"));
    shop.does(&report, "mv ");
    shop.starts(&there);
    assert_eq!(shop.sh("cat /srv/file.old"), "precious\n");
    report
}

fn links_in_a_circle() -> Report {
    let shop = Shop::new();
    shop.sh("ln -s /srv/two /srv/one; ln -s /srv/one /srv/two");
    let there = [("SHOP_DATA_DIR", "/srv/one/data")];
    let report = shop.fails(&there);
    // `namei` prints what it found, and then says so of the circle.
    let walked = shop.sh(&format!("{} 2>&1 || true", report.done("namei -l ")));
    assert!(walked.contains("one"), "{walked}");
    report
}

fn disk_that_is_not_mounted() -> Report {
    let shop = Shop::new();
    shop.sh(
        "echo 'none /srv/disk tmpfs size=16m 0 0' >/srv/fstab; mkdir /srv/disk; mount --bind /srv/fstab /etc/fstab",
    );
    let there = [("SHOP_DATA_DIR", "/srv/disk/shop")];
    let report = shop.fails(&there);
    shop.sh("test -z \"$(ls -A /srv/disk)\"");
    shop.does(&report, "mount /srv/disk");
    shop.starts(&there);
    report
}

fn without_inodes() -> Report {
    let shop = Shop::new();
    shop.sh(
        "mkdir /srv/few; mount -t tmpfs -o size=16m,nr_inodes=40 none /srv/few; mkdir /srv/few/shop /srv/few/many
         cd /srv/few/many; i=0; while touch $i 2>/dev/null; do i=$((i + 1)); done; rm 1",
    );
    let there = [("SHOP_DATA_DIR", "/srv/few/shop")];
    let report = shop.fails(&there);
    assert!(report.text().contains("there is no inode left"), "{}", report.0);
    assert!(shop.does(&report, "df -i ").contains('%'));
    assert!(shop.does(&report, "du --inodes ").contains("/srv/few/many"));
    shop.sh("rm -r /srv/few/many");
    shop.starts(&there);
    report
}

fn format_that_is_not_known() -> Report {
    let shop = Shop::new();
    shop.starts(&[]);
    // Byte 19: which version of the format it takes to read the file.
    let set = |version: &str| {
        shop.sh(&format!(
            "printf '\\{version}' | dd of={DATA}/shop.db bs=1 seek=19 conv=notrunc 2>/dev/null"
        ));
    };
    set("003");
    let report = shop.fails(&[]);
    assert!(report.text().contains("is 3, and this program's SQLite knows 2"), "{}", report.0);
    // The newer program is the one that the number is no secret to.
    report.done("Start the newer version again");
    set("002");
    shop.starts(&[]);
    report
}

fn path_that_is_too_long() -> Report {
    let shop = Shop::new();
    let long = format!("/srv/{}", format!("{}/", "d".repeat(60)).repeat(9));
    shop.sh(&format!("mkdir -p {long}"));
    let report = shop.fails(&[("SHOP_DATA_DIR", &long)]);
    assert!(report.text().contains("SQLite takes 504"), "{}", report.0);
    report.done("Give the data a shorter path");
    let mount = report.done("mount --bind ").replace("LONG", &long).replace("SHORT", "/srv/short");
    shop.sh(&format!("mkdir /srv/short; {mount}"));
    shop.starts(&[("SHOP_DATA_DIR", "/srv/short")]);
    report
}

fn link_in_the_place_of_the_lock() -> Report {
    let shop = Shop::new();
    shop.sh(&format!("ln -s /srv/not-mounted/lock {DATA}/shop.lock"));
    let report = shop.fails(&[]);
    assert!(report.text().contains("leads to /srv/not-mounted/lock"), "{}", report.0);
    shop.does(&report, "ls -lid ");
    shop.does(&report, "mv ");
    shop.starts(&[]);
    report
}

fn holder_that_is_stopped() -> Report {
    let shop = Shop::new();
    let mut first = shop.up(&[]);
    first.pause();
    let report = shop.fails(&[]);
    shop.does(&report, "kill -CONT ");
    assert!(shop.does(&report, "ps -fp ").contains(&first.id().to_string()));
    first.terminate();
    assert_eq!(first.wait().code(), 0);
    shop.starts(&[]);
    report
}

fn holder_that_was_stopped_for_long() -> Report {
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
    shop.does(&report, "kill -CONT ");
    // It finds out that its time is over, and ends by itself.
    assert_ne!(first.wait().code(), 0);
    shop.starts(&[]);
    report
}
