//! A fail2ban ban board: who is banned on this host, from which networks, and since when.
//!
//! Run it with `cargo run --release --features http-routes --example banboard` and open
//! <http://127.0.0.1:8080>. Without settings it follows `/var/log/fail2ban.log`, or where there is none the sample log
//! that lies beside these sources.
//!
//! It is also the library's reference: everything that the service holds is a stage, this file says what
//! needs what, and nothing else does.

mod attempts;
mod board;
mod chart;
mod config;
mod figures;
mod follow;
mod forms;
mod jobs;
mod lift;
mod log;
mod login;
mod lookup;
mod networks;
mod page;
mod schema;
mod store;
mod text;
mod timeline;
mod web;

use std::{io::IsTerminal, net::TcpListener, process::ExitCode, sync::Arc, time::Duration};

use solostart::{
    Handle, StageContext, Startup, Stderr,
    stages::{
        cache::Cache,
        database::{Database, SqliteDatabase},
        http_session::HttpSession,
    },
};
use tracing_subscriber::EnvFilter;

use crate::{
    config::Config,
    figures::Counted,
    jobs::FollowLog,
    lift::Lifter,
    login::{Digest, Login, Session, Sessions},
    networks::{Countries, Network},
    web::App,
};

/// How long somebody who does nothing stays logged in, and how long anybody does.
const IDLE: Duration = Duration::from_mins(30);
const LONGEST: Duration = Duration::from_hours(12);

fn main() -> ExitCode {
    // What the library says for the operator goes to stderr by itself; this is for what happens in between.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let colour = std::io::stderr().is_terminal();
    // The library's writer waits for nobody, and keeps these lines clear of what the library writes itself.
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(Stderr::new).init();
    solostart::run("banboard", |startup| {
        plan(startup);
        Ok(())
    })
}

/// The whole service. `worker-mode`, which makes sure that no second one runs, is added by the library and
/// comes before everything else. Returns the listener, so that a test can ask for its address.
fn plan(startup: &mut Startup) -> Handle<TcpListener> {
    startup.version(env!("CARGO_PKG_VERSION"));
    if std::env::var_os("CARGO").is_some() {
        // `cargo run` in a development container: its own file system is where the checkout is, and nobody
        // runs a second one. A deployed banboard must be told by its operator.
        startup.allow_unshared_lock("overlay,tmpfs");
    }
    let env = startup.env();
    let config = Config::from_env(&env);

    let database = startup.add(SqliteDatabase::from_env(&env).migrations(schema::MIGRATIONS));

    let fill = async |cx: StageContext, database: Arc<Database>, countries: Countries| {
        let networks = database.read(|db| Ok(networks::load(db)?)).await?;
        cx.step(format!("{} networks", networks.len()));
        countries.insert_all(networks).await;
        Ok(())
    };
    let countries = Cache::holding(500_000).warm_up(fill);
    let cache = startup.add_with(countries, database);

    let unknown: Cache<Network, ()> =
        Cache::holding(50_000).named("unknown").time_to_live(lookup::UNKNOWN_FOR);
    let unknown = startup.add(unknown);

    let http = HttpSession::from_env(&env).user_agent(concat!("banboard/", env!("CARGO_PKG_VERSION")));
    let http = startup.add(http);

    let login = plan_login(startup, &config);

    let scheduler = startup.configure(jobs::scheduler(&env), database).after(cache).after(http).required();
    let counted = Arc::new(Counted::default());
    let needs = (database, http, cache, unknown);
    let tasks =
        startup.configure(FollowLog::new(&config, counted.clone()), needs).after(scheduler).required();

    let listen = config.listen;
    let listener =
        startup.stage("listener", tasks, async move |cx, _| web::bind(cx, listen).await).required();

    let log = text::visible(&config.log.file_name().unwrap_or_default().to_string_lossy()).into();
    let client = config.fail2ban_client;
    let needs = (database, cache, login, scheduler, listener);
    startup.serve(needs, async move |cx, (database, countries, login, jobs, listener)| {
        let lifter = Lifter { database: database.clone(), client };
        let status = cx.status().clone();
        let app = App { database, countries, login, lifter, status, log, counted, shown: Arc::default() };
        web::serve(cx, listener, app, jobs.ticks()).await
    });
    listener
}

/// Who may lift bans: the sessions, and the password that begins one.
fn plan_login(startup: &mut Startup, config: &Config) -> Handle<Login> {
    let sessions: Cache<Digest, Session> =
        Cache::holding(1000).named("sessions").time_to_idle(IDLE).time_to_live(LONGEST);
    let sessions = startup.add(sessions.with_env(&startup.env()));
    let (password, secure, client) =
        (config.admin_password.clone(), config.secure_cookie, config.fail2ban_client.clone());
    let enter = async move |_cx: StageContext, sessions: Arc<Sessions>| {
        Login::new(password.clone(), sessions, secure).await
    };
    startup.stage("login", sessions, enter).check(move || lift::check(client.as_ref())).required()
}

#[cfg(all(test, feature = "testing"))]
mod faults;
#[cfg(test)]
mod tests;
