//! `csi-certify modelcheck`: every interleaving of the mount-pod protocol, and the shortest one that breaks a promise.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Exit, Failure};
use crate::{
    modelcheck::{
        Ending, Fault, Hazard, Options, Protocol, Reduction, Report, Scenario, clients, explore, large_scenarios,
        missing_goals, scenarios,
    },
    mountpod::protocol::Policy,
};

/// What `csi-certify modelcheck` is asked.
#[derive(Args, Clone, Debug)]
pub(super) struct ModelcheckArguments {
    /// The protocol: the driver's own, or a published one, in which the scenarios are those of its known hazards
    #[arg(long, value_name = "NAME", default_value = "current", value_parser = protocol_names())]
    protocol: String,
    /// Try the smallest mend of each hazard of a published protocol
    #[arg(long, conflicts_with = "fault", conflicts_with = "clients")]
    mended: bool,
    /// Make one mistake in the driver's protocol: its id, or `all` for each of them in turn
    #[arg(long, value_name = "ID", value_parser = fault_ids())]
    fault: Option<String>,
    /// Only this scenario
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// Instead of the named scenarios: this many publishes and as many unpublishes of two targets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    clients: Option<u8>,
    /// How many of the clients' requests are cut off
    #[arg(long, value_name = "N", default_value_t = 1, requires = "clients")]
    crashes: u8,
    /// Visit every order of moves, also those that lead to the same
    #[arg(long)]
    every_order: bool,
    /// How many threads search; by default one for each processor
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// End a search as incomplete after so many states
    #[arg(long, value_name = "N", default_value_t = Options::default().states)]
    states: usize,
    /// End a search as incomplete when the program uses so many MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    memory: u64,
    /// Write what was found as JSON
    #[arg(long, value_name = "F")]
    json: Option<PathBuf>,
}

/// Searches, and prints what was found.
///
/// # Errors
///
/// When there is no such scenario, or the file cannot be written.
pub(super) fn run(arguments: &ModelcheckArguments) -> Result<Exit, Failure> {
    let named = |protocol: &Protocol| protocol.name() == arguments.protocol;
    let protocol = Protocol::ALL.into_iter().find(named).unwrap_or(Protocol::Current);
    if protocol == Protocol::Current && arguments.mended {
        return Err(Failure::usage("--mended needs a published protocol"));
    }
    if protocol != Protocol::Current && arguments.fault.is_some() {
        return Err(Failure::usage("--fault is a mistake in the driver's own protocol: leave --protocol out"));
    }
    let faults: Vec<Option<Fault>> = match arguments.fault.as_deref() {
        None => vec![None],
        Some("all") => Fault::ALL.iter().copied().map(Some).collect(),
        Some(id) => Fault::ALL.iter().copied().filter(|fault| fault.id() == id).map(Some).collect(),
    };
    let mut options = Options { states: arguments.states, memory: arguments.memory << 20, ..Options::default() };
    options.threads = arguments.threads.unwrap_or(options.threads);
    if arguments.every_order {
        options.reduction = Reduction::Nothing;
    }
    let mut reports = Vec::new();
    for fault in &faults {
        let policy = fault.map_or_else(Policy::default, Fault::policy);
        if let Some(fault) = fault {
            anstream::println!("{}: {}", fault.id(), fault.about().trim());
        }
        for (protocol, scenario) in chosen(arguments, protocol, *fault)? {
            let report = explore(protocol, policy.clone(), &scenario, &options)
                .ok_or_else(|| Failure::ours("a scenario with names that the protocol does not know"))?;
            if let Some(mend) = scenario.mend {
                anstream::println!("{}: {}", scenario.name, mend.about());
            }
            anstream::println!("{report}");
            reports.push((*fault, report));
        }
    }
    let whole = arguments.fault.is_none() && arguments.scenario.is_none() && arguments.clients.is_none();
    let found: Vec<&Report> = reports.iter().map(|(_, report)| report).collect();
    let missing = if whole { missing_goals(protocol, &found) } else { Vec::new() };
    for goal in &missing {
        anstream::println!("never reached: {goal}");
    }
    if let Some(path) = &arguments.json {
        let values: Vec<_> = reports.iter().map(|(fault, report)| json(*fault, report)).collect();
        let text = serde_json::to_string_pretty(&serde_json::json!({
            "schema": "csi-certify/modelcheck/1",
            "protocol": protocol.name(),
            "mended": arguments.mended,
            "searches": values,
            "never_reached": missing,
        }));
        std::fs::write(path, text.map_err(Failure::ours)?).map_err(Failure::usage)?;
    }
    let ends = |wanted: fn(&Ending) -> bool| found.iter().any(|report| wanted(&report.ending));
    Ok(match () {
        () if ends(|ending| matches!(ending, Ending::Broken(_))) || !missing.is_empty() => Exit::Violations,
        () if ends(|ending| matches!(ending, Ending::Incomplete(_))) => Exit::Interrupted,
        () => Exit::Conformant,
    })
}

type Chosen = Vec<(Protocol, Scenario)>;

fn chosen(arguments: &ModelcheckArguments, protocol: Protocol, fault: Option<Fault>) -> Result<Chosen, Failure> {
    if let Some(number) = arguments.clients {
        return Ok(vec![(protocol, clients(number, arguments.crashes))]);
    }
    let all: Chosen = if arguments.mended {
        let hazards = Hazard::ALL.iter().filter(|hazard| hazard.protocols().contains(&protocol));
        hazards.map(|hazard| hazard.mended(protocol)).collect()
    } else {
        scenarios(protocol).into_iter().map(|scenario| (protocol, scenario)).collect()
    };
    let wanted = arguments.scenario.as_deref().or(fault.map(Fault::scenario));
    let large = large_scenarios(protocol);
    let names: Vec<&str> =
        all.iter().map(|(_, scenario)| scenario.name).chain(large.iter().map(|large| large.name)).collect();
    let names = names.join(", ");
    let Some(wanted) = wanted else { return Ok(all) };
    let large = large.into_iter().map(|scenario| (protocol, scenario));
    let found: Chosen = all.into_iter().chain(large).filter(|(_, scenario)| scenario.name == wanted).collect();
    match found.is_empty() {
        true => Err(Failure::usage(format!("no scenario {wanted}: choose one of {names}"))),
        false => Ok(found),
    }
}

fn json(fault: Option<Fault>, report: &Report) -> serde_json::Value {
    let (ending, detail) = match &report.ending {
        Ending::Complete => ("complete", serde_json::Value::Null),
        Ending::Incomplete(text) => ("incomplete", serde_json::json!(text)),
        Ending::Broken(broken) => {
            let steps = broken.1.steps.iter();
            let steps: Vec<_> = steps.map(|step| serde_json::json!({"actor": step.lane, "does": step.text})).collect();
            let detail = serde_json::json!({
                "invariant": broken.0.invariant.to_string(),
                "promise": broken.0.invariant.promise(),
                "seen": broken.0.text,
                "steps": steps,
            });
            ("broken", detail)
        }
    };
    serde_json::json!({
        "scenario": report.scenario,
        "fault": fault.map(Fault::id),
        "ending": ending,
        "detail": detail,
        "states": report.states,
        "transitions": report.transitions,
        "depth": report.depth,
        "milliseconds": u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX),
    })
}

pub(super) fn protocol_names() -> [&'static str; 3] {
    Protocol::ALL.map(Protocol::name)
}

fn fault_ids() -> Vec<&'static str> {
    let ids = Fault::ALL.iter().map(|fault| fault.id());
    std::iter::once("all").chain(ids).collect()
}
