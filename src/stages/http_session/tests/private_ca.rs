//! A certificate authority of the test's own, and HTTPS servers whose certificates it issues.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tempfile::{NamedTempFile, TempDir};

use super::*;

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A file that names this authority.
    pub(super) fn file(&self) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(&file, &self.pem).unwrap();
        file
    }

    /// A server for `name` that answers everything with 200.
    pub(super) fn server(&self, name: &str) -> SocketAddr {
        self.server_until(name, |_| ())
    }

    /// The same, its certificate changed.
    pub(super) fn server_until(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> SocketAddr {
        let config = self.config(name, change);
        server(move |stream| answer(&mut encrypted(&config, stream), "200 OK"))
    }

    pub(super) fn config(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Arc<ServerConfig> {
        self.config_for(name, change, WebPkiClientVerifier::no_client_auth())
    }

    /// One that wants a certificate of this authority from its clients.
    pub(super) fn config_for_known_clients(&self, name: &str) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        self.config_for(name, |_| (), clients.unwrap())
    }

    fn config_for(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
        clients: Arc<dyn ClientCertVerifier>,
    ) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.der().clone()], key);
        Arc::new(config.unwrap())
    }
}

pub(super) fn encrypted(
    config: &Arc<ServerConfig>,
    stream: TcpStream,
) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream)
}

pub(super) fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2002, 1, 1);
}

pub(super) fn from_the_future(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(3001, 1, 1);
    params.not_after = date_time_ymd(3002, 1, 1);
}

/// A directory, and a file of that content in it.
pub(super) fn written(content: &[u8]) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, content).unwrap();
    (dir, path)
}
