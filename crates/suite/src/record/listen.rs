//! Where the proxy listens.

use std::{
    fs, io,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};

use crate::sut::{Endpoint, reading::Stream};

/// A socket that is listened on; a file of it is removed on drop.
#[derive(Debug)]
pub enum Listen {
    /// In the file system.
    Unix(UnixListener, PathBuf),
    /// A host and port.
    Tcp(TcpListener),
}

/// Why nobody can listen there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody does already.
    #[error("another process listens at {0}: the proxy takes a socket of its own, in front of the driver's")]
    InUse(PathBuf),
    /// Something else has that name.
    #[error("{0} exists and is no socket: remove it, or listen elsewhere")]
    NotASocket(PathBuf),
    /// There is no file to be had.
    #[error("cannot listen at {0}: write unix:///path, /path or host:port")]
    Unsupported(String),
    /// The system refused.
    #[error("cannot listen at {0}: {1}")]
    Refused(String, io::Error),
}

impl Listen {
    /// Listens. A socket file that a dead process left behind is replaced; a live one is not disturbed.
    ///
    /// # Errors
    ///
    /// When the address is taken, or cannot be had.
    pub async fn at(endpoint: &Endpoint) -> Result<Self, ListenError> {
        let refused = |error| ListenError::Refused(endpoint.to_string(), error);
        match endpoint {
            Endpoint::Unix(path) => {
                free(path).await?;
                Ok(Self::Unix(UnixListener::bind(path).map_err(refused)?, path.clone()))
            }
            Endpoint::Tcp { host, port } => {
                Ok(Self::Tcp(TcpListener::bind((host.as_str(), *port)).await.map_err(refused)?))
            }
            Endpoint::Abstract(_) => Err(ListenError::Unsupported(endpoint.to_string())),
        }
    }

    /// Waits for the next client.
    ///
    /// # Errors
    ///
    /// When the system has none to give, for example for want of file descriptors.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener, _) => Ok(Stream::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

async fn free(path: &Path) -> Result<(), ListenError> {
    let refused = |error| ListenError::Refused(path.display().to_string(), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(error)),
        Ok(about) if !about.file_type().is_socket() => Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) => match tokio::net::UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(refused),
            _ => Err(ListenError::InUse(path.to_owned())),
        },
    }
}

impl Drop for Listen {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // If it is gone already, so much the better.
            let _ = fs::remove_file(path);
        }
    }
}
