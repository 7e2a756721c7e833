use std::path::Path;

use super::*;
use crate::{follow, log::parse, schema};

pub(crate) const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/banboard/sample/fail2ban.log");

const TEN_MINUTES: Duration = Duration::from_mins(10);

/// A database in memory with all tables.
pub(crate) fn database() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    for sql in schema::ALL {
        db.execute_batch(sql).unwrap();
    }
    db
}

/// Follows `path` to its end, as the service does.
pub(crate) fn follow_to_end(db: &mut Connection, path: &Path) -> u64 {
    let mut lines = 0;
    loop {
        let batch = follow::read(path, &position(db).unwrap()).unwrap();
        let tx = db.transaction().unwrap();
        ingest(&tx, &batch, TEN_MINUTES).unwrap();
        tx.commit().unwrap();
        lines += batch.lines;
        if !batch.more {
            return lines;
        }
    }
}

/// Stores lines of a day whose times are given as `HH:MM:SS,mmm`.
fn say(db: &Connection, lines: &[&str]) {
    let entry = |line: &&str| {
        let (time, rest) = line.split_once(' ').unwrap();
        let component = match rest {
            rest if rest.starts_with("Creating") => "jail",
            rest if rest.contains("Increase") => "observer",
            _ => "actions",
        };
        let line = format!("2026-11-19 {time} fail2ban.{component} [1]: NOTICE  {rest}");
        parse(line.as_bytes()).unwrap_or_else(|| panic!("{line}"))
    };
    let entries = lines.iter().map(entry).collect();
    ingest(db, &Batch { entries, ..Batch::default() }, TEN_MINUTES).unwrap();
}

