use std::{fs, io::Write};

use super::*;
use crate::log::Event;

const BAN: &str = "2026-11-19 03:14:07,123 fail2ban.actions        [812]: NOTICE  [sshd] Ban 203.0.113.";

struct Log {
    dir: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        let log = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(log.path(), "").unwrap();
        log
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("fail2ban.log")
    }

    fn append(&self, bytes: impl AsRef<[u8]>) {
        OpenOptions::new().append(true).open(self.path()).unwrap().write_all(bytes.as_ref()).unwrap();
    }

    /// Reads to the end, as the follower does, and returns the last bytes of the addresses seen.
    fn drain(&self, position: &mut Position) -> (Vec<u8>, u64) {
        let (seen, skipped, _) = self.drain_all(position);
        (seen, skipped)
    }

    /// The same, and how often something was lost.
    fn drain_all(&self, position: &mut Position) -> (Vec<u8>, u64, u64) {
        let (mut seen, mut skipped, mut gaps) = (Vec::new(), 0, 0);
        loop {
            let batch = read(&self.path(), position).unwrap();
            skipped += batch.skipped;
            gaps += u64::from(batch.gap);
            for entry in batch.entries {
                let Event::Banned(target) = entry.event else { continue };
                let std::net::IpAddr::V4(address) = target.address.first() else { continue };
                seen.push(address.octets()[3]);
            }
            *position = batch.position;
            if !batch.more {
                return (seen, skipped, gaps);
            }
        }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A log whose line for `1` was read, and the one for `2` was not.
    fn half_read(position: &mut Position) -> Self {
        let log = Self::new();
        log.append(format!("{BAN}1\n"));
        assert_eq!(log.drain_all(position), (vec![1], 0, 0));
        log.append(format!("{BAN}2\n"));
        log
    }
}

#[test]
fn each_line_is_read_once_across_restarts() {
    let log = Log::new();
    let mut position = Position::default();
    for last in 1..=3_u8 {
        log.append(format!("{BAN}{last}\n"));
        // The copy stands for what a restarted process finds in its database.
        position = Position { ..position.clone() };
        assert_eq!(log.drain(&mut position).0, [last]);
    }
    assert!(log.drain(&mut position).0.is_empty());
}

#[test]
fn a_line_without_its_line_feed_waits_for_it() {
    let log = Log::new();
    let mut position = Position::default();
    log.append(format!("{BAN}1\n{BAN}2"));
    assert_eq!(log.drain(&mut position).0, [1]);
    log.append("1\n");
    assert_eq!(log.drain(&mut position).0, [21]);
}

#[test]
fn a_replaced_or_shorter_or_rewritten_file_is_read_from_its_start() {
    let log = Log::new();
    let mut position = Position::default();
    log.append(format!("{BAN}1\n{BAN}2\n"));
    assert_eq!(log.drain(&mut position).0, [1, 2]);

    fs::rename(log.path(), log.dir.path().join("fail2ban.log.1")).unwrap();
    fs::write(log.path(), format!("{BAN}3\n{BAN}4\n{BAN}5\n")).unwrap();
    assert_eq!(log.drain(&mut position).0, [3, 4, 5], "rotated by renaming");

    fs::write(log.path(), format!("{BAN}6\n")).unwrap();
    assert_eq!(log.drain(&mut position).0, [6], "truncated");

    fs::write(log.path(), format!("{BAN}7\n{BAN}8\n{BAN}9\n")).unwrap();
    assert_eq!(log.drain(&mut position).0, [7, 8, 9], "truncated and grown past the offset");
}

#[test]
fn what_was_written_before_a_rotation_is_read_before_what_came_after() {
    // How it is rotated, and the name that the old file gets: logrotate's, with `dateext`, by hand.
    for (how, name) in [
        ("renamed", "fail2ban.log.1"),
        ("copied and truncated", "fail2ban.log-20261119"),
        ("renamed", "fail2ban.log.old"),
    ] {
        let log = Log::new();
        let mut position = Position::default();
        log.append(format!("{BAN}1\n"));
        assert_eq!(log.drain(&mut position).0, [1]);
        log.append(format!("{BAN}2\n{BAN}3\n"));
        let old = log.dir.path().join(name);
        if how == "renamed" {
            fs::rename(log.path(), &old).unwrap();
        } else {
            fs::copy(log.path(), &old).unwrap();
        }
        fs::write(log.path(), "").unwrap();
        assert_eq!(log.drain(&mut position).0, [2, 3], "{how} to {name}");
        // A writer that has not opened the new file yet goes on in the old one.
        OpenOptions::new()
            .append(true)
            .open(&old)
            .unwrap()
            .write_all(format!("{BAN}4\n{BAN}55").as_bytes())
            .unwrap();
        assert_eq!(log.drain(&mut position).0, [4], "{how}");
        log.append(format!("{BAN}6\n"));
        assert_eq!(log.drain(&mut position), (vec![6], 1), "{how}: the half line is skipped and counted");
        log.append(format!("{BAN}7\n"));
        assert_eq!(log.drain(&mut position), (vec![7], 0), "{how}");
    }
}

