//! The search of states: the driver's protocol keeps its promises, and every seeded mistake is found.

use std::path::{Path, PathBuf};

use csi_certify::{
    modelcheck::{
        Ending, Fault, Hazard, Options, Protocol, Reduction, Report, Scenario, explanation, explore, scenarios,
    },
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
    for name in ["contradiction", "daemon-loss", "eviction-crash", "lost-replies"] {
        let report = search(&named(name), Policy::default(), &Options::default());
        assert!(matches!(report.ending, Ending::Complete), "{report}");
        assert!(report.states > 100 && report.transitions > report.states, "{report}");
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
fn leaving_out_equal_orders_loses_no_state_in_which_nothing_is_under_way_and_no_goal() {
    let every_order = Options { reduction: Reduction::Nothing, ..Options::default() };
    for name in
        ["publish-unpublish-crash", "second-instance", "eviction-crash", "workload-loss", "status-writes", "reboot"]
    {
        let reduced = search(&named(name), Policy::default(), &Options::default());
        let whole = search(&named(name), Policy::default(), &every_order);
        assert!(matches!((&reduced.ending, &whole.ending), (Ending::Complete, Ending::Complete)), "{reduced}\n{whole}");
        assert!(reduced.states < whole.states, "{reduced}\n{whole}");
        assert!(reduced.quiet.is_superset(&whole.quiet), "{name}");
        let lost: Vec<&String> = whole.reached.iter().filter(|goal| !reduced.reached.contains(goal)).collect();
        assert!(lost.is_empty(), "{name}: {lost:?}");
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

fn hazards() -> impl Iterator<Item = (Hazard, Protocol)> {
    Hazard::ALL.iter().flat_map(|hazard| hazard.protocols().iter().map(|protocol| (*hazard, *protocol)))
}

#[test]
fn every_hazard_of_a_published_protocol_is_found_by_its_shortest_story() {
    for (hazard, protocol) in hazards() {
        let scenario = hazard.scenario(protocol);
        let report = explore(protocol, Policy::default(), &scenario, &Options::default()).expect("valid names");
        let Ending::Broken(broken) = &report.ending else { panic!("{} is not found: {report}", hazard.id()) };
        assert_eq!(broken.0.invariant, hazard.breaks(), "{report}");
        let story = format!(
            "{} of {}: {}.\nThe mend: {}.\nRepeat: csi-certify modelcheck --protocol {1} --scenario {0}\n\n{}",
            hazard.id(),
            protocol.name(),
            scenario.about,
            hazard
                .mend(protocol)
                .map_or("the successor is created first, under a name of its own", |mend| mend.about()),
            explanation(&broken.0, &broken.1)
        );
        let path = golden(&format!("{}-{}.txt", hazard.id(), protocol.name()));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &story).expect("golden files can be written");
        }
        let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(story, reviewed, "{} differs: review it and run with UPDATE_GOLDEN=1", path.display());
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/modelcheck").join(name)
}

#[test]
fn no_hazard_is_left_after_its_mend() {
    for (hazard, protocol) in hazards() {
        let (protocol, scenario) = hazard.mended(protocol);
        let report = explore(protocol, Policy::default(), &scenario, &Options::default()).expect("valid names");
        assert!(matches!(report.ending, Ending::Complete), "{}: {report}", hazard.id());
    }
}
