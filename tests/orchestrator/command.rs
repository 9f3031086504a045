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

#[test]
fn a_manifest_is_played_and_nothing_of_it_is_left() {
    let manifest = Command::new("ci/orchestrate-manifest").args(["6", "3"]).output().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.yaml");
    std::fs::write(&path, manifest.stdout).unwrap();
    let run = orchestrate(&["--manifest", &path.to_string_lossy(), "--seed", "8"]);
    assert_eq!(run.status.code(), Some(0), "{}{}", text(&run.stdout), text(&run.stderr));
    assert!(text(&run.stderr).contains("3 claims, 6 pods"), "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("6 pods ran in the end, 0 stuck"), "{}", text(&run.stderr));
}

#[test]
fn what_of_a_manifest_does_not_come_about_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.yaml");
    let pod = "kind: Pod\nmetadata: {name: web}\nspec:\n  volumes:\n  - name: data\n    persistentVolumeClaim: {claimName: none}\n";
    std::fs::write(&path, pod).unwrap();
    let run = orchestrate(&["--manifest", &path.to_string_lossy(), "--seed", "8"]);
    assert_eq!(run.status.code(), Some(1), "{}{}", text(&run.stdout), text(&run.stderr));
    let told = text(&run.stdout) + &text(&run.stderr);
    assert!(told.contains("pod web waits for claim none, which is gone"), "{told}");
    std::fs::write(&path, "kind: Deployment\nmetadata: {name: web}\n").unwrap();
    let run = orchestrate(&["--manifest", &path.to_string_lossy()]);
    assert_eq!(run.status.code(), Some(2), "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("Deployment is not among the kinds"), "{}", text(&run.stderr));
}

#[test]
fn the_workload_of_a_test_driver_manifest_has_what_the_driver_can_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("driver.yaml");
    let class = "kind: StorageClass\nmetadata: {name: of-the-file}\nprovisioner: csi-certify.reference\n\
                 allowVolumeExpansion: true\n";
    std::fs::write(directory.path().join("class.yaml"), class).unwrap();
    let driver = "StorageClass: {FromFile: class.yaml}\nDriverInfo:\n  Name: csi-certify.reference\n  \
                  SupportedSizeRange: {Min: 1Mi}\n  Capabilities: {persistence: true, RWX: true}\n";
    std::fs::write(&path, driver).unwrap();
    let history = directory.path().join("history.jsonl");
    let (path, history_path) = (path.to_string_lossy(), history.to_string_lossy());
    let run =
        orchestrate(&["--manifest", &path, "--seed", "9", "--pods", "6", "--volumes", "4", "--history", &history_path]);
    assert_eq!(run.status.code(), Some(0), "{}{}", text(&run.stdout), text(&run.stderr));
    let history = std::fs::read_to_string(history).unwrap();
    // Neither block volumes, nor snapshots, nor growth: the manifest says nothing of them.
    assert!(history.contains("CreateVolume") && history.contains("NodePublishVolume"));
    assert!(!history.contains("\"block\"") && !history.contains("\"CreateSnapshot\""), "{history}");
}

#[test]
fn a_strict_orchestrator_keeps_every_duty() {
    let faults = "kubelet-restart,sidecar-restart,lost-answers";
    let run = orchestrate(&["--as", "strict", "--seed", "10", "--pods", "8", "--volumes", "4", "--faults", faults]);
    assert_eq!(run.status.code(), Some(0), "{}{}", text(&run.stdout), text(&run.stderr));
}
