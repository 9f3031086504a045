//! The plugin as a whole: its name, what it advertises, Probe, and what goes together.

use std::collections::{BTreeMap, BTreeSet};

use tonic::Code;

use super::{
    knowledge::advertised,
    operation::Operation,
    ruling::{Answer, Mark, Strike, advise, check, is_transient},
    world::World,
};
use crate::{
    csi::v1,
    history::{Reply, Request},
    rule,
    spec::{Rpc, RuleId},
};

/// Judges the reply of GetPluginInfo (specification lines 574–593).
pub(super) fn info(info: &v1::GetPluginInfoResponse, marks: &mut Vec<Mark>) {
    let name = &info.name;
    let shown = || format!("name {name:?}");
    check(marks, rule!("IDENT-INFO-006"), !name.is_empty(), || {
        ("the plugin has no name".into(), "a name".into(), shown())
    });
    check(marks, rule!("IDENT-INFO-007"), !info.vendor_version.is_empty(), || {
        ("the plugin has no vendor_version".into(), "a version".into(), "an empty string".into())
    });
    check(marks, rule!("IDENT-INFO-011"), !name.is_empty() && !info.vendor_version.is_empty(), || {
        ("GetPluginInfo answers OK without what it has to tell".into(), "name and vendor_version".into(), shown())
    });
    if name.is_empty() {
        return;
    }
    let count = name.chars().count();
    check(marks, rule!("IDENT-INFO-003"), count <= 63, || {
        ("the name is too long".into(), "at most 63 characters".into(), format!("{count} characters"))
    });
    let ends = [name.chars().next(), name.chars().next_back()];
    check(marks, rule!("IDENT-INFO-004"), ends.iter().flatten().all(char::is_ascii_alphanumeric), || {
        ("the name does not begin and end with a letter or digit".into(), "a letter or digit".into(), shown())
    });
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    check(marks, rule!("IDENT-INFO-005"), plain, || {
        ("the name has characters that it may not have".into(), "letters, digits, '-' and '.'".into(), shown())
    });
    let labels = name.split('.').all(|label| {
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && !label.contains(['_', '/', ' '])
    });
    check(marks, rule!("IDENT-INFO-001"), labels, || {
        ("the name is no domain name".into(), "labels joined by dots".into(), shown())
    });
}

/// Judges calls to the plugin as a whole: Identity, capabilities, NodeGetInfo.
pub(super) fn marks(world: &World, operation: &Operation, answer: Answer<'_>) -> Vec<Mark> {
    let mut marks = Vec::new();
    let code = match answer {
        Answer::Ok(_) => Code::Ok,
        Answer::Status(status) => Code::from(status.code),
    };
    if is_transient(code) {
        return marks;
    }
    let node = operation.call.instance != "controller";
    let controller = operation.call.instance != "node";
    let served: Vec<RuleId> = match operation.rpc() {
        Rpc::GetPluginInfo | Rpc::GetPluginCapabilities | Rpc::Probe => {
            let own = match operation.rpc() {
                Rpc::GetPluginCapabilities => Some(rule!("IDENT-CAPS-001")),
                Rpc::Probe => Some(rule!("IDENT-PROBE-001")),
                _ => None,
            };
            let node = node.then_some(rule!("GEN-RPC-006"));
            let controller = (controller && world.has("Plugin.CONTROLLER_SERVICE")).then_some(rule!("GEN-RPC-007"));
            [Some(rule!("PROTO-CONN-003")), own, node, controller].into_iter().flatten().collect()
        }
        Rpc::ControllerGetCapabilities if world.has("Plugin.CONTROLLER_SERVICE") => {
            vec![
                rule!("CTRL-CAPS-001"),
                rule!("GEN-RPC-008"),
                rule!("GEN-RPC-002"),
                rule!("IDENT-CAPS-008"),
                rule!("PROTO-CONN-008"),
            ]
        }
        Rpc::NodeGetCapabilities => {
            vec![rule!("NODE-CAPS-001"), rule!("GEN-RPC-001"), rule!("GEN-RPC-009")]
        }
        Rpc::NodeGetInfo if world.has("Controller.PUBLISH_UNPUBLISH_VOLUME") => vec![rule!("NODE-INFO-001")],
        Rpc::GroupControllerGetCapabilities if world.has("Plugin.GROUP_CONTROLLER_SERVICE") => {
            vec![rule!("IDENT-CAPS-012")]
        }
        _ => Vec::new(),
    };
    for rule in served {
        check(&mut marks, rule, code != Code::Unimplemented, || {
            (format!("{} is not served", operation.rpc()), "any answer but UNIMPLEMENTED".into(), answer.describe())
        });
    }
    match (operation.request(), answer) {
        (Request::Probe(_), Answer::Status(status)) => {
            for rule in [rule!("IDENT-PROBE-020"), rule!("IDENT-PROBE-022")] {
                advise(&mut marks, rule, status.code == Code::FailedPrecondition as i32, || {
                    (
                        "Probe fails with a code that its table does not name".into(),
                        "FAILED_PRECONDITION".into(),
                        answer.describe(),
                    )
                });
            }
        }
        (_, Answer::Ok(Reply::GetPluginCapabilities(list))) => plugin_capabilities(list, &mut marks),
        (
            _,
            Answer::Ok(
                reply @ (Reply::ControllerGetCapabilities(_)
                | Reply::NodeGetCapabilities(_)
                | Reply::GroupControllerGetCapabilities(_)),
            ),
        ) => named(reply, &mut marks),
        _ => {}
    }
    marks
}

