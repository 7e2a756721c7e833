//! The ticks as routes of axum. Feature `http-routes`.

use axum::{
    Router,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::any,
};

use super::ticks::{TickAnswer, Ticks};

impl Ticks {
    /// `POST /tick/<job>`, to be merged into the application's own router. Without an endpoint it has no route.
    ///
    /// ```
    /// use solostart::stages::scheduler::JobScheduler;
    ///
    /// fn router(jobs: &JobScheduler) -> axum::Router {
    ///     axum::Router::new().route("/", axum::routing::get(async || "hello")).merge(jobs.ticks().router())
    /// }
    /// ```
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        if !self.is_open() {
            return Router::new();
        }
        let ticks = self.clone();
        let answer = async move |method: Method, uri: Uri, headers: HeaderMap| {
            let authorization = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
            ticks.handle(method.as_str(), uri.path(), authorization)
        };
        Router::new().route("/tick/{job}", any(answer))
    }
}

impl IntoResponse for TickAnswer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match self {
            Self::Unauthorized => {
                (status, [(header::WWW_AUTHENTICATE, "Bearer")], self.text()).into_response()
            }
            Self::MethodNotAllowed => (status, [(header::ALLOW, "POST")], self.text()).into_response(),
            Self::Begun | Self::NotFound | Self::Running | Self::Unavailable => {
                (status, self.text()).into_response()
            }
        }
    }
}
