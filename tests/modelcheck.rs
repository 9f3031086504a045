//! The search of states: the driver's protocol keeps its promises, and every seeded mistake is found.

use csi_certify::{
    modelcheck::{Ending, Fault, Options, Protocol, Report, Scenario, explore, scenarios},
    mountpod::protocol::Policy,
};

fn search(scenario: &Scenario, policy: Policy, options: &Options) -> Report {
    explore(Protocol::Current, policy, scenario, options).expect("the names of the scenarios are valid")
}

fn named(name: &str) -> Scenario {
    scenarios(Protocol::Current).into_iter().find(|scenario| scenario.name == name).expect("a scenario of this name")
}

#[test]
fn small_scenarios_are_searched_to_their_end_without_a_violation() {
    for name in ["contradiction", "daemon-loss", "eviction-crash"] {
        let report = search(&named(name), Policy::default(), &Options::default());
        assert!(matches!(report.ending, Ending::Complete), "{report}");
        assert!(report.states > 1000 && report.transitions > report.states, "{report}");
    }
}

#[test]
fn every_seeded_mistake_is_found() {
    for fault in Fault::ALL {
        let report = search(&named(fault.scenario()), fault.policy(), &Options::default());
        let Ending::Broken(broken) = &report.ending else { panic!("{} is not found: {report}", fault.id()) };
        assert!(!broken.0.text.is_empty());
    }
}

#[test]
fn a_search_that_reaches_its_bound_says_that_it_is_incomplete() {
    let options = Options { states: 1000, ..Options::default() };
    let report = search(&named("eviction"), Policy::default(), &options);
    assert!(matches!(&report.ending, Ending::Incomplete(text) if text.contains("1000 states")), "{report}");
}

#[test]
fn the_same_counterexample_is_found_whatever_the_number_of_threads() {
    let fault = Fault::SkipTerminating;
    let traces = [1, 2, 3].map(|threads| {
        let options = Options { threads, ..Options::default() };
        match search(&named(fault.scenario()), fault.policy(), &options).ending {
            Ending::Broken(broken) => broken,
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(traces[0], traces[1]);
    assert_eq!(traces[0], traces[2]);
}