/// Each entry of a capability list names a capability, be it one of a later version.
fn named(reply: &Reply, marks: &mut Vec<Mark>) {
    let (rule, entries) = match reply {
        Reply::ControllerGetCapabilities(list) => (rule!("CTRL-CAPS-018"), list.capabilities.len()),
        Reply::NodeGetCapabilities(list) => (rule!("NODE-CAPS-010"), list.capabilities.len()),
        Reply::GroupControllerGetCapabilities(list) => (rule!("GROUP-CAPS-004"), list.capabilities.len()),
        _ => return,
    };
    let names = advertised(reply);
    let unknown = names.iter().any(|name| name.ends_with(".UNKNOWN"));
    // No sentence forbids it, and none says what it would mean.
    advise(marks, rule, names.len() == entries && !unknown, || {
        (
            "an entry names no capability".into(),
            "a type other than UNKNOWN in each entry".into(),
            format!("{entries} entries, of which {names:?} are named"),
        )
    });
}

fn plugin_capabilities(list: &v1::GetPluginCapabilitiesResponse, marks: &mut Vec<Mark>) {
    use v1::plugin_capability::{Type, service};
    let controls = list.capabilities.iter().any(|capability| {
        matches!(&capability.r#type, Some(Type::Service(it)) if it.r#type == service::Type::ControllerService as i32)
    });
    advise(marks, rule!("IDENT-CAPS-005"), controls, || {
        ("the plugin has no Controller service".into(), "CONTROLLER_SERVICE".into(), "not advertised".into())
    });
    let named = list.capabilities.iter().all(|capability| match &capability.r#type {
        Some(Type::Service(service)) => service.r#type != 0,
        Some(Type::VolumeExpansion(expansion)) => expansion.r#type != 0,
        None => false,
    });
    check(marks, rule!("IDENT-CAPS-019"), named, || {
        (
            "an entry names no capability".into(),
            "a type other than UNKNOWN in each entry".into(),
            format!("{:?}", list.capabilities),
        )
    });
}

/// What is seen of the plugin over the whole run.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// By RPC and instance, the capability sets that were told.
    told: BTreeMap<(Rpc, String), BTreeSet<Vec<String>>>,
    /// By instance, the node ids that were told.
    node_ids: BTreeMap<String, BTreeSet<String>>,
    /// Instances that said that they are ready.
    ready: BTreeSet<String>,
    /// What Probe said after that.
    probes: Vec<bool>,
    restarted: bool,
}

impl Course {
    /// Takes note of an answer.
    pub(super) fn note(&mut self, operation: &Operation, answer: Answer<'_>) {
        let Answer::Ok(reply) = answer else { return };
        if super::knowledge::tells_capabilities(operation.rpc()) {
            let mut set = advertised(reply);
            set.sort();
            set.dedup();
            self.told.entry((operation.rpc(), operation.call.instance.clone())).or_default().insert(set);
        }
        if let Reply::NodeGetInfo(info) = reply {
            self.node_ids.entry(operation.call.instance.clone()).or_default().insert(info.node_id.clone());
        }
        if let Reply::Probe(probe) = reply {
            let ready = probe.ready != Some(false);
            if !self.ready.insert(operation.call.instance.clone()) || ready {
                self.probes.push(ready);
            } else {
                self.ready.remove(&operation.call.instance);
            }
        }
    }

    /// Takes note of a restart.
    pub(super) fn restarted(&mut self) {
        self.restarted = true;
        self.ready.clear();
    }

    /// Judges the run as a whole.
    pub(super) fn marks(&self, world: &World) -> Vec<Mark> {
        let mut marks = Vec::new();
        for ((rpc, instance), sets) in &self.told {
            let rules: &[RuleId] = match rpc {
                Rpc::GetPluginCapabilities if self.restarted => &[rule!("IDENT-CAPS-002")],
                Rpc::ControllerGetCapabilities => &[rule!("CTRL-CAPS-001")],
                Rpc::NodeGetCapabilities => &[rule!("NODE-CAPS-001")],
                _ => &[],
            };
            for &rule in rules {
                check(&mut marks, rule, sets.len() == 1, || {
                    (
                        format!("{rpc} told different capabilities at different times ({instance})"),
                        "the same set each time".into(),
                        format!("{sets:?}"),
                    )
                });
            }
        }
        self.instances(&mut marks);
        for ready in &self.probes {
            for rule in [rule!("IDENT-PROBE-016"), rule!("IDENT-PROBE-019")] {
                advise(&mut marks, rule, *ready, || {
                    (
                        "Probe says that the plugin is not ready, after it was".into(),
                        "ready true or unset".into(),
                        "ready false".into(),
                    )
                });
            }
        }
        for (instance, ids) in &self.node_ids {
            check(&mut marks, rule!("NODE-INFO-007"), ids.len() == 1, || {
                (
                    format!("the node id of {instance} changed"),
                    "one node_id for as long as the node exists".into(),
                    format!("{ids:?}"),
                )
            });
        }
        together(world, &mut marks);
        marks
    }

