//! How a driver is reached: over a socket, or as a service of this very process.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, codegen::Service};
use tower::{ServiceExt as _, service_fn, util::BoxCloneService};

use super::{Endpoint, Tls, wire::Transport};

/// The largest header block that is taken from a driver: room for long status messages.
const LARGEST_HEADERS: u32 = 256 * 1024;

/// How a driver is reached.
#[derive(Clone)]
pub enum Lane {
    /// Over a socket.
    Socket(Endpoint),
    /// Over a socket, with TLS.
    Secured(Endpoint, Tls),
    /// As a service of this process; each connection asks for the service anew, so a restart can be played.
    InProcess(Arc<dyn Fn() -> InProcess + Send + Sync>),
}

/// A gRPC service of this process, ready to be called.
#[derive(Clone)]
pub struct InProcess(Arc<std::sync::Mutex<Transport>>);

/// For how long a connection may be made anew: a call that was sent to one process must not reach the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct Lease(Arc<AtomicBool>);

impl Lease {
    /// Ends it.
    pub(super) fn end(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::SeqCst) {
            true => {
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the process behind this connection has ended"))
            }
            false => Ok(()),
        }
    }
}

/// Why a driver could not be reached.
#[derive(Debug, Error)]
#[error("cannot connect to {endpoint}: {cause}; check that the driver runs and listens there")]
pub struct ConnectError {
    /// Where it was looked for.
    pub endpoint: String,
    /// What the system said.
    pub cause: String,
}

impl InProcess {
    /// Wraps a service, for example `tonic::service::Routes`.
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
        S::Error: Into<tower::BoxError>,
        S::Future: Send + 'static,
        B: tonic::codegen::Body<Data = prost::bytes::Bytes> + Send + 'static,
        B::Error: Into<tower::BoxError> + Send,
    {
        let service = service
            .map_response(|response: http::Response<B>| {
                response.map(|body| Body::new(body.map_err(|error| tonic::Status::from_error(error.into()))))
            })
            .map_err(Into::into);
        Self(Arc::new(std::sync::Mutex::new(BoxCloneService::new(service))))
    }
}

impl InProcess {
    /// The same service until the token is cancelled, as if its process were killed then: calls under way lose their
    /// connection, and so does every later one.
    #[must_use]
    pub fn until(self, killed: CancellationToken) -> Self {
        let transport = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let mortal = service_fn(move |request: http::Request<Body>| {
            let (mut transport, killed) = (transport.clone(), killed.clone());
            async move {
                tokio::select! {
                    biased;
                    () = killed.cancelled() => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
                    answer = async {
                        transport.ready().await?;
                        transport.call(request).await
                    } => answer,
                }
            }
        });
        Self(Arc::new(std::sync::Mutex::new(BoxCloneService::new(mortal))))
    }
}

impl Lane {
    /// Connects, trying once. Where the other end closes the connection it is made anew, for as long as the lease runs.
    ///
    /// # Errors
    ///
    /// When nobody answers at the address, or not in time.
    pub(super) async fn connect(&self, patience: Duration, lease: &Lease) -> Result<Transport, ConnectError> {
        match self {
            Self::InProcess(make) => Ok(make().0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()),
            Self::Socket(endpoint) => connect_socket(endpoint, None, patience, lease).await,
            Self::Secured(endpoint, tls) => connect_socket(endpoint, Some(tls), patience, lease).await,
        }
    }

    /// Opens a connection of its own, and leaves it to the caller to speak over it.
    ///
    /// # Errors
    ///
    /// When nobody answers at the address, or is who the TLS settings want; or when there is no socket.
    pub(crate) async fn dial(&self) -> io::Result<Stream> {
        match self {
            Self::InProcess(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "the driver has no socket")),
            Self::Socket(endpoint) => open(endpoint, None).await,
            Self::Secured(endpoint, tls) => open(endpoint, Some(tls)).await,
        }
    }

    /// The address of the socket, if it is one.
    pub const fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Socket(endpoint) | Self::Secured(endpoint, _) => Some(endpoint),
            Self::InProcess(_) => None,
        }
    }

    /// Whether the driver's node runs on this machine for sure.
    pub fn is_local(&self) -> bool {
        self.endpoint().is_none_or(Endpoint::is_local)
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(endpoint) => write!(f, "{endpoint}"),
            Self::Secured(endpoint, _) => write!(f, "{endpoint} (TLS)"),
            Self::InProcess(_) => f.write_str("in-process"),
        }
    }
}

async fn connect_socket(
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    patience: Duration,
    lease: &Lease,
) -> Result<Transport, ConnectError> {
    let fail = |cause| ConnectError { endpoint: endpoint.to_string(), cause };
    // The URI only fills the :authority; the connector knows where to go.
    let origin = if tls.is_some() { "https://localhost" } else { "http://localhost" };
    let channel = tonic::transport::Endpoint::from_static("http://localhost")
        .origin(http::Uri::from_static(origin))
        .http2_max_header_list_size(LARGEST_HEADERS)
        .connect_timeout(patience);
    let connecting = channel.connect_with_connector(connector(endpoint, tls, lease));
    let connected = tokio::time::timeout(patience, connecting).await;
    match connected {
        Err(_) => Err(fail(format!("no answer within {patience:?}"))),
        Ok(Err(error)) => Err(fail(innermost(&error))),
        Ok(Ok(channel)) => Ok(BoxCloneService::new(channel.map_err(Into::into))),
    }
}

