use super::*;

fn holder(version: &str) -> Holder {
    Holder::this_process(InstanceId::mint(), "shop", version)
}

fn lock(content: Content) -> (Option<Uuid>, Option<Holder>) {
    let Content::Lock { lock_uuid, holder, .. } = content else { panic!("not a lock file: {content:?}") };
    (lock_uuid, holder)
}

#[test]
fn the_identity_stays_while_holders_come_and_go() {
    let file = tempfile::tempfile().unwrap();
    assert_eq!(read(&file).unwrap(), Content::Blank);
    let lock_uuid = mint(&file, 0).unwrap();
    assert_eq!(lock(read(&file).unwrap()), (Some(lock_uuid), None));
    for version in ["1.0.0-a-long-one-that-leaves-a-tail", "2"] {
        let holder = holder(version);
        describe(&file, &holder).unwrap();
        assert_eq!(lock(read(&file).unwrap()), (Some(lock_uuid), Some(holder)));
    }
    clear(&file).unwrap();
    assert_eq!(lock(read(&file).unwrap()), (Some(lock_uuid), None));
}

#[test]
fn a_power_cut_before_the_first_line_was_stored_leaves_a_new_file() {
    for bytes in [b"".as_slice(), &[0; 80], &MAGIC[..1], MAGIC] {
        assert_eq!(parse(bytes), Content::Blank);
    }
}

#[test]
fn files_that_are_not_locks_are_left_alone() {
    let foreign: [&[u8]; 6] =
        [b"SQLite format 3\0", b"{}", b"{\"schema\":\"other/1\"}", b"4711\n", b"\xff\xfe", &[1; 5000]];
    for bytes in foreign {
        assert_eq!(parse(bytes), Content::Foreign);
    }
}

#[test]
fn a_torn_or_forged_description_is_nobody_and_the_identity_is_kept() {
    let lock_uuid = Uuid::new_v4();
    let complete = serde_json::to_string(&holder("1")).unwrap();
    let torn = &complete[..complete.len() / 2];
    let wrong_pid = complete.replace("\"pid\":", "\"pid\":-");
    let nested = "[".repeat(3000);
    for line in ["", "\n", torn, "null", "\u{0}\u{0}", &wrong_pid, &nested] {
        assert_eq!(
            lock(parse(format!("{}{}{line}", header(lock_uuid), memory(7)).as_bytes())),
            (Some(lock_uuid), None),
            "{line}"
        );
    }
    let damaged = header(lock_uuid).replace("lock_uuid", "lock_uuix");
    assert_eq!(lock(parse(damaged.as_bytes())), (None, None));
}

#[test]
fn what_a_holder_wrote_cannot_command_a_terminal_nor_fill_it() {
    let hostile = Holder {
        instance: "é".repeat(100),
        version: "1\u{1b}[2J\n".to_owned(),
        host: "h".repeat(1000),
        ..holder("1")
    };
    let text =
        format!("{}{}{}\n", header(Uuid::new_v4()), memory(7), serde_json::to_string(&hostile).unwrap());
    let shown = lock(parse(text.as_bytes())).1.unwrap();
    assert_eq!(shown.version, "1?[2J?");
    assert_eq!((shown.host.len(), shown.short()), (TEXT_MAX, "????????"));
}

#[test]
fn no_more_than_the_bound_is_read() {
    let file = tempfile::tempfile().unwrap();
    mint(&file, 0).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(lock(read(&file).unwrap()).1, None);
}

#[test]
fn the_largest_description_fits_what_is_read() {
    let longest = "\\".repeat(1000);
    let file = tempfile::tempfile().unwrap();
    mint(&file, 0).unwrap();
    describe(&file, &Holder::this_process(InstanceId::mint(), &longest, &longest)).unwrap();
    assert!(lock(read(&file).unwrap()).1.is_some());
}