    /// Instances of one plugin version tell one set, whichever services they serve (specification line 598).
    fn instances(&self, marks: &mut Vec<Mark>) {
        let sets: Vec<&BTreeSet<Vec<String>>> =
            self.told.iter().filter(|((rpc, _), _)| *rpc == Rpc::GetPluginCapabilities).map(|(_, sets)| sets).collect();
        if sets.len() > 1 {
            check(marks, rule!("IDENT-CAPS-003"), sets.windows(2).all(|pair| pair[0] == pair[1]), || {
                (
                    "instances of one plugin advertise different plugin capabilities".into(),
                    "one set for all instances of a version".into(),
                    format!("{sets:?}"),
                )
            });
        }
    }
}

/// Capabilities that go together (specification lines 617–685, 1839).
fn together(world: &World, marks: &mut Vec<Mark>) {
    let has = |name: &str| world.has(name);
    if world.knowledge.driver.capabilities.iter().next().is_none() {
        return;
    }
    let pair = |marks: &mut Vec<Mark>, rule: RuleId, when: bool, kept: bool, expected: &str| {
        if when {
            marks.push(if kept {
                Mark::Held(rule)
            } else {
                Mark::Broken(Strike::new(rule, "capabilities do not go together", expected, "not advertised"))
            });
        }
    };
    let (controller, node) = (has("Controller.EXPAND_VOLUME"), has("Node.EXPAND_VOLUME"));
    // A service that has not been asked yet may still say it; one that the plugin does not have never will.
    let told = |capability| world.knowledge.told(capability);
    let controller_told = told("Controller.EXPAND_VOLUME") || !has("Plugin.CONTROLLER_SERVICE");
    pair(
        marks,
        rule!("IDENT-CAPS-014"),
        has("VolumeExpansion.ONLINE") && (controller || node || controller_told && told("Node.EXPAND_VOLUME")),
        controller || node,
        "EXPAND_VOLUME of controller or node with VolumeExpansion ONLINE",
    );
    pair(
        marks,
        rule!("IDENT-CAPS-018"),
        has("VolumeExpansion.OFFLINE") && (controller || controller_told),
        controller,
        "EXPAND_VOLUME of the controller with VolumeExpansion OFFLINE",
    );
    pair(
        marks,
        rule!("CTRL-CAPS-009"),
        has("Controller.LIST_VOLUMES_PUBLISHED_NODES"),
        has("Controller.PUBLISH_UNPUBLISH_VOLUME"),
        "PUBLISH_UNPUBLISH_VOLUME with LIST_VOLUMES_PUBLISHED_NODES",
    );
    newer_modes(world, marks);
}

/// One of the two newer single-node modes at least is supported where the capability says so.
fn newer_modes(world: &World, marks: &mut Vec<Mark>) {
    let modes = |set: &BTreeSet<super::capability::Capability>| set.iter().any(|one| matches!(one.mode, 6 | 7));
    let supported = modes(&world.knowledge.supported);
    let refused = modes(&world.knowledge.unsupported);
    for (capability, rule) in [
        ("Controller.SINGLE_NODE_MULTI_WRITER", rule!("CTRL-CAPS-014")),
        ("Node.SINGLE_NODE_MULTI_WRITER", rule!("NODE-CAPS-007")),
    ] {
        if !world.has(capability) || !(supported || refused) {
            continue;
        }
        check(marks, rule, supported, || {
            (
                "SINGLE_NODE_MULTI_WRITER is advertised and neither of its modes is supported".into(),
                "SINGLE_NODE_SINGLE_WRITER or SINGLE_NODE_MULTI_WRITER accepted".into(),
                "both refused".into(),
            )
        });
    }
    if world.has("Controller.SINGLE_NODE_MULTI_WRITER") {
        older_mode(world, marks);
    }
}

/// The older single-node mode stays accepted beside the newer ones (specification line 1864).
fn older_mode(world: &World, marks: &mut Vec<Mark>) {
    for newer in world.knowledge.supported.iter().filter(|one| matches!(one.mode, 6 | 7)) {
        let older = super::capability::Capability { mode: 1, ..newer.clone() };
        let (accepted, refused) =
            (world.knowledge.supported.contains(&older), world.knowledge.unsupported.contains(&older));
        if accepted || refused {
            check(marks, rule!("CTRL-CAPS-015"), accepted, || {
                (
                    "a capability is supported with one of the newer single-node modes and not with the older one"
                        .into(),
                    "SINGLE_NODE_WRITER accepted".into(),
                    "INVALID_ARGUMENT".into(),
                )
            });
        }
    }
}
