//! Each rule seen to fail: answers of an honest history are changed one at a time, and the rule that forbids the change
//! has to be among those that are broken.

use std::collections::{BTreeMap, BTreeSet};

use csi_certify::{
    history::{
        Call, CallId, Event, EventKind, Fault, Header, History, Mount, Observation, Outcome, PathKind, Reply, Status,
    },
    oracle::{RuleStatus, judge},
    spec::{Observe, RuleId},
};
use prost_reflect::{DynamicMessage, Kind, MapKey, ReflectMessage as _, Value};

use crate::{
    closure::{VARIANTS, within_reach},
    recorded::{Setup, history, mounted, of_the_program, run},
};

/// Replies of each RPC whose every field is changed.
const IN_DEPTH: usize = 5;

/// How many rules may be on the list of those that are not seen to fail; the number may only become smaller.
const LONGEST_LIST: usize = 59;

/// Answers of one RPC and code in a scenario that are replaced.
const OF_EACH_KIND: usize = 2;

/// The events of each scenario of a history by itself, after those of the greeting and the discovery.
fn scenarios(history: &History) -> Vec<(String, Vec<Event>)> {
    let mut calls = BTreeMap::new();
    for event in &history.events {
        if let EventKind::Call(call) = &event.kind {
            calls.insert(call.id, call.scenario.clone());
        }
    }
    // What is observed belongs to the scenario that is under way; they run one after the other.
    let mut under_way = String::new();
    let mut of = Vec::new();
    for event in &history.events {
        of.push(match &event.kind {
            EventKind::Call(call) => call.scenario.clone(),
            EventKind::Return { call, .. } => calls.get(call).cloned().unwrap_or_default(),
            EventKind::Scenario { name, .. } => {
                under_way.clone_from(name);
                String::new()
            }
            EventKind::Observed(_) | EventKind::Fault(_) => under_way.clone(),
        });
    }
    let names: BTreeSet<String> = calls.values().cloned().collect();
    let prelude = |name: &str| matches!(name, GREETING | "discovery");
    // What is advertised shows in what is done later.
    let later = |name: &str| matches!(name, "list_volumes::pages" | "create_volume_topology::own_place");
    names
        .iter()
        .filter(|name| *name != "discovery")
        .map(|name| {
            let wanted =
                |scenario: &str| prelude(scenario) || scenario == *name || (name == GREETING && later(scenario));
            let events = history.events.iter().zip(&of).filter(|(_, scenario)| wanted(scenario));
            (name.clone(), events.map(|(event, _)| event.clone()).collect())
        })
        .collect()
}

fn broken(header: &Header, events: &[Event]) -> BTreeSet<RuleId> {
    let judgement = judge(&History { header: header.clone(), events: events.to_vec() });
    judgement.rules.iter().filter(|one| one.status == RuleStatus::Broken).map(|one| one.rule).collect()
}

/// Outcomes that could stand in place of an honest one.
fn wrong_outcomes(
    reply_of: &BTreeMap<&'static str, Reply>,
    earlier: Option<&Reply>,
    rpc: &'static str,
    outcome: &Outcome,
    in_depth: bool,
) -> Vec<Outcome> {
    let status = |code: i32| Outcome::Status(Status { code, message: "x".into(), details: 0, leaked: vec![] });
    let mut wrong: Vec<Outcome> = [3, 5, 6, 9, 11, 12, 13].into_iter().map(status).collect();
    match outcome {
        Outcome::Reply { reply, .. } if in_depth => {
            wrong.extend(wrong_replies(reply).into_iter().map(|reply| Outcome::Reply { reply, leaked: vec![] }));
            wrong.push(Outcome::Reply { reply: reply.clone(), leaked: vec!["token".into()] });
            // What another request was told.
            wrong.extend(earlier.map(|earlier| Outcome::Reply { reply: earlier.clone(), leaked: vec![] }));
            wrong.push(Outcome::Garbage { what: "nonsense".into() });
        }
        Outcome::Reply { .. } => {}
        _ => {
            if let Some(reply) = reply_of.get(rpc) {
                wrong.push(Outcome::Reply { reply: reply.clone(), leaked: vec![] });
            }
            wrong.push(Outcome::Status(Status { code: 3, message: String::new(), details: 0, leaked: vec![] }));
            wrong.push(Outcome::Status(Status {
                code: 77,
                message: "x".into(),
                details: 2,
                leaked: vec!["token".into()],
            }));
        }
    }
    wrong
}