/// The token that a file remembers.
fn remembered(content: Content) -> u64 {
    let Content::Lock { highest_token, .. } = content else { panic!("not a lock file: {content:?}") };
    highest_token
}

#[test]
fn the_highest_token_is_remembered_beside_whoever_comes_and_goes() {
    let file = tempfile::tempfile().unwrap();
    let lock_uuid = mint(&file, 5).unwrap();
    assert_eq!(remembered(read(&file).unwrap()), 5);
    let holder = holder("1");
    for token in [u64::MAX, 1, 1_800_000_000_000_000] {
        describe(&file, &holder).unwrap();
        remember(&file, token).unwrap();
        assert_eq!(lock(read(&file).unwrap()), (Some(lock_uuid), Some(holder.clone())));
        assert_eq!(remembered(read(&file).unwrap()), token);
        clear(&file).unwrap();
        assert_eq!(remembered(read(&file).unwrap()), token);
    }
}

#[test]
fn a_memory_that_is_torn_or_forged_is_told_from_none() {
    let found = |line: &str| remembered(parse(format!("{}{line}\n", header(Uuid::new_v4())).as_bytes()));
    assert_eq!(found(""), 0);
    for line in [
        "null",
        "\0\0",
        "{\"highest_token\":7}",
        "{\"highest_token\":\"-7\"}",
        "{\"highest_token\":\"1e9\"}",
        "{\"highest_token\":\"18446744073709551616\"}",
    ] {
        assert_eq!(found(line), UNREADABLE, "{line}");
    }
}

fn observation() -> Observed {
    Observed {
        lock: "a@1".to_owned(),
        clock: "boot".to_owned(),
        holder: "somebody".to_owned(),
        token: u64::MAX,
        seq: 3,
        since_ns: 5,
    }
}

#[test]
fn an_observation_outlives_whoever_made_it_until_a_lease_is_taken() {
    let file = tempfile::tempfile().unwrap();
    let lock_uuid = mint(&file, 5).unwrap();
    assert_eq!(observed(&file).unwrap(), None);
    let first = holder("1");
    describe(&file, &first).unwrap();
    observe(&file, &observation()).unwrap();
    assert_eq!(lock(read(&file).unwrap()), (Some(lock_uuid), Some(first)));
    clear(&file).unwrap();
    assert_eq!(lock(read(&file).unwrap()), (Some(lock_uuid), None));
    let next = holder("2-which-is-longer");
    describe(&file, &next).unwrap();
    assert_eq!(observed(&file).unwrap(), Some(observation()));
    let changed = Observed { seq: 4, ..observation() };
    observe(&file, &changed).unwrap();
    assert_eq!(observed(&file).unwrap(), Some(changed));

    remember(&file, 6).unwrap();
    assert_eq!(observed(&file).unwrap(), None);
    assert_eq!(lock(read(&file).unwrap()), (Some(lock_uuid), Some(next)));
    assert_eq!(remembered(read(&file).unwrap()), 6);
    clear(&file).unwrap();
    assert_eq!(file.metadata().unwrap().len(), description_start());
}

#[test]
fn a_torn_or_forged_observation_is_none() {
    let whole = serde_json::to_string(&Observation { observed: observation() }).unwrap();
    let forged = whole.replace("\"since_ns\":5", "\"since_ns\":-5");
    let huge = whole.replace("\"since_ns\":5", "\"since_ns\":18446744073709551616");
    for (line, expected) in [
        (whole.as_str(), Some(observation())),
        ("", None),
        ("null", None),
        (&whole[..whole.len() / 2], None),
        (&forged, None),
        (&huge, None),
    ] {
        let file = tempfile::tempfile().unwrap();
        mint(&file, 5).unwrap();
        describe(&file, &holder("1")).unwrap();
        let end = file.metadata().unwrap().len();
        file.write_all_at(line.as_bytes(), end).unwrap();
        assert_eq!(observed(&file).unwrap(), expected, "{line}");
    }
}
