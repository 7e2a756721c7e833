use super::*;
use crate::settings::Env;

/// The warnings after `LOCK_WAIT`, `HTTP_TIMEOUT` and the secret `NOTIFY_TOKEN` were read.
fn warned<const N: usize>(vars: [(&str, &str); N]) -> Vec<String> {
    let env = Env::from_vars("APP", vars);
    let _ = (env.var("LOCK_WAIT").text().optional(), env.var("HTTP_TIMEOUT").duration().optional());
    let _ = env.var("NOTIFY_TOKEN").secret().optional();
    env.check().unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn a_misspelt_name_is_answered_with_the_nearest_known_one() {
    for (name, meant) in [
        ("APP_LOCK_WIAT", "APP_LOCK_WAIT"),
        ("APP_LOCKWAIT", "APP_LOCK_WAIT"),
        ("APP_HTTP_TIMEOUTS", "APP_HTTP_TIMEOUT"),
        ("APP_NOTIFY_TOKEN_FIEL", "APP_NOTIFY_TOKEN_FILE"),
        ("APP_http_timeout", ""),
        ("APP_COLOUR", ""),
        ("APP_", ""),
    ] {
        let text = if meant.is_empty() {
            "unknown, and not used".into()
        } else {
            format!("unknown; did you mean {meant}?")
        };
        assert_eq!(warned([(name, "hunter2")]), [format!("{name}: {text}")]);
    }
}

#[test]
fn known_unset_and_foreign_names_are_not_unknown() {
    let known =
        [("APP_LOCK_WAIT", "x"), ("APP_COLOUR", " "), ("APPLE", "x"), ("LOCK_WIAT", "x"), ("app_x", "x")];
    assert_eq!(warned(known), [""; 0]);
}

#[test]
fn a_variable_that_is_read_later_is_not_unknown() {
    let env = Env::from_vars("APP", [("APP_STAGE_TIMEOUT_DATABASE", "15m")]);
    assert_eq!(env.check().unwrap().len(), 1);
    let _ = env.var("STAGE_TIMEOUT_DATABASE").duration().optional();
    assert_eq!(env.check().unwrap(), []);
}

#[test]
fn what_kubernetes_adds_for_a_service_of_the_same_name_is_exempt() {
    for (name, value) in [
        ("APP_SERVICE_HOST", "10.0.0.11"),
        ("APP_SERVICE_PORT", "6379"),
        ("APP_SERVICE_PORT_HTTP", "80"),
        ("APP_WEB_SERVICE_HOST", "10.0.0.12"),
        ("APP_PORT", "tcp://10.0.0.11:6379"),
        ("APP_PORT", "udp://10.0.0.11:53"),
        ("APP_PORT_6379_TCP", "tcp://10.0.0.11:6379"),
        ("APP_PORT_6379_TCP_PROTO", "tcp"),
        ("APP_PORT_6379_TCP_ADDR", "10.0.0.11"),
    ] {
        assert_eq!(warned([(name, value)]), [""; 0], "{name}");
    }
    for (name, value) in
        [("APP_PORT", "8080"), ("APP_PORT_X_TCP", "1"), ("APP_PORT__TCP", "1"), ("APP_URL", "tcp://x")]
    {
        assert_eq!(warned([(name, value)]).len(), 1, "{name}");
    }
}

#[test]
fn a_flood_of_unknown_names_is_counted() {
    let vars = (0..1000).map(|n| (format!("APP_X{n}"), "x"));
    let warnings = Env::from_vars("APP", vars).check().unwrap();
    assert_eq!(warnings.len(), NAMED_LIMIT + 1);
    assert_eq!(warnings[0].to_string(), "APP_*: 980 more are unknown");
}

#[test]
fn a_hostile_name_is_shown_printable_and_cut() {
    let long = format!("APP_{}", "x".repeat(100_000));
    let warnings = Env::from_vars("APP", [("APP_\u{1b}[2J", "x"), (&long, "x")]).check().unwrap();
    assert_eq!(warnings[0].variable, "APP_\\u{1b}[2J");
    assert_eq!(warnings[1].variable, format!("APP_{}...", "x".repeat(76)));
}
