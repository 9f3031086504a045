//! Servers that do everything wrong: none of them can hang, crash or deceive the harness.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use csi_certify::{
    csi::v1,
    history::{EventKind, Lost, Outcome, Recorder, Reply, Request},
    suite::{self, Options, Silent},
    sut::{Answer, Driver, Endpoint, InProcess, Lane, Profile, Target},
};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, StreamBody};
use prost::{Message as _, bytes::Bytes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, codegen::Service as _, server::NamedService, service::Routes};

use crate::{fake::Fake, runs::options};

/// What a hostile server does with every call.
#[derive(Clone, Copy, Debug)]
enum Evil {
    /// Never answers.
    Hang,
    /// Sends headers and a piece of a message, then nothing more, for ever.
    HangInTheMiddle,
    /// Ends the stream without a status.
    NoTrailers,
    /// Breaks the stream off.
    Reset,
    /// Panics in its handler.
    Panic,
    /// Answers with a web page.
    WebPage,
    /// Answers with HTTP status 500.
    ServerError,
    /// Answers with a status that gRPC does not have.
    UnknownStatus,
    /// Answers with a status that is no number.
    NoNumber,
    /// Answers with a status that has details.
    Details,
    /// Sends OK without a message.
    NoMessage,
    /// Sends OK with two messages.
    TwoMessages,
    /// Sends OK with bytes that are no message.
    Undecodable,
    /// Announces a message of 2 GiB.
    HugeLength,
    /// Sends 100 MiB.
    Flood,
    /// Says that its message is compressed.
    Compressed,
    /// Puts control characters and markup into every string.
    Markup,
}

const MARKUP: &str = "\u{1b}[31m<script>alert(1)</script>\u{0}\u{202e}\r\n";

/// A server of every service, evil in one way.
#[derive(Clone, Copy)]
struct Server(Evil);

impl NamedService for Server {
    const NAME: &'static str = "csi.v1.Identity";
}

impl tower::Service<http::Request<Body>> for Server {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let evil = self.0;
        async move {
            // The request is taken in, as an honest server does.
            let _ = request.into_body().collect().await;
            Ok(respond(evil).await)
        }
        .boxed()
    }
}

type Frame = http_body::Frame<Bytes>;

fn data(bytes: impl Into<Bytes>) -> Result<Frame, tonic::Status> {
    Ok(Frame::data(bytes.into()))
}