#[test]
fn a_log_that_was_rotated_before_it_was_read_at_all_is_read_all_the_same() {
    let log = Log::new();
    let mut position = Position::default();
    assert_eq!(log.drain(&mut position).0, [0; 0]);
    log.append(format!("{BAN}1\n"));
    fs::rename(log.path(), log.dir.path().join("fail2ban.log.1")).unwrap();
    fs::write(log.path(), format!("{BAN}2\n")).unwrap();
    assert_eq!(log.drain(&mut position).0, [1, 2]);
}

#[test]
fn a_file_beside_it_that_is_not_its_predecessor_is_not_read() {
    let log = Log::new();
    let mut position = Position::default();
    log.append(format!("{BAN}1\n{BAN}2\n"));
    log.drain(&mut position);
    let beside = |name: &str| log.dir.path().join(name);
    fs::write(beside("fail2ban.log.2"), format!("{BAN}8\n{BAN}8\n{BAN}8\n")).unwrap();
    // As if somebody had put a link where it would be looked for.
    fs::copy(log.path(), beside("elsewhere")).unwrap();
    let mut elsewhere = OpenOptions::new().append(true).open(beside("elsewhere")).unwrap();
    elsewhere.write_all(format!("{BAN}9\n").as_bytes()).unwrap();
    std::os::unix::fs::symlink(beside("elsewhere"), beside("fail2ban.log.1")).unwrap();
    fs::write(log.path(), format!("{BAN}3\n")).unwrap();
    assert_eq!(log.drain(&mut position).0, [3]);
}

#[test]
fn a_line_of_a_gigabyte_is_passed_over_and_counted_once() {
    let log = Log::new();
    let mut position = Position::default();
    log.append(format!("{BAN}1\n"));
    let begin = fs::metadata(log.path()).unwrap().len();
    // A hole reads as NUL bytes and takes no room on the disk.
    OpenOptions::new().write(true).open(log.path()).unwrap().set_len(begin + (1 << 30)).unwrap();
    log.append(format!("\n{BAN}2\n"));
    assert_eq!(log.drain(&mut position), (vec![1, 2], 1));
    assert_eq!(position.before.len(), REMEMBERED);
}

#[test]
fn a_file_that_is_gone_is_an_error_and_the_position_survives_it() {
    let log = Log::new();
    let mut position = Position::default();
    log.append(format!("{BAN}1\n"));
    log.drain(&mut position);
    let away = log.dir.path().join("away");
    fs::rename(log.path(), &away).unwrap();
    assert_eq!(read(&log.path(), &position).unwrap_err().kind(), io::ErrorKind::NotFound);
    fs::rename(&away, log.path()).unwrap();
    log.append(format!("{BAN}2\n"));
    assert_eq!(log.drain(&mut position).0, [2]);
}

#[test]
fn a_long_line_is_skipped_once_however_it_arrives() {
    let log = Log::new();
    let mut position = Position::default();
    log.append(format!("{BAN}1\n"));
    log.append(vec![b'x'; LINE_LIMIT + 1]);
    log.append(format!("\n{BAN}2\n"));
    assert_eq!(log.drain(&mut position), (vec![1, 2], 1), "whole within one chunk");

    for _piece in 0..5 {
        log.append(vec![b'y'; CHUNK]);
        let (seen, _) = log.drain(&mut position);
        assert_eq!(seen, [0; 0]);
        assert!(position.in_long_line);
    }
    log.append(format!(" {BAN}66\n{BAN}3\n"));
    assert_eq!(log.drain(&mut position), (vec![3], 0), "its end bans nobody and counts no more");
    assert!(!position.in_long_line);
}

#[test]
fn a_line_just_within_the_limit_is_read_wherever_the_chunks_end() {
    let log = Log::new();
    let mut position = Position::default();
    let filler = format!("{}\n", "z".repeat(LINE_LIMIT));
    for last in 1..=20_u8 {
        log.append(&filler);
        log.append(format!("{BAN}{last}\n"));
    }
    assert_eq!(log.drain(&mut position), ((1..=20).collect(), 20));
}

#[test]
fn a_backlog_is_read_in_chunks_without_loss() {
    let log = Log::new();
    let mut position = Position::default();
    let lines: String = (0..5000).map(|each| format!("{BAN}{}\n", each % 250)).collect();
    log.append(lines);
    let (seen, skipped) = log.drain(&mut position);
    assert_eq!((seen.len(), skipped), (5000, 0));
    assert_eq!(seen, (0..5000_u32).map(|each| (each % 250) as u8).collect::<Vec<_>>());
}

#[test]
fn nul_bytes_and_foreign_encodings_do_not_stop_it() {
    let log = Log::new();
    let mut position = Position::default();
    log.append(b"\xff\xfe\x00 garbage \xc3\x28\n");
    log.append(vec![0; 500]);
    log.append(format!("{BAN}1\n"));
    assert_eq!(log.drain(&mut position), (vec![1], 1));
}

