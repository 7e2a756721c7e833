//! What the reports of this test told the operator to do, and what came of it: everything under `Do this` was done as it
//! stands, or stands in [`NOT_DONE`] with the reason why no test can do it.

use std::sync::Mutex;

/// Code and action, as printed.
type Said = (String, String);

static TOLD: Mutex<Vec<Said>> = Mutex::new(Vec::new());
static DONE: Mutex<Vec<Said>> = Mutex::new(Vec::new());

/// What is told under a code, by how it begins or what is in it, and why it cannot be done here.
const NOT_DONE: &[(&str, &str, &str)] = &[
    ("compose.unsafe", "Run one copy of this service", EDIT),
    ("lock.not-shared", "Did you mean `image`?", EDIT),
    ("lock.not-shared", "Keep the data on a named volume", NO_ENGINE),
    ("lock.not-shared", "Keep the data on a local disk", "this place has no file system of that kind"),
    ("lock.replaced", "Find out who replaces files", QUESTION),
    ("lock.not-shared", "put the lock alone on a local disk", "this place has no file system of that kind"),
    ("db.corrupt", "Restore your last backup", "which backup is the operator's to know"),
    ("db.corrupt", "To begin empty, move the file", "done after the copy, in words that are no command"),
    ("db.dir-missing", "In Compose, mount a named volume", NO_ENGINE),
    ("db.dir-missing", "Mount what it leads to", "which disk that is, the link alone does not say"),
    (
        "db.not-writable",
        "Or keep the data where this user may go",
        "where that is, is the operator's to choose",
    ),
    ("db.not-writable", "Remove `:ro` or `read_only: true`", NO_ENGINE),
    ("db.schema-newer", "let a newer `sqlite3` copy it", "there is no SQLite yet that is newer than ours"),
    (
        "db.schema-newer",
        "restore the backup from before the upgrade",
        "which backup is the operator's to know",
    ),
    ("graph.invalid", "mend the calls that add these stages", DEVELOPERS),
    ("graph.invalid", "Start the version that ran before", DEFECT),
    ("http.connect", "Is it running, and listening on that port", QUESTION),
    ("http.dns", "Another service's name?", QUESTION),
    (
        "http.dns",
        "getent hosts api.example.com",
        "it answers by its exit code alone; there is no network here",
    ),
    (
        "http.status",
        "Look into the log of the upstream",
        "the upstream is a thread of this test, without a log",
    ),
    ("lock.held", "Leave /srv/shop/shop.lock in place", "there is nothing to do"),
    ("lock.busy", "A backup that locks what it reads?", "that backup is the operator's"),
    (
        "lock.held",
        "Started twice? Keep one of the two",
        "it is done by ending the first, which the report does not ask for",
    ),
    ("lock.holder-unresponsive", "Leave /srv/shop/shop.lock in place", "there is nothing to do"),
    ("lock.lost", "Find out what took it", QUESTION),
    ("process.filtered", "Update the container engine", NO_ENGINE),
    ("process.filtered", "Under systemd", NO_UNIT),
    ("process.limit", "In compose.yaml: `ulimits:", NO_ENGINE),
    ("process.limit", "In the unit of systemd", NO_UNIT),
    ("rollback.incomplete", "SHOP_SHUTDOWN_TIMEOUT=", NEVER_ENDS),
    ("stage.blocked-executor", "move the blocking call into", DEVELOPERS),
    ("stage.panicked", "This is a defect of the application", DEFECT),
    ("stage.timeout", "Check what the last step talks to", QUESTION),
    ("stage.timeout", "SHOP_STAGE_TIMEOUT_ORDERS=", NEVER_ENDS),
    ("startup.interrupted", "journalctl --since -10min", "this place has no journal"),
    ("startup.timeout", "Check what the stages above wait for", QUESTION),
    ("startup.timeout", "SHOP_STARTUP_TIMEOUT=", NEVER_ENDS),
];

const DEFECT: &str = "the fault is built into this program, and no other version of it has been built";
const DEVELOPERS: &str = "it is for the developers of the application";
const EDIT: &str = "an edit of the Compose file, which `tests/compose.rs` makes";
const NEVER_ENDS: &str = "the fault of this test never ends, however long it may take";
const NO_ENGINE: &str = "it takes a container engine, which `scripts/test-docker` has";
const NO_UNIT: &str = "it takes a service manager, which `tests/systemd.rs` has";
const QUESTION: &str = "it says where to look, and is no command";

/// What stands under `Do this`, each action in one line.
pub(crate) fn actions(report: &str) -> Vec<String> {
    let Some(block) = report.split("Do this\n").nth(1).and_then(|rest| rest.split("\n\n").next()) else {
        return Vec::new();
    };
    let mut actions: Vec<String> = Vec::new();
    for line in block.lines() {
        let numbered = line.trim_start().split_once(". ").filter(|(number, _)| number.parse::<u8>().is_ok());
        match (numbered, actions.last_mut()) {
            (Some((_, action)), _) if line.starts_with("  ") && !line.starts_with("    ") => {
                actions.push(action.to_owned());
            }
            (_, Some(action)) => {
                action.push(' ');
                action.push_str(line.trim());
            }
            (_, None) => panic!("no action: {line}"),
        }
    }
    actions
}

fn code_of(report: &str) -> String {
    let code = report.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    code.map(|(code, _)| code.to_owned()).unwrap_or_else(|| panic!("no code in {report}"))
}

pub(crate) fn note_report(report: &str) {
    let code = code_of(report);
    TOLD.lock().unwrap().extend(actions(report).into_iter().map(|action| (code.clone(), action)));
}

pub(crate) fn note_done(report: &str, pasted: &str) {
    DONE.lock().unwrap().push((code_of(report), pasted.to_owned()));
}

/// Every action that nobody did and that is not known to be one that cannot be done; and every entry of the table that
/// no report needs any more.
pub(crate) fn unaccounted() -> Vec<String> {
    let (told, done) = (TOLD.lock().unwrap(), DONE.lock().unwrap());
    assert!(told.len() > 40, "the reports were not heard");
    // Numbers of processes and ports differ between two reports that say the same.
    let gist = |text: &str| text.split(|each: char| each.is_ascii_digit()).collect::<Vec<_>>().join("");
    let was_done = |(code, action): &&Said| {
        done.iter().any(|(of, pasted)| of == code && gist(action).contains(&gist(pasted)))
    };
    let left: Vec<&Said> = told.iter().filter(|said| !was_done(said)).collect();
    let excused = |(code, action): &Said, (of, begin, why): &(&str, &str, &str)| {
        assert!(!why.is_empty());
        (of == code || *of == "*") && action.contains(begin)
    };
    let undone = left.iter().filter(|said| !NOT_DONE.iter().any(|entry| excused(said, entry)));
    let unused = NOT_DONE.iter().filter(|entry| !left.iter().any(|said| excused(said, entry)));
    let undone = undone.map(|(code, action)| format!("{code}: nobody does: {action}"));
    let mut all: Vec<String> =
        undone.chain(unused.map(|entry| format!("no report says: {entry:?}"))).collect();
    all.sort();
    all.dedup();
    all
}
