//! Each rule seen to fail: answers of an honest history are changed, one at a time or all of a kind, and the rule that
//! forbids the change has to be among those that are broken. What no change breaks, another test or a fault does.

use std::collections::{BTreeMap, BTreeSet};

use csi_certify::{
    history::{CallId, Event, EventKind, History, Outcome, Reply, Status},
    oracle::{RuleStatus, judge},
    spec::RuleId,
};
use prost_reflect::{DynamicMessage, Kind, MapKey, ReflectMessage as _, Value};

use crate::{closure::within_reach, recorded::history};

/// Replies of each RPC whose every field is changed.
const IN_DEPTH: usize = 5;

/// Answers of one RPC and code in a scenario that are replaced.
const OF_EACH_KIND: usize = 2;

/// The events of each scenario by itself, after those of the greeting and the discovery.
fn scenarios() -> Vec<(String, Vec<Event>)> {
    let mut calls = BTreeMap::new();
    for event in &history().events {
        if let EventKind::Call(call) = &event.kind {
            calls.insert(call.id, call.scenario.clone());
        }
    }
    let of = |event: &Event| match &event.kind {
        EventKind::Call(call) => call.scenario.clone(),
        EventKind::Return { call, .. } => calls.get(call).cloned().unwrap_or_default(),
        _ => String::new(),
    };
    let names: BTreeSet<String> = calls.values().cloned().collect();
    let prelude = |name: &str| matches!(name, GREETING | "discovery");
    // What is advertised shows in what is done later.
    let later = |name: &str| matches!(name, "list_volumes::pages" | "create_volume_topology::own_place");
    names
        .iter()
        .filter(|name| *name != "discovery")
        .map(|name| {
            let wanted = |event: &&Event| {
                let scenario = of(event);
                prelude(&scenario) || scenario == *name || (name == GREETING && later(&scenario))
            };
            (name.clone(), history().events.iter().filter(wanted).cloned().collect())
        })
        .collect()
}

fn broken(events: &[Event]) -> BTreeSet<RuleId> {
    let judgement = judge(&History { header: history().header.clone(), events: events.to_vec() });
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
                for left_out in 0..items.len() {
                    let others = items.iter().enumerate().filter(|(at, _)| *at != left_out);
                    with(Value::List(others.map(|(_, item)| item.clone()).collect()));
                }
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
                failed.extend(broken(&changed));
                changes += 1;
            }
            if let Outcome::Reply { reply, .. } = outcome {
                earlier.insert(rpcs[call], reply);
            }
        }
        for changed in together(events, &rpcs, &own) {
            failed.extend(broken(&changed));
            changes += 1;
        }
    }
    (changes, failed)
}

/// The events with several answers changed alike: those that a scenario gets to one RPC, and what the plugin and its node
/// say of themselves at the beginning.
fn together(events: &[Event], rpcs: &BTreeMap<CallId, &'static str>, own: &BTreeSet<CallId>) -> Vec<Vec<Event>> {
    let mut answers: BTreeMap<(bool, &str), Vec<usize>> = BTreeMap::new();
    for (at, event) in events.iter().enumerate() {
        let EventKind::Return { call, outcome: Outcome::Reply { .. } | Outcome::Status(_) } = &event.kind else {
            continue;
        };
        let rpc = rpcs[call];
        if own.contains(call) || SELF_DESCRIPTIONS.contains(&rpc) {
            answers.entry((own.contains(call), rpc)).or_default().push(at);
        }
    }
    let mut found = Vec::new();
    for ((is_own, _), positions) in answers {
        let honest = |at: &usize| match &events[*at].kind {
            EventKind::Return { outcome, .. } => Some(outcome),
            _ => None,
        };
        let reply = |at: &usize| match honest(at)? {
            Outcome::Reply { reply, .. } => Some(reply),
            _ => None,
        };
        let mut with = |outcome: &dyn Fn(&usize) -> Option<Outcome>| {
            let wrong: Vec<(usize, Outcome)> = positions.iter().filter_map(|at| Some((*at, outcome(at)?))).collect();
            // One answer alone was changed before.
            if wrong.len() <= usize::from(is_own) {
                return;
            }
            let mut changed = events.to_vec();
            for (at, wrong) in wrong {
                if let EventKind::Return { outcome, .. } = &mut changed[at].kind {
                    *outcome = wrong;
                }
            }
            found.push(changed);
        };
        for code in [5, 9, 12] {
            let status = Outcome::Status(Status { code, message: "x".into(), details: 0, leaked: vec![] });
            with(&|_| Some(status.clone()));
            with(&|at| reply(at).map(|_| status.clone()));
        }
        let first = positions.iter().find_map(reply);
        with(&|at| match reply(at) {
            Some(_) => None,
            None => first.map(|reply| Outcome::Reply { reply: reply.clone(), leaked: vec![] }),
        });
        let wrong: BTreeMap<usize, Vec<Reply>> =
            positions.iter().filter_map(|at| Some((*at, wrong_replies(reply(at)?)))).collect();
        for change in 0..wrong.values().map(Vec::len).max().unwrap_or(0) {
            with(&|at| wrong.get(at)?.get(change).map(|reply| Outcome::Reply { reply: reply.clone(), leaked: vec![] }));
        }
    }
    found
}

