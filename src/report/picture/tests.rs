use serde_json::json;

use super::*;

/// A start whose HTTP session failed.
fn failed() -> Chart {
    let stage = |name: &str, needs: &[&str], state: &str, times: Option<(f64, f64)>, critical: bool| {
        let (start, ms) = times.unzip();
        json!({"name": name, "needs": needs, "state": state, "start_ms": start, "ms": ms, "critical": critical})
    };
    let report = json!({
        "service": "banboard", "version": "1.4.2", "ts": "2026-11-20T09:27:52.104Z", "elapsed_ms": 3665,
        "process": {"instance": "7f3c19d2"}, "rollback": {"order": ["cache", "database", "worker-mode"]},
        "rendered": "====\nSTARTUP FAILED  http-session  [http.dns]     exit 69 (UNAVAILABLE)\n====\nmore: x\n",
        "stages": [
            stage("worker-mode", &[], "up", Some((0.0, 43.2)), true),
            stage("database", &["worker-mode"], "up", Some((43.2, 612.0)), true),
            stage("cache", &["database"], "stopped", Some((655.2, 88.0)), false),
            stage("http-session", &["database"], "failed", Some((655.2, 3010.0)), true),
            stage("scheduler", &["cache", "http-session"], "not-started", None, false),
        ],
    });
    Chart::of_report(report.to_string().as_bytes()).unwrap()
}

#[test]
fn a_timeline_as_text_shows_states_times_and_the_critical_path() {
    let expected = "\
STARTUP FAILED http-session [http.dns] exit 69 (UNAVAILABLE)
banboard 1.4.2, instance 7f3c19d2, 2026-11-20T09:27:52.104Z
worker-mode  |#                                     | @0 us +43.2 ms  rolled back
database     |#######                               | @43.2 ms +612 ms  rolled back
cache        |      ==                              | @655 ms +88.0 ms  rolled back
http-session |      xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx| @655 ms +3.01 s  FAILED
scheduler    |                                      | not started (needs cache, http-session)
critical path: http-session @655 ms +3.01 s <- database @43.2 ms +612 ms <- worker-mode @0 us +43.2 ms
";
    assert_eq!(text(&failed()), expected, "\n{}", text(&failed()));
}

#[test]
fn a_graph_is_drawn_with_states_that_are_words() {
    let chart = failed();
    assert!(plain(&chart).contains("http-session  <- database  [FAILED 3.01 s]\n"), "{}", plain(&chart));
    let dot = dot(&chart);
    assert!(dot.contains("\"database\" -> \"http-session\";") && dot.contains("FAILED 3.01 s"), "{dot}");
    let mermaid = mermaid(&chart);
    assert!(mermaid.contains("s3[\"http-session<br/>FAILED 3.01 s\"]"), "{mermaid}");
    assert!(mermaid.contains("s1 --> s3") && mermaid.contains("class s3 failed"), "{mermaid}");
}

#[test]
fn what_was_not_started_yet_is_drawn_without_times() {
    let stages = [("worker-mode".to_owned(), vec![]), ("cache".to_owned(), vec!["worker-mode".to_owned()])];
    let chart = Chart::declared("banboard", stages);
    assert_eq!(plain(&chart), "worker-mode\ncache        <- worker-mode\n");
    assert!(svg(&chart).ends_with("</svg>\n"));
}

#[test]
fn hostile_names_neither_break_a_drawing_nor_run_in_a_page() {
    let evil = "</text><script>alert(1)</script>\"\\".to_owned();
    let chart = Chart::declared(&evil, [(evil.clone(), vec![evil.clone()])]);
    for drawing in [svg(&chart), mermaid(&chart)] {
        assert!(!drawing.contains("<script"), "{drawing}");
    }
    assert!(dot(&chart).contains("\\\"\\\\\""), "{}", dot(&chart));
    assert_eq!(Chart::of_report(b"{}"), None);
}

#[test]
fn of_a_huge_graph_the_slowest_stages_are_drawn_and_the_others_counted() {
    let line = |at: u32| StageLine {
        name: format!("s{at}"),
        needs: Vec::new(),
        state: "up".to_owned(),
        start_ms: Some(0.0),
        ms: Some(f64::from(at)),
        critical: at == 3,
    };
    let rows = (0..5000).map(line).map(Row::from).collect();
    let chart = Chart::new("x", "", 5000.0, rows);
    assert_eq!((chart.rows.len(), chart.hidden), (200, 4800));
    assert!(chart.rows.iter().any(|row| row.name == "s3"), "the critical path is drawn");
    assert!(svg(&chart).contains("and 4800 faster stages"));
}
