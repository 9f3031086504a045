//! Rules that are judged on each status, and on the absence of one.

use tonic::Code;

use super::{
    operation::Operation,
    ruling::{Mark, Strike, advise, check, code_name},
    world::World,
};
use crate::{
    history::{Lost, Outcome, Status},
    rule,
    spec::{Rpc, Service},
};

/// A client that gives up sooner, in microseconds, does so on purpose.
const PATIENT: u64 = 4_000_000;

/// Judges a status by itself (specification lines 499–516).
pub(super) fn marks(world: &World, operation: &Operation, status: &Status) -> Vec<Mark> {
    let mut marks = vec![Mark::Held(rule!("GEN-ERR-001")), Mark::Held(rule!("GEN-OVER-001"))];
    let shown = || format!("{} {:?}", code_name(status.code), status.message.chars().take(200).collect::<String>());
    check(&mut marks, rule!("GEN-ERR-002"), (1..=16).contains(&status.code), || {
        ("the status code is none of gRPC's".into(), "a code from 0 to 16".into(), format!("code {}", status.code))
    });
    check(&mut marks, rule!("GEN-ERR-025"), !status.message.trim().is_empty(), || {
        ("the status has no message".into(), "a message that a human can read".into(), shown())
    });
    check(&mut marks, rule!("GEN-ERR-027"), status.details == 0, || {
        ("the details of the status are not empty".into(), "no details".into(), format!("{} details", status.details))
    });
    leaks(&status.leaked, "the status message", &mut marks);
    if operation.rpc() == Rpc::GroupControllerGetCapabilities && !world.has("Plugin.GROUP_CONTROLLER_SERVICE") {
        let crashed = matches!(Code::from(status.code), Code::Unknown | Code::Internal);
        check(&mut marks, rule!("GEN-ERR-019"), !crashed, || {
            ("an RPC of a service that is not offered fails inside".into(), "UNIMPLEMENTED".into(), shown())
        });
    }
    if offered(world, operation) {
        let text = status.message.to_lowercase();
        let missing = status.code == Code::Unimplemented as i32
            && (text.contains("unknown method") || text.contains("unknown service"));
        let own = matches!(operation.rpc().service(), Service::Controller).then_some(rule!("GEN-LIFE-004"));
        for rule in [Some(rule!("GEN-LIFE-003")), own, Some(rule!("PROTO-CONN-008"))].into_iter().flatten() {
            advise(&mut marks, rule, !missing, || {
                (
                    format!("{} has no handler in a service that the plugin offers", operation.rpc()),
                    "a handler, if only to answer UNIMPLEMENTED".into(),
                    shown(),
                )
            });
        }
    }
    marks
}

/// Whether the plugin offers the service of the call at that instance.
fn offered(world: &World, operation: &Operation) -> bool {
    match operation.rpc().service() {
        Service::Identity => true,
        Service::Node => operation.call.instance != "controller",
        Service::Controller => world.has("Plugin.CONTROLLER_SERVICE") && operation.call.instance != "node",
        Service::GroupController => world.has("Plugin.GROUP_CONTROLLER_SERVICE"),
        Service::SnapshotMetadata => world.has("Plugin.SNAPSHOT_METADATA_SERVICE"),
    }
}

/// Secrets that came back (specification lines 297, 1045).
pub(super) fn leaks(leaked: &[String], whence: &str, marks: &mut Vec<Mark>) {
    if leaked.is_empty() {
        return;
    }
    let mut strike = Strike::new(
        rule!("GEN-OPT-004"),
        format!("{whence} repeats secrets of the request"),
        "no secret outside a csi_secret field",
        format!("the values of {}", leaked.join(", ")),
    );
    strike.also = vec![rule!("PROTO-SEC-006")];
    marks.push(Mark::Broken(strike));
}

/// Judges a call to which no status came.
///
/// `cut` says that the connection was cut, or the process ended, on purpose or as a finding of its own.
pub(super) fn unanswered(operation: &Operation, outcome: &Outcome, cut: bool, ever_answered: bool) -> Vec<Mark> {
    let strike =
        |message: String, actual: &str| Strike::new(rule!("GEN-ERR-001"), message, "a reply or a gRPC status", actual);
    let rpc = operation.rpc();
    match outcome {
        Outcome::Garbage { what } => {
            let mut strike = strike(format!("what came in reply to {rpc} is no gRPC answer"), what);
            strike.also = vec![rule!("GEN-OVER-001")];
            vec![Mark::Broken(strike)]
        }
        Outcome::Lost(Lost::Connection) if !cut => {
            vec![Mark::Broken(strike(format!("the connection broke during {rpc}"), "no status"))]
        }
        Outcome::Lost(Lost::Deadline) if operation.waited >= PATIENT => {
            let prompt = rpc.service() == Service::Identity || super::knowledge::tells_capabilities(rpc);
            let strike = strike(
                format!("{rpc} was not answered by the deadline of the client; a longer one can be set in a profile"),
                "no status",
            );
            if prompt || !ever_answered { vec![Mark::Broken(strike)] } else { vec![Mark::Warned(strike)] }
        }
        _ => Vec::new(),
    }
}
