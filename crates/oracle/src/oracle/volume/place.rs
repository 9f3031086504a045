//! Where a volume is accessible from: requirements, and what came of them (specification lines 1090–1246).

use std::collections::BTreeMap;

use tonic::Code::{AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, OutOfRange, ResourceExhausted};

use super::state::Volume;
use crate::{
    csi::v1,
    oracle::{
        ruling::{Expectation, Mark, Problem, advise, check},
        world::World,
    },
    rule,
};

/// What is wrong with a requirement in itself, or for this plugin.
pub(super) fn problems(world: &World, expectation: &mut Expectation, requirements: &v1::TopologyRequirement) {
    let (requisite, preferred) = (&requirements.requisite, &requirements.preferred);
    expectation.problem_if(requisite.is_empty() && preferred.is_empty(), || {
        Problem::new(
            rule!("CTRL-CREATE-108"),
            "accessibility_requirements lists neither requisite nor preferred topologies",
            &[InvalidArgument],
        )
        .ok_warns()
    });
    let stray = preferred.iter().any(|topology| !requisite.contains(topology));
    expectation.problem_if(!requisite.is_empty() && stray, || {
        Problem::new(rule!("CTRL-CREATE-122"), "a preferred topology is not among requisite", &[InvalidArgument])
            .or(&[ResourceExhausted])
            .ok_allowed()
    });
    let in_another_case = requisite
        .iter()
        .chain(preferred)
        .any(|topology| world.knowledge.topologies.iter().any(|known| is_in_another_case(&topology.segments, known)));
    expectation.problem_if(in_another_case, || {
        Problem::new(rule!("CTRL-CREATE-137"), "a topology key in another case was not understood", &[])
            .warn_on(&[ResourceExhausted, InvalidArgument, NotFound, OutOfRange, FailedPrecondition])
            .ok_allowed()
    });
    let nowhere = !requisite.is_empty()
        && !world.knowledge.topologies.is_empty()
        && !requisite
            .iter()
            .any(|topology| world.knowledge.topologies.iter().any(|known| is_compatible(&topology.segments, known)));
    expectation.problem_if(nowhere, || {
        let rule = if requisite.len() > 1 { rule!("CTRL-CREATE-115") } else { rule!("CTRL-CREATE-113") };
        Problem::new(rule, "no node is in a requisite topology", &[ResourceExhausted])
            .also(&[rule!("CTRL-CREATE-125"), rule!("CTRL-CREATE-159")])
            .or(&[InvalidArgument])
            .ok_allowed()
    });
}

/// Whether the volume of that name is where it is asked for.
pub(super) fn existing(expectation: &mut Expectation, state: &Volume, request: &v1::CreateVolumeRequest) {
    let Some(requirements) = &request.accessibility_requirements else { return };
    let Some(topology) = state.topology.as_ref().filter(|topology| !topology.is_empty()) else { return };
    let requisite = &requirements.requisite;
    let apart = !requisite.is_empty()
        && !requisite.iter().any(|wanted| topology.iter().any(|have| is_compatible(&wanted.segments, have)));
    expectation.problem_if(apart, || {
        Problem::new(
            rule!("CTRL-CREATE-156"),
            "the volume of this name is not accessible from the topologies asked for",
            &[AlreadyExists],
        )
        .or(&[ResourceExhausted, InvalidArgument])
    });
}

/// The topology fits the requirement (specification lines 1090–1151); an empty one means everywhere.
pub(super) fn marks(
    world: &World,
    marks: &mut Vec<Mark>,
    requirements: &v1::TopologyRequirement,
    topology: &[v1::Topology],
) {
    let mut asked = requirements.requisite.iter().chain(&requirements.preferred);
    let places = &world.knowledge.topologies;
    if asked.any(|one| places.iter().any(|known| is_in_another_case(&one.segments, known))) {
        marks.push(Mark::Held(rule!("CTRL-CREATE-137")));
    }
    let (requisite, preferred) = (&requirements.requisite, &requirements.preferred);
    if topology.is_empty() || requisite.is_empty() {
        if topology.is_empty() && !requisite.is_empty() {
            marks.extend([Mark::Held(rule!("CTRL-CREATE-042")), Mark::Held(rule!("CTRL-CREATE-106"))]);
        }
        return;
    }
    let actual = || format!("{topology:?}");
    let meets = |wanted: &v1::Topology| topology.iter().any(|have| is_compatible(&wanted.segments, &have.segments));
    let any = requisite.iter().any(meets);
    for rule in [rule!("CTRL-CREATE-109"), rule!("CTRL-CREATE-106"), rule!("CTRL-CREATE-042")] {
        check(marks, rule, any, || {
            (
                "the volume is accessible from none of the requisite topologies".into(),
                format!("{requisite:?}"),
                actual(),
            )
        });
    }
    let from_requisite =
        topology.iter().all(|have| requisite.iter().any(|wanted| is_compatible(&wanted.segments, &have.segments)));
    let distinct = topology.iter().enumerate().all(|(at, have)| !topology[..at].contains(have));
    if topology.len() < requisite.len() {
        check(marks, rule!("CTRL-CREATE-114"), from_requisite && distinct, || {
            ("topologies outside requisite, or one twice".into(), format!("some of {requisite:?}"), actual())
        });
    } else if topology.len() == requisite.len() {
        check(marks, rule!("CTRL-CREATE-112"), requisite.iter().all(meets), || {
            ("not all requisite topologies are served".into(), format!("{requisite:?}"), actual())
        });
    } else {
        check(marks, rule!("CTRL-CREATE-117"), requisite.iter().all(meets), || {
            ("not all requisite topologies are among those served".into(), format!("{requisite:?}"), actual())
        });
    }
    let usable = preferred.iter().filter(|wanted| requisite.contains(wanted)).collect::<Vec<_>>();
    if let [first, ..] = &*usable
        && topology.len() == 1
    {
        for rule in [rule!("CTRL-CREATE-126"), rule!("CTRL-CREATE-121")] {
            advise(marks, rule, meets(first), || {
                ("the first preferred topology was passed over".into(), format!("{first:?}"), actual())
            });
        }
    }
}

/// Whether the place is named by the known one's keys, but for their case.
fn is_in_another_case(wanted: &BTreeMap<String, String>, known: &BTreeMap<String, String>) -> bool {
    is_compatible(wanted, known)
        && wanted.keys().any(|key| !known.contains_key(key) && known.keys().any(|it| it.eq_ignore_ascii_case(key)))
}

/// Whether two topologies agree in each key that both have; keys compare without regard to case (line 1243).
pub(crate) fn is_compatible(wanted: &BTreeMap<String, String>, have: &BTreeMap<String, String>) -> bool {
    wanted
        .iter()
        .all(|(key, value)| have.iter().all(|(other, found)| !other.eq_ignore_ascii_case(key) || found == value))
}
