//! GetCapacity: what is offered where, and whether it is what volumes are made of.

use tonic::Code;

use super::{
    capability::Capability,
    operation::Operation,
    ruling::{Answer, Expectation, Mark, Ruling, advise, check},
    volume::{is_compatible, unimplemented},
    world::World,
};
use crate::{
    csi::v1::{CreateVolumeRequest, GetCapacityRequest},
    history::{Reply, Request},
    rule,
    spec::Rpc,
};

/// What was last offered.
#[derive(Debug, Default)]
pub(super) struct Capacities {
    /// Where the last reply that no filter narrows came; it offered nothing.
    nothing_since: Option<usize>,
    /// The last offer for which no greatest size was told, until something is taken of it.
    offer: Option<Offer>,
}

/// Room for volumes of one kind, in one place.
#[derive(Clone, Debug)]
struct Offer {
    request: GetCapacityRequest,
    bytes: i64,
    told: usize,
}

/// Sizes that no real pool has: such an offer means that there is no bound.
const BOUNDLESS: i64 = 1 << 60;

impl Capacities {
    /// Judges an answer; `alone` says that no other call takes room meanwhile.
    pub(super) fn marks(&mut self, world: &World, operation: &Operation, answer: Answer<'_>, alone: bool) -> Vec<Mark> {
        let mut marks = match operation.request() {
            Request::GetCapacity(_) => reply(world, operation, answer),
            _ => Vec::new(),
        };
        self.whole_offer(world, operation, answer, alone, &mut marks);
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

    /// A call that takes room gets no answer: what is left of the offer is not known.
    pub(super) fn lose(&mut self, operation: &Operation) {
        if takes_room(operation) {
            self.offer = None;
        }
    }

    /// Whether a volume of all that is offered can be had, where nothing says that it would be too large.
    fn whole_offer(
        &mut self,
        world: &World,
        operation: &Operation,
        answer: Answer<'_>,
        alone: bool,
        marks: &mut Vec<Mark>,
    ) {
        if let (Request::GetCapacity(request), Answer::Ok(Reply::GetCapacity(reply))) = (operation.request(), answer) {
            // Without a place the offer is the sum of all places (line 1739).
            let in_one_place =
                request.accessible_topology.is_some() || !world.has("Plugin.VOLUME_ACCESSIBILITY_CONSTRAINTS");
            let bytes = reply.available_capacity;
            let is_offer = reply.maximum_volume_size.is_none() && (1..BOUNDLESS).contains(&bytes) && in_one_place;
            self.offer = is_offer.then(|| Offer { request: request.clone(), bytes, told: operation.ended });
        }
        if !takes_room(operation) {
            return;
        }
        let Some(offer) = self.offer.take().filter(|offer| alone && offer.told < operation.started) else { return };
        let (Request::CreateVolume(request), Answer::Status(status)) = (operation.request(), answer) else { return };
        let required = request.capacity_range.map_or(0, |range| range.required_bytes);
        let too_large = [Code::OutOfRange as i32, Code::ResourceExhausted as i32].contains(&status.code);
        if too_large && (1..=offer.bytes).contains(&required) && is_for(&offer.request, request) {
            let with_parameters = (!request.parameters.is_empty()).then_some(rule!("CTRL-CAPACITY-004"));
            for rule in [rule!("CTRL-CAPACITY-014")].into_iter().chain(with_parameters) {
                advise(marks, rule, false, || {
                    (
                        "a volume of the capacity that is offered cannot be made, and no maximum_volume_size says so: a \
                         scheduler sends claims to where they cannot be met"
                            .into(),
                        format!("maximum_volume_size, or OK for {required} of {} bytes (it may be left out)", offer.bytes),
                        answer.describe(),
                    )
                });
            }
        }
    }
}

/// Whether the call may make what is offered less.
pub(super) fn takes_room(operation: &Operation) -> bool {
    matches!(
        operation.rpc(),
        Rpc::CreateVolume | Rpc::ControllerExpandVolume | Rpc::CreateSnapshot | Rpc::CreateVolumeGroupSnapshot
    )
}

/// Whether the offer was made for volumes such as this one.
fn is_for(offer: &GetCapacityRequest, request: &CreateVolumeRequest) -> bool {
    let places = request.accessibility_requirements.as_ref().map(|it| it.requisite.as_slice()).unwrap_or_default();
    request.volume_content_source.is_none()
        && offer.parameters == request.parameters
        && offer.volume_capabilities == request.volume_capabilities
        && offer.accessible_topology.as_slice() == places
}

/// Judges GetCapacity.
fn reply(world: &World, operation: &Operation, answer: Answer<'_>) -> Vec<Mark> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        csi::v1::{CapacityRange, GetCapacityResponse},
        history::{Header, Recorder},
        oracle::{Severity, judge},
    };

    /// Whether a warning comes of a refusal after an offer of 100 bytes.
    fn is_warned_of(maximum: Option<i64>, required_bytes: i64, code: Code, other: bool) -> bool {
        let recorder = Recorder::new(Header::default(), None);
        let call = recorder.call("plugin", "", "scenario", &GetCapacityRequest::default().into());
        let reply = GetCapacityResponse { available_capacity: 100, maximum_volume_size: maximum, ..Default::default() };
        recorder.reply(call, reply.into());
        let create = |name: &str| {
            let capacity_range = Some(CapacityRange { required_bytes, limit_bytes: 0 });
            CreateVolumeRequest { name: name.into(), capacity_range, ..Default::default() }.into()
        };
        if other {
            recorder.call("plugin", "", "scenario", &create("b"));
        }
        let call = recorder.call("plugin", "", "scenario", &create("a"));
        recorder.status(call, code as i32, "no room", 0);
        let findings = judge(&recorder.finish().0).findings;
        let mut about = findings.iter().filter(|one| one.rule.as_str() == "CTRL-CAPACITY-014");
        about.any(|one| one.severity == Severity::Warning)
    }

    #[test]
    fn what_is_offered_can_be_had_in_one_volume_unless_a_greatest_size_is_told() {
        assert!(is_warned_of(None, 100, Code::OutOfRange, false));
        assert!(is_warned_of(None, 100, Code::ResourceExhausted, false));
        assert!(!is_warned_of(Some(50), 100, Code::OutOfRange, false), "the greatest size is told");
        assert!(!is_warned_of(None, 101, Code::OutOfRange, false), "more than is offered");
        assert!(!is_warned_of(None, 100, Code::InvalidArgument, false), "refused for another reason");
        assert!(!is_warned_of(None, 100, Code::OutOfRange, true), "another call takes room");
    }
}
