//! The TLS settings of the client.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::error::StageResult;

/// Mozilla's roots from the program itself: a client costs microseconds instead of milliseconds, and trusts
/// the same in every image, also in one that has no certificate store.
pub(super) fn config() -> StageResult<ClientConfig> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    // The provider is named here, because the process-wide default may be set by whoever comes first.
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // reqwest sets this for the backends that it configures itself, and leaves ours as it is.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
