//! Passes HTTP/2 requests on to the driver and its answers back, and lets taps look at the bytes.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::bytes::Bytes;
use tokio::{
    net::{TcpStream, UnixStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::ServiceExt as _;

use super::{Journal, Latency, Listen, tap::Tap};
use crate::{
    history::Lost,
    spec::Rpc,
    sut::{ConnectError, Lane, reading::Transport},
};

/// How long calls under way may take when the proxy is to end.
const GRACE: Duration = Duration::from_secs(5);

/// How long to wait when the system has no connection to give.
const BREATH: Duration = Duration::from_millis(50);

/// A client that has just come.
pub(super) enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// The proxy; cheap to clone.
#[derive(Clone)]
pub struct Proxy {
    upstream: Transport,
    journal: Journal,
    latency: Arc<Latency>,
}

impl Proxy {
    /// A proxy in front of a driver, which need not be there yet.
    ///
    /// # Errors
    ///
    /// When the TLS settings are not usable.
    pub fn new(upstream: &Lane, patience: Duration, journal: Journal) -> Result<Self, ConnectError> {
        let upstream = upstream.connect_when_needed(patience)?;
        Ok(Self { upstream, journal, latency: Arc::default() })
    }

    /// How long calls waited for the proxy itself.
    pub const fn latency(&self) -> &Arc<Latency> {
        &self.latency
    }

    /// Serves all clients until it is told to end; calls under way may then still finish.
    pub async fn serve(self, listen: Listen, ending: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = ending.cancelled() => break,
                accepted = listen.accept() => accepted,
                // Taken off the list as they end.
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok(Connection::Unix(stream)) => {
                    connections.spawn(self.clone().converse(TokioIo::new(stream), ending.clone()));
                }
                Ok(Connection::Tcp(stream)) => {
                    connections.spawn(self.clone().converse(TokioIo::new(stream), ending.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a client could not be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
        // Nobody new comes in while the others finish.
        drop(listen);
        let finished = async { while connections.join_next().await.is_some() {} };
        // What is still open then is cut off, and journalled as cancelled.
        let _ = tokio::time::timeout(GRACE, finished).await;
    }

    async fn converse<I>(self, stream: TokioIo<I>, ending: CancellationToken)
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let service = hyper::service::service_fn(move |request| {
            let proxy = self.clone();
            async move { Ok::<_, Infallible>(proxy.pass(request).await) }
        });
        let connection =
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = ending.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a client's connection ended");
        }
    }

    /// Passes one request on and returns the answer, whose body is still to come.
    async fn pass(self, request: Request<Incoming>) -> Response<Body> {
        let clock = Spent::new(self.latency.clone());
        let rpc = Rpc::ALL.iter().copied().find(|rpc| rpc.path() == request.uri().path());
        let tap = rpc.map(|rpc| Tap::new(rpc, self.journal.clone()));
        let request = match tap.clone() {
            Some(tap) => request.map(|body| Body::new(Tapped { body, tap, way: Way::Request, clock: clock.clone() })),
            // A method that this version of the interface does not know: passed on unread.
            None => request.map(Body::new),
        };
        match (self.upstream.oneshot(request).await, tap) {
            (Ok(response), Some(tap)) => {
                glance(&response, &tap);
                response.map(|body| Body::new(Tapped { body, tap, way: Way::Answer, clock }))
            }
            (Ok(response), None) => response,
            (Err(error), tap) => {
                if let Some(tap) = tap {
                    tap.lost(Lost::Connection);
                }
                unavailable(&*error)
            }
        }
    }
}

/// Looks at the head of an answer: it may be the whole of it, or no gRPC at all.
fn glance(response: &Response<Body>, tap: &Tap) {
    let content_type = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if response.status() != http::StatusCode::OK {
        tap.garbage(format!("HTTP status {}", response.status()));
    } else if !content_type.starts_with(b"application/grpc") {
        tap.garbage(format!("content-type {:?}", String::from_utf8_lossy(content_type)));
    } else if response.headers().contains_key("grpc-status") {
        tap.status(response.headers());
    }
}

/// The only answer that the proxy gives by itself.
fn unavailable(error: &(dyn std::error::Error + 'static)) -> Response<Body> {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    tonic::Status::unavailable(format!("csi-certify record cannot reach the driver: {cause}")).into_http()
}

/// The time that one call spent in this process, summed up over its parts and entered at its end.
#[derive(Clone)]
struct Spent(Arc<Sum>);

struct Sum {
    nanoseconds: std::sync::atomic::AtomicU64,
    latency: Arc<Latency>,
}

impl Spent {
    fn new(latency: Arc<Latency>) -> Self {
        Self(Arc::new(Sum { nanoseconds: 0.into(), latency }))
    }

    fn on<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = work();
        let spent = began.elapsed().as_nanos() as u64;
        self.0.nanoseconds.fetch_add(spent, std::sync::atomic::Ordering::Relaxed);
        result
    }
}

impl Drop for Sum {
    fn drop(&mut self) {
        self.latency.enter(Duration::from_nanos(*self.nanoseconds.get_mut()));
    }
}

#[derive(Clone, Copy)]
enum Way {
    Request,
    Answer,
}

/// A body that passes as it is, while a tap looks at it.
struct Tapped<B> {
    body: B,
    tap: Tap,
    way: Way,
    clock: Spent,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Tapped<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(frame) = &polled else { return polled };
        let this = &*self;
        this.clock.on(|| match (this.way, frame) {
            (Way::Request, Some(Ok(frame))) => frame.data_ref().into_iter().for_each(|data| this.tap.request(data)),
            (Way::Answer, Some(Ok(frame))) => {
                frame.data_ref().into_iter().for_each(|data| this.tap.answer(data));
                frame.trailers_ref().into_iter().for_each(|trailers| this.tap.status(trailers));
            }
            (Way::Answer, None) => this.tap.garbage("the stream ended without a status".to_owned()),
            (Way::Answer, Some(Err(_))) => this.tap.lost(Lost::Connection),
            // Why a request ends early is seen from its answer, or from its being dropped.
            (Way::Request, None | Some(Err(_))) => {}
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
