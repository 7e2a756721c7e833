//! What each kind of receiver understands.

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::{
    report::{Document, Report, printable_json},
    run::notifying::NotifyFormat,
};

/// How long an alert stays that nobody ends: the service tells of its recovery, but a service that is never
/// started again cannot.
const ALERT_FOR: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// One request, but for whom it is sent to.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: String,
}

impl Message {
    pub(super) fn new(format: NotifyFormat, report: &Report) -> Self {
        let document = report.document();
        match format {
            NotifyFormat::Json => Self::json(report.json()),
            NotifyFormat::Slack => Self::json(printable_json(&slack(document, &report.short()).to_string())),
            NotifyFormat::Ntfy => ntfy(document, report.short()),
            NotifyFormat::Alertmanager => {
                Self::json(printable_json(&alert(document, &report.short()).to_string()))
            }
        }
    }

    fn json(body: String) -> Self {
        let json = HeaderValue::from_static("application/json");
        Self { headers: vec![(CONTENT_TYPE, json)], body }
    }
}

/// `banboard: STARTUP FAILED`, or `banboard: READY`.
fn title(document: &Document) -> String {
    format!("{}: {}", document.service, document.event.headline())
}

/// <https://docs.slack.dev/messaging/formatting-message-text#escaping>: these three characters are all that must be
/// escaped. Then nothing in it is a link, or calls everybody in the channel.
fn slack(document: &Document, short: &str) -> Value {
    let text = format!("{} on {}\n{short}", title(document), document.process.host);
    json!({ "text": text.trim_end().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;") })
}

/// <https://docs.ntfy.sh/publish/>: the body is the message, whatever else it has is said by headers.
fn ntfy(document: &Document, short: String) -> Message {
    let (priority, tag) =
        if document.code.is_some() { ("high", "rotating_light") } else { ("default", "white_check_mark") };
    let mut headers = vec![
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (HeaderName::from_static("priority"), HeaderValue::from_static(priority)),
        (HeaderName::from_static("tags"), HeaderValue::from_static(tag)),
    ];
    // A document is printable ASCII. Were it not, the message would do without its title.
    let title = HeaderValue::try_from(title(document)).ok();
    headers.extend(title.map(|title| (HeaderName::from_static("title"), title)));
    Message { headers, body: short }
}

/// <https://prometheus.io/docs/alerting/latest/clients/>: an alert is ended by one with the same labels, so they say
/// only what is the same in a failure and in the recovery from it.
fn alert(document: &Document, short: &str) -> Value {
    let now: jiff::Timestamp = document.ts.parse().unwrap_or_else(|_| jiff::Timestamp::now());
    let ends = if document.code.is_some() { now.checked_add(ALERT_FOR).unwrap_or(now) } else { now };
    json!([{
        "labels": {
            "alertname": "SolostartFailed",
            "service": document.service,
            "severity": "critical",
        },
        "annotations": {
            "summary": document.message,
            "description": short,
            "code": document.code.as_deref().unwrap_or_default(),
            "stage": document.stage.as_deref().unwrap_or_default(),
            "host": document.process.host,
        },
        "startsAt": now.to_string(),
        "endsAt": ends.to_string(),
    }])
}

#[cfg(test)]
mod tests;
