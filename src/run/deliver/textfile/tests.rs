use super::*;
use crate::{StageError, codes::DB_CORRUPT, engine::running::broken, ids::InstanceId, report::Identity};

#[test]
fn a_name_that_wants_to_be_a_series_stays_a_label() {
    let identity = Identity {
        service: "shop".to_owned(),
        prefix: "SHOP".to_owned(),
        version: None,
        instance: InstanceId::mint(),
        host: "h".to_owned(),
        at: "2026-11-20T09:27:52Z".parse().unwrap(),
        attempt: None,
        shortened: None,
        words: crate::report::Words::of_compose,
    };
    let error = broken("a\"} 1\nevil{x=\"\\", StageError::new(DB_CORRUPT, "x"));
    let text = text(Report::startup_failed(&error, DB_CORRUPT.kind, &identity).document());
    for line in text.lines() {
        assert!(line.starts_with("# ") || line.starts_with("solostart_"), "{text}");
    }
    assert!(text.contains("code=\"db.corrupt\",stage=\"a\\\"} 1 evil{x=\\\"\\\\\"} 1\n"), "{text}");
    assert!(
        text.contains("solostart_last_result_timestamp_seconds{service=\"shop\"} 1795166872\n"),
        "{text}"
    );
    assert!(text.contains("solostart_last_exit_code{service=\"shop\"} 65\n"), "{text}");
}
