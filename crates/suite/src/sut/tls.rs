//! TLS to a driver that is reached from afar: whom to trust, who we are, and the name to expect.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thiserror::Error;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::Endpoint;

/// How a certificate begins in a PEM file.
const PEM_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

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
pub struct Tls(ClientTlsConfig);

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
        let authority = read(path)?;
        // An empty set of authorities would be accepted, and then trust nobody.
        if !authority.windows(PEM_CERTIFICATE.len()).any(|window| window == PEM_CERTIFICATE) {
            return Err(TlsError::Content(format!("{} holds no certificate", path.display())));
        }
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority));
        config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => config.identity(Identity::from_pem(read(certificate)?, read(key)?)),
            (None, None) => config,
            _ => return Err(TlsError::HalfIdentity),
        };
        let name = match (&self.server_name, endpoint) {
            (Some(name), _) => name.clone(),
            (None, Endpoint::Tcp { host, .. }) => host.clone(),
            (None, _) => "localhost".to_owned(),
        };
        let tls = Tls(config.domain_name(name));
        // Tried now: files that hold nonsense are better said before the first connection.
        tls.apply(tonic::transport::Endpoint::from_static("https://localhost"))
            .map_err(|error| TlsError::Content(super::lane::innermost(&error)))?;
        Ok(Some(tls))
    }
}

impl Tls {
    pub(super) fn apply(
        &self,
        channel: tonic::transport::Endpoint,
    ) -> Result<tonic::transport::Endpoint, tonic::transport::Error> {
        channel.tls_config(self.0.clone())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}
