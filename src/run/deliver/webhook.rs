//! Calls whoever does not read stderr: one request to the URL that the operator gave.
//!
//! It runs on a thread and in a runtime of its own, because the service's runtime may be what failed, or may
//! never have been made.

use std::{error::Error, sync::Arc, time::Duration};

use reqwest::{
    Client, StatusCode,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
    redirect,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::runtime;

use super::PATIENCE;
use crate::{report::Report, run::notifying::Webhook};

mod message;

use message::Message;

/// Less than the process waits, so that the operator hears in time that nobody was told.
const TIMEOUT: Duration = PATIENCE.saturating_sub(Duration::from_millis(300));

/// Sends the report, once.
///
/// # Errors
/// Why nobody was told, without the URL.
pub(super) fn deliver(report: &Report, webhook: &Webhook) -> Result<(), String> {
    let message = Message::new(webhook.format, report);
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let told = runtime.block_on(async {
        // It bounds the name's look-up and whatever else the client's own limit leaves out.
        tokio::time::timeout(TIMEOUT, post(message, webhook)).await.unwrap_or_else(|_elapsed| Err(late()))
    });
    // A look-up of a name that hangs is a thread that must not be waited for.
    runtime.shutdown_background();
    told
}

fn late() -> String {
    format!("no answer within {TIMEOUT:?}")
}

async fn post(message: Message, webhook: &Webhook) -> Result<(), String> {
    let client = client().map_err(|error| words(error.as_ref()))?;
    let mut headers: HeaderMap = message.headers.into_iter().collect();
    if let Some(token) = &webhook.token {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .map_err(|_shows_nothing| "the token does not fit a header".to_owned())?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    let answer = client.post(webhook.url.expose()).headers(headers).body(message.body).send().await;
    match answer.map_err(reqwest::Error::without_url) {
        // Nothing of the body is of use, so none of it is read, whatever its length.
        Ok(answer) => judge(answer.status()),
        Err(error) if error.is_timeout() => Err(late()),
        Err(error) => Err(words(&error)),
    }
}

fn judge(status: StatusCode) -> Result<(), String> {
    if status.is_success() {
        Ok(())
    } else if status.is_redirection() {
        // The token and the report are for this receiver, and for nobody that it names.
        Err(format!("it answered {} and redirects are not followed", status.as_u16()))
    } else {
        Err(format!("it answered {}", status.as_u16()))
    }
}

/// The platform's certificate store is slow to read and missing in small images, so the roots are compiled in.
fn client() -> Result<Client, Box<dyn Error>> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .timeout(TIMEOUT)
        .user_agent(concat!("solostart/", env!("CARGO_PKG_VERSION")))
        .build()?)
}

/// The last cause is the one that says what happened: `Connection refused (os error 111)`.
fn words(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
