//! A fail2ban ban board: who is banned on this host, from which networks, and since when.
//!
//! Run it with `cargo run --release --example banboard` and open <http://127.0.0.1:8080>. Without settings it
//! follows the sample log that lies beside it; `BANBOARD_FAIL2BAN_LOG=/var/log/fail2ban.log` shows a real one.
//!
//! It is also the library's reference: everything that the service holds is a stage, this file says what
//! needs what, and nothing else does.

mod board;
mod chart;
mod config;
mod follow;
mod jobs;
mod log;
mod networks;
mod page;
mod schema;
mod store;
mod text;
mod timeline;
mod web;

use std::{io::IsTerminal, net::TcpListener, process::ExitCode, sync::Arc};

use solostart::{
    Handle, StageContext, Startup,
    stages::{
        cache::Cache,
        database::{Database, SqliteDatabase},
        http_session::HttpSession,
    },
};
use tracing_subscriber::EnvFilter;

use crate::{config::Config, jobs::FollowLog, networks::Countries, web::App};

fn main() -> ExitCode {
    // What the library says for the operator goes to stderr by itself; this is for what happens in between.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
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

    let http = HttpSession::from_env(&env).user_agent(concat!("banboard/", env!("CARGO_PKG_VERSION")));
    let http = startup.add(match &config.upstream {
        Some(url) => http.probe(url.expose()),
        None => http,
    });

    let scheduler = startup.configure(jobs::scheduler(&env), database).after(cache).after(http).required();
    let tasks = startup.configure(FollowLog::new(&config), database).after(scheduler).required();

    let listen = config.listen;
    let listener =
        startup.stage("listener", tasks, async move |cx, _| web::bind(cx, listen).await).required();

    let log = config.log.file_name().unwrap_or_default().to_string_lossy().into();
    startup.serve((database, cache, listener), async move |cx, (database, countries, listener)| {
        let app = App { database, countries, status: cx.status().clone(), log };
        web::serve(cx, listener, app).await
    });
    listener
}

#[cfg(all(test, feature = "testing"))]
mod faults;
#[cfg(test)]
mod tests;
