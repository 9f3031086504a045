//! The recording proxy: what passes is the same, what is written is judged.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use csi_certify::{
    history::{EventKind, FORMAT, Header, History, Lost, Outcome},
    record::{Journal, Listen, Proxy, Rotation},
    sut::{Endpoint, Lane},
};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{certify, code, errors, json};

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_csi-certify"));
        command.args(arguments).env_remove("CSI_ENDPOINT").stdout(Stdio::piped()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn end(mut self, signal: rustix::process::Signal) -> (Option<i32>, String) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), signal).unwrap();
        let mut output = String::new();
        if let Some(mut stdout) = self.0.stdout.take() {
            std::io::Read::read_to_string(&mut stdout, &mut output).unwrap();
        }
        (self.0.wait().unwrap().code(), output)
    }
}

fn wait_for(path: &Path) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A recorder in front of the driver at `d.sock`, listening at `p.sock`; its history is `h.jsonl` and what follows it.
fn recorder(directory: &Path, more: &[&str]) -> Running {
    let text = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (listen, upstream, history) = (text("p.sock"), text("d.sock"), text("h.jsonl"));
    let places = ["record", "--listen", &listen, "--upstream", &upstream, "--history", &history];
    let running = Running::start(&[&places[..], more].concat());
    wait_for(&directory.join("p.sock"));
    running
}