/// The reply with one field, at any depth, cleared or set to something that it must not be.
fn wrong_replies(reply: &Reply) -> Vec<Reply> {
    let rpc = reply.rpc();
    // A stream with one of its messages changed; one of a single message is sent twice.
    let mut honest = reply.to_dynamic();
    let is_stream = matches!(reply, Reply::GetMetadataAllocated(_) | Reply::GetMetadataDelta(_));
    if let ([only], true) = (&*honest, is_stream) {
        let twin = only.clone();
        honest.push(twin);
    }
    let encoded: Vec<Vec<u8>> = honest.iter().map(prost::Message::encode_to_vec).collect();
    let changed = honest.iter().enumerate().flat_map(|(at, message)| {
        variants(message, 0).into_iter().map(move |changed| (at, prost::Message::encode_to_vec(&changed)))
    });
    let wrong = changed.filter_map(|(at, message)| {
        let mut messages = encoded.clone();
        messages[at] = message;
        Reply::decode(rpc, &messages).ok()
    });
    wrong.filter(|wrong| wrong != reply).collect()
}

fn variants(message: &DynamicMessage, depth: usize) -> Vec<DynamicMessage> {
    let mut found = Vec::new();
    if depth > 4 {
        return found;
    }
    for field in message.descriptor().fields() {
        let mut with = |value: Value| {
            let mut changed = message.clone();
            changed.set_field(&field, value);
            found.push(changed);
        };
        let mut cleared = message.clone();
        cleared.clear_field(&field);
        match (field.kind(), message.get_field(&field).into_owned()) {
            // Where nothing was told, something without content.
            (Kind::Message(of), Value::List(items)) if items.is_empty() => {
                with(Value::List(vec![Value::Message(DynamicMessage::new(of.clone())); 2]));
            }
            (_, Value::List(items)) => {
                with(Value::List(items.iter().skip(1).cloned().collect()));
                with(Value::List(items.iter().chain(items.first()).cloned().collect()));
                if let Some(Value::Message(first)) = items.first() {
                    for inner in variants(first, depth + 1) {
                        let rest = items.iter().skip(1).cloned();
                        with(Value::List(std::iter::once(Value::Message(inner)).chain(rest).collect()));
                    }
                }
            }
            (_, Value::Map(entries)) => {
                let mut more = entries.clone();
                more.insert(MapKey::String("another".into()), Value::String("x".repeat(5000)));
                with(Value::Map(more));
                for key in ["a/b/c", "prefix/", "Bad_Prefix/zone", "-zone", "zone"] {
                    let mut odd = entries.clone();
                    odd.insert(MapKey::String(key.into()), Value::String("-bad value-".into()));
                    odd.insert(MapKey::String(format!("{}{key}", "y".repeat(70))), Value::String("z".repeat(80)));
                    with(Value::Map(odd));
                }
            }
            (Kind::String, Value::String(text)) => {
                for other in [String::new(), "-Another_one/".to_owned(), "x".repeat(300), format!("{text}x")] {
                    with(Value::String(other));
                }
            }
            (Kind::Int64, Value::I64(number)) => {
                [-1, 0, 1, number + 1, number / 2 + 1, i64::MAX].into_iter().for_each(|other| with(Value::I64(other)))
            }
            (Kind::Int32, Value::I32(_)) => with(Value::I32(-1)),
            (Kind::Bool, Value::Bool(flag)) => with(Value::Bool(!flag)),
            (Kind::Enum(_), Value::EnumNumber(number)) => {
                [0, number + 1, 99].into_iter().for_each(|other| with(Value::EnumNumber(other)));
            }
            (Kind::Message(_), Value::Message(inner)) if message.has_field(&field) => {
                for inner in variants(&inner, depth + 1) {
                    let mut changed = message.clone();
                    changed.set_field(&field, Value::Message(inner));
                    found.push(changed);
                }
            }
            _ => {}
        }
        if cleared != *message {
            found.push(cleared);
        }
    }
    found
}

/// The name of the scenario whose own answers are those of the greeting, which the others only build upon.
const GREETING: &str = "greeting";

