//! Where the events of a history come from, as often as they are asked for: a file, what was read once, or several
//! recordings that are joined by time.
//!
//! The clocks of the machines are believed. What one recorder saw stays in its order.

use std::{
    collections::HashMap,
    fs::File,
    io::BufReader,
    iter,
    path::{Path, PathBuf},
};

use super::{CallId, Event, EventKind, Events, Header, History, HistoryError, Recording};

/// The events of a history, or why there are no more.
type Told<'a> = Box<dyn Iterator<Item = Result<Event, HistoryError>> + 'a>;

/// A history that can be gone through again and again without being held in memory.
#[derive(Debug)]
pub struct Source {
    header: Header,
    recorders: Vec<Recorder>,
    /// Whether each recorder has numbered its calls by itself.
    is_joined: bool,
}

/// The files of one recorder, in their order.
#[derive(Debug)]
struct Recorder {
    /// How much later than the history its moments begin, in microseconds.
    later: u64,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    File(PathBuf),
    Held(Vec<Event>),
}

impl Source {
    /// A history on disk. What can be read only once, as a pipe, is held.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is no history.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let fail = |error| HistoryError::Read { path: path.to_owned(), error };
        let file = File::open(path).map_err(fail)?;
        let is_file = file.metadata().map_err(fail)?.is_file();
        let events = Events::parse(path, BufReader::new(file))?;
        let header = events.header().clone();
        let part = match is_file {
            true => Part::File(path.to_owned()),
            false => Part::Held(events.collect::<Result<_, _>>()?),
        };
        Ok(Self { header, recorders: vec![Recorder { later: 0, parts: vec![part] }], is_joined: false })
    }

    /// Joins recordings into one history, ordered by time; in it every call has a number of its own. Nothing comes of nothing.
    pub fn join(mut recordings: Vec<Self>) -> Option<Self> {
        let recording = |source: &Self| source.header.recording.clone().unwrap_or_default();
        recordings.sort_by_key(|source| (recording(source).epoch, recording(source).id, recording(source).part));
        let first = recordings.first()?;
        let mut header = first.header.clone();
        let epoch = recording(first).epoch;
        header.recording = Some(Recording { part: 1, ..recording(first) });
        header.endpoints = recordings.iter().flat_map(|source| source.header.endpoints.clone()).collect();
        header.endpoints.sort();
        header.endpoints.dedup();
        let mut recorders: Vec<(String, Recorder)> = Vec::new();
        for source in recordings {
            let Recording { id, epoch: own, .. } = recording(&source);
            let parts = source.recorders.into_iter().flat_map(|recorder| recorder.parts);
            match recorders.last_mut() {
                Some((last, recorder)) if *last == id => recorder.parts.extend(parts),
                _ => recorders.push((id, Recorder { later: own.saturating_sub(epoch), parts: parts.collect() })),
            }
        }
        let recorders = recorders.into_iter().map(|(_, recorder)| recorder).collect();
        Some(Self { header, recorders, is_joined: true })
    }

    /// About the run as a whole.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What happened, from the beginning.
    pub fn events(&self) -> Told<'_> {
        match &*self.recorders {
            [only] if !self.is_joined => only.events(),
            recorders => Box::new(Merge::of(recorders)),
        }
    }
}

impl From<History> for Source {
    fn from(history: History) -> Self {
        let recorder = Recorder { later: 0, parts: vec![Part::Held(history.events)] };
        Self { header: history.header, recorders: vec![recorder], is_joined: false }
    }
}

impl Recorder {
    fn events(&self) -> Told<'_> {
        // A file is opened when the one before it has been read.
        let events = self.parts.iter().flat_map(Part::events);
        Box::new(
            events.map(|event| event.map(|event| Event { at: event.at.saturating_add(self.later), kind: event.kind })),
        )
    }
}

impl Part {
    fn events(&self) -> Told<'_> {
        match self {
            Self::Held(events) => Box::new(events.iter().cloned().map(Ok)),
            Self::File(path) => {
                let opened = File::open(path).map_err(|error| HistoryError::Read { path: path.clone(), error });
                match opened.and_then(|file| Events::parse(path, BufReader::new(file))) {
                    Ok(events) => Box::new(events),
                    Err(error) => Box::new(iter::once(Err(error))),
                }
            }
        }
    }
}

