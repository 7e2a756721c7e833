//! The board over HTTP.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use maud::Markup;
use solostart::{
    ErrorKind, FailureCode, HttpLimits, ServeContext, StageContext, StageError, StageResult, Status,
    stages::{
        database::{Database, DatabaseError},
        scheduler::Ticks,
    },
    timeline_svg,
};
use tokio::{net::TcpListener, sync::Mutex};
use uuid::Uuid;

use crate::{
    board::{self, Board},
    figures::Counted,
    forms,
    lift::Lifter,
    login::{Login, Visitor},
    networks::Countries,
    page::{Note, View, page},
    timeline::Startup,
};

const LISTEN_FAILED: FailureCode = FailureCode::new(
    "banboard.listen",
    ErrorKind::Temporary,
    "The address of the board cannot be listened on",
);

/// Nothing but what a page itself brings along.
const DENY_ALL: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How old a board may be. However many look at the page, one of them asks the database.
const FRESH: Duration = Duration::from_secs(1);

/// The board that was read last, and when.
type Shown = Option<(Instant, Arc<Board>)>;

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) database: Arc<Database>,
    pub(crate) countries: Arc<Countries>,
    pub(crate) login: Arc<Login>,
    pub(crate) lifter: Lifter,
    pub(crate) status: Status,
    /// The log's file name, as the page calls it.
    pub(crate) log: Arc<str>,
    pub(crate) counted: Arc<Counted>,
    pub(crate) shown: Arc<Mutex<Shown>>,
}

/// Binds the port. It is a stage, so that an address that is taken is a start that fails with its report
/// and not a service that says it is ready and serves nobody.
pub(crate) async fn bind(cx: StageContext, address: SocketAddr) -> StageResult<std::net::TcpListener> {
    cx.step(format!("bind {address}"));
    match TcpListener::bind(address).await {
        Ok(listener) => {
            // What a person at a terminal needs next.
            cx.note(format!("on http://{}", listener.local_addr()?));
            Ok(listener.into_std()?)
        }
        Err(error) => Err(refused(error, address)),
    }
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
struct Unbound {
    address: SocketAddr,
    #[source]
    cause: io::Error,
}

fn refused(error: io::Error, address: SocketAddr) -> StageError {
    let kind = error.kind();
    let failed = StageError::new(LISTEN_FAILED, Unbound { address, cause: error })
        .fact("BANBOARD_LISTEN", address.to_string());
    if kind == io::ErrorKind::PermissionDenied {
        return failed.kind(ErrorKind::Permission).hint("Set BANBOARD_LISTEN to a port above 1023");
    }
    let failed = if kind == io::ErrorKind::AddrInUse {
        failed.hint(format!("See who has it: ss -ltnp 'sport = :{}'", address.port()))
    } else {
        failed.kind(ErrorKind::Config).hint("See this machine's addresses: ip -brief address")
    };
    failed.hint("Or set BANBOARD_LISTEN to another address")
}

/// Answers requests until the service is asked to stop, and then until those that it has are answered.
pub(crate) async fn serve(
    cx: ServeContext,
    listener: Arc<std::net::TcpListener>,
    app: App,
    ticks: Ticks,
) -> StageResult<()> {
    let listener = TcpListener::from_std(listener.try_clone()?)?;
    cx.serve_http(listener, router(app, &ticks), HttpLimits::default()).await
}

fn router(app: App, ticks: &Ticks) -> Router {
    let forms = if app.login.is_offered() { forms::routes() } else { Router::new() };
    Router::new()
        .route("/", get(index))
        .route("/icon.svg", get(icon))
        .route("/startup.svg", get(picture))
        .route("/api/bans", get(bans))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/startupz", get(async |State(app): State<App>| Json(Startup::of(&app.status))))
        .merge(forms)
        .merge(ticks.router())
        .layer(map_response(protect))
        .with_state(app)
}

async fn index(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Unavailable> {
    let board = app.board().await?;
    let visitor = app.login.visitor(&headers).await;
    let forget = matches!(visitor, Visitor::Ended).then(|| app.login.forget());
    let note = if forget.is_some() { Some(Note::Ended) } else { query.as_deref().and_then(Note::of) };
    let startup = Startup::of(&app.status);
    let on_board_only = app.lifter.client.is_none();
    let mut response = document(|nonce| {
        let view = View { visitor: &visitor, note, on_board_only, log_name: &app.log, nonce };
        page(&board, &startup, &view)
    });
    if let Some(cookie) = forget.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

impl App {
    /// The board, read at most a second ago.
    async fn board(&self) -> Result<Arc<Board>, DatabaseError> {
        // Whoever comes while one reads waits for that one.
        let mut shown = self.shown.lock().await;
        if let Some((read_at, board)) = &*shown
            && read_at.elapsed() < FRESH
        {
            return Ok(board.clone());
        }
        let read_at = Instant::now();
        let figures = self.counted.get().await;
        let mut board = self.database.read(|db| Ok(Board::load(db, figures)?)).await?;
        board.locate(&self.countries).await;
        let board = Arc::new(board);
        *shown = Some((read_at, board.clone()));
        Ok(board)
    }

    /// Has the next one who looks see what was changed.
    pub(crate) async fn has_changed(&self) {
        *self.shown.lock().await = None;
    }
}

/// An HTML document that may bring a style along, by its nonce, and send forms to where it comes from.
pub(crate) fn document(content: impl FnOnce(&str) -> Markup) -> Response {
    let nonce = Uuid::new_v4().simple().to_string();
    let policy = format!(
        "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; img-src 'self'; \
         style-src 'nonce-{nonce}'"
    );
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(content(&nonce).into_string())).into_response()
}

/// The start as a drawing. It has no style and no script of its own, so it needs no more than any other answer.
async fn picture(State(app): State<App>) -> impl IntoResponse {
    let drawing = timeline_svg(&app.status.timeline(), "How banboard started");
    ([(header::CONTENT_TYPE, "image/svg+xml")], drawing)
}

async fn icon() -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "max-age=86400")];
    (headers, include_str!("icon.svg"))
}

async fn bans(State(app): State<App>) -> Result<Response, Unavailable> {
    let mut bans = app.database.read(|db| Ok(board::active(db, board::API_LIMIT)?)).await?;
    board::locate(&mut bans, &app.countries).await;
    Ok(Json(bans).into_response())
}

async fn readyz(State(app): State<App>) -> (StatusCode, String) {
    if app.status.is_ready() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", app.status.phase()))
    }
}

/// Headers for every response, unless its handler has set them.
async fn protect(mut response: Response) -> Response {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_SECURITY_POLICY, DENY_ALL),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in headers {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// The database did not answer. Why is for the operator, not for whoever asked.
pub(crate) struct Unavailable;

impl From<DatabaseError> for Unavailable {
    fn from(error: DatabaseError) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "a request was refused");
        Self
    }
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n").into_response()
    }
}
