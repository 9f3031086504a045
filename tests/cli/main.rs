//! The real binary: what it prints and writes, and how it ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

mod tls;

pub(crate) fn certify(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_csi-certify")).args(arguments).env_remove("CSI_ENDPOINT").output().unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_judged_history_gives_the_findings_and_rules_of_its_run_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let run = certify(&[
        "run",
        "--runtime",
        "memory",
        "--seed",
        "1",
        "--filter",
        "create_volume*",
        "--history",
        &text("history.jsonl"),
        "--json",
        &text("run.json"),
        "--junit",
        &text("run.xml"),
        "--html",
        &text("run.html"),
    ]);
    assert_eq!(code(&run), 0, "{}", errors(&run));
    assert!(String::from_utf8_lossy(&run.stdout).contains("CONFORMANT"), "the report stands on standard output");
    assert!(fs::read_to_string(path("run.xml")).unwrap().contains("<testsuite"));
    assert!(fs::read_to_string(path("run.html")).unwrap().contains("<html"));

    let judged = certify(&["judge", &text("history.jsonl"), "--json", &text("judge.json")]);
    assert_eq!(code(&judged), 0, "{}", errors(&judged));
    let (run, judged) = (json(&path("run.json")), json(&path("judge.json")));
    assert_eq!(run["seed"], 1);
    assert!(run["rules"].as_array().unwrap().iter().any(|rule| rule["status"] == "held"));
    for part in ["findings", "rules"] {
        let bytes = |certificate: &Value| serde_json::to_vec(&certificate[part]).unwrap();
        assert_eq!(bytes(&run), bytes(&judged), "{part}");
    }
}

#[test]
fn standard_output_is_the_certificate_alone_in_format_json() {
    let run = certify(&["run", "--runtime", "memory", "--filter", "get_plugin_info*", "--format", "json"]);
    assert_eq!(code(&run), 0, "{}", errors(&run));
    let certificate: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(certificate["spec"], "1.12.0");
}

#[test]
fn wrong_use_ends_with_2_and_says_why() {
    for arguments in [
        vec![],
        vec!["certify"],
        vec!["run", "--no-such-option"],
        vec!["run", "--jobs", "many"],
        vec!["run", "--endpoint", "vsock://1:2"],
        vec!["run", "--endpoint", "/a.sock", "--node-endpoint", "/b.sock"],
        vec!["run", "--profile", "/no/such/profile.toml"],
        vec!["run", "--runtime", "memory", "--filter", "no such rule"],
        vec!["judge"],
        vec!["judge", "/no/such/history.jsonl"],
        vec!["driver", "--endpoint", "nonsense", "--state-dir", "/no/such", "--runtime", "memory"],
    ] {
        let output = certify(&arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", errors(&output));
        assert!(!errors(&output).trim().is_empty(), "{arguments:?}");
        assert!(!errors(&output).contains("panicked"), "{arguments:?}");
    }
}

#[test]
fn the_catalogue_and_its_coverage_are_printed() {
    let rules = certify(&["rules"]);
    assert_eq!(code(&rules), 0);
    assert!(String::from_utf8_lossy(&rules.stdout).contains("CTRL-CREATE-001"));
    let coverage = certify(&["rules", "--coverage"]);
    assert_eq!(code(&coverage), 0);
    assert!(String::from_utf8_lossy(&coverage.stdout).contains("observable rules are aimed at by a scenario"));
}

/// How a listener treats whoever connects.
type Treatment = fn(std::os::unix::net::UnixStream);

#[test]
fn what_is_no_driver_gets_one_clear_line_within_the_deadline_and_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("file"), "no socket").unwrap();
    drop(UnixListener::bind(path("dead")).unwrap());
    let _nobody_accepts = UnixListener::bind(path("deaf")).unwrap();
    let treatments: [(&str, Treatment); 3] = [
        ("http1", |mut stream| {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }),
        ("garbage", |mut stream| {
            let _ = stream.write_all(&[0xff; 4096]);
            let _ = stream.read(&mut [0; 1024]);
        }),
        ("closing", drop),
    ];
    for (name, treatment) in treatments {
        let listener = UnixListener::bind(path(name)).unwrap();
        std::thread::spawn(move || listener.incoming().flatten().for_each(treatment));
    }
    for name in ["missing", "file", "dead", "deaf", "http1", "garbage", "closing"] {
        let socket = path(name);
        let endpoint = socket.to_str().unwrap();
        let output = certify(&["run", "--endpoint", endpoint, "--connect-timeout", "1", "--call-timeout", "1"]);
        let errors = errors(&output);
        assert_eq!(code(&output), 2, "{name}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{name}: {errors}");
        assert!(errors.contains("cannot connect to"), "{name}: {errors}");
        assert!(errors.contains(endpoint), "{name}: {errors}");
        assert!(output.stdout.is_empty(), "{name}: there is no result");
    }
}

#[test]
fn an_interrupted_run_cleans_up_and_ends_with_3_and_an_incomplete_verdict() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = directory.path().join("run.json");
    let history = directory.path().join("history.jsonl");
    let mut run = Command::new(env!("CARGO_BIN_EXE_csi-certify"))
        .args(["run", "--runtime", "memory", "--jobs", "1", "--json"])
        .arg(&certificate)
        .arg("--history")
        .arg(&history)
        .env_remove("CSI_ENDPOINT")
        .env("TMPDIR", directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // In the middle: a volume was made, so there is something to clean up.
    let begun = Instant::now();
    while !fs::read_to_string(&history).unwrap_or_default().contains("\"CreateVolume\"") {
        assert!(begun.elapsed() < Duration::from_secs(60), "the run does not begin");
        assert!(run.try_wait().unwrap().is_none(), "the run is over");
        std::thread::sleep(Duration::from_millis(2));
    }
    let process = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(3));
    let certificate = json(&certificate);
    assert_eq!(certificate["verdict"], "incomplete");
    assert_eq!(certificate["leftovers"], Value::Array(Vec::new()));
    let mut left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["history.jsonl", "run.json"]);
}