/// What no changed answer breaks, a history of its own does, or a fault of the driver.
const ELSEWHERE: [&str; 12] = [
    include_str!("../../crates/oracle/src/oracle/seen_to_fail_tests/contents.rs"),
    include_str!("../../crates/oracle/src/oracle/seen_to_fail_tests/expansion.rs"),
    include_str!("../../crates/oracle/src/oracle/seen_to_fail_tests/groups.rs"),
    include_str!("../../crates/oracle/src/oracle/seen_to_fail_tests/metadata.rs"),
    include_str!("../../crates/oracle/src/oracle/seen_to_fail_tests/mounts.rs"),
    include_str!("../../crates/oracle/src/oracle/seen_to_fail_tests/nodes.rs"),
    include_str!("../../crates/oracle/src/oracle/seen_to_fail_tests/process.rs"),
    include_str!("../../crates/oracle/src/oracle/seen_to_fail_tests/second_publish.rs"),
    include_str!("../../crates/oracle/src/oracle/seen_to_fail_tests/snapshots.rs"),
    include_str!("../../crates/oracle/src/oracle/seen_to_fail_tests/volumes.rs"),
    include_str!("../../crates/oracle/src/oracle/denied_tests.rs"),
    include_str!("../../docs/power.md"),
];

/// The RPCs by which a plugin describes itself.
const SELF_DESCRIPTIONS: [&str; 4] =
    ["GetPluginCapabilities", "ControllerGetCapabilities", "GroupControllerGetCapabilities", "NodeGetCapabilities"];

#[test]
fn every_rule_within_reach_is_seen_to_fail() {
    let honest = judge(history());
    let held: BTreeSet<RuleId> =
        honest.rules.iter().filter(|one| one.status == RuleStatus::Held).map(|one| one.rule).collect();
    let mut reply_of: BTreeMap<&'static str, Reply> = BTreeMap::new();
    for event in &history().events {
        if let EventKind::Return { outcome: Outcome::Reply { reply, .. }, .. } = &event.kind {
            reply_of.insert(reply.rpc().name(), reply.clone());
        }
    }
    // The scenarios are dealt out to as many threads as there are processors.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let all = scenarios();
    let found: Vec<(usize, BTreeSet<RuleId>)> = std::thread::scope(|scope| {
        let (all, reply_of) = (&all, &reply_of);
        let workers: Vec<_> = (0..threads)
            .map(|worker| scope.spawn(move || changed(all.iter().skip(worker).step_by(threads), reply_of)))
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let changes: usize = found.iter().map(|(changes, _)| changes).sum();
    let failed: BTreeSet<RuleId> = found.into_iter().flat_map(|(_, failed)| failed).collect();
    println!(
        "{changes} changed answers, {} of {} held rules seen to fail",
        held.intersection(&failed).count(),
        held.len()
    );
    let is_elsewhere = |rule: &RuleId| ELSEWHERE.iter().any(|text| text.contains(rule.as_str()));
    // Of those that the honest history does not exercise as well.
    let unseen: Vec<RuleId> = within_reach().filter(|rule| !failed.contains(rule) && !is_elsewhere(rule)).collect();
    assert!(unseen.is_empty(), "nothing broke {unseen:?}: a check that cannot fail is a defect");
}
