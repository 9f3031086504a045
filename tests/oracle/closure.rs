//! The triple closure: each rule that can be observed is judged by the oracle, exercised by a scenario, and seen to fail;
//! but for those of which the catalogue says why they are beyond reach.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::LazyLock,
};

use csi_certify::{
    history::History,
    oracle::{RuleStatus, judge},
    spec::{Observe, RuleId},
    suite,
};

use crate::recorded::{Setup, history, mounted, of_the_program, run};

/// So many rules may be beyond reach at most.
const MOST_BEYOND_REACH: usize = 30;

/// Rules that only a driver of another kind meets: a legal variant of the built-in one, and the scenarios that show it.
pub(crate) const VARIANTS: &[(&str, &str)] = &[
    ("eight-slots", "controller_publish_volume::full_node"),
    ("delete-refuses-snapshots", "delete_volume::volume_with_a_snapshot"),
    ("wants-secrets", "secrets::*"),
    ("node-expands-what-is-unused", "node_expand_volume::*"),
    ("unwell-at-first", "probe::*"),
    ("same-kind-of-source", "create_volume_source::source_of_another_kind"),
    ("without-Node.SINGLE_NODE_MULTI_WRITER", "second_publish::*"),
    ("offline-expansion", "controller_expand_volume::*"),
    ("without-Controller.CLONE_VOLUME", "create_volume_source::clone_without_the_capability"),
];

/// The rules that count: those that can be observed and are within reach.
pub(crate) fn within_reach() -> impl Iterator<Item = RuleId> {
    RuleId::all().filter(|id| id.rule().is_observable() && id.rule().beyond_reach.is_empty())
}

fn held_or_broken(history: &History) -> BTreeSet<RuleId> {
    let judgement = judge(history);
    judgement.rules.iter().filter(|one| one.status != RuleStatus::NotExercised).map(|one| one.rule).collect()
}

/// The rules that the suite exercises on the built-in driver, or on a legal variant of it.
fn exercised() -> &'static BTreeSet<RuleId> {
    static EXERCISED: LazyLock<BTreeSet<RuleId>> = LazyLock::new(|| {
        let mut rules = held_or_broken(history());
        rules.extend(mounted().into_iter().flat_map(held_or_broken));
        rules.extend(held_or_broken(&of_the_program("process::*")));
        for &(variant, filter) in VARIANTS {
            let setup = Setup { variant: Some(variant), filter: Some(filter), ..Setup::default() };
            rules.extend(held_or_broken(&run(setup)));
        }
        rules
    });
    &EXERCISED
}

/// The source text of the oracle, without its tests.
fn oracle_source() -> String {
    fn read(directory: &Path, text: &mut String) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, text);
            } else if !path.to_str().unwrap().ends_with("_tests.rs") {
                let source = fs::read_to_string(path).unwrap();
                text.push_str(source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default());
            }
        }
    }
    let mut text = String::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/oracle"), &mut text);
    text
}

#[test]
fn every_rule_within_reach_is_judged() {
    let source = oracle_source();
    let unjudged: Vec<RuleId> = within_reach().filter(|id| !source.contains(&format!("rule!(\"{id}\")"))).collect();
    assert!(unjudged.is_empty(), "the oracle judges by none of {unjudged:?}");
}

#[test]
fn every_rule_within_reach_is_aimed_at_by_a_scenario_and_no_other() {
    let aimed_at: BTreeSet<RuleId> = suite::scenarios().flat_map(|scenario| scenario.rules).copied().collect();
    let within_reach: BTreeSet<RuleId> = within_reach().collect();
    let left: Vec<&RuleId> = within_reach.difference(&aimed_at).collect();
    assert!(left.is_empty(), "no scenario aims at {left:?}");
    let astray: Vec<&RuleId> = aimed_at.difference(&within_reach).collect();
    assert!(astray.is_empty(), "beyond reach, and yet a scenario aims at {astray:?}");
}

#[test]
fn every_rule_within_reach_is_exercised() {
    let exercised = exercised();
    // What needs mounts is exercised where this machine lets us have some.
    let possible = |id: &RuleId| mounted().is_some() || id.rule().observe != Observe::Mount;
    let missing: Vec<RuleId> = within_reach().filter(|id| !exercised.contains(id) && possible(id)).collect();
    println!("{} of {} rules within reach are exercised", exercised.len(), within_reach().count());
    let by_observation: BTreeMap<String, Vec<RuleId>> = missing.iter().fold(BTreeMap::new(), |mut map, &id| {
        map.entry(format!("{:?}", id.rule().observe)).or_default().push(id);
        map
    });
    assert!(missing.is_empty(), "{} rules are exercised by nothing: {by_observation:#?}", missing.len());
}

#[test]
fn what_is_beyond_reach_is_little_and_has_a_reason() {
    let beyond: Vec<RuleId> = RuleId::all().filter(|id| !id.rule().beyond_reach.is_empty()).collect();
    assert!(beyond.len() <= MOST_BEYOND_REACH, "{} rules are beyond reach: {beyond:?}", beyond.len());
    for id in beyond {
        assert!(id.rule().is_observable(), "{id} cannot be observed anyway");
        assert!(id.rule().beyond_reach.len() > 30, "{id}: {:?} is no reason", id.rule().beyond_reach);
    }
}