/// Several recorders, event by event in the order of time.
struct Merge<'a> {
    recorders: Vec<Told<'a>>,
    /// The next event of each.
    next: Vec<Option<Result<Event, HistoryError>>>,
    /// The numbers of the calls that go on, by recorder and by its own numbers.
    open: HashMap<(usize, CallId), CallId>,
    numbers: u64,
}

impl<'a> Merge<'a> {
    fn of(recorders: &'a [Recorder]) -> Self {
        let mut recorders: Vec<Told<'a>> = recorders.iter().map(Recorder::events).collect();
        let next = recorders.iter_mut().map(Iterator::next).collect();
        Self { recorders, next, open: HashMap::new(), numbers: 0 }
    }

    fn number(&mut self) -> CallId {
        self.numbers += 1;
        CallId(self.numbers - 1)
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<Event, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let moment = |next: &Option<Result<Event, HistoryError>>| match next {
            Some(Ok(event)) => Some(event.at),
            // What cannot be read is told at once.
            Some(Err(_)) => Some(0),
            None => None,
        };
        let moments = self.next.iter().enumerate().filter_map(|(at, next)| Some((moment(next)?, at)));
        let (_, at) = moments.min()?;
        let next = self.recorders[at].next();
        let mut event = match std::mem::replace(&mut self.next[at], next)? {
            Ok(event) => event,
            Err(error) => return Some(Err(error)),
        };
        match &mut event.kind {
            EventKind::Call(call) => {
                let number = self.number();
                self.open.insert((at, call.id), number);
                call.id = number;
            }
            // The end of a call that began before the recording is one of its own.
            EventKind::Return { call, .. } => {
                *call = match self.open.remove(&(at, *call)) {
                    Some(number) => number,
                    None => self.number(),
                };
            }
            _ => {}
        }
        Some(Ok(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        csi::v1,
        history::{Call, FORMAT, Outcome, Writer},
    };

    fn recorded(id: &str, part: u32, epoch: u64, instance: &str, times: &[(u64, u64)]) -> Source {
        let header =
            Header { format: FORMAT, recording: Some(Recording { id: id.into(), part, epoch }), ..Header::default() };
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
        History { header, events: events.collect() }.into()
    }

    #[test]
    fn two_sides_become_one_history_in_the_order_of_their_clocks() {
        let controller = recorded("a", 1, 1000, "controller", &[(0, 10), (1, 100)]);
        let later = recorded("a", 2, 1000, "controller", &[(2, 200)]);
        let node = recorded("b", 1, 1050, "node", &[(0, 10), (1, 51)]);
        let joined = Source::join(vec![node, later, controller]).unwrap();
        let events: Vec<Event> = joined.events().map(Result::unwrap).collect();
        assert_eq!(joined.events().map(Result::unwrap).collect::<Vec<_>>(), events, "a second time");
        let calls: Vec<(u64, String)> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Call(call) => Some((event.at, call.instance.clone())),
                _ => None,
            })
            .collect();
        let expected = [(10, "controller"), (60, "node"), (100, "controller"), (101, "node"), (200, "controller")];
        assert_eq!(calls, expected.map(|(at, instance)| (at, instance.to_owned())));
        let ended: Vec<u64> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Return { call, .. } => Some(call.0),
                _ => None,
            })
            .collect();
        assert_eq!(ended, [0, 1, 2, 3, 4], "each call has a number of its own and ends once");
        assert!(events.is_sorted_by_key(|event| event.at));
    }

    #[test]
    fn a_file_is_read_as_often_as_it_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("h.jsonl");
        let recorder = recorded("a", 1, 0, "controller", &[(0, 10), (1, 100)]);
        let mut writer = Writer::create(&path, recorder.header()).unwrap();
        recorder.events().for_each(|event| writer.append(&event.unwrap()).unwrap());
        writer.flush().unwrap();
        let source = Source::open(&path).unwrap();
        for _ in 0..2 {
            assert!(source.events().map(Result::unwrap).eq(recorder.events().map(Result::unwrap)));
        }
    }
}
