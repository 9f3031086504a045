//! Laws of the oracle on accepted histories.

use std::collections::BTreeMap;

use csi_certify::{
    history::{CallId, Event, EventKind, History, Lost, Outcome},
    oracle::{Finding, Judgement, Judging, RuleStatus, Severity, Survey, judge},
    spec::RuleId,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::recorded::history;

fn violations(judgement: &Judgement) -> Vec<&Finding> {
    judgement.findings.iter().filter(|finding| finding.severity == Severity::Violation).collect()
}

fn statuses(judgement: &Judgement) -> BTreeMap<RuleId, RuleStatus> {
    judgement.rules.iter().map(|verdict| (verdict.rule, verdict.status)).collect()
}

fn with(events: Vec<Event>) -> History {
    History { header: history().header.clone(), events }
}

/// A seed that a failing run prints, and that `CSI_CERTIFY_SEED` repeats.
fn seed() -> u64 {
    let seed = std::env::var("CSI_CERTIFY_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("repeat with CSI_CERTIFY_SEED={seed}");
    seed
}

#[test]
fn the_history_of_the_reference_driver_is_accepted_and_exercises_most_rules() {
    let judgement = judge(history());
    assert_eq!(violations(&judgement), Vec::<&Finding>::new());
    assert!(judgement.inconclusive.is_empty(), "{:?}", judgement.inconclusive);
    assert!(judgement.exercised() >= 340, "{} rules", judgement.exercised());
}

#[test]
fn every_prefix_of_an_accepted_history_is_accepted() {
    let events = &history().events;
    let mut random = StdRng::seed_from_u64(seed());
    // The first answers tell what a plugin is, so no prefix of them is left out.
    let later: Vec<usize> = (0..40).map(|_| random.random_range(0..events.len())).collect();
    for upto in (0..100).chain(later) {
        let judgement = judge(&with(events[..upto].to_vec()));
        assert_eq!(violations(&judgement), Vec::<&Finding>::new(), "the first {upto} events");
    }
}

/// The judgement of a history of which so many events are in sight at a time, and the rest is forgotten as soon as it can be.
fn judged_looking_ahead(history: &History, window: usize) -> Judgement {
    let mut survey = Survey::looking_ahead(window);
    history.events.iter().for_each(|event| survey.note(event.clone()));
    let mut judging = Judging::new(&history.header, survey);
    history.events.iter().for_each(|event| judging.push(event.clone()));
    judging.close().0
}

#[test]
fn the_judgement_does_not_depend_on_how_far_one_looks_ahead_and_what_is_forgotten() {
    let mut random = StdRng::seed_from_u64(seed());
    for round in 0..4 {
        let mut events = history().events.clone();
        // Answers get lost, calls go on for ever, some begin before the history, and some are told twice.
        let (lost, left_out) = [(0.0, 0.0), (0.01, 0.0), (0.0, 0.01), (0.01, 0.01)][round];
        events.retain(|_| !random.random_bool(left_out));
        for event in &mut events {
            if let EventKind::Return { outcome, .. } = &mut event.kind
                && random.random_bool(lost)
            {
                *outcome = Outcome::Lost(Lost::Deadline);
            }
        }
        if round == 3 {
            (0..events.len() / 50).for_each(|_| {
                let at = random.random_range(1..events.len());
                events.swap(at - 1, at);
            });
        }
        let told = with(events);
        let whole = judged_looking_ahead(&told, usize::MAX);
        for window in [0, 8, 64] {
            assert_eq!(judged_looking_ahead(&told, window), whole, "round {round}, {window} events ahead");
        }
    }
}

#[test]
fn an_answer_that_gets_lost_never_turns_accepted_into_rejected() {
    let mut random = StdRng::seed_from_u64(seed());
    for (share, lost) in [(0.05, Lost::Deadline), (0.05, Lost::Cancelled), (0.3, Lost::Dropped)] {
        let mut events = history().events.clone();
        for event in &mut events {
            if let EventKind::Return { outcome, .. } = &mut event.kind
                && random.random_bool(share)
            {
                *outcome = Outcome::Lost(lost);
            }
        }
        // A client that waited long is a finding of its own, so no time passes here.
        events.iter_mut().for_each(|event| event.at = 0);
        let judgement = judge(&with(events));
        assert_eq!(violations(&judgement), Vec::<&Finding>::new(), "{share} {lost:?}");
    }
}

#[test]
fn an_answer_that_comes_later_never_turns_accepted_into_rejected() {
    let mut random = StdRng::seed_from_u64(seed());
    for _ in 0..10 {
        let mut events = history().events.clone();
        for _ in 0..200 {
            let at = random.random_range(0..events.len());
            if !matches!(events[at].kind, EventKind::Return { .. }) {
                continue;
            }
            let event = events.remove(at);
            let later = (at + random.random_range(1..12)).min(events.len());
            events.insert(later, event);
        }
        let judgement = judge(&with(events));
        assert_eq!(violations(&judgement), Vec::<&Finding>::new());
    }
}

#[test]
fn a_recording_that_starts_in_the_middle_raises_no_alarm() {
    let mut random = StdRng::seed_from_u64(seed());
    let events = &history().events;
    for _ in 0..25 {
        let mut middle = with(events[random.random_range(0..events.len())..].to_vec());
        middle.header.recording = Some(Default::default());
        // Nobody who records knows which ids a client made up.
        for event in &mut middle.events {
            if let EventKind::Call(call) = &mut event.kind {
                call.invented.clear();
            }
        }
        let judgement = judge(&middle);
        assert_eq!(violations(&judgement), Vec::<&Finding>::new());
    }
}

/// The history with every name and id of the run spelt otherwise, at the same length: the suite sends names of the
/// longest length there is, and the same name in capitals.
fn renamed(history: &History) -> History {
    let events = history.events.iter().map(|event| {
        let text = serde_json::to_string(event).unwrap();
        let text = text.replace("\"cc-", "\"dd-").replace("\"CC-", "\"DD-");
        let text = text.replace("vol-", "lov-").replace("snap-", "pans-").replace("group-", "puorg-");
        serde_json::from_str(&text).unwrap()
    });
    History { header: history.header.clone(), events: events.collect() }
}

#[test]
fn renaming_objects_changes_nothing() {
    let (plain, other) = (judge(history()), judge(&renamed(history())));
    assert_eq!(statuses(&plain), statuses(&other));
    assert_eq!(plain.findings.len(), other.findings.len());
    assert_ne!(renamed(history()), *history());
}

#[test]
fn two_histories_of_different_objects_in_one_have_the_verdict_of_both() {
    let mut second = renamed(history());
    let calls = history().calls() as u64;
    for event in &mut second.events {
        match &mut event.kind {
            EventKind::Call(call) => call.id = CallId(call.id.0 + calls),
            EventKind::Return { call, .. } => *call = CallId(call.0 + calls),
            _ => {}
        }
    }
    // Lists show what the other half did, so they are left out of both.
    let is_list = |event: &Event| match &event.kind {
        EventKind::Call(call) => matches!(call.request.rpc().name(), "ListVolumes" | "ListSnapshots" | "GetCapacity"),
        _ => false,
    };
    let mut random = StdRng::seed_from_u64(seed());
    let (mut left, mut right) = (history().events.iter().peekable(), second.events.iter().peekable());
    let mut merged = Vec::new();
    loop {
        let take_left = random.random_bool(0.5);
        let next = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(_), None) => left.next(),
            (None, Some(_)) => right.next(),
            _ if take_left => left.next(),
            _ => right.next(),
        };
        merged.extend(next.filter(|event| !is_list(event)).cloned());
    }
    let judgement = judge(&with(merged));
    assert_eq!(violations(&judgement), Vec::<&Finding>::new());
}