#[test]
fn a_run_through_the_recorder_has_the_verdict_of_a_direct_one_and_so_has_the_recording() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let driver = ["driver", "--endpoint", &text("d.sock"), "--runtime", "memory", "--state-dir", &text("state")];
    let driver = [&driver[..], &["--node-id", "node-a"]].concat();
    let mut running = Running::start(&driver);
    wait_for(&path("d.sock"));
    let recorder = recorder(directory.path(), &["--rotate", "1"]);
    let run = |socket: &str, certificate: &str| {
        let arguments = ["run", "--endpoint", &text(socket), "--node-fs", "off", "--seed", "5", "--jobs", "2"];
        certify(&[&arguments[..], &["--json", &text(certificate)]].concat())
    };
    for (socket, certificate) in [("d.sock", "direct.json"), ("p.sock", "through.json")] {
        let output = run(socket, certificate);
        assert_eq!(code(&output), 0, "{socket}: {output:?}");
    }
    let statuses = |name: &str| {
        let rules = json(&path(name))["rules"].as_array().unwrap().clone();
        rules.into_iter().map(|rule| (rule["id"].clone(), rule["status"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(statuses("direct.json"), statuses("through.json"));

    // The driver may come and go: whoever calls meanwhile is told, and the next call finds the new one.
    running.end(rustix::process::Signal::KILL);
    let refused = certify(&["run", "--endpoint", &text("p.sock"), "--connect-timeout", "1"]);
    assert_eq!(code(&refused), 2, "{}", errors(&refused));
    assert!(errors(&refused).contains("cannot reach the driver"), "{}", errors(&refused));
    running = Running::start(&driver);
    let begun = Instant::now();
    while code(&certify(&["run", "--endpoint", &text("p.sock"), "--filter", "probe*", "--node-fs", "off"])) != 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the recorder does not find the new driver");
    }
    let (exit, printed) = recorder.end(rustix::process::Signal::INT);
    assert_eq!(exit, Some(0));
    assert!(printed.contains("calls recorded, added latency below"), "{printed}");
    drop(running);

    let mut files: Vec<PathBuf> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    assert!(files.len() > 1, "a run is longer than a mebibyte: {files:?}");
    let mut arguments = vec!["judge".to_owned(), "--json".into(), text("judged.json")];
    arguments.extend(files.iter().map(|file| file.to_str().unwrap().to_owned()));
    let judged = certify(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code(&judged), 0, "{judged:?}");
    let held =
        json(&path("judged.json"))["rules"].as_array().unwrap().iter().filter(|rule| rule["status"] == "held").count();
    assert!(held > 250, "{held} rules are judged from the recording");
}

#[test]
fn an_orchestrator_behind_the_recorder_gets_as_far_as_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let driver = ["driver", "--endpoint", &text("d.sock"), "--runtime", "memory", "--state-dir", &text("state")];
    let _running = Running::start(&driver);
    wait_for(&path("d.sock"));
    let recorder = recorder(directory.path(), &[]);
    let outcomes = ["d.sock", "p.sock"].map(|socket| {
        let workload = ["--nodes", "1", "--volumes", "3", "--pods", "5", "--seed", "3", "--time-scale", "200"];
        let output = certify(&[&["orchestrate", "--endpoint", &text(socket)], &workload[..]].concat());
        assert_eq!(code(&output), 0, "{socket}: {}", errors(&output));
        // What was asked for and what came of it; how long it took is the machine's.
        let told = errors(&output);
        let outcome = told.lines().find(|line| line.contains("ran in the end")).unwrap_or_else(|| panic!("{told}"));
        outcome.split("; steady after").next().unwrap().to_owned()
    });
    assert_eq!(outcomes[0], outcomes[1]);
    assert!(outcomes[0].contains(", 0 stuck"), "{}", outcomes[0]);
    assert_eq!(recorder.end(rustix::process::Signal::INT).0, Some(0));
    let judged = certify(&["judge", &text("h.jsonl"), "--json", &text("judged.json")]);
    assert_eq!(code(&judged), 0, "{judged:?}");
    let exercised = json(&path("judged.json"))["coverage"]["exercised"].as_u64().unwrap();
    assert!(exercised > 100, "{exercised} rules are judged from the recording");
}

/// Sends back what it gets, with the request's metadata, two messages and trailers of its own.
async fn echo(
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<impl http_body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let asked = request.headers().get("x-asked").cloned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let trailers = http::HeaderMap::from_iter([
        ("grpc-status".parse().unwrap(), "0".parse().unwrap()),
        ("x-trailer".parse().unwrap(), "at the end".parse().unwrap()),
    ]);
    let frames = [Frame::data(body.clone()), Frame::data(body), Frame::trailers(trailers)];
    let body = StreamBody::new(tokio_stream::iter(frames.map(Ok::<_, Infallible>)));
    let mut response = http::Response::builder().header("content-type", "application/grpc");
    if let Some(asked) = asked {
        response = response.header("x-answered", asked);
    }
    Ok(response.body(body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_methods_metadata_and_streams_pass_untouched_and_cancelled_calls_are_noted() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = directory.path().join("up.sock");
    let listener = tokio::net::UnixListener::bind(&upstream).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
                if request.uri().path().ends_with("Probe") {
                    std::future::pending::<()>().await;
                }
                echo(request).await
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    let path = directory.path().join("h.jsonl");
    let header = Header { format: FORMAT, recording: Some(Default::default()), ..Header::default() };
    let (journal, writing) = Journal::start(&path, header, "plugin", "n".into(), Rotation { bytes: 1 << 30 }).unwrap();
    let proxy = Proxy::new(Lane::Socket(Endpoint::Unix(upstream)), Duration::from_secs(5), journal);
    let socket = Endpoint::Unix(directory.path().join("p.sock"));
    let listen = Listen::at(&socket).await.unwrap();
    let ending = CancellationToken::new();
    let served = tokio::spawn(proxy.serve(listen, ending.clone()));

    let stream = tokio::net::UnixStream::connect(directory.path().join("p.sock")).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let ask = |path: &str, message: &'static [u8]| {
        http::Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("x-asked", "kindly")
            .body(Full::new(Bytes::from_static(message)))
            .unwrap()
    };
    let odd = b"\x00\x00\x00\x00\x03odd and more, no framing at all";
    let response = sender.send_request(ask("/csi.v9.Future/Method", odd)).await.unwrap();
    assert_eq!(response.headers()["x-answered"], "kindly");
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-trailer"], "at the end");
    assert_eq!(collected.to_bytes(), [&odd[..], &odd[..]].concat());

    // Two messages are garbage as the answer to a unary call, and pass all the same.
    let response = sender.send_request(ask("/csi.v1.Identity/GetPluginInfo", b"\0\0\0\0\0")).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), b"\0\0\0\0\0\0\0\0\0\0".as_slice());

    let given_up = sender.send_request(ask("/csi.v1.Identity/Probe", b"\0\0\0\0\0"));
    assert!(tokio::time::timeout(Duration::from_millis(300), given_up).await.is_err());
    drop(sender);
    ending.cancel();
    served.await.unwrap();
    let summary = tokio::task::spawn_blocking(move || writing.end()).await.unwrap().unwrap();
    assert_eq!(summary.calls, 2);
    let outcomes: Vec<Outcome> = History::read(&path)
        .unwrap()
        .events
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::Return { outcome, .. } => Some(outcome),
            _ => None,
        })
        .collect();
    assert!(matches!(&outcomes[..], [Outcome::Garbage { .. }, Outcome::Lost(Lost::Cancelled)]), "{outcomes:?}");
}

#[test]
fn what_cannot_be_recorded_is_said_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let text = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(directory.path().join("there.jsonl"), "precious").unwrap();
    let (listen, history) = (text("p.sock"), text("h.jsonl"));
    for (arguments, reason) in [
        (["--listen", &listen, "--upstream", &listen, "--history", &history], "are the same"),
        (["--listen", &listen, "--upstream", "/up.sock", "--history", &text("there.jsonl")], "exists already"),
        (["--listen", &listen, "--upstream", "ftp://x", "--history", &history], "not supported"),
        (["--listen", &text("there.jsonl"), "--upstream", "/up.sock", "--history", &history], "is no socket"),
    ] {
        let output = certify(&[&["record"], &arguments[..]].concat());
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(errors(&output).contains(reason), "{}", errors(&output));
        assert_eq!(errors(&output).lines().count(), 1, "{}", errors(&output));
    }
    assert_eq!(fs::read_to_string(directory.path().join("there.jsonl")).unwrap(), "precious");
}
