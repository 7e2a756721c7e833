//! Files are read as Compose reads them: merged, extended, filled in.

use super::{GOOD, check, check_with};

const TWO: &str = "services: {app: {deploy: {replicas: 2}}}\n";

#[test]
fn a_later_file_is_merged_over_an_earlier_one() {
    check(&[("compose.yaml", GOOD), ("compose.prod.yaml", TWO)])
        .refuses(&["compose.prod.yaml:1: `deploy.replicas` is 2"]);
    check(&[("compose.0.yaml", TWO), ("compose.yaml", GOOD)]).accepts(&["CHECK OK 2 files, service app"]);
}

#[test]
fn lists_of_variables_are_merged_by_name_and_mounts_by_target() {
    let over = "services:\n  app:\n    environment: [WEB_CONCURRENCY=1, BANBOARD_DRAIN=1s]\n    volumes:\n      - type: tmpfs\n        target: /data\n";
    let base = GOOD.replace("BANBOARD_DATA_DIR: /data", "BANBOARD_DATA_DIR: /data\n      WEB_CONCURRENCY: 4");
    let said = check(&[("compose.yaml", &base), ("compose.over.yaml", over)]);
    said.refuses(&["One thing", "compose.over.yaml:5: BANBOARD_DATA_DIR=/data is on tmpfs"])
        .omits("WEB_CONCURRENCY");
}

#[test]
fn commands_are_replaced_and_not_joined() {
    // Joined, it would be `["CMD", "/banboard", "healthcheck", "NONE"]`, which is a health check.
    let over = "services: {app: {healthcheck: {test: [NONE]}}}\n";
    check_with(&[("compose.yaml", GOOD), ("compose.over.yaml", over)], &["--prefix", "BANBOARD"], &[])
        .accepts(&["the health check is switched off"]);
}

#[test]
fn reset_removes_and_override_replaces() {
    let reset = "services: {app: {volumes: !reset []}}\n";
    check(&[("compose.yaml", GOOD), ("compose.over.yaml", reset)]).refuses(&["is on no volume"]);
    let replaced = "services: {app: {volumes: !override [data:/elsewhere]}}\n";
    check(&[("compose.yaml", GOOD), ("compose.over.yaml", replaced)]).refuses(&["is on no volume"]);
    let joined = "services: {app: {volumes: [data:/elsewhere]}}\n";
    check(&[("compose.yaml", GOOD), ("compose.over.yaml", joined)]).accepts(&[]);
}

#[test]
fn anchors_and_merge_keys_are_followed_and_own_keys_win() {
    let anchored = format!(
        "x-two: &two\n  replicas: 2\n  mode: replicated\n{}",
        GOOD.replace("{replicas: 1, ", "{<<: *two, ")
    );
    check(&[("compose.yaml", &anchored)]).refuses(&["compose.yaml:2: `deploy.replicas` is 2"]);
    let own = anchored.replace("<<: *two,", "<<: [*two], replicas: 1,");
    check(&[("compose.yaml", &own)]).accepts(&[]);
}

#[test]
fn what_a_service_extends_counts_as_its_own() {
    let here = "  app:\n    extends: base\n    image: banboard\nvolumes: {data: }\n";
    let base = GOOD
        .replace("  app:", "  base:")
        .replace("replicas: 1", "replicas: 2")
        .replace("volumes:\n  data:\n", here);
    let chosen = ["--service", "app"];
    check_with(&[("compose.yaml", &base)], &chosen, &[])
        .refuses(&["compose.yaml:13: `deploy.replicas` is 2"]);
    let there = "services:\n  app:\n    extends: {file: sub/base.yaml, service: app}\nvolumes: {data: }\n";
    let base = GOOD.replace("    environment:", "    env_file: [app.env]\n    environment:");
    let files = [("compose.yaml", there), ("sub/base.yaml", &base), ("sub/app.env", "WEB_CONCURRENCY=3\n")];
    check(&files).refuses(&["One thing", "WEB_CONCURRENCY 3: asks for 3 workers"]);
}

#[test]
fn a_circle_of_extends_is_told() {
    let circle = "services:\n  a:\n    extends: b\n  b:\n    extends: {service: a}\n";
    check(&[("compose.yaml", circle)])
        .refuses(&["[compose.invalid] compose.yaml:3: services extend each other in a circle: a -> b -> a"]);
    let own = "services:\n  a:\n    extends: {service: a, file: compose.yaml}\n";
    check(&[("compose.yaml", own)]).refuses(&["in a circle"]);
    let missing = "services:\n  a:\n    extends: {service: b, file: other.yaml}\n";
    check(&[("compose.yaml", missing)]).refuses(&["compose.yaml:3: other.yaml cannot be read: No such file"]);
    check(&[("compose.yaml", missing), ("other.yaml", "services: {c: {}}")])
        .refuses(&["there is no service b in other.yaml to extend"]);
}

