//! What is seen of the driver's process: how it launches, what it listens on, what it writes (specification lines
//! 3449–3450, 3498–3542).

use super::ruling::{Mark, Strike, advise, check};
use crate::{
    history::{Launch, Observation},
    rule,
};

/// The key under which Kubernetes hands over tokens of a service account.
const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";

/// Judges an observation of the process; of others there is nothing to say.
pub(super) fn marks(observation: &Observation) -> Vec<Mark> {
    let mut marks = Vec::new();
    match observation {
        // One that ended by itself is judged where the crash is noted.
        Observation::Process { alive, .. } => marks.extend(alive.then(|| Mark::Held(rule!("OPS-RUN-001")))),
        Observation::SocketDirectory { others, .. } => {
            check(&mut marks, rule!("OPS-FS-002"), others.is_empty(), || {
                (
                    "the plugin made other files in the directory of its socket".into(),
                    "the socket alone".into(),
                    format!("{others:?}"),
                )
            });
        }
        Observation::Logs { bytes, leaked, flags, .. } => {
            // What an orchestrator puts into a context is sensitive, but no secret by the interface.
            let secrets = leaked.iter().any(|key| key != TOKENS);
            let own = [rule!("GEN-OPT-004"), rule!("OPS-LOG-006")];
            let own = own.into_iter().filter(|_| secrets || leaked.is_empty());
            for rule in own.chain([rule!("PROTO-SEC-006")]) {
                check(&mut marks, rule, leaked.is_empty(), || {
                    (
                        "the plugin wrote secrets to its log".into(),
                        "no secret in any log".into(),
                        format!("the values of {}", leaked.join(", ")),
                    )
                });
            }
            // Who is trusted to read a log is not for us to say.
            if *bytes > 0 {
                advise(&mut marks, rule!("CTRL-CREATE-060"), flags.is_empty(), || {
                    (
                        "the plugin wrote mount flags to its log".into(),
                        "no mount flag in any log".into(),
                        flags.join(", "),
                    )
                });
            }
        }
        Observation::Launched { way, by_argument, answered, exit, .. } => {
            launched(*way, *by_argument, *answered, exit, &mut marks);
        }
        Observation::Ports { serving, .. } => {
            if serving.is_empty() {
                marks.push(Mark::Held(rule!("PROTO-CONN-007")));
            } else {
                let mut strike = Strike::new(
                    rule!("PROTO-CONN-007"),
                    "CSI is served on TCP as well",
                    "the Unix domain socket alone",
                    format!("GetPluginInfo is answered on {serving:?}"),
                );
                // The answer was an exchange of data.
                strike.also.push(rule!("PROTO-SEC-002"));
                marks.push(Mark::Broken(strike));
            }
        }
        Observation::LogFiles { paths, .. } => {
            advise(&mut marks, rule!("OPS-LOG-001"), paths.is_empty(), || {
                (
                    "the plugin writes to log files of its own".into(),
                    "logs on standard output and standard error".into(),
                    format!("{paths:?} are open for appending"),
                )
            });
        }
        _ => {}
    }
    marks
}

fn launched(way: Launch, by_argument: bool, answered: bool, exit: &str, marks: &mut Vec<Mark>) {
    let came = || match exit {
        _ if answered => "GetPluginInfo is answered".to_owned(),
        "" => "it runs and does not answer".to_owned(),
        exit => format!("it ended with {exit}"),
    };
    match way {
        Launch::Elsewhere => {
            for rule in [rule!("OPS-ENDPOINT-001"), rule!("OPS-ENDPOINT-002"), rule!("PROTO-CONN-006")] {
                let broken = || {
                    (
                        "the plugin does not serve the endpoint that it was given".into(),
                        "an answer at unix:///absolute/path.sock".into(),
                        came(),
                    )
                };
                // A command that does not take the endpoint may have another one written into it.
                if by_argument {
                    check(marks, rule, answered, broken);
                } else {
                    advise(marks, rule, answered, broken);
                }
            }
        }
        Launch::OverStaleSocket => advise(marks, rule!("PROTO-CONN-006"), answered, || {
            (
                "the plugin does not start where a killed one has left its socket".into(),
                "an answer at the endpoint".into(),
                came(),
            )
        }),
        // To fail fast is as good, where something is missing.
        Launch::Bare => check(marks, rule!("OPS-LIFE-005"), answered || !exit.is_empty(), || {
            (
                "with an environment of the endpoint alone the plugin neither serves nor ends".into(),
                "an answer at the endpoint, or an exit".into(),
                came(),
            )
        }),
        Launch::Misconfigured => {
            let failed = !exit.is_empty() && exit != "exit code 0";
            advise(marks, rule!("OPS-SVC-005"), answered || failed, || {
                (
                    "the plugin does not fail fast with an endpoint in a directory that does not exist".into(),
                    "an exit with a code other than 0, or an answer after it made the directory".into(),
                    came(),
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RuleId;

    /// The rules that a launch breaks.
    fn broken(way: Launch, by_argument: bool, answered: bool, exit: &str) -> Vec<RuleId> {
        let mut marks = Vec::new();
        launched(way, by_argument, answered, exit, &mut marks);
        let rule = |mark: &Mark| match mark {
            Mark::Held(_) => None,
            Mark::Warned(strike) | Mark::Broken(strike) => Some(strike.rule),
        };
        marks.iter().filter_map(rule).collect()
    }

    #[test]
    fn a_launch_is_good_when_the_driver_answers_or_fails_as_it_should() {
        for way in [Launch::Elsewhere, Launch::OverStaleSocket, Launch::Bare, Launch::Misconfigured] {
            assert_eq!(broken(way, true, true, ""), []);
            assert_ne!(broken(way, true, false, ""), [], "{way:?}");
        }
        assert_eq!(broken(Launch::Bare, true, false, "exit code 2"), []);
        assert_eq!(broken(Launch::Misconfigured, true, false, "exit code 2"), []);
        assert_eq!(broken(Launch::Misconfigured, true, false, "exit code 0"), [rule!("OPS-SVC-005")]);
        assert_eq!(broken(Launch::Elsewhere, true, false, "exit code 2").len(), 3);
    }
}