#[test]
fn what_is_not_a_regular_file_is_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(read(dir.path(), &Position::default()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    assert_eq!(read(&pipe, &Position::default()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

/// A line of a later time than those of `BAN`.
fn later(second: u32, last: u8) -> String {
    format!("{}{last}\n", BAN.replace("14:07", &format!("15:{second:02}")))
}

#[test]
fn what_was_rotated_more_than_once_between_two_looks_is_read_in_its_order() {
    for [oldest, old, new] in [
        ["fail2ban.log.10", "fail2ban.log.9", "fail2ban.log.1"],
        ["fail2ban.log-20261119", "fail2ban.log-20261120", "fail2ban.log-20261201"],
    ] {
        let mut position = Position::default();
        let log = Log::half_read(&mut position);
        fs::rename(log.path(), log.beside(oldest)).unwrap();
        // The clock of the files tells nothing: a copy has the time of its copying.
        fs::write(log.beside(new), later(3, 4)).unwrap();
        fs::write(log.beside("fail2ban.log.other"), later(9, 9)).unwrap();
        fs::write(log.beside(old), later(2, 3)).unwrap();
        fs::write(log.path(), "").unwrap();
        assert_eq!(log.drain_all(&mut position), (vec![2, 3, 4], 0, 0), "{oldest}");
        log.append(later(4, 5));
        assert_eq!(log.drain_all(&mut position), (vec![5], 0, 0), "{oldest}");
    }
}

#[test]
fn an_empty_log_between_two_rotations_ends_nothing() {
    let mut position = Position::default();
    let log = Log::half_read(&mut position);
    fs::rename(log.path(), log.beside("fail2ban.log.3")).unwrap();
    fs::write(log.beside("fail2ban.log.2"), "").unwrap();
    fs::write(log.beside("fail2ban.log.1"), later(2, 3)).unwrap();
    fs::write(log.path(), later(3, 4)).unwrap();
    assert_eq!(log.drain_all(&mut position), (vec![2, 3, 4], 0, 0));
}

#[test]
fn what_was_compressed_before_it_was_read_is_told_as_lost_and_what_came_after_it_is_read() {
    // The rest of the file that was read last, and then a whole one.
    for (last, compressed) in
        [("fail2ban.log.3.gz", "fail2ban.log.9.gz"), ("fail2ban.log.3", "fail2ban.log.2.xz")]
    {
        let mut position = Position::default();
        let log = Log::half_read(&mut position);
        let rest: &[u8] = if last.ends_with("gz") {
            fs::remove_file(log.path()).unwrap();
            fs::write(log.beside(last), b"\x1f\x8b").unwrap();
            &[]
        } else {
            fs::rename(log.path(), log.beside(last)).unwrap();
            &[2]
        };
        fs::write(log.beside(compressed), b"\xfd7zXZ").unwrap();
        fs::write(log.beside("fail2ban.log.1"), later(2, 4)).unwrap();
        fs::write(log.path(), later(3, 5)).unwrap();
        assert_eq!(log.drain_all(&mut position), ([rest, &[4, 5]].concat(), 0, 1), "{last}");
        assert_eq!(log.drain_all(&mut position), (vec![], 0, 0), "{last}");
    }
}

#[test]
fn a_log_that_is_gone_without_any_trace_is_told_as_lost_once() {
    let mut position = Position::default();
    let log = Log::half_read(&mut position);
    fs::write(log.path(), later(3, 5)).unwrap();
    assert_eq!(log.drain_all(&mut position), (vec![5], 0, 1));
    assert_eq!(log.drain_all(&mut position), (vec![], 0, 0));
}

#[test]
fn a_log_that_is_just_being_compressed_is_read() {
    let mut position = Position::default();
    let log = Log::half_read(&mut position);
    fs::rename(log.path(), log.beside("fail2ban.log.2")).unwrap();
    for half in ["fail2ban.log.2.gz", "fail2ban.log.1.gz"] {
        fs::write(log.beside(half), b"\x1f\x8b").unwrap();
    }
    fs::write(log.beside("fail2ban.log.1"), later(2, 3)).unwrap();
    fs::write(log.path(), later(3, 4)).unwrap();
    assert_eq!(log.drain_all(&mut position), (vec![2, 3, 4], 0, 0));
}

#[test]
fn a_directory_full_of_other_files_hides_no_rotated_log() {
    let mut position = Position::default();
    let log = Log::half_read(&mut position);
    for each in 0..2000 {
        fs::write(log.beside(&format!("other{each}.log")), "").unwrap();
    }
    fs::rename(log.path(), log.beside("fail2ban.log.1")).unwrap();
    fs::write(log.path(), later(3, 4)).unwrap();
    assert_eq!(log.drain_all(&mut position), (vec![2, 4], 0, 0));
}

#[test]
fn a_byte_order_mark_hides_no_line() {
    let log = Log::new();
    log.append(format!("\u{feff}{BAN}1\r\n{BAN}2\r\n"));
    assert_eq!(log.drain(&mut Position::default()), (vec![1, 2], 0));
}
