//! What the service says and does where others were first, and on platforms other than a plain machine: real processes
//! in mounts and users of their own.
//!
//! The namespaces are made by `unshare`, which needs no right that root in its own user namespace has not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    path::Path,
    process::{Command, Output},
};

use rustix::process::geteuid;

#[allow(dead_code, reason = "this file uses its own part of it")]
mod support;

/// Makes the program and the directory visible at paths that no script mounts anything over: the checkout may lie below
/// `/tmp`.
const PLACE: &str = r#"mount -t tmpfs none /srv && mkdir /srv/dir && touch /srv/banboard &&
mount --bind "$0" /srv/banboard && mount --bind "$1" /srv/dir && exec bash -c "$2" /srv/banboard /srv/dir"#;

/// Runs a script with mounts of its own. `$0` is banboard, `$1` a directory on a disk.
fn run(namespaces: &[&str], script: &str) -> (Output, String) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(dir.path().join("fail2ban.log"), "").unwrap();
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(namespaces).args(["--mount", "--propagation", "private", "bash", "-c", PLACE]);
    command
        .arg(support::example("banboard"))
        .arg(dir.path())
        .arg(script)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("BANBOARD_LISTEN", "127.0.0.1:0").env("BANBOARD_DATA_DIR", "/srv/dir/data");
    command.env("BANBOARD_FAIL2BAN_LOG", "/srv/dir/fail2ban.log");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (output, flat)
}

/// Waits for READY in `$1/log`, asks, and stops the service, whose process is `$!`.
const ASK: &str = r#"
service=$!
for _ in $(seq 200); do grep -q ^READY "$1/log" && break; sleep 0.05; done
for _ in $(seq 40); do said=$("$0" healthcheck) && break; sleep 0.05; done
echo "healthcheck: $said"
kill -TERM $service; wait $service; echo "ended with $?"; cat "$1/log"; echo "left: $(ls -A "$1/data" | grep -c ^banboard.0)"
"#;

#[test]
fn whoever_was_first_in_every_directory_for_health_does_not_silence_it() {
    let take = |how: &str| {
        format!(
            r#"for dir in /run /dev/shm /tmp; do mount -t tmpfs none $dir; name=$dir/banboard.0; {how}; done; "$0" 2> "$1/log" & {ASK}"#
        )
    };
    let mut ways = vec![
        ("ln -s /nowhere $name", "is a symbolic link of uid 0"),
        ("touch $name", "is a file of uid 0"),
        ("mkdir -m 1777 $name", "has mode 1777"),
    ];
    if geteuid().is_root() {
        ways.push(("mkdir $name; chown 4003 $name", "belongs to uid 4003"));
    }
    for (how, why) in ways {
        let (_, text) = run(&[], &take(how));
        assert!(text.contains("healthcheck: ready: 10/10 stages"), "{how}: {text}");
        assert!(text.contains("beside the lock: /run/banboard.0") && text.contains(why), "{how}: {text}");
        assert_eq!(text.matches("WARN").count(), 1, "{how}: {text}");
        assert!(text.contains("ended with 0") && text.contains("left: 0"), "{how}: {text}");
    }
}

#[test]
fn a_directory_for_health_that_is_taken_away_is_made_again() {
    let script = format!(
        r#"for dir in /run /dev/shm /tmp; do mount -t tmpfs none $dir; done; "$0" 2> "$1/log" &
        for _ in $(seq 200); do [ -e /run/banboard.0 ] && break; sleep 0.05; done; mv /run/banboard.0 /run/away; {ASK}"#
    );
    let (_, text) = run(&[], &script);
    assert!(text.contains("healthcheck: ready: 10/10 stages") && text.contains("ended with 0"), "{text}");
}

#[test]
fn a_runtime_directory_of_somebody_else_is_not_used() {
    // Where it can be written, and belongs to another user: after `su`, or one that everybody may write to.
    let make = "mkdir /run/4003; chown 4003 /run/4003; theirs=/run/4003";
    let make = if geteuid().is_root() { make } else { "theirs=/var/tmp" };
    let script = format!(
        r#"for dir in /run /dev/shm /tmp; do mount -t tmpfs none $dir; done; {make}
        [ -w $theirs ] && [ ! -O $theirs ] && echo writable; export XDG_RUNTIME_DIR=$theirs
        "$0" 2> "$1/log" & {ASK} ls -Ad /run/banboard.0 $theirs/banboard.0"#
    );
    let (_, text) = run(&[], &script);
    assert!(text.contains("writable") && text.contains("healthcheck: ready: 10/10 stages"), "{text}");
    assert!(text.contains(" /run/banboard.0") && !text.contains(" /run/4003/banboard.0"), "{text}");
    assert!(!text.contains(" /var/tmp/banboard.0"), "{text}");
}