/// All bans: when each began, expires and ended within that day, as `HH:MM:SS`, and whether that was assumed.
fn bans(db: &Connection) -> Vec<String> {
    let sql = "SELECT address || ' ' || jail || ' ' || time(banned_at / 1000, 'unixepoch')
                   || ' ' || coalesce(time(expires_at / 1000, 'unixepoch'), 'never')
                   || ' ' || coalesce(time(ended_at / 1000, 'unixepoch'), 'active') || iif(assumed, '?', '')
               FROM bans ORDER BY banned_at, id";
    db.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn count(db: &Connection, sql: &str) -> i64 {
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_ban_lasts_until_its_unban() {
    let db = database();
    say(
        &db,
        &[
            "03:00:00,000 [sshd] Ban 192.0.2.1",
            "03:00:01,000 [postfix] Ban 192.0.2.1",
            "03:10:01,000 [sshd] Unban 192.0.2.1",
        ],
    );
    assert_eq!(
        bans(&db),
        ["192.0.2.1 sshd 03:00:00 03:10:00 03:10:01", "192.0.2.1 postfix 03:00:01 03:10:01 active"]
    );
}

#[test]
fn a_network_is_banned_as_one_and_counted_under_itself_or_what_holds_it() {
    let db = database();
    say(
        &db,
        &[
            "03:00:00,000 [sshd] Ban 192.0.2.0/26",
            "03:00:01,000 [sshd] Ban 2001:db8::/32",
            "03:00:02,000 [sshd] Ban 192.0.2.9",
            "03:05:00,000 [sshd] Unban 192.0.2.1/26",
        ],
    );
    assert_eq!(
        bans(&db),
        [
            "192.0.2.0/26 sshd 03:00:00 03:10:00 03:05:00",
            "2001:db8::/32 sshd 03:00:01 03:10:01 active",
            "192.0.2.9 sshd 03:00:02 03:10:02 active"
        ]
    );
    assert_eq!(count(&db, "SELECT count(DISTINCT network) FROM bans WHERE network LIKE '192.0.2.0/24'"), 1);
    assert_eq!(count(&db, "SELECT count(*) FROM bans WHERE network = address"), 1);
}

#[test]
fn a_jails_own_ban_time_is_learnt_and_remembered() {
    let db = database();
    say(&db, &["02:00:00,000 Creating new jail 'recidive'"]);
    say(
        &db,
        &["02:00:00,001   banTime: 7200", "02:00:00,002 Creating new jail 'x'", "02:00:00,003   banTime: -1"],
    );
    say(
        &db,
        &[
            "03:00:00,000 [recidive] Ban 192.0.2.1",
            "03:00:00,001 [x] Ban 192.0.2.1",
            "03:00:00,002 [y] Ban 192.0.2.1",
        ],
    );
    assert_eq!(
        bans(&db),
        [
            "192.0.2.1 recidive 03:00:00 05:00:00 active",
            "192.0.2.1 x 03:00:00 never active",
            "192.0.2.1 y 03:00:00 03:10:00 active"
        ]
    );
}

#[test]
fn a_prolonged_ban_is_one_ban_in_whichever_order_its_lines_come() {
    for lines in [
        [
            "03:00:00,000 [sshd] Ban 192.0.2.1",
            "03:00:00,004 [sshd] Increase Ban 192.0.2.1 (2 # 1:00:00 -> 2026-11-19 04:00:00)",
        ],
        [
            "03:00:00,000 [sshd] Increase Ban 192.0.2.1 (2 # 1:00:00 -> 2026-11-19 04:00:00)",
            "03:00:00,004 [sshd] Ban 192.0.2.1",
        ],
    ] {
        let db = database();
        say(&db, &lines);
        assert_eq!(bans(&db), ["192.0.2.1 sshd 03:00:00 04:00:00 active"]);
    }
}

#[test]
fn a_restored_ban_is_the_one_that_fail2ban_ended_when_it_stopped() {
    let db = database();
    say(
        &db,
        &[
            "03:00:00,000 [sshd] Ban 192.0.2.1",
            "03:04:00,000 [sshd] Repeal Ban 192.0.2.1",
            "03:05:00,000 [sshd] Restore Ban 192.0.2.1",
        ],
    );
    assert_eq!(bans(&db), ["192.0.2.1 sshd 03:00:00 03:10:00 active"]);
}

#[test]
fn a_restored_ban_from_before_the_log_is_active_but_counts_in_no_statistics() {
    let db = database();
    say(&db, &["03:05:00,000 [sshd] Restore Ban 192.0.2.2"]);
    assert_eq!(bans(&db), ["192.0.2.2 sshd 03:05:00 03:15:00 active"]);
    count_hours(&db).unwrap();
    assert_eq!(count(&db, "SELECT count(*) FROM hourly"), 0);
}

#[test]
fn a_new_ban_after_an_early_unban_is_a_new_one_also_if_it_is_prolonged_first() {
    let db = database();
    say(
        &db,
        &[
            "03:00:00,000 [sshd] Ban 192.0.2.1",
            "03:02:00,000 [sshd] Unban 192.0.2.1",
            "03:04:00,000 [sshd] Increase Ban 192.0.2.1 (2 # 0:20:00 -> 2026-11-19 03:24:00)",
            "03:04:00,001 [sshd] Ban 192.0.2.1",
        ],
    );
    assert_eq!(
        bans(&db),
        ["192.0.2.1 sshd 03:00:00 03:10:00 03:02:00", "192.0.2.1 sshd 03:04:00 03:24:00 active"]
    );
}

#[test]
fn a_ban_without_unban_ends_by_log_time_and_the_log_may_still_correct_that() {
    let db = database();
    say(&db, &["03:00:00,000 [sshd] Ban 192.0.2.1", "03:09:59,000 [sshd] Ban 192.0.2.2"]);
    assert_eq!(expire(&db).unwrap(), 0, "not before its time");
    say(&db, &["03:10:00,000 [sshd] Flush ticket(s) with nftables"]);
    assert_eq!(expire(&db).unwrap(), 1);
    assert_eq!(bans(&db)[0], "192.0.2.1 sshd 03:00:00 03:10:00 03:10:00?");
    say(&db, &["03:12:00,000 [sshd] Unban 192.0.2.1"]);
    assert_eq!(bans(&db)[0], "192.0.2.1 sshd 03:00:00 03:10:00 03:12:00");
}

#[test]
fn a_second_ban_ends_the_one_whose_unban_was_lost() {
    let db = database();
    say(
        &db,
        &[
            "03:00:00,000 [sshd] Ban 192.0.2.1",
            "03:05:00,000 [sshd] Ban 192.0.2.1",
            "03:15:01,000 [sshd] Unban 192.0.2.1",
        ],
    );
    assert_eq!(
        bans(&db),
        ["192.0.2.1 sshd 03:00:00 03:10:00 03:05:00?", "192.0.2.1 sshd 03:05:00 03:15:00 03:15:01"]
    );
}

#[test]
fn an_unban_of_something_unknown_changes_nothing() {
    let db = database();
    say(&db, &["03:00:00,000 [sshd] Unban 192.0.2.1", "03:05:00,000 [sshd] Ban 192.0.2.1"]);
    assert_eq!(bans(&db), ["192.0.2.1 sshd 03:05:00 03:15:00 active"]);
}

#[test]
fn reading_the_same_lines_again_changes_nothing() {
    let lines = [
        "01:00:00,000 [sshd] Increase Ban 192.0.2.1 (2 # 0:20:00 -> 2026-11-19 01:20:00)",
        "01:00:00,003 [sshd] Ban 192.0.2.1",
        "01:05:00,000 [sshd] Restore Ban 192.0.2.1",
        "01:10:00,000 [sshd] Repeal Ban 192.0.2.1",
        "01:11:00,000 [sshd] Restore Ban 192.0.2.1",
        "01:20:00,000 [sshd] Unban 192.0.2.1",
        "02:00:00,000 [sshd] Ban 192.0.2.1",
        "02:30:00,000 [sshd] Ban 192.0.2.1",
        "02:40:00,000 [sshd] Unban 192.0.2.1",
        "03:00:00,000 [sshd] Restore Ban 192.0.2.1",
    ];
    let db = database();
    say(&db, &lines);
    let once = bans(&db);
    assert_eq!(once.len(), 4);
    say(&db, &lines);
    assert_eq!(bans(&db), once);
}

#[test]
fn the_sample_is_stored_once_however_often_it_is_read() {
    let mut db = database();
    assert!((3_000..5_000).contains(&follow_to_end(&mut db, Path::new(SAMPLE))));
    let once = bans(&db);
    assert_eq!(follow_to_end(&mut db, Path::new(SAMPLE)), 0, "after a restart nothing is read again");
    db.execute("UPDATE log_position SET byte_offset = 0, before = x''", []).unwrap();
    assert!(follow_to_end(&mut db, Path::new(SAMPLE)) > 3_000, "the position was lost");
    assert_eq!(bans(&db), once);
}

#[test]
fn the_samples_bans_agree_with_a_count_by_hand() {
    let mut db = database();
    follow_to_end(&mut db, Path::new(SAMPLE));
    let text = std::fs::read_to_string(SAMPLE).unwrap();
    let said = |what: &str| {
        let lines = text.lines().filter(|line| line.contains(what) && !line.contains("script"));
        i64::try_from(lines.count()).unwrap()
    };
    // Two bans are restored that began before the log, and the unban of a third is not of the log either.
    assert_eq!(count(&db, "SELECT count(*) FROM bans"), said("] Ban ") + 2);
    let ended = said("] Unban ") - 1 + said("] Repeal Ban ");
    let begun = said("] Ban ") + said("] Restore Ban ");
    assert_eq!(count(&db, "SELECT count(*) FROM bans WHERE ended_at IS NULL"), begun - ended);
    assert_eq!(count(&db, "SELECT skipped FROM log_position"), 9);
}

#[test]
fn each_ban_is_counted_once_in_the_hour_in_which_it_began() {
    let mut db = database();
    follow_to_end(&mut db, Path::new(SAMPLE));
    let all = count(&db, "SELECT count(*) FROM bans WHERE restored = 0");
    count_hours(&db).unwrap();
    count_hours(&db).unwrap();
    assert_eq!(count(&db, "SELECT sum(bans) FROM hourly"), all);
    let differing = "SELECT count(*) FROM hourly WHERE bans <> (SELECT count(*) FROM bans
                     WHERE bans.jail = hourly.jail AND restored = 0 AND banned_at >= hour AND banned_at < hour + 3600000)";
    assert_eq!(count(&db, differing), 0);
}

#[test]
fn the_position_survives_with_all_it_holds() {
    let db = database();
    assert_eq!(position(&db).unwrap(), Position::default());
    let far = Position {
        device: u64::MAX,
        inode: 7,
        offset: 1 << 40,
        before: vec![0, 255],
        in_long_line: true,
        log_time: Some(7),
    };
    ingest(&db, &Batch { position: far.clone(), ..Batch::default() }, TEN_MINUTES).unwrap();
    assert_eq!(position(&db).unwrap(), far);
}
