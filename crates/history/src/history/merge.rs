//! Joining recordings: the files of one recorder, and those of several components, into one history.

use std::collections::HashMap;

use super::{CallId, EventKind, History, Recording};

impl History {
    /// Joins recordings into one history, ordered by time.
    ///
    /// Each recorder numbers its calls by itself, over all its files; in the result every call has a number of its own.
    /// The clocks of the machines are believed. Nothing comes of nothing.
    pub fn join(mut recordings: Vec<Self>) -> Option<Self> {
        let recording = |history: &Self| history.header.recording.clone().unwrap_or_default();
        recordings.sort_by_key(|history| (recording(history).epoch, recording(history).id, recording(history).part));
        let mut header = recordings.first()?.header.clone();
        let epoch = recording(recordings.first()?).epoch;
        header.endpoints = recordings.iter().flat_map(|history| history.header.endpoints.clone()).collect();
        header.endpoints.sort();
        header.endpoints.dedup();
        header.recording = Some(Recording { part: 1, ..recording(recordings.first()?) });
        let mut numbers: HashMap<(String, CallId), CallId> = HashMap::new();
        let mut events = Vec::with_capacity(recordings.iter().map(|history| history.events.len()).sum());
        for history in recordings {
            let Recording { id, epoch: own, .. } = recording(&history);
            let later = own.saturating_sub(epoch);
            for mut event in history.events {
                event.at = event.at.saturating_add(later);
                let call = match &mut event.kind {
                    EventKind::Call(call) => Some(&mut call.id),
                    EventKind::Return { call, .. } => Some(call),
                    _ => None,
                };
                if let Some(call) = call {
                    let next = CallId(numbers.len() as u64);
                    *call = *numbers.entry((id.clone(), *call)).or_insert(next);
                }
                events.push(event);
            }
        }
        // Stable: what one recorder saw stays in its order.
        events.sort_by_key(|event| event.at);
        Some(Self { header, events })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        csi::v1,
        history::{Call, Event, Header, Outcome},
    };

    fn recorded(id: &str, part: u32, epoch: u64, instance: &str, times: &[(u64, u64)]) -> History {
        let header = Header { recording: Some(Recording { id: id.into(), part, epoch }), ..Header::default() };
        let events = times.iter().flat_map(|&(call, at)| {
            let kind = EventKind::Call(Call {
                id: CallId(call),
                instance: instance.into(),
                node: String::new(),
                scenario: String::new(),
                invented: Vec::new(),
                request: v1::ProbeRequest {}.into(),
            });
            let reply = v1::ProbeResponse::default().into();
            let outcome = Outcome::Reply { reply, leaked: Vec::new() };
            [Event { at, kind }, Event { at: at + 3, kind: EventKind::Return { call: CallId(call), outcome } }]
        });
        History { header, events: events.collect() }
    }

    #[test]
    fn two_sides_become_one_history_in_the_order_of_their_clocks() {
        let controller = recorded("a", 1, 1000, "controller", &[(0, 10), (1, 100)]);
        let later = recorded("a", 2, 1000, "controller", &[(2, 200)]);
        let node = recorded("b", 1, 1050, "node", &[(0, 10), (1, 51)]);
        let joined = History::join(vec![node, later, controller]).unwrap();
        let calls: Vec<(u64, String)> = joined
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Call(call) => Some((event.at, call.instance.clone())),
                _ => None,
            })
            .collect();
        let expected = [(10, "controller"), (60, "node"), (100, "controller"), (101, "node"), (200, "controller")];
        assert_eq!(calls, expected.map(|(at, instance)| (at, instance.to_owned())));
        let mut ids: Vec<u64> = joined
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Return { call, .. } => Some(call.0),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, [0, 1, 2, 3, 4], "each call has a number of its own and ends once");
        assert!(joined.events.is_sorted_by_key(|event| event.at));
    }
}
