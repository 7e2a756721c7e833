//! What a visitor can do: log in, lift a ban, log out.
//!
//! The cookie is sent by no other site (`SameSite=Strict`), each form holds a token of its session, and a
//! browser that says that a form came from elsewhere is believed.

use std::net::SocketAddr;

use axum::{
    Form, Router,
    extract::{ConnectInfo, DefaultBodyLimit, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;

use crate::{
    lift::Lifted,
    login::{Refused, Visitor},
    page::{LoginProblem, login_page},
    web::{App, document},
};

/// A password, a token and a number.
const FORM_LIMIT: usize = 4096;

/// The routes that change something. Without a password they do not exist.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/login", get(ask).post(log_in))
        .route("/logout", post(log_out))
        .route("/lift", post(lift))
        .layer(DefaultBodyLimit::max(FORM_LIMIT))
}

async fn ask(RawQuery(query): RawQuery) -> Response {
    let problem = (query.as_deref() == Some("ended")).then_some(LoginProblem::Ended);
    document(|nonce| login_page(problem, nonce))
}

#[derive(Deserialize)]
struct Credentials {
    password: String,
}

async fn log_in(
    State(app): State<App>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Form(given): Form<Credentials>,
) -> Response {
    if is_foreign(&headers) {
        return refused();
    }
    match app.login.enter(from.ip(), given.password).await {
        Ok(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        Err(Refused::WrongPassword) => {
            let page = document(|nonce| login_page(Some(LoginProblem::WrongPassword), nonce));
            (StatusCode::FORBIDDEN, page).into_response()
        }
        Err(Refused::TooOften(wait)) => {
            let seconds = wait.as_secs() + 1;
            let page = document(|nonce| login_page(Some(LoginProblem::TooOften { seconds }), nonce));
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds.to_string())], page)
                .into_response()
        }
    }
}

#[derive(Deserialize)]
struct LogOut {
    token: String,
}

async fn log_out(State(app): State<App>, headers: HeaderMap, Form(given): Form<LogOut>) -> Response {
    if let Visitor::Admin(session) = app.login.visitor(&headers).await
        && (is_foreign(&headers) || !session.has_made(&given.token))
    {
        return refused();
    }
    ([(header::SET_COOKIE, app.login.leave(&headers).await)], Redirect::to("/?bye")).into_response()
}

#[derive(Deserialize)]
struct Lift {
    token: String,
    ban: i64,
}

async fn lift(State(app): State<App>, headers: HeaderMap, Form(given): Form<Lift>) -> Response {
    let Visitor::Admin(session) = app.login.visitor(&headers).await else {
        return Redirect::to("/login?ended").into_response();
    };
    if is_foreign(&headers) || !session.has_made(&given.token) {
        return refused();
    }
    let lifted = app.lifter.lift(given.ban).await;
    app.has_changed().await;
    match lifted {
        Ok(Lifted::Now) => Redirect::to("/?lifted#note").into_response(),
        Ok(Lifted::Before) => Redirect::to("/?over#note").into_response(),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a ban was not lifted");
            Redirect::to("/?kept#note").into_response()
        }
    }
}

/// Whether the browser says that the request came from another site (W3C Fetch Metadata). Older ones do not say.
fn is_foreign(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

fn refused() -> Response {
    (StatusCode::FORBIDDEN, "this form was not made for this session: load the page again\n").into_response()
}
