//! The command `csi-certify orchestrate`, as people call it.

use std::process::{Command, Output};

fn orchestrate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_csi-certify"));
    command.arg("orchestrate").args(arguments).env_remove("CSI_ENDPOINT").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_built_in_driver_passes_and_a_seed_brings_about_the_same_workload_again() {
    let arguments = ["--seed", "5", "--pods", "8", "--volumes", "4", "--faults", "kubelet-restart,sidecar-restart"];
    let (first, again) = (orchestrate(&arguments), orchestrate(&arguments));
    assert_eq!(first.status.code(), Some(0), "{}{}", text(&first.stdout), text(&first.stderr));
    assert_eq!(text(&first.stderr), text(&again.stderr));
    assert!(text(&first.stderr).contains("8 pods"), "{}", text(&first.stderr));
}

#[test]
fn the_certificate_is_written_and_its_history_judged_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (json, history) = (path("certificate.json"), path("history.jsonl"));
    let run = orchestrate(&["--seed", "6", "--pods", "4", "--volumes", "2", "--json", &json, "--history", &history]);
    assert_eq!(run.status.code(), Some(0), "{}{}", text(&run.stdout), text(&run.stderr));
    let certificate: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(certificate["verdict"], "conformant");
    assert_eq!(certificate["stopped"].as_object().map(serde_json::Map::len), Some(0));
    let mut judge = Command::new(env!("CARGO_BIN_EXE_csi-certify"));
    assert_eq!(judge.args(["judge", &history]).output().unwrap().status.code(), Some(0));
}

#[test]
fn a_driver_that_is_not_there_is_told_with_what_to_do() {
    let run = orchestrate(&["--endpoint", "unix:///nowhere.sock", "--connect-timeout", "1"]);
    assert_eq!(run.status.code(), Some(2), "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("check that the driver runs"), "{}", text(&run.stderr));
}
