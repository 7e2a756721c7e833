use std::os::unix::ffi::OsStringExt;

use super::*;

/// What `check` says about an environment: the code and one line for each fact and action.
fn verdict(variables: &[(&str, &str)]) -> Option<(&'static str, String)> {
    let lookup =
        |name: &str| variables.iter().find(|(each, _)| *each == name).map(|(_, value)| OsString::from(value));
    let error = check("SHOP", &["SHOP_PROCS".to_owned()], &lookup).err()?;
    assert_eq!(error.error_kind().exit_code(), 78);
    let facts = error.facts().iter().map(|fact| format!("{} = {}", fact.name, fact.value));
    let lines: Vec<String> = facts.chain(error.actions().iter().cloned()).collect();
    Some((error.failure_code().name, lines.join("\n")))
}

fn code(variable: &str, value: &str) -> Option<&'static str> {
    verdict(&[(variable, value)]).map(|(code, _)| code)
}

const SEVERAL: Option<&str> = Some("worker.count-configured");
const INVALID: Option<&str> = Some("env.invalid");

#[test]
fn one_worker_or_none_declared_is_fine() {
    assert_eq!(verdict(&[]), None);
    for variable in ["SHOP_WORKERS", "WEB_CONCURRENCY", "UVICORN_WORKERS", "UWSGI_PROCESSES", "SHOP_PROCS"] {
        for value in ["1", " 1 ", "", "  ", "\t", "+1"] {
            assert_eq!(code(variable, value), None, "{variable}={value:?}");
        }
    }
}

#[test]
fn every_count_above_one_is_refused_and_the_rest_is_not_understood() {
    for variable in ["SHOP_WORKERS", "WEB_CONCURRENCY", "UVICORN_WORKERS", "UWSGI_PROCESSES", "SHOP_PROCS"] {
        for value in ["2", " 4 ", "1000"] {
            assert_eq!(code(variable, value), SEVERAL, "{variable}={value:?}");
        }
        for value in ["0", "-1", "auto", "max", "two", "1.0", "1 2", "99999999999999999999"] {
            assert_eq!(code(variable, value), INVALID, "{variable}={value:?}");
        }
    }
}

#[test]
fn the_first_replica_may_run_and_no_other() {
    for variable in ["NODE_APP_INSTANCE", "CF_INSTANCE_INDEX", "NOMAD_ALLOC_INDEX"] {
        assert_eq!(code(variable, "0"), None, "{variable}");
        assert_eq!(code(variable, "1"), SEVERAL, "{variable}");
        assert_eq!(code(variable, "-1"), INVALID, "{variable}");
        assert_eq!(code(variable, "x"), INVALID, "{variable}");
    }
    for (value, expected) in [
        ("web.1", None),
        ("web.2", SEVERAL),
        ("worker.3", SEVERAL),
        ("run.4711", None),
        ("scheduler.9182", None),
        ("web.0", INVALID),
        ("web", INVALID),
        ("web.x", INVALID),
    ] {
        assert_eq!(code("DYNO", value), expected, "{value}");
    }
}

#[test]
fn gunicorns_arguments_count_as_its_own_parser_would_read_them() {
    for (value, expected) in [
        ("--timeout 30", None),
        ("-w 1", None),
        ("--workers 4", SEVERAL),
        ("--workers=4", SEVERAL),
        ("-w 4", SEVERAL),
        ("-w4", SEVERAL),
        ("-w=4", SEVERAL),
        ("'-w' \"4\"", SEVERAL),
        ("-w 4 --workers=1", None),
        ("--workers=1 -w 4", SEVERAL),
        ("--worker-class gthread --worker-connections 8", None),
        ("--name '#shop' -w 4", SEVERAL),
        ("--name #shop -w 4", SEVERAL),
        ("-- -w 4", None),
        ("--workers", INVALID),
        ("--workers 0", INVALID),
        ("-w -1", INVALID),
        ("--name 'open", INVALID),
    ] {
        assert_eq!(code("GUNICORN_CMD_ARGS", value), expected, "{value}");
    }
}

#[test]
fn all_findings_stand_in_one_report_with_what_to_do() {
    let (code, text) = verdict(&[
        ("WEB_CONCURRENCY", "2"),
        ("UVICORN_WORKERS", "auto"),
        ("GUNICORN_CMD_ARGS", "--workers 4 --timeout 30"),
        ("NODE_APP_INSTANCE", "3"),
        ("TOKIO_WORKER_THREADS", "8"),
    ])
    .unwrap();
    assert_eq!(code, "worker.count-configured");
    let surroundings = Surroundings::default();
    let (place, shown) = (surroundings.platform().settings_place(), surroundings.platform().settings_shown());
    let expected = format!(
        "WEB_CONCURRENCY = 2: asks for 2 workers\n\
         UVICORN_WORKERS = auto: one worker for each processor; write 1\n\
         GUNICORN_CMD_ARGS = --workers 4: asks for 4 workers\n\
         NODE_APP_INSTANCE = 3: is not the first replica, which is 0\n\
         SHOP_WORKERS = not set (1 is the default)\n\
         TOKIO_WORKER_THREADS = threads, not workers: fine\n\
         Set WEB_CONCURRENCY, UVICORN_WORKERS to 1, or remove it, {place}\n\
         Remove -w and --workers from GUNICORN_CMD_ARGS, {place}\n\
         Run one replica of this service; NODE_APP_INSTANCE comes from whatever scales it\n\
         See what the process really gets: {shown}"
    );
    assert_eq!(text, expected);
}

#[test]
fn threads_alone_are_nobodys_business() {
    assert_eq!(verdict(&[("TOKIO_WORKER_THREADS", "8"), ("RAYON_NUM_THREADS", "x")]), None);
}

#[test]
fn nothing_but_numbers_is_ever_repeated() {
    for (variable, value) in [
        ("GUNICORN_CMD_ARGS", "-w 2 --env KEY=hunter2"),
        ("GUNICORN_CMD_ARGS", "--env 'KEY=hunter2"),
        ("GUNICORN_CMD_ARGS", "-w hunter2"),
        ("WEB_CONCURRENCY", "hunter2"),
        ("DYNO", "hunter2"),
        ("DYNO", "web.hunter2"),
        ("NODE_APP_INSTANCE", "hunter2"),
    ] {
        let (_, text) = verdict(&[(variable, value)]).expect(value);
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_value_that_is_not_text_is_not_understood() {
    let lookup = |name: &str| (name == "SHOP_WORKERS").then(|| OsString::from_vec(vec![0xff]));
    let error = check("SHOP", &[], &lookup).unwrap_err();
    assert_eq!(error.failure_code(), codes::ENV_INVALID);
}
