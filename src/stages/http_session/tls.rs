//! The TLS settings of the client.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use rustix::fs::{Mode, OFlags, open};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{
    codes::HTTP_CA_FILE,
    error::{BoxError, StageError, StageResult},
};

/// Larger than any system's whole bundle of authorities.
const LARGEST_CA_FILE: u64 = 1024 * 1024;

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Mozilla's roots from the program itself: a client costs microseconds instead of milliseconds, and trusts
/// the same in every image, also in one that has no certificate store. The authorities in `ca_file` are
/// trusted beside them.
pub(super) fn config(ca_file: Option<&Path>) -> StageResult<ClientConfig> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        add_authorities(&mut roots, path).map_err(|cause| unusable(cause, path))?;
    }
    // The provider is named here, because the process-wide default may be set by whoever comes first.
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // reqwest sets this for the backends that it configures itself, and leaves ours as it is.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Adds every certificate of the file. One that is not usable refuses the whole file: whoever put it there
/// wants it to be trusted, and would look for the reason in the wrong place.
fn add_authorities(roots: &mut RootCertStore, path: &Path) -> Result<(), BoxError> {
    let pem = read(path)?;
    let pem = pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&pem);
    if pem.starts_with(b"\xff\xfe") || pem.starts_with(b"\xfe\xff") {
        return Err("it is UTF-16; save it as UTF-8".into());
    }
    let before = roots.len();
    for (at, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let certificate = certificate.map_err(|error| format!("certificate {}: {error}", at + 1))?;
        roots.add(certificate).map_err(|error| format!("certificate {}: {error}", at + 1))?;
    }
    let begun = pem.windows(BEGIN.len()).filter(|at| *at == BEGIN).count();
    if begun == 0 {
        return Err("it holds no `-----BEGIN CERTIFICATE-----`".into());
    }
    // The reader passes over a line that begins with something that nobody sees, and so over a whole certificate.
    let read = roots.len() - before;
    if read < begun {
        return Err(format!(
            "only {read} of its {begun} certificates can be read; `-----BEGIN` must be the first of its line"
        )
        .into());
    }
    Ok(())
}

/// The file's content. Symbolic links are followed, because that is how Kubernetes mounts a ConfigMap.
/// Opening does not block, because a pipe without a writer would hang the start for ever.
fn read(path: &Path) -> Result<Vec<u8>, BoxError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty()).map_err(io::Error::from)?);
    if !file.metadata()?.is_file() {
        return Err("it is not a regular file".into());
    }
    let mut content = Vec::new();
    file.take(LARGEST_CA_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST_CA_FILE {
        return Err("it is larger than 1 MiB".into());
    }
    Ok(content)
}

#[derive(Debug, thiserror::Error)]
#[error("the file of certificate authorities is not usable")]
struct Unusable(#[source] BoxError);

fn unusable(cause: BoxError, path: &Path) -> StageError {
    StageError::new(HTTP_CA_FILE, Unusable(cause))
        .fact("file", path.display().to_string())
        .hint("write the authority's certificate into it, as PEM: openssl x509 -in CERTIFICATE -outform pem")
}
