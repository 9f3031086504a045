//! GetCapacity: what is offered where, and whether it is what volumes are made of.

use super::{
    capability::Capability,
    operation::Operation,
    ruling::{Answer, Expectation, Mark, Ruling, advise, check},
    volume::{is_compatible, unimplemented},
    world::World,
};
use crate::{
    history::{Reply, Request},
    rule,
};

/// What was last offered.
#[derive(Debug, Default)]
pub(super) struct Capacities {
    /// Where the last reply that no filter narrows came; it offered nothing.
    nothing_since: Option<usize>,
}

impl Capacities {
    /// Judges an answer.
    pub(super) fn marks(&mut self, world: &World<'_>, operation: &Operation<'_>, answer: Answer<'_>) -> Vec<Mark> {
        let mut marks = match operation.request() {
            Request::GetCapacity(_) => reply(world, operation, answer),
            _ => Vec::new(),
        };
        match (operation.request(), answer) {
            (Request::GetCapacity(request), Answer::Ok(Reply::GetCapacity(reply))) => {
                let unfiltered = request.volume_capabilities.is_empty()
                    && request.parameters.is_empty()
                    && request.accessible_topology.is_none();
                if reply.available_capacity > 0 {
                    marks.push(Mark::Held(rule!("CTRL-CAPACITY-009")));
                }
                if unfiltered {
                    self.nothing_since = (reply.available_capacity == 0).then_some(operation.ended);
                }
            }
            // Nothing was left, and yet a volume could be had: 0 reads as unset (specification line 1747).
            (Request::CreateVolume(_), Answer::Ok(Reply::CreateVolume(reply))) => {
                let takes = reply.volume.as_ref().is_some_and(|volume| volume.capacity_bytes > 0);
                if takes && self.nothing_since.is_some_and(|since| since < operation.started) {
                    self.nothing_since = None;
                    advise(&mut marks, rule!("CTRL-CAPACITY-009"), false, || {
                        (
                            "GetCapacity offers nothing, and a volume could be made all the same".into(),
                            "the available_capacity".into(),
                            "available_capacity 0".into(),
                        )
                    });
                }
            }
            // What is given back may be used again, and a repeat needs nothing.
            (Request::DeleteVolume(_), Answer::Ok(_)) => self.nothing_since = None,
            _ => {}
        }
        marks
    }
}

/// Judges GetCapacity.
fn reply(world: &World<'_>, operation: &Operation<'_>, answer: Answer<'_>) -> Vec<Mark> {
    let Request::GetCapacity(request) = operation.request() else { return Vec::new() };
    let mut expectation = Expectation { lenient: true, ..Expectation::default() };
    if world.has("Controller.GET_CAPACITY") {
        expectation.served.push(rule!("CTRL-CAPACITY-001"));
    } else {
        unimplemented(&mut expectation, "GET_CAPACITY");
    }
    let mut marks = match expectation.rule_on(answer) {
        Ruling::Struck(strike) => return vec![Mark::Broken(strike)],
        Ruling::Refused(marks) | Ruling::Open(marks) => return marks,
        Ruling::Succeeded(marks) => marks,
    };
    let Answer::Ok(Reply::GetCapacity(reply)) = answer else { return marks };
    let asked: Vec<Capability> = request.volume_capabilities.iter().map(Capability::from).collect();
    let unsupported = asked.iter().any(|capability| world.knowledge.unsupported.contains(capability));
    if !asked.is_empty() {
        let rules = [rule!("CTRL-CAPACITY-002"), rule!("CTRL-CAPACITY-011"), rule!("CTRL-CAPACITY-016")];
        let bounds = [true, reply.maximum_volume_size.is_some(), reply.minimum_volume_size.is_some()];
        for (rule, _) in rules.into_iter().zip(bounds).filter(|(_, given)| *given) {
            advise(&mut marks, rule, !unsupported || reply.available_capacity == 0, || {
                (
                    "capacity is offered for a capability that the plugin does not support".into(),
                    "available_capacity 0".into(),
                    format!("available_capacity {}", reply.available_capacity),
                )
            });
        }
    }
    if !request.parameters.is_empty() {
        marks.push(Mark::Held(rule!("CTRL-CAPACITY-004")));
    }
    if let Some(topology) = &request.accessible_topology
        && !topology.segments.is_empty()
        && !world.knowledge.topologies.is_empty()
    {
        let somewhere = world.knowledge.topologies.iter().any(|known| is_compatible(&topology.segments, known));
        check(&mut marks, rule!("CTRL-CAPACITY-006"), somewhere || reply.available_capacity == 0, || {
            (
                "capacity is offered in a topology in which there is no node".into(),
                "available_capacity 0, or an error".into(),
                format!("available_capacity {}", reply.available_capacity),
            )
        });
    }
    marks
}
