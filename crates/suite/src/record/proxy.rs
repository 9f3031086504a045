//! Passes bytes on between clients and the driver as they come, and lets the journal listen.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    sync::Notify,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Journal, Latency, Listen, conversation::Way, journal::Listening};
use crate::sut::{Lane, reading::Stream};

/// How long calls under way may take when the proxy is to end, and a side to hang up when the other one has.
const GRACE: Duration = Duration::from_secs(5);

/// How long to wait when the system has no connection to give, and between looks at what is under way.
const BREATH: Duration = Duration::from_millis(50);

/// How many bytes are taken at a time, at most and at least where there are so many. Small pieces share one allocation.
const BITE: usize = 64 * 1024;
const MORSEL: usize = 8 * 1024;

/// The proxy; cheap to clone.
#[derive(Clone)]
pub struct Proxy {
    upstream: Lane,
    patience: Duration,
    journal: Journal,
    latency: Arc<Latency>,
}

impl Proxy {
    /// A proxy in front of a driver, which need not be there yet.
    pub fn new(upstream: Lane, patience: Duration, journal: Journal) -> Self {
        Self { upstream, patience, journal, latency: Arc::default() }
    }

    /// How long what passed was held up by the proxy.
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
                Ok(client) => {
                    connections.spawn(self.clone().converse(client));
                }
                Err(error) => {
                    tracing::warn!(%error, "a client could not be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
        // Nobody new comes in while the others finish.
        drop(listen);
        let finished = async {
            while !self.journal.is_idle() {
                tokio::time::sleep(BREATH).await;
            }
        };
        // What is still open then is cut off, and journalled as cancelled.
        let _ = timeout(GRACE, finished).await;
        connections.shutdown().await;
    }

    /// Each client has a connection of its own to the driver, so that what one side does, the other sees.
    async fn converse(self, client: Stream) {
        let listening = self.journal.listen();
        let cause = match timeout(self.patience, self.upstream.dial()).await {
            Ok(Ok(driver)) => return pass_on(client, driver, &listening, &self.latency).await,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", self.patience),
        };
        listening.cut_off();
        refuse(client, &listening, &cause).await;
    }
}

/// Passes on whatever either side sends, until one of them has hung up.
async fn pass_on(client: Stream, driver: Stream, listening: &Listening, latency: &Latency) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_driver, mut to_driver) = tokio::io::split(driver);
    let mut asking =
        pin!(pass(&mut from_client, &mut to_driver, |bytes| listening.passing(Way::Request, bytes), latency));
    let mut answering =
        pin!(pass(&mut from_driver, &mut to_client, |bytes| listening.passing(Way::Answer, bytes), latency));
    tokio::select! {
        ended = &mut asking => match ended {
            // What the driver has still to say may find nobody, but it may say it.
            End::Source => {
                let _ = timeout(GRACE, answering).await;
            }
            End::Sink => listening.cut_off(),
        },
        ended = &mut answering => if ended == End::Source {
            listening.cut_off();
        },
    }
}

/// Which side ended a direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// The one that sends.
    Source,
    /// The one that receives.
    Sink,
}

async fn pass(
    source: &mut (impl AsyncRead + Unpin),
    sink: &mut (impl AsyncWrite + Unpin),
    listen: impl Fn(Bytes),
    latency: &Latency,
) -> End {
    let mut buffer = BytesMut::new();
    loop {
        if buffer.capacity() < MORSEL {
            buffer.reserve(BITE);
        }
        match source.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => {
                // The end passes on too.
                let _ = sink.shutdown().await;
                return End::Source;
            }
            Ok(_) => {}
        }
        let came = Instant::now();
        let bytes = buffer.split().freeze();
        listen(bytes.clone());
        if sink.write_all(&bytes).await.is_err() || sink.flush().await.is_err() {
            return End::Sink;
        }
        latency.enter(came.elapsed());
    }
}

/// Tells a client why its calls cannot be passed on, and hangs up, so that it comes again.
///
/// The only answer that the proxy gives by itself.
async fn refuse(client: Stream, listening: &Listening, cause: &str) {
    let told = Notify::new();
    let service = hyper::service::service_fn(|_: Request<Incoming>| {
        told.notify_one();
        let status = tonic::Status::unavailable(format!("csi-certify record cannot reach the driver: {cause}"));
        async { Ok::<_, Infallible>(status.into_http::<tonic::body::Body>()) }
    });
    let heard = Overheard { stream: client, listening };
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let mut connection = pin!(server.serve_connection(TokioIo::new(heard), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told.notified() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended");
    }
}

/// A client's connection of which the journal hears what the client sends.
struct Overheard<'a> {
    stream: Stream,
    listening: &'a Listening,
}

impl AsyncRead for Overheard<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let came = &buffer.filled()[before..];
        if !came.is_empty() {
            self.listening.passing(Way::Request, Bytes::copy_from_slice(came));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Overheard<'_> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