#[test]
fn a_thousand_overlapping_calls_of_eight_clients_on_one_volume_are_followed() {
    use csi_certify::{
        csi::v1,
        history::{Call, Request},
    };
    let mut random = StdRng::seed_from_u64(seed());
    let mut events = Vec::new();
    let mut id = 0;
    let mut push = |kind| events.push(Event { at: 0, kind });
    let mut call = |request: Request| {
        id += 1;
        let call = Call {
            id: CallId(id),
            instance: "plugin".into(),
            node: "node".into(),
            scenario: String::new(),
            invented: Vec::new(),
            request,
        };
        (CallId(id), EventKind::Call(call))
    };
    let capability = v1::VolumeCapability {
        access_mode: Some(v1::volume_capability::AccessMode { mode: 5 }),
        access_type: Some(v1::volume_capability::AccessType::Mount(Default::default())),
    };
    let create = v1::CreateVolumeRequest {
        name: "v".into(),
        volume_capabilities: vec![capability.clone()],
        ..Default::default()
    };
    let (first, started) = call(create.into());
    push(started);
    let volume = v1::Volume { volume_id: "v-1".into(), ..Default::default() };
    let reply = v1::CreateVolumeResponse { volume: Some(volume) };
    push(EventKind::Return { call: first, outcome: Outcome::Reply { reply: reply.into(), leaked: vec![] } });
    let mut open: Vec<Option<(CallId, bool)>> = vec![None; 8];
    for _ in 0..1000 {
        let client = random.random_range(0..8);
        if let Some((id, publish)) = open[client].take() {
            let reply = if publish {
                v1::NodePublishVolumeResponse {}.into()
            } else {
                v1::NodeUnpublishVolumeResponse {}.into()
            };
            push(EventKind::Return { call: id, outcome: Outcome::Reply { reply, leaked: vec![] } });
        }
        let target_path = format!("/t{}", random.random_range(0..3));
        let publish = random.random_bool(0.5);
        let request: Request = if publish {
            v1::NodePublishVolumeRequest {
                volume_id: "v-1".into(),
                target_path,
                volume_capability: Some(capability.clone()),
                ..Default::default()
            }
            .into()
        } else {
            v1::NodeUnpublishVolumeRequest { volume_id: "v-1".into(), target_path }.into()
        };
        let (id, started) = call(request);
        push(started);
        open[client] = Some((id, publish));
    }
    let judgement = judge(&History { header: Default::default(), events });
    assert_eq!(violations(&judgement), Vec::<&Finding>::new());
    assert!(judgement.inconclusive.is_empty(), "{:?}", judgement.inconclusive);
}