#[test]
fn variables_are_filled_in_from_the_environment_and_from_dotenv() {
    let file = GOOD.replace("replicas: 1", "replicas: \"${COPIES:-1}\"");
    check(&[("compose.yaml", &file)]).accepts(&[]);
    check_with(&[("compose.yaml", &file)], &[], &[("COPIES", "2")]).refuses(&["`deploy.replicas` is 2"]);
    let dotenv = "# copies\nexport OTHER='$x'\nCOPIES=\"3\" # three\n";
    check(&[("compose.yaml", &file), (".env", dotenv)]).refuses(&["`deploy.replicas` is 3"]);
    check_with(&[("compose.yaml", &file), (".env", dotenv)], &[], &[("COPIES", "1")]).accepts(&[]);
}

#[test]
fn every_form_of_a_variable_means_what_it_means_to_compose() {
    let vars = [("ONE", "1"), ("EMPTY", "")];
    for (form, copies) in [
        ("$ONE", "1"),
        ("${ONE}", "1"),
        ("${ONE}0", "10"),
        ("${EMPTY:-7}", "7"),
        ("${NONE-7}", "7"),
        ("${ONE:+8}", "8"),
        ("${NONE:-${EMPTY:-9}}", "9"),
        ("${ONE:?no}", "1"),
        ("${NONE+8}1", "1"),
        ("${NONE:+8}1", "1"),
    ] {
        let file = GOOD.replace("replicas: 1", &format!("replicas: \"{form}\""));
        let said = check_with(&[("compose.yaml", &file)], &[], &vars);
        if copies == "1" {
            said.accepts(&[])
        } else {
            said.refuses(&[&format!("`deploy.replicas` is {copies},")])
        };
    }
    for form in ["${NONE:?set it}", "${NONE?set it}", "${EMPTY:?set it}"] {
        let file = GOOD.replace("banboard:0.1.0", &format!("'{form}'"));
        check_with(&[("compose.yaml", &file)], &[], &vars)
            .refuses(&["compose.yaml:3: the variable", "is not set: set it"]);
    }
    for form in ["${", "${ONE", "$-", "${ONE!x}", "100$", "${1}"] {
        let file = GOOD.replace("banboard:0.1.0", &format!("'{form}'"));
        check_with(&[("compose.yaml", &file)], &[], &vars)
            .refuses(&["a `$` begins no variable that Compose understands"]);
    }
    check(&[("compose.yaml", &GOOD.replace("banboard:0.1.0", "'a$$b'"))]).accepts(&[]).omits("WARNING");
    check(&[("compose.yaml", &GOOD.replace("banboard:0.1.0", "a${NONE}"))])
        .accepts(&["WARNING compose.yaml:3: compose: the variable NONE is not set"]);
}

#[test]
fn env_files_are_read_in_every_form_and_yield_to_environment() {
    let with =
        |entry: &str| GOOD.replace("    environment:", &format!("    env_file: {entry}\n    environment:"));
    let env = ("app.env", "WEB_CONCURRENCY=4\n");
    for entry in
        ["app.env", "[app.env]", "[{path: ./app.env, required: true}]", "[{path: app.env, format: raw}]"]
    {
        check(&[("compose.yaml", &with(entry)), env]).refuses(&["app.env:1: WEB_CONCURRENCY 4"]);
    }
    check(&[("compose.yaml", &with("[{path: none.env, required: false}]"))]).accepts(&[]);
    check(&[("compose.yaml", &with("none.env"))]).refuses(&["compose.yaml:7: none.env cannot be read"]);
    let own = with("app.env").replace("DATA_DIR: /data", "DATA_DIR: /data\n      WEB_CONCURRENCY: '1'");
    check(&[("compose.yaml", &own), env]).accepts(&[]);
    check(&[("compose.yaml", &with("app.env")), ("app.env", "A=1\n\nB='x\ny'\nno value\n")])
        .refuses(&["app.env:5: is not of the form NAME=value"]);
    check(&[("compose.yaml", &with("app.env")), ("app.env", "A=\"open\n")])
        .refuses(&["app.env:1: a quotation mark is not closed"]);
    // Only named: the value is the caller's.
    let passed = with("app.env");
    check_with(
        &[("compose.yaml", &passed), ("app.env", "WEB_CONCURRENCY\n")],
        &[],
        &[("WEB_CONCURRENCY", "5")],
    )
    .refuses(&["asks for 5"]);
}

#[test]
fn what_include_brings_is_not_passed_over_in_silence() {
    let file = format!("include: [other.yaml]\n{GOOD}");
    check(&[("compose.yaml", &file)])
        .accepts(&["WARNING compose.yaml:1: compose: the files of `include` are not looked at"]);
}

#[test]
fn an_unknown_key_is_told_with_what_was_probably_meant() {
    let wrong = GOOD
        .replace("stop_grace_period", "stop_grace_peroid")
        .replace("start_period", "start-period")
        .replace("order:", "odrer:");
    check(&[("compose.yaml", &wrong)]).refuses(&[
        "3 things",
        "compose.yaml:6: `stop_grace_peroid` is no key of service app",
        "Did you mean `stop_grace_period`?",
        "Did you mean `start_period`?",
        "Did you mean `order`?",
    ]);
    check(&[("compose.yaml", &format!("x-mine: 1\n{GOOD}"))]).accepts(&[]);
}

#[test]
fn a_volume_that_is_not_declared_is_told() {
    check(&[("compose.yaml", &GOOD.replace("volumes:\n  data:\n", ""))])
        .refuses(&["compose.yaml:9: the volume data is not among the `volumes:`"]);
}
