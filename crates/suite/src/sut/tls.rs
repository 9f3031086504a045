//! TLS to a driver that is reached from afar: whom to trust, who we are, and the name to expect.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use thiserror::Error;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use super::{Endpoint, lane::Stream};

/// The files of a TLS connection, all PEM; without `ca` the connection is plain.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct TlsFiles {
    /// The certificates of the authorities that the driver's certificate is checked against.
    pub ca: Option<PathBuf>,
    /// Our own certificate, for drivers that ask for one; with `key`.
    pub certificate: Option<PathBuf>,
    /// The key of `certificate`.
    pub key: Option<PathBuf>,
    /// The name that the driver's certificate has to bear, in place of the endpoint's host.
    pub server_name: Option<String>,
}

/// How to make a TLS connection: read once, used for each connection.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    /// The name that the other side's certificate has to bear.
    name: ServerName<'static>,
}

/// Why TLS cannot be used as asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path} for TLS: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is nobody to trust.
    #[error("TLS needs the authority's certificate: add --tls-ca F (or `ca` in the profile's [tls])")]
    NoAuthority,
    /// A certificate without its key, or the reverse.
    #[error("a client certificate and its key belong together: give --tls-cert and --tls-key, or neither")]
    HalfIdentity,
    /// The files hold something else.
    #[error("the TLS files are not usable: {0}; they have to be PEM, the key without a passphrase")]
    Content(String),
}

impl TlsFiles {
    /// Reads the files; nothing if TLS is not asked for.
    ///
    /// # Errors
    ///
    /// When a file is missing, does not fit the others, or holds no PEM.
    pub fn read(&self, endpoint: &Endpoint) -> Result<Option<Tls>, TlsError> {
        if *self == Self::default() {
            return Ok(None);
        }
        let read = |path: &Path| fs::read(path).map_err(|error| TlsError::Read { path: path.to_owned(), error });
        let path = self.ca.as_deref().ok_or(TlsError::NoAuthority)?;
        let content = |error: &dyn fmt::Display| TlsError::Content(error.to_string());
        let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, TlsError> {
            let found = CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<Vec<_>, _>>();
            match found.map_err(|error| content(&error))? {
                // An empty set of authorities would be accepted, and then trust nobody.
                none if none.is_empty() => Err(TlsError::Content(format!("{} holds no certificate", path.display()))),
                some => Ok(some),
            }
        };
        let mut trusted = RootCertStore::empty();
        for authority in certificates(path)? {
            trusted.add(authority).map_err(|error| content(&error))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| content(&error))?
            .with_root_certificates(trusted);
        let mut config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| content(&error))?;
                config.with_client_auth_cert(certificates(certificate)?, key).map_err(|error| content(&error))?
            }
            (None, None) => config.with_no_client_auth(),
            _ => return Err(TlsError::HalfIdentity),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = match (&self.server_name, endpoint) {
            (Some(name), _) => name.clone(),
            (None, Endpoint::Tcp { host, .. }) => host.clone(),
            (None, _) => "localhost".to_owned(),
        };
        let name = ServerName::try_from(name).map_err(|error| content(&error))?;
        Ok(Some(Tls { connector: TlsConnector::from(Arc::new(config)), name }))
    }
}

impl Tls {
    /// Agrees with the other side upon a secured connection.
    pub(super) async fn greet(&self, stream: Stream) -> io::Result<TlsStream<Stream>> {
        self.connector.connect(self.name.clone(), stream).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}