/// Changes answers of these scenarios; how many, and which rules were broken.
fn changed<'a>(
    header: &Header,
    scenarios: impl Iterator<Item = &'a (String, Vec<Event>)>,
    reply_of: &BTreeMap<&'static str, Reply>,
) -> (usize, BTreeSet<RuleId>) {
    let mut failed = BTreeSet::new();
    let mut changes = 0;
    // Fields of replies are changed in a few replies of each RPC, codes in the first few answers of each kind.
    let mut looked_into: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, events) in scenarios {
        let mut rpcs = BTreeMap::new();
        let mut own = BTreeSet::new();
        for event in events {
            if let EventKind::Call(call) = &event.kind {
                rpcs.insert(call.id, call.request.rpc().name());
                if call.scenario == *name {
                    own.insert(call.id);
                }
            }
        }
        let mut seen: BTreeMap<(&str, i32), usize> = BTreeMap::new();
        let mut earlier: BTreeMap<&str, &Reply> = BTreeMap::new();
        for at in 0..events.len() {
            let EventKind::Return { call, outcome } = &events[at].kind else { continue };
            let code = match outcome {
                Outcome::Reply { .. } => 0,
                Outcome::Status(status) => status.code,
                _ => continue,
            };
            if !own.contains(call) {
                continue;
            }
            let seen = seen.entry((rpcs[call], code)).or_default();
            *seen += 1;
            if *seen > OF_EACH_KIND {
                continue;
            }
            let looked = looked_into.entry(rpcs[call]).or_default();
            *looked += usize::from(code == 0);
            let is_deep = rpcs[call].starts_with("List") || rpcs[call].contains("GroupSnapshot");
            let depth = if is_deep { 10 * IN_DEPTH } else { IN_DEPTH };
            for wrong in
                wrong_outcomes(reply_of, earlier.get(rpcs[call]).copied(), rpcs[call], outcome, *looked <= depth)
            {
                let mut changed = events.clone();
                changed[at].kind = EventKind::Return { call: *call, outcome: wrong };
                failed.extend(broken(header, &changed));
                changes += 1;
            }
            if let Outcome::Reply { reply, .. } = outcome {
                earlier.insert(rpcs[call], reply);
            }
        }
    }
    (changes, failed)
}

/// Answers that a driver with one habit would give: to one RPC always the same refusal, or OK to whatever it refused.
fn habits(events: &[Event], name: &str, reply_of: &BTreeMap<&'static str, Reply>) -> Vec<Vec<Event>> {
    let calls: BTreeMap<CallId, &Call> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Call(call) => Some((call.id, call)),
            _ => None,
        })
        .collect();
    let own = |call: &CallId| calls.get(call).is_some_and(|call| call.scenario == name);
    let rpcs: BTreeSet<&str> =
        calls.values().filter(|call| call.scenario == name).map(|call| call.request.rpc().name()).collect();
    let status = |code: i32| Outcome::Status(Status { code, message: "x".into(), details: 0, leaked: vec![] });
    let mut found = Vec::new();
    for rpc in rpcs {
        let of_it = |call: &CallId| own(call) && calls[call].request.rpc().name() == rpc;
        let mut habit = |of: &dyn Fn(&Outcome) -> Option<Outcome>| {
            let mut changed = events.to_vec();
            let mut any = false;
            for event in &mut changed {
                if let EventKind::Return { call, outcome } = &mut event.kind
                    && of_it(call)
                    && let Some(other) = of(outcome)
                {
                    *outcome = other;
                    any = true;
                }
            }
            if any {
                found.push(changed);
            }
        };
        for code in [3, 5, 6, 8, 9, 11, 13, 16] {
            habit(&|outcome| matches!(outcome, Outcome::Reply { .. }).then(|| status(code)));
            habit(&|outcome| matches!(outcome, Outcome::Status(_)).then(|| status(code)));
        }
        if let Some(reply) = reply_of.get(rpc) {
            let ok = Outcome::Reply { reply: reply.clone(), leaked: vec![] };
            habit(&|outcome| matches!(outcome, Outcome::Status(_)).then(|| ok.clone()));
        }
    }
    found
}

