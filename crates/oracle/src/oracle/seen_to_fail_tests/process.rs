//! What is seen of the plugin's process: how it is launched, what it serves, and what it writes.

use super::*;

const INSTANCE: &str = "plugin";

/// The rules that the observation shows to be broken, out of these.
#[track_caller]
fn shows(expected: &[&str], rules: &[&str], observation: Observation) {
    let plugin = Plugin::with(&[], &[]);
    plugin.0.observed(observation);
    breaks_only(expected, rules, plugin);
}

#[test]
fn a_plugin_that_does_not_serve_where_it_is_told() {
    let launched = |way, answered, exit: &str| Observation::Launched {
        instance: INSTANCE.into(),
        way,
        by_argument: true,
        answered,
        exit: exit.into(),
    };
    let endpoint = ["OPS-ENDPOINT-001", "OPS-ENDPOINT-002", "PROTO-CONN-006"];
    shows(&endpoint, &endpoint, launched(Launch::Elsewhere, false, ""));
    shows(&[], &endpoint, launched(Launch::Elsewhere, true, ""));
    // Without what its image says of the environment it neither serves nor ends.
    shows(&["OPS-LIFE-005"], &["OPS-LIFE-005"], launched(Launch::Bare, false, ""));
    shows(&[], &["OPS-LIFE-005"], launched(Launch::Bare, false, "exit code 2"));
    shows(&["OPS-SVC-005"], &["OPS-SVC-005"], launched(Launch::Misconfigured, false, "exit code 0"));
    shows(&[], &["OPS-SVC-005"], launched(Launch::Misconfigured, false, "exit code 1"));
}

#[test]
fn a_plugin_that_serves_on_tcp_as_well() {
    let rules = ["PROTO-CONN-007", "PROTO-SEC-002"];
    let ports = |serving, others| Observation::Ports { instance: INSTANCE.into(), serving, others };
    shows(&rules, &rules, ports(vec![50051], 0));
    // Metrics may have a port of their own.
    shows(&[], &rules, ports(vec![], 1));
}

#[test]
fn a_plugin_that_leaves_files_beside_its_socket() {
    let others = |names: &[&str]| Observation::SocketDirectory {
        instance: INSTANCE.into(),
        others: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    shows(&["OPS-FS-002"], &["OPS-FS-002"], others(&["csi.lock"]));
    shows(&[], &["OPS-FS-002"], others(&[]));
}

#[test]
fn a_plugin_that_logs_to_a_file_or_logs_a_secret() {
    let files = |paths| Observation::LogFiles { instance: INSTANCE.into(), paths };
    shows(&["OPS-LOG-001"], &["OPS-LOG-001"], files(vec!["/var/log/csi.log".to_owned()]));
    shows(&[], &["OPS-LOG-001"], files(vec![]));
    let logs = |leaked| Observation::Logs { instance: INSTANCE.into(), bytes: 1000, leaked, flags: vec![] };
    shows(&["OPS-LOG-006"], &["OPS-LOG-006"], logs(vec!["password".to_owned()]));
    shows(&[], &["OPS-LOG-006"], logs(vec![]));
}

#[test]
fn a_plugin_that_ends_by_itself() {
    let plugin = Plugin::with(&[], &[]);
    plugin.0.fault(Fault::Crashed { instance: INSTANCE.into(), exit: "exit code 0".into() });
    breaks(&["OPS-RUN-001"], plugin);
    // Whoever is killed did not end by itself.
    let plugin = Plugin::with(&[], &[]);
    plugin.restarted();
    breaks_only(&[], &["OPS-RUN-001"], plugin);
}
