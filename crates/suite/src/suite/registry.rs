//! All scenarios, in the order in which they run.

use super::{Scenario, controller, general, group_controller, identity, node, snapshot_metadata};

/// The scenarios of each file; those that look at the driver's process come last.
const FILES: [&[Scenario]; 44] = [
    identity::get_plugin_info::SCENARIOS,
    identity::get_plugin_capabilities::SCENARIOS,
    identity::probe::SCENARIOS,
    controller::controller_get_capabilities::SCENARIOS,
    controller::create_volume::SCENARIOS,
    controller::create_volume_fields::SCENARIOS,
    controller::create_volume_source::SCENARIOS,
    controller::create_volume_topology::SCENARIOS,
    controller::delete_volume::SCENARIOS,
    controller::controller_publish_volume::SCENARIOS,
    controller::controller_unpublish_volume::SCENARIOS,
    controller::validate_volume_capabilities::SCENARIOS,
    controller::list_volumes::SCENARIOS,
    controller::get_capacity::SCENARIOS,
    controller::create_snapshot::SCENARIOS,
    controller::delete_snapshot::SCENARIOS,
    controller::list_snapshots::SCENARIOS,
    controller::get_snapshot::SCENARIOS,
    controller::controller_expand_volume::SCENARIOS,
    controller::controller_get_volume::SCENARIOS,
    controller::controller_modify_volume::SCENARIOS,
    group_controller::group_controller_get_capabilities::SCENARIOS,
    group_controller::create_volume_group_snapshot::SCENARIOS,
    group_controller::delete_volume_group_snapshot::SCENARIOS,
    group_controller::get_volume_group_snapshot::SCENARIOS,
    snapshot_metadata::get_metadata_allocated::SCENARIOS,
    snapshot_metadata::get_metadata_delta::SCENARIOS,
    node::node_get_info::SCENARIOS,
    node::node_get_capabilities::SCENARIOS,
    node::node_stage_volume::SCENARIOS,
    node::node_unstage_volume::SCENARIOS,
    node::node_publish_volume::SCENARIOS,
    node::second_publish::SCENARIOS,
    node::node_unpublish_volume::SCENARIOS,
    node::node_get_volume_stats::SCENARIOS,
    node::node_expand_volume::SCENARIOS,
    general::unimplemented::SCENARIOS,
    general::fields::SCENARIOS,
    general::lost_answers::SCENARIOS,
    general::overlapping::SCENARIOS,
    general::secrets::SCENARIOS,
    general::strangers::SCENARIOS,
    general::restart::SCENARIOS,
    general::process::SCENARIOS,
];

/// All scenarios.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    FILES.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::spec::Gate;

    #[test]
    fn names_are_unique_and_say_what_they_do() {
        let mut names = BTreeSet::new();
        for scenario in scenarios() {
            assert!(names.insert(scenario.name), "{scenario:?} is there twice");
            assert!(scenario.name.contains("::") && scenario.about.len() > 10, "{scenario:?}");
            assert!(!scenario.rules.is_empty(), "{scenario:?} exercises nothing");
        }
    }

    #[test]
    fn every_rule_is_one_that_can_be_observed() {
        for scenario in scenarios() {
            for rule in scenario.rules {
                assert!(rule.rule().is_observable(), "{scenario:?}: {rule} cannot be observed");
            }
        }
    }

    #[test]
    fn gates_are_well_formed() {
        for scenario in scenarios() {
            for need in scenario.needs {
                Gate::parse(need).unwrap();
            }
        }
    }

    #[test]
    fn most_observable_rules_are_exercised() {
        let rules: BTreeSet<&str> = scenarios().flat_map(|it| it.rules).map(|rule| rule.as_str()).collect();
        assert!(rules.len() >= 580, "only {} rules", rules.len());
    }
}
