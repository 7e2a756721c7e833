use super::*;

const SSHD: &str = "sshd";

fn target_of(jail: &str, address: &str) -> Target {
    Target { jail: jail.to_owned(), address: Network::banned(address).unwrap() }
}

fn event(line: &str) -> Option<Event> {
    parse(line.as_bytes()).map(|entry| entry.event)
}

fn actions(message: &str) -> Option<Event> {
    event(&format!("2026-11-19 03:14:07,123 fail2ban.actions        [812]: NOTICE  {message}"))
}

#[test]
fn the_messages_that_matter_are_understood() {
    let v4 = || target_of(SSHD, "203.0.113.45");
    assert_eq!(actions("[sshd] Ban 203.0.113.45"), Some(Event::Banned(v4())));
    assert_eq!(actions("[sshd] Unban 203.0.113.45"), Some(Event::Unbanned(v4())));
    assert_eq!(actions("[sshd] Repeal Ban 203.0.113.45"), Some(Event::Unbanned(v4())));
    assert_eq!(actions("[sshd] Restore Ban 203.0.113.45"), Some(Event::Restored(v4())));
    assert_eq!(actions("[x] Ban 2001:DB8:0::1"), Some(Event::Banned(target_of("x", "2001:db8::1"))));
    assert_eq!(actions("[x] Ban ::ffff:192.0.2.7"), Some(Event::Banned(target_of("x", "192.0.2.7"))));
    assert_eq!(actions("[x] Ban 192.0.2.0/24"), Some(Event::Banned(target_of("x", "192.0.2.0/24"))));
    assert_eq!(actions("[x] Unban 192.0.2.9/24"), Some(Event::Unbanned(target_of("x", "192.0.2.0/24"))));
    assert_eq!(actions("[x] Ban 2001:db8:1::/48"), Some(Event::Banned(target_of("x", "2001:db8:1::/48"))));
    assert_eq!(actions("  banTime: 600"), Some(Event::BanTime(Some(600_000))));
    assert_eq!(actions("  banTime: -1"), Some(Event::BanTime(None)));
    let observer = |rest: &str| {
        event(&format!(
            "2026-11-19 03:14:07,123 fail2ban.observer       [812]: NOTICE  [sshd] Increase Ban {rest}"
        ))
    };
    assert_eq!(
        observer("203.0.113.45 (2 # 1:00:00 -> 1970-01-02 00:00:01)"),
        Some(Event::Prolonged(v4(), Some(86_401_000)))
    );
    assert_eq!(observer("203.0.113.45 (9 # permanent -> infinite)"), Some(Event::Prolonged(v4(), None)));
    assert_eq!(
        event(
            "2026-11-19 03:14:07,123 fail2ban.jail           [812]: INFO    Creating new jail 'nginx-http-auth'"
        ),
        Some(Event::Configures("nginx-http-auth".to_owned()))
    );
    assert_eq!(
        event("2026-11-19 03:14:07,123 fail2ban.server         [812]: INFO    Reload jail 'sshd'"),
        Some(Event::Configures(SSHD.to_owned()))
    );
}

#[test]
fn other_messages_are_not_malformed() {
    for message in [
        "[sshd] 203.0.113.45 already banned",
        "[sshd] Flush ticket(s) with nftables",
        "[sshd] Reban 192.0.2.1",
        "[sshd] Ban 203.0.113.1 and more",
        "",
    ] {
        assert_eq!(actions(message), Some(Event::Other), "{message}");
    }
    let found = "2026-11-19 03:14:07,123 fail2ban.filter         [812]: INFO    [sshd] Found 203.0.113.45 - 2026-11-19 03:14:06";
    assert_eq!(event(found), Some(Event::Other));
}

#[test]
fn a_time_is_the_logs_own_taken_as_utc() {
    let at =
        |stamp: &str| parse(format!("{stamp} fail2ban.filter [1]: INFO x").as_bytes()).map(|entry| entry.at);
    assert_eq!(at("1970-01-01 00:00:00,007"), Some(7));
    assert_eq!(at("2026-11-19 03:14:07,123"), Some(1_795_058_047_123));
    for impossible in [
        "2026-13-19 03:14:07,123",
        "2026-02-30 03:14:07,123",
        "2026-11-19 24:00:00,000",
        "2026-11-19T03:14:07,123",
        "2026-11-19 03:14:07.123",
        "+026-11-19 03:14:07,123",
        "2026-11-19 03:14:07,1\u{e9}",
    ] {
        assert_eq!(at(impossible), None, "{impossible}");
    }
}

#[test]
fn hostile_and_broken_lines_are_refused() {
    let long_jail = "j".repeat(65);
    for message in [
        "[sshd] Ban <script>alert(1)</script>",
        "[sshd] Ban 203.0.113.300",
        "[sshd] Ban ",
        "[sshd] Ban 203.0.113.0/33",
        "[] Ban 203.0.113.1",
        "[a\u{7}b] Ban 203.0.113.1",
        "[ssh\u{202e}d] Ban 203.0.113.1",
        "[ssh\u{200b}d] Ban 203.0.113.1",
        &format!("[{long_jail}] Ban 203.0.113.1"),
        "banTime: soon",
    ] {
        assert_eq!(actions(message), None, "{message}");
    }
    for line in [
        "",
        "\0\0\0",
        "Traceback (most recent call last):",
        "2026-11-19 03:14:07,123",
        "2026-11-19 03:14:07,123 fail2ban.actions",
        "2026-11-19 03:14:07,123 fail2ban.actions [x]: NOTICE  [sshd] Ban 192.0.2.1",
        "\u{202e}2026-11-19 03:14:07,123 fail2ban.actions [1]: NOTICE  [sshd] Ban 192.0.2.1",
    ] {
        assert_eq!(event(line), None, "{line}");
    }
}

#[test]
fn what_an_attacker_made_another_component_quote_bans_nobody() {
    let quoted = "2026-11-19 03:14:07,123 fail2ban.filter         [812]: WARNING [sshd] Ban 203.0.113.1";
    assert_eq!(event(quoted), Some(Event::Other));
    assert_eq!(actions("[sshd] Ignore line: [sshd] Ban 203.0.113.1"), Some(Event::Other));
}

#[test]
fn nul_bytes_around_and_foreign_bytes_inside_a_line_do_not_hide_it() {
    let mut line =
        b"\x00\x00\x002026-11-19 03:14:07,123 fail2ban.actions [812]: NOTICE  [caf\xe9] Ban 192.0.2.1"
            .to_vec();
    line.push(b'\r');
    let Some(Event::Banned(target)) = parse(&line).map(|entry| entry.event) else { panic!("not read") };
    assert_eq!(target.jail, "caf\u{fffd}");
}
