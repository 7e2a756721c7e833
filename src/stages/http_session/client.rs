//! What the stages and the application get to use.

use std::{fmt, future::Future};

use tokio::time::Instant;

use super::{failure::HttpError, proxies::Proxies};
use crate::stages::in_flight::{InFlight, soft_deadline};

/// The service's HTTP client: it lends a [`reqwest::Client`] for as long as a request takes.
///
/// ```
/// use solostart::stages::http_session::{HttpClient, HttpError, json_limited};
///
/// async fn rules(http: &HttpClient, server: &str) -> Result<Vec<String>, HttpError> {
///     let url = format!("https://api.example.com/rules/{server}");
///     http.request(async |client| {
///         let answer = client.get(url).send().await?.error_for_status()?;
///         json_limited(answer, 1024 * 1024).await
///     })
///     .await
/// }
/// ```
pub struct HttpClient {
    client: reqwest::Client,
    proxies: Proxies,
    in_flight: InFlight,
}

impl HttpClient {
    pub(super) fn new(client: reqwest::Client, proxies: Proxies) -> Self {
        Self { client, proxies, in_flight: InFlight::default() }
    }

    /// Makes one request, from sending it to reading its body: whatever `call` awaits is waited for when the
    /// service stops, and nothing else is. So read the body inside, with
    /// [`read_limited`](super::read_limited) or [`json_limited`](super::json_limited).
    ///
    /// # Cancel safety
    /// Dropping the future ends the request; whether the upstream saw it is unknown.
    ///
    /// # Errors
    /// What `call` returns; [`HttpError::Stopped`] after the stage was stopped; [`HttpError::CutOff`] if the stop had no time left
    /// to wait.
    pub async fn request<T, F, Fut>(&self, call: F) -> Result<T, HttpError>
    where
        F: FnOnce(reqwest::Client) -> Fut,
        Fut: Future<Output = Result<T, HttpError>>,
    {
        let Some(_counted) = self.in_flight.enter() else { return Err(HttpError::Stopped) };
        tokio::select! {
            answer = call(self.client.clone()) => answer.map_err(|error| self.on_its_way(error)),
            () = self.in_flight.cut().cancelled() => Err(HttpError::CutOff),
        }
    }

    fn on_its_way(&self, error: HttpError) -> HttpError {
        if let HttpError::Failed(failure) = error { failure.on_its_way(&self.proxies).into() } else { error }
    }

    /// Waits for the requests under way, then cuts them off; returns how many these were.
    pub(super) async fn stop(&self, deadline: Instant) -> usize {
        let late = self.in_flight.finish(soft_deadline(deadline)).await;
        if late > 0 {
            // A request whose caller does not poll it cannot end itself; it is counted all the same.
            let _unpolled = self.in_flight.cut_short(soft_deadline(deadline)).await;
        }
        late
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}
