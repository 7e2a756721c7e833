//! Reading answers of which nobody knows how long they are.

use reqwest::Response;
use serde::de::DeserializeOwned;

use super::failure::HttpError;

/// Reads a body of at most `limit` bytes. `Response::bytes` and `text` read whatever comes, and an upstream
/// that went mad or was taken over sends more than there is memory.
///
/// ```
/// use solostart::stages::http_session::{HttpClient, HttpError, read_limited};
///
/// async fn page(http: &HttpClient) -> Result<Vec<u8>, HttpError> {
///     http.request(async |client| {
///         let answer = client.get("https://example.com/").send().await?.error_for_status()?;
///         read_limited(answer, 256 * 1024).await
///     })
///     .await
/// }
/// ```
///
/// # Cancel safety
/// Dropping the future closes the connection.
///
/// # Errors
/// [`HttpError::TooLarge`], at the latest one chunk after the limit; [`HttpError::Failed`].
pub async fn read_limited(mut answer: Response, limit: usize) -> Result<Vec<u8>, HttpError> {
    if answer.content_length().is_some_and(|length| length > limit as u64) {
        return Err(HttpError::TooLarge { limit });
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if chunk.len() > limit - body.len() {
            return Err(HttpError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Reads a body of at most `limit` bytes that is JSON.
///
/// # Cancel safety
/// Dropping the future closes the connection.
///
/// # Errors
/// Those of [`read_limited`]; [`HttpError::NotJson`].
pub async fn json_limited<T: DeserializeOwned>(answer: Response, limit: usize) -> Result<T, HttpError> {
    let body = read_limited(answer, limit).await?;
    serde_json::from_slice(&body)
        .map_err(|error| HttpError::NotJson { line: error.line(), column: error.column() })
}
