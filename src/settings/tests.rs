use std::{net::IpAddr, os::unix::ffi::OsStringExt, path::PathBuf, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{codes::ENV_INVALID, error::ErrorKind};

fn env<const N: usize>(vars: [(&str, &str); N]) -> Env {
    Env::from_vars("APP", vars)
}

/// Every problem as `VARIABLE: what; remedy`.
fn problems(env: &Env) -> Vec<String> {
    env.check()
        .map_or_else(|problems| problems.problems().iter().map(ToString::to_string).collect(), |_| vec![])
}

fn warnings(env: &Env) -> Vec<String> {
    env.check().unwrap().iter().map(ToString::to_string).collect()
}

const SECS: fn(u64) -> Duration = Duration::from_secs;

#[test]
fn a_set_variable_is_read_and_one_that_is_not_set_has_its_default() {
    let env = env([("APP_A", "2m"), ("OTHER", " x "), ("B", "not ours")]);
    assert_eq!(env.var("A").duration().default(SECS(5)), SECS(120));
    assert_eq!(env.var("A").duration().optional(), Some(SECS(120)));
    assert_eq!(env.var("A").duration().required(), SECS(120));
    assert_eq!(env.var("B").duration().default(SECS(5)), SECS(5));
    assert_eq!(env.var("B").duration().optional(), None);
    assert_eq!(env.foreign("OTHER").choice([("x", 1), ("y", 2)]).optional(), Some(1));
    assert_eq!(env.check().unwrap(), []);
}

#[test]
fn every_problem_of_every_variable_stands_in_one_report_sorted_by_variable() {
    let env = env([("APP_TIMEOUT", "30"), ("APP_WORKERS", "two"), ("APP_LISTEN", "localhost:80")]);
    assert_eq!(env.var("WORKERS").integer(1..=1_u32).default(1), 1);
    assert_eq!(env.var("TIMEOUT").duration().default(SECS(5)), SECS(5));
    assert_eq!(env.var("DATABASE_PATH").path().required(), PathBuf::new());
    assert_eq!(env.var("LISTEN").socket_address().optional(), None);
    assert_eq!(
        problems(&env),
        [
            "APP_DATABASE_PATH: missing; required: a path",
            "APP_LISTEN: \"localhost:80\" is not an IP address with a port; \
             write an IP address and a port such as 0.0.0.0:8080 or [::]:8080",
            "APP_TIMEOUT: \"30\" has no unit; write 30s (or 500ms, 2m)",
            "APP_WORKERS: \"two\" is not a whole number; write a whole number from 1 to 1",
        ]
    );
}

#[test]
fn what_nobody_sees_is_refused_by_name_in_each_form_of_free_text() {
    let mut vars = Vec::new();
    for name in ["APP_TEXT", "APP_PATH", "APP_URL", "APP_SECRET", "APP_LIMIT"] {
        vars.push((name, if name == "APP_LIMIT" { "\u{feff}5" } else { "http://host/\u{202e}\r" }));
    }
    let env = Env::from_vars("APP", vars);
    let _ = (env.var("TEXT").text().optional(), env.var("PATH").path().optional());
    let _ = (env.var("URL").url().optional(), env.var("SECRET").secret().optional());
    let _ = env.var("LIMIT").integer(1..=9).default(1);
    let problems = problems(&env);
    assert_eq!(problems.len(), 5, "{problems:?}");
    for problem in &problems {
        assert!(problem.is_ascii(), "{problem}");
        let limit = problem.contains("APP_LIMIT: \"\\u{feff}5\" is not a whole number");
        assert!(limit || problem.contains(": the value holds U+202E (direction of text) as character 13;"));
    }
}

#[test]
fn a_value_in_which_a_password_could_stand_is_not_echoed() {
    for value in ["app:hunter2@tcp(db)/x", "postgres://app:hunter2", "app:hunter2%40db"] {
        let env = env([("APP_LISTEN", value)]);
        let _ = env.var("LISTEN").socket_address().optional();
        let problems = problems(&env).join("");
        assert!(
            problems.contains("APP_LISTEN: the value is not") && !problems.contains("hunter2"),
            "{problems}"
        );
    }
}

#[test]
fn a_variable_that_is_read_twice_is_reported_once() {
    let env = env([("APP_A", "x")]);
    for _ in 0..2 {
        let _ = env.var("A").boolean().optional();
        let _ = env.clone().var("A").boolean().optional();
    }
    assert_eq!(problems(&env).len(), 1);
    assert_eq!(env.catalogue().len(), 1);
}

#[test]
fn empty_or_blank_is_unset_and_the_report_says_so() {
    for blank in ["", " ", " \t\n", "\u{a0}"] {
        let env = env([("APP_A", blank)]);
        assert_eq!(env.var("A").text().optional(), None, "{blank:?}");
        assert_eq!(env.var("A").duration().default(SECS(1)), SECS(1));
        assert_eq!(env.check().unwrap(), []);
        let _ = env.var("A").example("blue").text().required();
        assert_eq!(
            problems(&env),
            ["APP_A: empty, which counts as not set; required: text, for instance blue"],
            "{blank:?}"
        );
    }
}

#[test]
fn a_missing_secret_names_both_ways_to_give_it() {
    let env = env([]);
    assert_eq!(env.var("TOKEN").secret().required().expose(), "");
    assert_eq!(
        problems(&env),
        ["APP_TOKEN: missing; required: the secret, or its file's path in APP_TOKEN_FILE"]
    );
}

#[test]
fn white_space_is_dropped_around_words_and_kept_with_a_warning_around_text() {
    let env =
        env([("APP_A", " 15s\n"), ("APP_B", " two words"), ("APP_C", "two words"), ("APP_D", "/data\n")]);
    assert_eq!(env.var("A").duration().optional(), Some(SECS(15)));
    assert_eq!(env.var("B").text().optional().as_deref(), Some(" two words"));
    assert_eq!(env.var("C").secret().required().expose(), "two words");
    assert_eq!(env.var("D").path().required(), PathBuf::from("/data\n"));
    let text = "the value starts or ends with white space, which is kept";
    assert_eq!(warnings(&env), [format!("APP_B: {text}"), format!("APP_D: {text}")]);
}

#[test]
fn a_bad_value_is_echoed_short_and_printable() {
    let long = "x".repeat(1_000_000);
    for (value, shown) in [
        ("yes", "\"yes\""),
        ("\u{1b}[31mred\r\nREADY", "\"\\u{1b}[31mred\\r\\nREADY\""),
        ("é\u{202e}", "\"\\u{e9}\\u{202e}\""),
        ("\"", "\"\\\"\""),
        (&long, &format!("\"{}...\"", &long[..40])),
        ("postgres://joe:hunter2@db/x", "the value"),
    ] {
        let env = env([("APP_A", value)]);
        let _ = env.var("A").boolean().optional();
        let expected = format!("APP_A: {shown} is none of the choices; write true, false, 1 or 0");
        assert_eq!(problems(&env), [expected]);
    }
}

#[test]
fn a_bad_url_is_never_echoed() {
    let env = env([("APP_HOOK", "ftp:hunter2")]);
    assert_eq!(env.var("HOOK").url().required().host(), "unset.invalid");
    let expected = "APP_HOOK: the value has no http:// or https:// in front; write an http or https URL";
    assert_eq!(problems(&env), [expected]);
}

#[test]
fn a_value_that_is_not_utf8_is_a_problem_and_not_shown() {
    let bytes = OsString::from_vec(b"se\xffcret".to_vec());
    let env = Env::from_vars("APP", [("APP_A", bytes.clone()), ("APP_B_FILE", bytes)]);
    assert_eq!(env.var("A").text().optional(), None);
    assert!(env.var("B").secret().optional().is_none());
    let text = "the value is not valid UTF-8; write it as plain text";
    assert_eq!(problems(&env), [format!("APP_A: {text}"), format!("APP_B_FILE: {text}")]);
}

#[test]
fn a_service_link_in_a_variable_of_ours_is_named_as_one_whatever_the_form() {
    let env = env([("APP_PORT", "tcp://10.3.2.1:80"), ("APP_HTTP_PORT", "udp://10.3.2.1:80")]);
    let _ = env.var("PORT").integer(1..=u16::MAX).default(8080);
    let _ = env.var("HTTP_PORT").text().optional();
    let text = "set by a Kubernetes service link, not by a person; put `enableServiceLinks: false` into the pod's spec";
    assert_eq!(problems(&env), [format!("APP_HTTP_PORT: {text}"), format!("APP_PORT: {text}")]);
}

#[test]
fn a_range_limits_the_value_and_gives_the_stand_in() {
    let env = env([("APP_A", "2h"), ("APP_B", "0")]);
    assert_eq!(env.var("A").duration().within(SECS(1)..=SECS(3600)).required(), SECS(1));
    assert_eq!(env.var("B").integer(3..=9_u8).required(), 3);
    assert_eq!(
        problems(&env),
        [
            "APP_A: \"2h\" is out of range; write a duration such as 500ms, 30s or 1m30s from 1s to 1h",
            "APP_B: \"0\" is out of range; write a whole number from 3 to 9",
        ]
    );
}

#[test]
fn what_another_reads_is_known_and_its_file_is_not() {
    let env = env([("APP_LOG", "debug"), ("APP_LOG_FILE", "/run/secrets/log")]);
    env.var("LOG").describe("The filter of the log.").read_elsewhere();
    assert_eq!(warnings(&env), ["APP_LOG_FILE: unknown, and not used"]);
    assert_eq!(env.catalogue()[0].form, "what its reader takes");
}

#[test]
fn what_cannot_be_read_is_told_by_its_shape_and_not_by_its_error() {
    let env = env([("APP_GATEWAY", "elsewhere")]);
    let nobody = IpAddr::from([0, 0, 0, 0]);
    assert_eq!(env.var("GATEWAY").parse("an IP address", nobody).required(), nobody);
    assert_eq!(problems(&env), ["APP_GATEWAY: \"elsewhere\" cannot be read; write an IP address"]);
}

#[test]
fn an_old_prefix_stands_for_the_new_one_unless_both_are_set_and_differ() {
    let vars = [
        ("OLD_A", "1"),
        ("OLD_B", "2"),
        ("APP_B", "2"),
        ("OLD_C", "3"),
        ("APP_C", "4"),
        ("OLD_D_FILE", "/nowhere"),
        ("OLDER_A", "5"),
    ];
    let env = env(vars).with_old_prefix("OLD");
    let read = ["A", "B", "C"].map(|name| env.var(name).integer(0..=9_u8).required());
    assert_eq!(read, [1, 2, 4]);
    assert!(env.var("D").text().optional().is_none());
    let problems = problems(&env);
    assert!(problems[0].starts_with("APP_D_FILE: "), "{problems:?}");
    assert_eq!(problems[1..], ["OLD_C: an old name of APP_C, which has another value; remove it"]);
    // The prefix of now may begin like the old one.
    let env = Env::from_vars("APP_WEB", [("APP_WEB_A", "1"), ("APP_B", "2")]).with_old_prefix("APP");
    let read = ["A", "B"].map(|name| env.var(name).integer(0..=9_u8).required());
    assert_eq!((read, env.check().unwrap().len()), ([1, 2], 1));
}

#[test]
fn a_problem_of_the_applications_own_cannot_forge_a_line() {
    let env = env([]);
    env.problem("APP_A", "more than\nREADY in 0 s", "less\u{1b}[2J");
    assert_eq!(problems(&env), ["APP_A: more than\\nREADY in 0 s; less\\u{1b}[2J"]);
}

#[test]
fn the_stage_error_has_the_code_and_a_fact_for_each_problem_and_warning() {
    let env = env([("APP_TIMEOUT", "30"), ("APP_DATABSE_PATH", "/data/app.db")]);
    let _ = env.var("TIMEOUT").duration().optional();
    let _ = env.var("DATABASE_PATH").example("/data/app.db").path().required();
    let error = env.check().unwrap_err().into_stage_error();
    assert_eq!((error.failure_code(), error.error_kind()), (ENV_INVALID, ErrorKind::Config));
    assert_eq!(error.to_string(), "2 problems in the environment");
    assert!(!error.is_retryable());
    let facts: Vec<_> = error.facts().iter().map(|fact| (&*fact.name, &*fact.value)).collect();
    assert_eq!(
        facts,
        [
            ("APP_DATABASE_PATH", "missing; required: a path, for instance /data/app.db"),
            ("APP_TIMEOUT", "\"30\" has no unit; write 30s (or 500ms, 2m)"),
            ("APP_DATABSE_PATH", "warning: unknown; did you mean APP_DATABASE_PATH?"),
        ]
    );
}

#[test]
fn the_catalogue_describes_every_variable_that_was_read() {
    let env = env([]);
    let _ = env.var("WAIT").describe("How long.").example("1m").duration().default(SECS(90));
    let _ = env.var("TOKEN").secret().required();
    let _ = env.foreign("NO_COLOR").text().optional();
    let _ = env.var("MODE").choice([("refuse", 0), ("wait", 1)]).default(1);
    let _ = env.raw("APP_RAW");
    let catalogue = env.catalogue();
    let names: Vec<_> = catalogue.iter().map(|each| each.name.as_str()).collect();
    assert_eq!(names, ["APP_MODE", "APP_TOKEN", "APP_WAIT", "NO_COLOR"]);
    let [mode, token, wait, _] = &catalogue[..] else { unreachable!() };
    assert_eq!((mode.form.as_str(), mode.default.as_deref()), ("refuse or wait", Some("wait")));
    assert_eq!(
        (wait.default.as_deref(), wait.description, wait.example),
        (Some("1m30s"), "How long.", Some("1m"))
    );
    assert!(token.secret && token.required && token.takes_file && token.default.is_none());
    assert!(!wait.secret && !wait.required && !wait.takes_file);
}

#[test]
fn a_prefix_is_the_name_in_capitals() {
    for (name, prefix) in
        [("banboard", "BANBOARD"), ("ban-board", "BAN_BOARD"), ("a.b c", "A_B_C"), ("é1", "_1")]
    {
        assert_eq!(Env::prefix_of(name), prefix);
    }
}

#[test]
fn the_environment_crosses_threads_and_its_debug_shows_no_value() {
    fn shared<T: Send + Sync + Clone>(value: T) -> T {
        value
    }
    let env = shared(env([("APP_TOKEN", "hunter2")]));
    assert_eq!(env.raw("APP_TOKEN"), Some(OsStr::new("hunter2")));
    assert_eq!(format!("{env:?}"), "Env { prefix: \"APP\", .. }");
    assert!(!format!("{:?} {:?}", env.var("TOKEN"), env.var("TOKEN").secret()).contains("hunter2"));
}

/// Reads one variable in every form and gives all that could be printed afterwards.
fn read_in_every_form(env: &Env) -> String {
    let var = || env.var("A").example("an example");
    let _ = var().duration().within(SECS(1)..=SECS(60)).required();
    let _ = (var().integer(i64::MIN..=i64::MAX).required(), var().integer(1..=9_u8).optional());
    let _ = (var().boolean().required(), var().choice([("x", ())]).optional());
    let _ = (var().socket_address().required(), var().path().required(), var().text().required());
    let url = var().url().required();
    let secret = var().secret().required();
    format!("{url} {url:?} {secret} {secret:?} {}", printable_outcome(env))
}

/// Everything that the environment says about itself, in each of its forms.
fn printable_outcome(env: &Env) -> String {
    let checked = env.check();
    let listed = match checked.clone() {
        Ok(warnings) => warnings.iter().map(ToString::to_string).collect(),
        Err(problems) => format!("{problems} {:?}", problems.clone().into_stage_error()),
    };
    format!("{checked:?} {listed} {env:?} {:?}", env.catalogue())
}

proptest! {
    #[test]
    fn no_value_panics_a_form_or_reaches_the_report_as_a_control_character(
        value in prop_oneof![any::<String>(), r"[0-9mshx.:/@\[\]-]{0,12}", r"https?://[a-z0-9.:/@\[\]?#-]{0,12}"],
    ) {
        let printed = read_in_every_form(&Env::from_vars("APP", [("APP_A", value)]));
        prop_assert!(!printed.chars().any(|each| each.is_control() && each != '\n'), "{printed:?}");
    }

    #[test]
    fn no_bytes_in_names_or_values_panic(
        vars in prop::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..4),
        value in any::<Vec<u8>>(),
    ) {
        let own = vars.into_iter().map(|(name, value)| ([b"APP_".to_vec(), name].concat(), value));
        let all = own.chain([(b"APP_A".to_vec(), value)]);
        let os = all.map(|(name, value)| (OsString::from_vec(name), OsString::from_vec(value)));
        read_in_every_form(&Env::from_vars("APP", os));
    }

    /// A secret in its variable, in its file, in an unknown variable, in the place of the file's path and
    /// beside it: nothing that can be printed contains it.
    #[test]
    fn a_secret_is_never_printed(
        secret in "[A-Za-z0-9+=]{12,60}",
        before in "(| |https://|http://user:|http://host/|http://host\\?key=)",
        after in "(| |@|@host|\n|\u{e9})",
    ) {
        let value = format!("{before}{secret}{after}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, &value).unwrap();
        let path = path.to_str().unwrap();
        for vars in [
            vec![("APP_TOKEN", value.as_str())],
            vec![("APP_TOKEN_FILE", path)],
            vec![("APP_TOKEN_FILE", value.as_str())],
            vec![("APP_TOKEN", value.as_str()), ("APP_TOKEN_FILE", path)],
            vec![("APP_TOKNE", value.as_str())],
        ] {
            let env = Env::from_vars("APP", vars);
            let token = env.var("TOKEN").secret().required();
            let url = env.var("TOKEN").url().required();
            let printed = format!("{token} {token:?} {url:?} {}", printable_outcome(&env));
            // The host of a URL is no secret: it is what an operator must see when it does not answer.
            if before != "https://" {
                prop_assert!(!printed.contains(&secret), "{printed}");
            }
        }
    }
}