fn trailers(entries: &[(&'static str, &str)]) -> Result<Frame, tonic::Status> {
    let entry = |&(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    Ok(Frame::trailers(entries.iter().map(entry).collect::<HeaderMap>()))
}

/// A message as gRPC frames it.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend((message.len() as u32).to_be_bytes());
    bytes.extend(message);
    bytes
}

fn marked_up() -> v1::GetPluginInfoResponse {
    let text = MARKUP.to_owned();
    v1::GetPluginInfoResponse {
        name: text.clone(),
        vendor_version: text.clone(),
        manifest: [(text.clone(), text)].into(),
    }
}

async fn respond(evil: Evil) -> http::Response<Body> {
    let ok = || trailers(&[("grpc-status", "0")]);
    let frames = match evil {
        Evil::Hang => std::future::pending().await,
        Evil::Panic => panic!("on purpose"),
        Evil::HangInTheMiddle => {
            let frames = stream::iter([data(vec![0, 0, 0])]).chain(stream::pending());
            return response("application/grpc", 200, Body::new(StreamBody::new(frames)));
        }
        Evil::Flood => {
            let piece = Bytes::from(vec![0; 1 << 20]);
            let start = data([&[0][..], &(100_u32 << 20).to_be_bytes()].concat());
            let frames = stream::iter([start]).chain(stream::repeat_with(move || data(piece.clone())).take(100));
            return response("application/grpc", 200, Body::new(StreamBody::new(frames)));
        }
        Evil::WebPage => return response("text/html", 200, Body::new(StreamBody::new(stream::iter([data("<html>")])))),
        Evil::ServerError => return response("application/grpc", 500, Body::empty()),
        Evil::NoTrailers => vec![data(framed(&[]))],
        Evil::Reset => vec![data(vec![0, 0]), Err(tonic::Status::internal("on purpose"))],
        Evil::UnknownStatus => vec![trailers(&[("grpc-status", "77"), ("grpc-message", "seven%20seven")])],
        Evil::NoNumber => vec![trailers(&[("grpc-status", "OK")])],
        // A google.rpc.Status with one entry of details.
        Evil::Details => {
            vec![trailers(&[("grpc-status", "13"), ("grpc-message", "m"), ("grpc-status-details-bin", "CA0aBQoDYS9i")])]
        }
        Evil::NoMessage => vec![ok()],
        Evil::TwoMessages => vec![data(framed(&[])), data(framed(&[])), ok()],
        Evil::Undecodable => vec![data(framed(&[0xff; 40])), ok()],
        Evil::HugeLength => vec![data(vec![0, 0x80, 0, 0, 0]), ok()],
        Evil::Compressed => vec![data(vec![1, 0, 0, 0, 0]), ok()],
        Evil::Markup => vec![data(framed(&marked_up().encode_to_vec())), ok()],
    };
    response("application/grpc", 200, Body::new(StreamBody::new(stream::iter(frames))))
}

fn response(content_type: &str, status: u16, body: Body) -> http::Response<Body> {
    http::Response::builder().status(status).header("content-type", content_type).body(body).unwrap()
}

const EVERY_EVIL: [Evil; 17] = [
    Evil::Hang,
    Evil::HangInTheMiddle,
    Evil::NoTrailers,
    Evil::Reset,
    Evil::Panic,
    Evil::WebPage,
    Evil::ServerError,
    Evil::UnknownStatus,
    Evil::NoNumber,
    Evil::Details,
    Evil::NoMessage,
    Evil::TwoMessages,
    Evil::Undecodable,
    Evil::HugeLength,
    Evil::Flood,
    Evil::Compressed,
    Evil::Markup,
];

fn is_expected(evil: Evil, answer: &Answer) -> bool {
    match evil {
        Evil::Hang | Evil::HangInTheMiddle => *answer == Answer::Lost(Lost::Deadline),
        Evil::Reset | Evil::Panic => *answer == Answer::Lost(Lost::Connection),
        Evil::UnknownStatus => {
            matches!(answer, Answer::Status { code: 77, message, details: 0 } if message == "seven seven")
        }
        Evil::Details => matches!(answer, Answer::Status { code: 13, details: 1, .. }),
        Evil::Markup => matches!(answer, Answer::Reply(Reply::GetPluginInfo(reply)) if *reply == marked_up()),
        _ => matches!(answer, Answer::Garbage(_)),
    }
}

async fn connect(lane: Lane) -> Driver {
    Driver::connect(Target::Plugin(lane), &Profile::default(), Duration::from_secs(10)).await.unwrap()
}

fn in_process(evil: Evil) -> Lane {
    Lane::InProcess(Arc::new(move || InProcess::new(Server(evil))))
}

/// Serves on a Unix socket until the test ends.
fn on_a_socket(evil: Evil, directory: &tempfile::TempDir) -> Lane {
    let path = directory.path().join(format!("{evil:?}.sock"));
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let routes = Routes::new(Server(evil));
    tokio::spawn(tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(incoming));
    Lane::Socket(Endpoint::Unix(path))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_evil_answer_is_told_for_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let request = Request::from(v1::GetPluginInfoRequest {});
    for evil in EVERY_EVIL {
        for lane in [in_process(evil), on_a_socket(evil, &directory)] {
            let recorder = Recorder::new(Default::default(), None);
            // Who never ends a call over a socket is not taken for a driver at all.
            let mute = matches!(evil, Evil::Hang | Evil::HangInTheMiddle | Evil::Reset | Evil::Panic);
            if mute && matches!(lane, Lane::Socket(_)) {
                let patience = Duration::from_millis(500);
                let connected = Driver::connect(Target::Plugin(lane), &Profile::default(), patience).await;
                let text = connected.unwrap_err().to_string();
                assert!(text.contains("does not answer") || text.contains("ends the connection"), "{evil:?}: {text}");
                continue;
            }
            let driver = connect(lane.clone()).await;
            let deadline = match evil {
                Evil::Hang | Evil::HangInTheMiddle => Duration::from_millis(200),
                _ => Duration::from_secs(60),
            };
            let answer = driver.call(&recorder, "evil", &request, deadline).await;
            assert!(is_expected(evil, &answer), "{evil:?} over {lane:?}: {answer:?}");
            assert!(!driver.is_dead(), "{evil:?} over {lane:?}");
            let events = recorder.history().events;
            assert_eq!(events.len(), 2, "{evil:?} over {lane:?}: {events:?}");
            assert!(matches!(&events[1].kind, EventKind::Return { .. }));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_against_an_evil_driver_ends() {
    for evil in EVERY_EVIL {
        let recorder = Recorder::new(Default::default(), None);
        let options = Options { call_deadline: Some(Duration::from_millis(100)), ..options() };
        let driver = connect(in_process(evil)).await;
        let run = suite::run(driver, options, &recorder, &Silent, CancellationToken::new());
        let outcome = tokio::time::timeout(Duration::from_secs(300), run).await.unwrap();
        assert!(recorder.history().calls() >= 3, "{evil:?}");
        let answers = matches!(evil, Evil::UnknownStatus | Evil::Details | Evil::Markup);
        assert_eq!(outcome.interrupted.is_none(), answers, "{evil:?}: {outcome:?}");
    }
}

/// An honest driver but for one RPC, which is evil.
fn mixed(rpc: &'static str, evil: Evil, fake: &Fake) -> Lane {
    let fake = fake.clone();
    Lane::InProcess(Arc::new(move || {
        let honest = fake.routes();
        InProcess::new(tower::service_fn(move |request: http::Request<Body>| {
            let honest = honest.clone();
            async move {
                match request.uri().path().ends_with(rpc) {
                    true => Server(evil).call(request).await,
                    false => tower::ServiceExt::oneshot(honest, request).await.map(|it| it.map(Body::new)),
                }
            }
        }))
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_rpc_that_is_evil_costs_only_the_scenarios_that_need_it() {
    for (rpc, evil) in
        [("/NodePublishVolume", Evil::Hang), ("/ListVolumes", Evil::Flood), ("/CreateSnapshot", Evil::Panic)]
    {
        let fake = Fake::default();
        let recorder = Recorder::new(Default::default(), None);
        let options = Options { call_deadline: Some(Duration::from_secs(2)), jobs: 16, ..options() };
        let driver = connect(mixed(rpc, evil, &fake)).await;
        let outcome = suite::run(driver, options, &recorder, &Silent, CancellationToken::new()).await;
        println!("{rpc} {evil:?}: {} completed, {} calls", outcome.completed, recorder.history().calls());
        assert_eq!(outcome.interrupted, None);
        assert!(outcome.completed >= 70, "{rpc} {evil:?}: {}", outcome.completed);
        assert_eq!(fake.world().left(), Vec::<String>::new(), "{rpc} {evil:?}");
    }
}

/// What a raw socket does with a client.
#[derive(Clone, Copy, Debug)]
enum Raw {
    /// Accepts and says nothing.
    Silence,
    /// Accepts and closes.
    Close,
    /// Says what no HTTP/2 server says.
    Nonsense,
    /// Reads a little and closes.
    ReadAndClose,
}

async fn raw(raw: Raw, directory: &tempfile::TempDir) -> Lane {
    let path = directory.path().join(format!("{raw:?}.sock"));
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            match raw {
                Raw::Silence => open.push(socket),
                Raw::Close => {}
                Raw::Nonsense => {
                    let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
                }
                Raw::ReadAndClose => {
                    let _ = socket.read(&mut [0; 64]).await;
                }
            }
        }
    });
    Lane::Socket(Endpoint::Unix(path))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_speak_no_grpc_do_not_hang_the_harness() {
    let directory = tempfile::tempdir().unwrap();
    let request = Request::from(v1::ProbeRequest {});
    for kind in [Raw::Silence, Raw::Close, Raw::Nonsense, Raw::ReadAndClose] {
        let lane = raw(kind, &directory).await;
        let recorder = Recorder::new(Default::default(), None);
        let target = Target::Plugin(lane);
        let connected = Driver::connect(target, &Profile::default(), Duration::from_millis(500)).await;
        // Whether a connection counts as made before the first answer is the transport's business.
        let Ok(driver) = connected else { continue };
        let answer = driver.call(&recorder, "raw", &request, Duration::from_millis(500)).await;
        assert!(matches!(answer, Answer::Lost(_)), "{kind:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_driver_that_is_not_there_is_named() {
    let began = Instant::now();
    let target = Target::Plugin(Lane::Socket("unix:///no/such/csi.sock".parse().unwrap()));
    let error = Driver::connect(target, &Profile::default(), Duration::from_millis(50)).await.unwrap_err();
    assert!(error.to_string().contains("unix:///no/such/csi.sock"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(60));
    let target = Target::Separate { controller: None, node: None };
    let error = Driver::connect(target, &Profile::default(), Duration::from_millis(50)).await.unwrap_err();
    assert!(error.to_string().contains("--endpoint"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_call_is_recorded_as_cancelled() {
    let recorder = Recorder::new(Default::default(), None);
    let driver = connect(in_process(Evil::Hang)).await;
    let request = Request::from(v1::ProbeRequest {});
    let call = driver.call(&recorder, "cancel", &request, Duration::from_secs(60));
    assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err());
    let events = recorder.history().events;
    let cancelled =
        EventKind::Return { call: csi_certify::history::CallId(0), outcome: Outcome::Lost(Lost::Cancelled) };
    assert_eq!(events[1].kind, cancelled);
}