/// What could be seen in place of what was seen.
fn wrong_observations(observation: &Observation) -> Vec<Observation> {
    let mut wrong = Vec::new();
    match observation.clone() {
        Observation::Path { node, path, kind, mounts } => {
            use PathKind::{Absent, BlockDevice, Directory, File, Other};
            let mut with = |kind, mounts: Vec<Mount>| {
                wrong.push(Observation::Path { node: node.clone(), path: path.clone(), kind, mounts });
            };
            for other in [Absent, Directory, File, BlockDevice, Other] {
                with(other, mounts.clone());
                with(other, Vec::new());
            }
            let mount = Mount { fs_type: "odd".into(), read_only: false, device: "0:999".into() };
            let plain = mounts.last().cloned().unwrap_or(mount.clone());
            for read_only in [false, true] {
                with(kind, vec![Mount { read_only, ..plain.clone() }]);
            }
            with(kind, vec![Mount { fs_type: "odd".into(), ..plain.clone() }]);
            with(kind, mounts.into_iter().chain([mount]).collect());
        }
        Observation::Write { node, path, name, content, .. } => {
            for error in ["", "EROFS", "EIO", "ENOENT"] {
                let (node, path, name, content) = (node.clone(), path.clone(), name.clone(), content.clone());
                wrong.push(Observation::Write { node, path, name, content, error: error.into() });
            }
        }
        Observation::Read { node, path, name, .. } => {
            for (content, error) in [("", ""), ("another", ""), ("", "EIO"), ("", "ENOENT")] {
                let (node, path, name) = (node.clone(), path.clone(), name.clone());
                wrong.push(Observation::Read { node, path, name, content: content.into(), error: error.into() });
            }
        }
        Observation::Size { node, path, bytes } => {
            for bytes in [0, 1, bytes / 2, bytes * 2] {
                wrong.push(Observation::Size { node: node.clone(), path: path.clone(), bytes });
            }
        }
        Observation::Group { node, path, gid } => wrong.push(Observation::Group { node, path, gid: gid + 1 }),
        Observation::Blocks { node, path, length, .. } => {
            wrong.push(Observation::Blocks { node, path, offsets: vec![7 << 20], length, error: String::new() });
        }
        Observation::Process { instance, .. } => {
            wrong.push(Observation::Process { instance, alive: false, exit: "signal 9".into() });
        }
        Observation::SocketDirectory { instance, .. } => {
            wrong.push(Observation::SocketDirectory { instance, others: vec!["driver.pid".into()] });
        }
        Observation::Logs { instance, .. } => {
            let (leaked, flags) = (vec!["token".into()], vec!["a-flag-of-ours".into()]);
            wrong.push(Observation::Logs { instance, bytes: 1, leaked, flags });
        }
        Observation::Launched { instance, way, by_argument, .. } => {
            wrong.push(Observation::Launched { instance, way, by_argument, answered: false, exit: String::new() });
        }
        Observation::Stranger { node, path, rpc, .. } => {
            wrong.push(Observation::Stranger { node, path, rpc, damage: "a file is gone".into() });
        }
        Observation::Helpers { instance, before, rounds, .. } => {
            wrong.push(Observation::Helpers { instance, before, after: before + rounds + 1, rounds });
        }
        Observation::Ports { instance, .. } => wrong.push(Observation::Ports { instance, serving: vec![1], others: 0 }),
        Observation::LogFiles { instance, .. } => {
            wrong.push(Observation::LogFiles { instance, paths: vec!["/var/log/driver.log".into()] });
        }
    }
    wrong
}

/// Changes what was seen, one observation at a time; and lets the process end by itself.
fn seen_otherwise(events: &[Event]) -> Vec<Vec<Event>> {
    let mut found = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let EventKind::Observed(observation) = &event.kind else { continue };
        for wrong in wrong_observations(observation) {
            let mut changed = events.to_vec();
            changed[at].kind = EventKind::Observed(wrong);
            found.push(changed);
        }
        if let Observation::Process { instance, .. } = observation {
            let mut changed = events.to_vec();
            changed[at].kind =
                EventKind::Fault(Fault::Crashed { instance: instance.clone(), exit: "exit code 2".into() });
            found.push(changed);
        }
    }
    found
}