#[test]
fn a_health_check_of_another_user_names_whom_to_ask() {
    // Without root there is but one user in the namespace, and no directory can be another's.
    let give = "mkdir -m 700 /dev/shm/banboard.4001; chown 4001 /dev/shm/banboard.4001";
    let script = format!(r#"mount -t tmpfs none /dev/shm; {give} || exit 3; "$0" healthcheck"#);
    if geteuid().is_root() {
        let (output, text) = run(&[], &script);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let expected = "nothing was said to uid 0; /dev/shm/banboard.4001 belongs to uid 4001; ask as that user: setpriv \
                        --reuid 4001 --clear-groups banboard healthcheck";
        assert!(text.contains(expected), "{text}");
    }
    let (output, text) =
        run(&[], r#"for dir in /run /dev/shm /tmp; do mount -t tmpfs none $dir; done; "$0" healthcheck"#);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("nothing was said to uid 0; the service's log has the reason"), "{text}");
    assert!(!text.contains("container"), "{text}");
}

/// A container's mounts: `/etc/hosts` from outside, and no sight of the machine's `init`.
const CONTAINER: &str = "touch \"$1/hosts\"; mount --bind \"$1/hosts\" /etc/hosts; mkdir -p \"$1/data\"; ";

fn in_container(script: &str) -> (Option<i32>, String) {
    let (output, text) = run(&["--pid", "--fork", "--mount-proc"], &format!("{CONTAINER}{script}"));
    (output.status.code(), text)
}

#[test]
fn a_named_volume_on_a_layer_of_the_machine_is_named_and_not_advised() {
    let script = r#"
        mkdir "$1/o"; mount -t tmpfs none "$1/o"; mkdir "$1"/o/{l,u,w,m}
        mount -t overlay overlay -o "lowerdir=$1/o/l,upperdir=$1/o/u,workdir=$1/o/w" "$1/o/m" || exit 3
        volume=$1/o/m/var/lib/docker/volumes/board_data/_data; mkdir -p "$volume"
        mount --bind "$volume" "$1/data"; exec "$0""#;
    let (code, text) = in_container(script);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("[lock.not-shared]") && text.contains("board_data"), "{text}");
    for untrue in ["Keep the data on a named volume", "by this container alone"] {
        assert!(!text.contains(untrue), "{text}");
    }
}

#[test]
fn memory_of_the_machine_that_is_mounted_is_not_said_to_be_of_this_container_alone() {
    let own = r#"mount -t tmpfs none "$1/data"; exec "$0""#;
    let bound = r#"mkdir "$1/m"; mount -t tmpfs none "$1/m"; mkdir "$1/m/shop"; mount --bind "$1/m/shop" "$1/data"; exec "$0""#;
    for (script, alone) in [(own, true), (bound, false)] {
        let (code, text) = in_container(script);
        assert_eq!(code, Some(78), "{text}");
        assert_eq!(text.contains("by this container alone"), alone, "{text}");
    }
}

#[test]
fn each_platform_reads_its_own_words() {
    for (set, expected, foreign) in [
        ("true", "docker compose config", &["kubectl", "podman"][..]),
        ("export KUBERNETES_SERVICE_HOST=10.0.0.1", "kubectl get pod", &["docker", "podman", "env_file:"]),
        (
            "mount -t tmpfs none /run; touch /run/.containerenv",
            "podman inspect",
            &["docker", "kubectl", "env_file:"],
        ),
    ] {
        let (code, text) = in_container(&format!(r#"{set}; WEB_CONCURRENCY=4 exec "$0""#));
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains(expected), "{text}");
        for word in foreign {
            assert!(!text.contains(word), "{word} in {text}");
        }
    }
}

#[test]
fn the_machine_itself_has_no_words_of_a_container() {
    let (output, text) = run(&[], r#"WEB_CONCURRENCY=4 exec "$0""#);
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(Path::new("/proc/self/cgroup").exists() && !text.contains("docker compose"), "{text}");
}
