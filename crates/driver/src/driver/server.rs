//! The gRPC server on a Unix socket.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    str::FromStr,
};

use thiserror::Error;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::Driver;

/// Where the driver listens: `unix:///absolute/path.sock` (specification line 3513), or the bare path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenAddress(PathBuf);

/// Why the driver could not listen or serve.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The text is no address.
    #[error("{0:?} is no endpoint of this driver: write unix:///absolute/path.sock")]
    Address(String),
    /// Somebody answers there.
    #[error("another process listens at {0}: stop it, or choose another endpoint")]
    InUse(PathBuf),
    /// Something else has that name.
    #[error("{0} exists and is no socket: remove it, or choose another endpoint")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot listen at {0}: {1}")]
    Listen(PathBuf, #[source] io::Error),
    /// The transport failed.
    #[error("the server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

impl FromStr for ListenAddress {
    type Err = ServeError;

    fn from_str(text: &str) -> Result<Self, ServeError> {
        let path = Path::new(text.strip_prefix("unix://").unwrap_or(text));
        if path.is_absolute() && path.file_name().is_some() {
            Ok(Self(path.to_owned()))
        } else {
            Err(ServeError::Address(text.to_owned()))
        }
    }
}

/// A socket that is bound; its file is removed on drop.
#[derive(Debug)]
pub struct Listener {
    listener: Option<UnixListener>,
    path: PathBuf,
    inode: Option<u64>,
}

impl Listener {
    /// Binds the socket. A file that a dead process left behind is replaced; a live one is not disturbed.
    pub fn bind(address: &ListenAddress) -> Result<Self, ServeError> {
        let path = address.0.clone();
        let listen = |error| ServeError::Listen(address.0.clone(), error);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(listen(error)),
            Ok(about) if !about.file_type().is_socket() => return Err(ServeError::NotASocket(path)),
            Ok(_) => match UnixStream::connect(&path) {
                Ok(_) => return Err(ServeError::InUse(path)),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(&path).map_err(listen)?;
                }
                Err(error) => return Err(listen(error)),
            },
        }
        let listener = UnixListener::bind(&path).map_err(listen)?;
        fs::set_permissions(&path, Permissions::from_mode(SOCKET_MODE)).map_err(listen)?;
        let inode = fs::symlink_metadata(&path).map_err(listen)?.ino();
        Ok(Self { listener: Some(listener), path, inode: Some(inode) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Only our own file: another process may have taken the name meanwhile.
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|about| Some(about.ino()) == self.inode);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket could not be removed");
        }
    }
}

/// Serves a driver through these services of its until the token is cancelled; requests under way are answered first.
///
/// Recovery runs beside it: until it has ended, Probe answers `ready: false`.
pub async fn serve(
    driver: Driver,
    routes: Routes,
    mut listener: Listener,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let Some(incoming) = listener.listener.take() else { return Ok(()) };
    let recovery = tokio::task::spawn_blocking(move || {
        if let Err(refusal) = driver.recover() {
            tracing::error!(%refusal, "recovery failed");
        }
    });
    tracing::info!(endpoint = %listener.path.display(), "listening");
    let served = tonic::transport::Server::builder()
        .add_routes(routes)
        .serve_with_incoming_shutdown(UnixListenerStream::new(incoming), shutdown.cancelled())
        .await;
    if let Err(error) = recovery.await {
        tracing::error!(%error, "recovery was cut off");
    }
    tracing::info!("stopped");
    Ok(served?)
}

/// For the owner and its group: an orchestrator's sidecars may run under another user of that group.
const SOCKET_MODE: u32 = 0o660;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_absolute_paths_with_or_without_a_scheme() {
        for good in ["unix:///run/csi.sock", "/run/csi.sock"] {
            assert_eq!(good.parse::<ListenAddress>().unwrap(), ListenAddress("/run/csi.sock".into()));
        }
        for bad in ["", "garbage", "tcp://localhost:1", "unix://relative.sock", "/"] {
            assert!(bad.parse::<ListenAddress>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("csi.sock");
        // Dropping a listener of the standard library leaves its file behind.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let address: ListenAddress = path.to_str().unwrap().parse().unwrap();
        let listener = Listener::bind(&address).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, SOCKET_MODE);
        assert!(matches!(Listener::bind(&address), Err(ServeError::InUse(_))));
        drop(listener);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::bind(&address), Err(ServeError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
