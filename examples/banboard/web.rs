//! The board over HTTP.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use solostart::{
    ErrorKind, FailureCode, ServeContext, StageContext, StageError, StageResult, Status,
    stages::database::{Database, DatabaseError},
};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::{
    board::{self, Board},
    networks::Countries,
    page::page,
    timeline::Startup,
};

const LISTEN_FAILED: FailureCode = FailureCode::new(
    "banboard.listen",
    ErrorKind::Temporary,
    "The address of the board cannot be listened on",
);

/// Nothing but what a page itself brings along.
const DENY_ALL: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) database: Arc<Database>,
    pub(crate) countries: Arc<Countries>,
    pub(crate) status: Status,
    /// The log's file name, as the page calls it.
    pub(crate) log: Arc<str>,
}

/// Binds the port. It is a stage, so that an address that is taken is a start that fails with its report
/// and not a service that says it is ready and serves nobody.
pub(crate) async fn bind(cx: StageContext, address: SocketAddr) -> StageResult<std::net::TcpListener> {
    cx.step(format!("bind {address}"));
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener.into_std()?),
        Err(error) => Err(refused(&error, address)),
    }
}

fn refused(error: &io::Error, address: SocketAddr) -> StageError {
    let failed = StageError::new(LISTEN_FAILED, format!("cannot listen on {address}: {error}"))
        .fact("BANBOARD_LISTEN", address.to_string());
    let kind = error.kind();
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
) -> StageResult<()> {
    let listener = TcpListener::from_std(listener.try_clone()?)?;
    tell(listener.local_addr()?);
    axum::serve(listener, router(app)).with_graceful_shutdown(cx.on_shutdown()).await?;
    Ok(())
}

/// Tells whoever started it by hand where to look. It is the service's own word and no event of a log.
#[allow(clippy::print_stdout, reason = "the address is what a person at a terminal needs next")]
fn tell(address: SocketAddr) {
    println!("banboard is on http://{address}");
}

pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/icon.svg", get(icon))
        .route("/api/bans", get(bans))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/startupz", get(async |State(app): State<App>| Json(Startup::of(&app.status))))
        .layer(map_response(protect))
        .with_state(app)
}

async fn index(State(app): State<App>) -> Result<Response, Unavailable> {
    let mut board = app.database.read(|db| Ok(Board::load(db)?)).await?;
    board.locate(&app.countries).await;
    let nonce = Uuid::new_v4().simple().to_string();
    let policy = format!("{DENY_ALL}; img-src 'self'; style-src 'nonce-{nonce}'");
    let html = page(&board, &Startup::of(&app.status), &app.log, &nonce).into_string();
    Ok(([(header::CONTENT_SECURITY_POLICY, policy)], Html(html)).into_response())
}

async fn icon() -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "max-age=86400")];
    (headers, include_str!("icon.svg"))
}

async fn bans(State(app): State<App>) -> Result<Response, Unavailable> {
    let mut bans = app.database.read(|db| Ok(board::active(db)?)).await?;
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
struct Unavailable;

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
