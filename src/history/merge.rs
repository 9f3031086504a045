//! Joining recordings: the files of one recorder, and those of several components, into one history.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    fs::File,
    io::BufReader,
    path::PathBuf,
};

use super::{CallId, Event, EventKind, Header, HistoryError, Reader, Recording};

/// How many events of one recorder are put in the order of their time: more than its queue can hold in disorder.
const WINDOW: usize = 8192;

/// Recordings that are one history, ordered by time; it is read from the files and never held as a whole.
///
/// The clocks of the machines are believed. Each recorder numbers its calls by itself, over all its files; in the joined
/// history every call has a number of its own, in the order of their starts.
#[derive(Clone, Debug)]
pub struct Recordings {
    header: Header,
    recorders: Vec<Recorder>,
}

/// The files of one recorder.
#[derive(Clone, Debug)]
struct Recorder {
    id: String,
    /// How much later than the first recorder it began.
    later: u64,
    files: VecDeque<PathBuf>,
}

impl Recordings {
    /// Of these files, whose headers were read. Nothing comes of nothing.
    pub fn of(files: Vec<(PathBuf, Header)>) -> Option<Self> {
        let mut files: Vec<(Recording, PathBuf, Header)> = files
            .into_iter()
            .map(|(path, header)| (header.recording.clone().unwrap_or_default(), path, header))
            .collect();
        files.sort_by_key(|(recording, ..)| (recording.epoch, recording.id.clone(), recording.part));
        let (first, _, header) = files.first()?;
        let (epoch, mut header) = (first.epoch, header.clone());
        header.recording = Some(Recording { part: 1, ..first.clone() });
        header.endpoints = files.iter().flat_map(|(.., header)| header.endpoints.clone()).collect();
        header.endpoints.sort();
        header.endpoints.dedup();
        let mut recorders: Vec<Recorder> = Vec::new();
        for (recording, path, _) in files {
            match recorders.iter_mut().find(|recorder| recorder.id == recording.id) {
                Some(recorder) => recorder.files.push_back(path),
                None => recorders.push(Recorder {
                    id: recording.id,
                    later: recording.epoch.saturating_sub(epoch),
                    files: VecDeque::from([path]),
                }),
            }
        }
        Some(Self { header, recorders })
    }

    /// About the joined history as a whole.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Reads the events, from the first one on.
    pub fn read(&self) -> impl Iterator<Item = Result<Event, HistoryError>> + use<> {
        let streams = self.recorders.iter().cloned().map(Stream::new).collect();
        Joined { streams, numbers: HashMap::new(), given: 0 }
    }
}

/// The events of one recorder in the order of their time.
struct Stream {
    recorder: Recorder,
    file: Option<Reader<BufReader<File>>>,
    read: u64,
    window: BinaryHeap<Reverse<Waiting>>,
    failed: Option<HistoryError>,
}

/// Ordered by time, and what is of one time as it was read.
struct Waiting {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Waiting {}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Stream {
    fn new(recorder: Recorder) -> Self {
        Self { recorder, file: None, read: 0, window: BinaryHeap::new(), failed: None }
    }

    fn fill(&mut self) {
        while self.window.len() < WINDOW && self.failed.is_none() {
            match self.next_read() {
                Ok(Some(mut event)) => {
                    event.at = event.at.saturating_add(self.recorder.later);
                    self.window.push(Reverse(Waiting { at: event.at, number: self.read, event }));
                    self.read += 1;
                }
                Ok(None) => break,
                Err(error) => self.failed = Some(error),
            }
        }
    }

    fn next_read(&mut self) -> Result<Option<Event>, HistoryError> {
        loop {
            if let Some(event) = self.file.as_mut().and_then(Iterator::next) {
                return event.map(Some);
            }
            let Some(path) = self.recorder.files.pop_front() else { return Ok(None) };
            self.file = Some(Reader::open(&path)?);
        }
    }

    /// When its next event is.
    fn at(&self) -> Option<u64> {
        self.window.peek().map(|Reverse(waiting)| waiting.at)
    }
}

struct Joined {
    streams: Vec<Stream>,
    /// By recorder and its number: the numbers of calls that are under way.
    numbers: HashMap<(usize, CallId), CallId>,
    given: u64,
}

impl Iterator for Joined {
    type Item = Result<Event, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.streams.iter_mut().for_each(Stream::fill);
            if let Some(error) = self.streams.iter_mut().find_map(|stream| stream.failed.take()) {
                self.streams.clear();
                return Some(Err(error));
            }
            let next = self.streams.iter().enumerate().filter_map(|(at, stream)| Some((stream.at()?, at)));
            let (_, recorder) = next.min()?;
            let Reverse(Waiting { mut event, .. }) = self.streams[recorder].window.pop()?;
            match &mut event.kind {
                EventKind::Call(call) => {
                    let number = CallId(self.given);
                    self.given += 1;
                    self.numbers.insert((recorder, call.id), number);
                    call.id = number;
                }
                EventKind::Return { call, .. } => match self.numbers.remove(&(recorder, *call)) {
                    Some(number) => *call = number,
                    // Its call was in a file that is not here.
                    None => continue,
                },
                _ => {}
            }
            return Some(Ok(event));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        csi::v1,
        history::{Call, FORMAT, Outcome, Writer},
    };

    fn recorded(directory: &Path, id: &str, part: u32, epoch: u64, times: &[(u64, u64)]) -> (PathBuf, Header) {
        let header =
            Header { format: FORMAT, recording: Some(Recording { id: id.into(), part, epoch }), ..Header::default() };
        let events = times.iter().flat_map(|&(call, at)| {
            let kind = EventKind::Call(Call {
                id: CallId(call),
                instance: id.into(),
                node: String::new(),
                scenario: String::new(),
                invented: Vec::new(),
                request: v1::ProbeRequest {}.into(),
            });
            let reply = v1::ProbeResponse::default().into();
            let outcome = Outcome::Reply { reply, leaked: Vec::new() };
            [Event { at, kind }, Event { at: at + 3, kind: EventKind::Return { call: CallId(call), outcome } }]
        });
        let path = directory.join(format!("{id}{part}"));
        let mut writer = Writer::create(&path, &header).unwrap();
        events.for_each(|event| writer.append(&event).unwrap());
        writer.flush().unwrap();
        (path, header)
    }

    #[test]
    fn two_sides_become_one_history_in_the_order_of_their_clocks() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        // The queue was out of order: 110 was written before 100.
        let controller = recorded(directory, "controller", 1, 1000, &[(0, 10), (2, 110), (1, 100)]);
        let later = recorded(directory, "controller", 2, 1000, &[(3, 200)]);
        let node = recorded(directory, "node", 1, 1050, &[(0, 10), (1, 51)]);
        let joined = Recordings::of(vec![node, later, controller]).unwrap();
        let events: Vec<Event> = joined.read().collect::<Result<_, _>>().unwrap();
        let calls: Vec<(u64, String)> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Call(call) => Some((event.at, call.instance.clone())),
                _ => None,
            })
            .collect();
        let expected = [
            (10, "controller"),
            (60, "node"),
            (100, "controller"),
            (101, "node"),
            (110, "controller"),
            (200, "controller"),
        ];
        assert_eq!(calls, expected.map(|(at, instance)| (at, instance.to_owned())));
        let ids: Vec<u64> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Return { call, .. } => Some(call.0),
                _ => None,
            })
            .collect();
        assert_eq!(ids, [0, 1, 2, 3, 4, 5], "each call has a number of its own and ends once");
        assert!(events.is_sorted_by_key(|event| event.at));
    }
}
