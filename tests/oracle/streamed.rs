//! A history that is read from a file, and of which most is forgotten on the way, has the verdict of one in memory.

use std::convert::Infallible;

use csi_certify::{
    history::{Event, EventKind, History, Lost, Outcome, Reader, Status, Writer},
    oracle::{CALLS_AT_HAND, duties, judge, judge_as_read},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{laws::seed, recorded::history};

/// The history with some answers lost and some turned into errors, so that there is something to find.
fn disturbed(random: &mut StdRng) -> History {
    let mut events = history().events.clone();
    for event in &mut events {
        let EventKind::Return { outcome, .. } = &mut event.kind else { continue };
        match random.random_range(0..40) {
            0 => *outcome = Outcome::Lost(Lost::Deadline),
            1 => *outcome = Outcome::Lost(Lost::Connection),
            2 => {
                let (code, message) = (13, "disturbed".to_owned());
                *outcome = Outcome::Status(Status { code, message, details: 0, leaked: Vec::new() });
            }
            _ => {}
        }
    }
    // Some calls have no end at all.
    events.retain(|event| !matches!(event.kind, EventKind::Return { .. }) || !random.random_bool(0.005));
    History { header: history().header.clone(), events }
}

#[test]
fn what_is_forgotten_on_the_way_was_not_needed() {
    let mut random = StdRng::seed_from_u64(seed());
    let histories = [history().clone()].into_iter().chain((0..6).map(|_| disturbed(&mut random)));
    for (number, history) in histories.enumerate() {
        let calls = history.events.iter().filter(|event| matches!(event.kind, EventKind::Call(_))).count();
        assert!(calls < CALLS_AT_HAND, "in memory, all {calls} calls are at hand to the end");
        let (whole, breaches) = (judge(&history), duties(&history));
        assert!(number == 0 || whole.findings.len() > 10, "{} findings", whole.findings.len());
        for at_hand in [0, 100, 1000] {
            let read = || Ok::<_, Infallible>(history.events.iter().cloned().map(Ok));
            let (judgement, broken) = judge_as_read(&history.header, at_hand, read).unwrap();
            assert_eq!(judgement, whole, "history {number} with {at_hand} calls at hand");
            assert_eq!(broken, breaches, "history {number} with {at_hand} calls at hand");
        }
    }
}

#[test]
fn a_file_that_is_read_event_by_event_has_the_same_verdict() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.jsonl");
    let mut writer = Writer::create(&path, &history().header).unwrap();
    history().events.iter().for_each(|event| writer.append(event).unwrap());
    writer.flush().unwrap();
    let events: Vec<Event> = Reader::open(&path).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(events, history().events);
    let (judgement, _) = judge_as_read(&history().header, 0, || Reader::open(&path)).unwrap();
    assert_eq!(judgement, judge(history()));
}
