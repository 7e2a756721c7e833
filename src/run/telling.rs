//! How reports reach the operator, as the environment says.

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    time::Duration,
};

use super::notifying::{Systemd, Webhook};
use crate::startup::{Lock, Startup};

/// Where and in which form to tell.
#[derive(Clone, Debug)]
pub(crate) struct Telling {
    /// One JSON object a line on stderr, instead of text.
    pub(crate) json: bool,
    /// Whether stderr is a terminal on which lines can be drawn again.
    pub(crate) live: bool,
    /// How long to stay after a failed start.
    pub(crate) hold: Duration,
    /// The file of the last report.
    pub(crate) report_file: Option<PathBuf>,
    /// The file of the short form, for Kubernetes.
    pub(crate) termination_log: Option<PathBuf>,
    /// The file of the drawing of the last start.
    pub(crate) timeline_svg: Option<PathBuf>,
    /// The file of the last result, for the text file collector of `node_exporter`.
    pub(crate) metrics_textfile: Option<PathBuf>,
    /// The file that counts failed starts.
    pub(crate) ledger: PathBuf,
    /// Who is told of failures.
    pub(crate) webhook: Option<Webhook>,
    /// The service manager.
    pub(crate) systemd: Systemd,
}

impl Startup {
    /// Reads how to tell.
    pub(crate) fn telling(&self) -> Telling {
        let env = self.env();
        let json = env
            .var("LOG_FORMAT")
            .describe("The form of reports on stderr: text for people, or one JSON object a line.")
            .choice([("text", false), ("json", true)])
            .default(false);
        let hold = env
            .var("FAILURE_HOLD")
            .describe("How long to stay after a failed start, holding nothing, before the process ends.")
            .example("5m")
            .duration()
            .default(Duration::ZERO);
        let path = |name: &str, about: &'static str, example: &'static str, default: Option<PathBuf>| {
            let var = env.var(name).describe(about).example(example).path();
            let path = match default {
                Some(default) => Some(var.default(default)),
                None => var.optional(),
            };
            path.filter(|path| path != Path::new("-"))
        };
        let data_dir = self.data_dir();
        let name = self.name();
        // The name of a terminal without any abilities: terminfo(5).
        let terminal = env.raw("TERM").filter(|terminal| *terminal != "dumb" && !terminal.is_empty());
        Telling {
            json,
            live: !json && terminal.is_some() && io::stderr().is_terminal(),
            hold,
            report_file: path(
                "REPORT_FILE",
                "The file of the last report, as JSON; `-` for none.",
                "/data/report.json",
                Some(data_dir.join(format!("{name}.report.json"))),
            ),
            termination_log: path(
                "TERMINATION_LOG",
                "The file of the short form of a failure, if it exists; `-` for none.",
                "-",
                Some("/dev/termination-log".into()),
            ),
            timeline_svg: path(
                "TIMELINE_SVG",
                "The file of a drawing of the last start.",
                "/data/startup.svg",
                None,
            ),
            metrics_textfile: path(
                "METRICS_TEXTFILE",
                "The file of the last result, for node_exporter's text file collector.",
                "/metrics/app.prom",
                None,
            ),
            ledger: data_dir.join(format!("{name}.ledger.json")),
            webhook: self.webhook(),
            systemd: self.systemd(),
        }
    }

    /// Reads every variable of the library, so that all of them are known.
    pub(crate) fn read_settings(&mut self) {
        let _limits = self.limits();
        let _lock = Lock::configured(self);
        let _telling = self.telling();
    }
}

/// The file of the report of an instance that was refused, beside that of the instance that runs.
pub(crate) fn refusal_file(report_file: &Path) -> PathBuf {
    report_file.with_extension("refused.json")
}
