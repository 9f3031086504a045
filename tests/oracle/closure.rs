//! Each rule that can be observed is judged by the oracle and aimed at by a scenario, but for those of which the catalogue
//! says why they are beyond reach.

use std::{collections::BTreeSet, fs, path::Path};

use csi_certify::{spec::RuleId, suite};

/// So many rules may be beyond reach at most.
const MOST_BEYOND_REACH: usize = 30;

/// The rules that count: those that can be observed and are within reach.
pub(crate) fn within_reach() -> impl Iterator<Item = RuleId> {
    RuleId::all().filter(|id| id.rule().is_observable() && id.rule().beyond_reach.is_empty())
}

/// The source text of the oracle, without its tests.
fn oracle_source() -> String {
    fn read(directory: &Path, text: &mut String) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.to_str().unwrap();
            if path.is_dir() {
                if !name.ends_with("_tests") {
                    read(&path, text);
                }
            } else if !name.ends_with("_tests.rs") {
                let source = fs::read_to_string(path).unwrap();
                text.push_str(source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default());
            }
        }
    }
    let mut text = String::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/oracle/src/oracle"), &mut text);
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
fn what_is_beyond_reach_is_little_and_has_a_reason() {
    let beyond: Vec<RuleId> = RuleId::all().filter(|id| !id.rule().beyond_reach.is_empty()).collect();
    assert!(beyond.len() <= MOST_BEYOND_REACH, "{} rules are beyond reach: {beyond:?}", beyond.len());
    for id in beyond {
        assert!(id.rule().is_observable(), "{id} cannot be observed anyway");
        assert!(id.rule().beyond_reach.len() > 30, "{id}: {:?} is no reason", id.rule().beyond_reach);
    }
}
