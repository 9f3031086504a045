//! `csi-certify rules`: the catalogue, and how much of it this version covers.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;

use super::exit::Exit;
use crate::{
    spec::{Binds, RuleId},
    suite,
};

/// What `csi-certify rules` is asked.
#[derive(Args, Clone, Debug)]
pub(super) struct RulesArguments {
    /// Show how many rules the scenarios aim at, by service
    #[arg(long)]
    coverage: bool,
    /// Only rules whose id matches
    #[arg(long, value_name = "GLOB")]
    filter: Option<String>,
}

/// Prints the catalogue or its coverage.
pub(super) fn run(arguments: &RulesArguments) -> Exit {
    let aimed_at: BTreeSet<RuleId> = suite::scenarios().flat_map(|scenario| scenario.rules).copied().collect();
    if arguments.coverage {
        coverage(&aimed_at);
    } else {
        for id in RuleId::all() {
            let wanted = arguments.filter.as_ref().is_none_or(|glob| crate::sut::glob(glob, id.as_str()));
            if wanted {
                let rule = id.rule();
                let binds = match rule.binds {
                    Binds::Plugin => "plugin",
                    Binds::Co => "orchestrator",
                    Binds::Both => "both",
                };
                let keyword = rule.level.keyword();
                anstream::println!("{id}  {keyword:<10} {binds:<12} line {:<4} {}", rule.line, rule.text);
            }
        }
    }
    Exit::Conformant
}

fn coverage(aimed_at: &BTreeSet<RuleId>) {
    let mut topics: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for id in RuleId::all().filter(|id| id.rule().is_observable()) {
        let topic = id.as_str().rsplit_once('-').map_or(id.as_str(), |(topic, _)| topic);
        let (aimed, all) = topics.entry(topic).or_default();
        *all += 1;
        *aimed += usize::from(aimed_at.contains(&id));
    }
    let total = topics.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    for (topic, (aimed, all)) in topics {
        anstream::println!("{topic:<16} {aimed:>4} of {all:>4}");
    }
    anstream::println!("{:<16} {:>4} of {:>4} observable rules are aimed at by a scenario", "", total.0, total.1);
    let beyond: Vec<RuleId> = RuleId::all().filter(|id| !id.rule().beyond_reach.is_empty()).collect();
    anstream::println!("\n{} are beyond reach:", beyond.len());
    for id in beyond {
        anstream::println!("{id}  {}", id.rule().beyond_reach);
    }
}
