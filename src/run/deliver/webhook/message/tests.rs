use super::*;
use crate::{StageError, codes::STAGE_FAILED, engine::running::broken, ids::InstanceId, report::Identity};

fn identity() -> Identity {
    Identity {
        service: "shop".to_owned(),
        prefix: "SHOP".to_owned(),
        version: None,
        instance: InstanceId::mint(),
        host: "h<1>".to_owned(),
        at: jiff::Timestamp::UNIX_EPOCH,
        attempt: None,
        shortened: None,
        words: crate::report::Words::of_compose,
    }
}

/// A failure with a text that wants to be more than text.
fn failure(text: &str) -> Report {
    let error = broken("stage", StageError::new(STAGE_FAILED, text.to_owned()));
    Report::startup_failed(&error, STAGE_FAILED.kind, &identity())
}

#[test]
fn nothing_in_a_slack_message_calls_the_channel_or_is_a_link() {
    let message = Message::new(NotifyFormat::Slack, &failure("<!channel> a&b <http://x.test|look>"));
    let body: Value = serde_json::from_str(&message.body).unwrap();
    let text = body["text"].as_str().unwrap();
    assert!(text.contains("&lt;!channel&gt; a&amp;b") && !text.contains(['<', '>']), "{text}");
}

#[test]
fn a_header_cannot_be_forged_and_a_huge_cause_does_not_become_a_huge_message() {
    let report = failure(&format!("x\r\nPriority: max\r\n{}", "y".repeat(1_000_000)));
    for format in [NotifyFormat::Slack, NotifyFormat::Ntfy, NotifyFormat::Alertmanager] {
        let message = Message::new(format, &report);
        assert!(message.body.len() < 4096, "{format:?}: {}", message.body.len());
        let priorities = message.headers.iter().filter(|(name, _)| name == "priority").count();
        assert_eq!(priorities, usize::from(format == NotifyFormat::Ntfy));
    }
}

#[test]
fn an_alert_ends_by_itself_after_a_day_where_nobody_is_left_to_end_it() {
    let message = Message::new(NotifyFormat::Alertmanager, &failure("x"));
    let body: Value = serde_json::from_str(&message.body).unwrap();
    assert_eq!(body[0]["startsAt"], "1970-01-01T00:00:00Z");
    assert_eq!(body[0]["endsAt"], "1970-01-02T00:00:00Z");
}