fn connector(
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    lease: &Lease,
) -> impl Service<http::Uri, Response = TokioIo<Stream>, Error = io::Error, Future: Send> + Send + Clone + 'static {
    let (target, tls, lease) = (endpoint.clone(), tls.cloned(), lease.clone());
    service_fn(move |_: http::Uri| {
        let (target, tls, lease) = (target.clone(), tls.clone(), lease.clone());
        async move {
            lease.check()?;
            let stream = open(&target, tls.as_ref()).await?;
            // Once more: the next process may be there by now.
            lease.check()?;
            Ok(TokioIo::new(stream))
        }
    })
}

async fn open(endpoint: &Endpoint, tls: Option<&Tls>) -> io::Result<Stream> {
    let stream = match endpoint {
        Endpoint::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
        Endpoint::Abstract(name) => Stream::Unix(open_abstract(name)?),
        Endpoint::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Stream::Tcp(stream)
        }
    };
    match tls {
        None => Ok(stream),
        Some(tls) => Ok(Stream::Secured(Box::new(tls.greet(stream).await?))),
    }
}

#[cfg(target_os = "linux")]
fn open_abstract(name: &str) -> io::Result<UnixStream> {
    use std::os::{linux::net::SocketAddrExt as _, unix::net};
    let stream = net::UnixStream::connect_addr(&net::SocketAddr::from_abstract_name(name)?)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

#[cfg(not(target_os = "linux"))]
fn open_abstract(_: &str) -> io::Result<UnixStream> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "abstract sockets exist on Linux only"))
}

/// One type for all kinds of stream.
#[derive(Debug)]
pub(crate) enum Stream {
    /// A socket in the file system, or an abstract one.
    Unix(UnixStream),
    /// A connection over the network.
    Tcp(TcpStream),
    /// One of them under TLS.
    Secured(Box<TlsStream<Stream>>),
}

macro_rules! delegate {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match $self.get_mut() {
            Self::Unix(stream) => std::pin::Pin::new(stream).$method($($argument),*),
            Self::Tcp(stream) => std::pin::Pin::new(stream).$method($($argument),*),
            Self::Secured(stream) => std::pin::Pin::new(stream).$method($($argument),*),
        }
    };
}

impl tokio::io::AsyncRead for Stream {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        delegate!(self.poll_read(context, buffer))
    }
}

impl tokio::io::AsyncWrite for Stream {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        delegate!(self.poll_write(context, bytes))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        delegate!(self.poll_flush(context))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        delegate!(self.poll_shutdown(context))
    }
}

pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::UnixListener, time::timeout};

    use super::{super::wire::exchange, *};
    use crate::{csi::v1, history::Request, sut::Answer};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A call that was recorded before a restart once reached the new process: the channel had connected again by itself.
    #[tokio::test]
    async fn a_call_for_one_process_reaches_the_next_one_only_while_the_lease_runs() {
        for ended in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("csi.sock");
            let lane = Lane::Socket(format!("unix://{}", path.display()).parse().unwrap());
            let (first, lease) = (UnixListener::bind(&path).unwrap(), Lease::default());
            let (transport, accepted) = tokio::join!(lane.connect(PATIENCE, &lease), first.accept());
            let transport = transport.unwrap();
            drop((first, accepted.unwrap()));
            std::fs::remove_file(&path).unwrap();
            let second = UnixListener::bind(&path).unwrap();
            if ended {
                lease.end();
            }
            let request = Request::from(v1::ProbeRequest {});
            // Whether the channel has seen the end of its connection by the first call is a matter of chance.
            if !ended {
                let calls = async {
                    loop {
                        exchange(transport.clone(), &request, PATIENCE).await;
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    accepted = timeout(PATIENCE, second.accept()) => drop(accepted.unwrap().unwrap()),
                    () = calls => {}
                }
                continue;
            }
            // Far more often than it takes the channel to see the end of its connection.
            for _ in 0..100 {
                let answer = exchange(transport.clone(), &request, PATIENCE).await;
                assert_eq!(answer, Answer::Lost(crate::history::Lost::Connection));
                tokio::task::yield_now().await;
            }
            drop(transport);
            // Connections are accepted in the order in which they were made: this one would not be the first.
            drop(std::os::unix::net::UnixStream::connect(&path).unwrap());
            let (mut stream, _) = timeout(PATIENCE, second.accept()).await.unwrap().unwrap();
            let mut sent = Vec::new();
            stream.read_to_end(&mut sent).await.unwrap();
            assert!(sent.is_empty(), "the connection of before was made anew");
        }
    }
}
