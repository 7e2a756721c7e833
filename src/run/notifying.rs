//! Who is told beside the operator who reads stderr: a webhook, and the service manager.

use std::{ffi::OsString, fmt, time::Duration};

use crate::{
    settings::{HttpUrl, Secret},
    startup::Startup,
};

/// Where failures are sent.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "notify"), expect(dead_code, reason = "without the feature it is only refused"))]
pub(crate) struct Webhook {
    /// The full name of the variable, for what is said of it.
    pub(crate) variable: String,
    pub(crate) url: HttpUrl,
    pub(crate) format: NotifyFormat,
    pub(crate) token: Option<Secret>,
}

/// What the receiver understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotifyFormat {
    /// The report itself, `startup-report/1`.
    Json,
    /// `{"text": ...}`, which Mattermost and others take, too.
    Slack,
    /// Text to a topic, with title, priority and tags as headers.
    Ntfy,
    /// One alert, as version 2 of Alertmanager's interface takes it.
    Alertmanager,
}

/// What systemd says to a service of `Type=notify`.
#[derive(Clone, Default)]
pub(crate) struct Systemd {
    /// `NOTIFY_SOCKET`: a path, or `@` and an abstract name.
    pub(crate) socket: Option<OsString>,
    /// `WATCHDOG_USEC`, where it is meant for this process.
    pub(crate) watchdog: Option<Duration>,
}

impl fmt::Debug for Systemd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Systemd").field("watchdog", &self.watchdog).finish_non_exhaustive()
    }
}

impl Startup {
    pub(super) fn webhook(&self) -> Option<Webhook> {
        let env = self.env();
        let url = env
            .var("NOTIFY_URL")
            .describe("Where failures, and the recovery from them, are sent by HTTP POST.")
            .example("https://ntfy.sh/a-topic-of-mine")
            .url()
            .optional();
        let format = env
            .var("NOTIFY_FORMAT")
            .describe("What the receiver at NOTIFY_URL understands.")
            .choice([
                ("json", NotifyFormat::Json),
                ("slack", NotifyFormat::Slack),
                ("ntfy", NotifyFormat::Ntfy),
                ("alertmanager", NotifyFormat::Alertmanager),
            ])
            .default(NotifyFormat::Json);
        let token = env
            .var("NOTIFY_TOKEN")
            .describe("The bearer token for NOTIFY_URL.")
            .secret()
            .optional()
            .filter(|token| self.fits_a_header(token));
        let variable = env.full_name("NOTIFY_URL");
        if url.is_some() && !cfg!(feature = "notify") {
            let remedy = "unset it, or build the application with the feature `notify` of solostart";
            env.problem(&variable, "this program was built without notifications", remedy);
        }
        Some(Webhook { variable, url: url?, format, token })
    }

    fn fits_a_header(&self, token: &Secret) -> bool {
        let fits = token.expose().bytes().all(|each| each.is_ascii_graphic());
        if !fits {
            let what = "the value holds a character that no HTTP header can carry";
            self.env().problem(
                &self.env().full_name("NOTIFY_TOKEN"),
                what,
                "write printable ASCII, no blanks",
            );
        }
        fits
    }

    /// What cannot be understood counts as not set: the service manager sets it, and not a person.
    pub(super) fn systemd(&self) -> Systemd {
        let env = self.env();
        let set = |name: &str| env.raw(name).filter(|value| !value.is_empty());
        let number = |name: &str| set(name)?.to_str()?.parse::<u64>().ok();
        // sd_watchdog_enabled(3): a process number that is not ours means that it is for somebody else.
        let is_for_us =
            set("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(std::process::id().into());
        let watchdog = number("WATCHDOG_USEC").filter(|&micros| micros > 0 && is_for_us);
        Systemd {
            socket: set("NOTIFY_SOCKET").map(OsString::from),
            watchdog: watchdog.map(Duration::from_micros),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Env, WorkerMode};

    fn startup(vars: &[(&'static str, &str)]) -> Startup {
        let vars = vars.iter().map(|&(name, value)| (name, value.to_owned()));
        Startup::new("shop", Env::from_vars("SHOP", vars), WorkerMode::Single)
    }

    #[test]
    fn a_watchdog_of_another_process_or_of_no_time_is_none_of_ours() {
        let ours = std::process::id().to_string();
        for (usec, pid, watchdog) in [
            ("200000", "", Some(Duration::from_millis(200))),
            ("200000", ours.as_str(), Some(Duration::from_millis(200))),
            ("200000", "1", None),
            ("200000", "one", None),
            ("0", "", None),
            ("-1", "", None),
            ("soon", "", None),
        ] {
            let found = startup(&[("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)]).systemd().watchdog;
            assert_eq!(found, watchdog, "{usec} {pid}");
        }
        assert!(startup(&[("NOTIFY_SOCKET", "")]).systemd().socket.is_none());
    }

    #[test]
    fn a_token_that_would_break_the_header_is_refused_and_not_shown() {
        let startup =
            startup(&[("SHOP_NOTIFY_URL", "http://x.test"), ("SHOP_NOTIFY_TOKEN", "pw\r\nHost: a")]);
        assert!(startup.webhook().is_none_or(|webhook| webhook.token.is_none()));
        let problems = startup.env().check().unwrap_err().to_string();
        assert!(problems.contains("SHOP_NOTIFY_TOKEN") && !problems.contains("pw"), "{problems}");
    }
}