fn replies_of(history: &History) -> BTreeMap<&'static str, Reply> {
    let mut reply_of = BTreeMap::new();
    for event in &history.events {
        if let EventKind::Return { outcome: Outcome::Reply { reply, .. }, .. } = &event.kind {
            reply_of.insert(reply.rpc().name(), reply.clone());
        }
    }
    reply_of
}

/// Deals scenarios out to as many threads as there are processors.
fn in_parallel(
    scenarios: &[(String, Vec<Event>)],
    work: impl Fn(&mut dyn Iterator<Item = &(String, Vec<Event>)>) -> (usize, BTreeSet<RuleId>) + Sync,
) -> (usize, BTreeSet<RuleId>) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let found: Vec<(usize, BTreeSet<RuleId>)> = std::thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = (0..threads)
            .map(|worker| scope.spawn(move || work(&mut scenarios.iter().skip(worker).step_by(threads))))
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    found.into_iter().fold((0, BTreeSet::new()), |(sum, mut all), (changes, failed)| {
        all.extend(failed);
        (sum + changes, all)
    })
}

/// Rules that are broken by some change to a history of the suite.
fn seen_to_fail(history: &History, observations_only: bool) -> (usize, BTreeSet<RuleId>) {
    let reply_of = replies_of(history);
    in_parallel(&scenarios(history), |scenarios| {
        let (mut changes, mut failed) = (0, BTreeSet::new());
        let mut judge_all = |changed: Vec<Vec<Event>>| {
            changes += changed.len();
            failed.extend(changed.iter().flat_map(|events| broken(&history.header, events)));
        };
        let scenarios: Vec<&(String, Vec<Event>)> = scenarios.collect();
        for (name, events) in &scenarios {
            judge_all(seen_otherwise(events));
            if !observations_only {
                judge_all(habits(events, name, &reply_of));
            }
        }
        if !observations_only {
            let (more, broken) = changed(&history.header, scenarios.into_iter(), &reply_of);
            changes += more;
            failed.extend(broken);
        }
        (changes, failed)
    })
}

/// The rules of the list of those that are not seen to fail.
fn never_seen_to_fail() -> BTreeSet<&'static str> {
    include_str!("../../golden/oracle/never_seen_to_fail.txt")
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| !word.starts_with('#'))
        .collect()
}

#[test]
fn every_rule_within_reach_is_seen_to_fail_but_for_a_list_that_shrinks() {
    let (mut changes, mut failed) = seen_to_fail(history(), false);
    for other in mounted().into_iter().chain([&of_the_program("process::*")]) {
        let (more, broken) = seen_to_fail(other, true);
        changes += more;
        failed.extend(broken);
    }
    for &(variant, filter) in VARIANTS {
        let setup = Setup { variant: Some(variant), filter: Some(filter), ..Setup::default() };
        let (more, broken) = seen_to_fail(&run(setup), false);
        changes += more;
        failed.extend(broken);
    }
    // Seeded faults are run by `csi-certify mutants`, which fails when one of them is not found by its rules.
    let by_faults = csi_certify::faults::entries().iter().filter(|entry| entry.missed.is_empty());
    failed.extend(by_faults.flat_map(|entry| &entry.rules).filter_map(|rule| RuleId::parse(rule)));
    let within_reach: BTreeSet<RuleId> = within_reach().collect();
    let never: BTreeSet<&str> = within_reach.difference(&failed).map(|rule| rule.as_str()).collect();
    let (all, seen) = (within_reach.len(), within_reach.len() - never.len());
    println!("{changes} changes, {seen} of {all} rules within reach seen to fail");
    println!("never seen to fail: {never:?}");
    let known = never_seen_to_fail();
    let mut new: Vec<&&str> = never.difference(&known).collect();
    if mounted().is_none() {
        new.retain(|rule| RuleId::parse(rule).is_some_and(|rule| rule.rule().observe != Observe::Mount));
    }
    assert!(new.is_empty(), "nothing broke {new:?}: a check that cannot fail is a defect");
}

#[test]
fn the_list_of_rules_that_are_not_seen_to_fail_only_shrinks() {
    let list = never_seen_to_fail();
    assert!(list.len() <= LONGEST_LIST, "{} rules", list.len());
    for rule in list {
        let id = RuleId::parse(rule).unwrap_or_else(|| panic!("no rule {rule}"));
        assert!(within_reach().any(|other| other == id), "{rule} is not within reach");
    }
}
