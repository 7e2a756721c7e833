//! What the operator can set, beside the library's own variables.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use solostart::{Env, HttpUrl, Secret};

/// The log that the example brings along.
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
            .describe("The log that fail2ban writes. Its times are taken as UTC. Not set: the sample of the sources.")
            .example("/var/log/fail2ban.log")
            .path()
            .optional()
            // No default of the variable: where the sources were built is of no use in a list of settings.
            .unwrap_or_else(|| PathBuf::from(SAMPLE));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_any_variable_the_sample_is_shown_on_loopback_only() {
        let env = Env::from_vars("BANBOARD", [("", ""); 0]);
        let config = Config::from_env(&env);
        assert!(env.check().is_ok());
        assert!(
            config.listen.ip().is_loopback() && config.upstream.is_none() && config.admin_password.is_none()
        );
        assert!(config.log.is_file(), "{}", config.log.display());
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
