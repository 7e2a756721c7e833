//! What the operator can set, beside the library's own variables.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use solostart::{Env, HttpUrl, Secret};

/// fail2ban's default log (`logtarget` in its `fail2ban.conf`).
const LOG: &str = "/var/log/fail2ban.log";

/// The log that the sources bring along.
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/banboard/sample/fail2ban.log");

const MINUTE: Duration = Duration::from_mins(1);

/// The service's settings.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) log: PathBuf,
    pub(crate) ban_time: Duration,
    pub(crate) upstream: Option<HttpUrl>,
    pub(crate) admin_password: Option<Secret>,
    pub(crate) secure_cookie: bool,
    pub(crate) fail2ban_client: Option<PathBuf>,
}

impl Config {
    /// Reads the settings. Problems are listed when the library checks the environment as a whole.
    pub(crate) fn from_env(env: &Env) -> Self {
        let listen = env
            .var("LISTEN")
            .describe(
                "The address that the board is served on. Whoever reaches it can read it; put a proxy with TLS before it.",
            )
            .example("0.0.0.0:8080")
            .socket_address()
            .default(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
        let log = env
            .var("FAIL2BAN_LOG")
            .describe(
                "The log that fail2ban writes. Its times are taken as UTC. Not set: /var/log/fail2ban.log, or the \
                 sample of the sources on a machine that has them and no such log.",
            )
            .example(LOG)
            .path()
            .optional()
            .unwrap_or_else(|| default_log(Path::new(LOG), Path::new(SAMPLE)));
        let ban_time = env
            .var("BAN_TIME")
            .describe("How long a ban lasts in jails whose own time the log does not tell. fail2ban's default is 10m.")
            .example("1h")
            .duration()
            .within(Duration::from_secs(1)..=366 * 24 * 60 * MINUTE)
            .default(10 * MINUTE);
        let upstream = env
            .var("UPSTREAM_URL")
            .describe(
                "Asked for the country of unknown networks: a GET of this URL with the network's first address \
                 behind its path, answered with JSON such as {\"country\": \"NL\"}. Not set: nobody is asked.",
            )
            .example("https://geo.example.com/v1")
            .url()
            .optional();
        let admin_password = env
            .var("ADMIN_PASSWORD")
            .describe(
                "The password for lifting bans. Not set: nobody can log in, and the board is read-only.",
            )
            .example("correct-horse-battery-staple")
            .secret()
            .optional();
        let secure_cookie = env
            .var("SECURE_COOKIE")
            .describe("Whether the session's cookie is for HTTPS only. Say true where a proxy adds TLS.")
            .example("true")
            .boolean()
            .default(false);
        let fail2ban_client = env
            .var("FAIL2BAN_CLIENT")
            .describe(
                "The program that lifts bans: it is run as `<client> set <jail> unbanip <address>`. \
                 Not set: a ban that is lifted is over on the board alone.",
            )
            .example("/usr/bin/fail2ban-client")
            .path()
            .optional();
        Self { listen, log, ban_time, upstream, admin_password, secure_cookie, fail2ban_client }
    }
}

/// The sample is for those who try the example where they built it. An installed program finds no sources, and its
/// failure then names the log that is missing.
fn default_log(log: &Path, sample: &Path) -> PathBuf {
    let missing = matches!(log.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
    let chosen = if missing && sample.is_file() { sample } else { log };
    chosen.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_any_variable_a_log_of_this_machine_is_shown_on_loopback_only() {
        let env = Env::from_vars("BANBOARD", [("", ""); 0]);
        let config = Config::from_env(&env);
        assert!(env.check().is_ok());
        assert!(
            config.listen.ip().is_loopback() && config.upstream.is_none() && config.admin_password.is_none()
        );
        assert!([LOG, SAMPLE].map(PathBuf::from).contains(&config.log), "{}", config.log.display());
    }

    #[test]
    fn the_log_of_this_machine_comes_first_and_the_sample_only_where_the_sources_are() {
        let dir = tempfile::tempdir().unwrap();
        let [log, sample, nowhere] = ["log", "sample", "nowhere"].map(|name| dir.path().join(name));
        std::fs::write(&sample, "").unwrap();
        assert_eq!(default_log(&log, &sample), sample);
        assert_eq!(default_log(&log, &nowhere), log, "what is missing is named in the report");
        // A link that leads nowhere is a log that is not there yet, and no reason to show another one.
        std::os::unix::fs::symlink(&nowhere, &log).unwrap();
        assert_eq!(default_log(&log, &sample), log);
    }

    #[test]
    fn every_problem_is_listed_at_once() {
        let vars =
            [("BANBOARD_LISTEN", "8080"), ("BANBOARD_BAN_TIME", "10"), ("BANBOARD_UPSTREAM_URL", "ftp://x")];
        let env = Env::from_vars("BANBOARD", vars);
        Config::from_env(&env);
        let problems = env.check().unwrap_err().to_string();
        for (name, _) in vars {
            assert!(problems.contains(name), "{problems}");
        }
    }
}
