//! The recorder: what all clients of a run share.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use prost_reflect::{DynamicMessage, Value};

use super::{
    Call, CallId, Event, EventKind, Fault, Header, History, Lost, Observation, Outcome, Phase, Redactor, Reply,
    Request, Status, Writer,
};

/// The longest status message that is kept, in bytes.
const LONGEST_MESSAGE: usize = 16 * 1024;

/// Appends to a history from any number of tasks; cheap to clone.
///
/// Everything passes through the redactor before it is stored, and is written to the file, if there is one, at once.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    began: Instant,
    /// The same in the time of the runtime, where that is what counts.
    began_in_runtime: Option<tokio::time::Instant>,
    /// The moment at which events are entered, where it is not that of their entry.
    moment: Option<u64>,
    /// Whether the history is kept in memory too.
    kept: bool,
    calls: u64,
    invented: BTreeSet<String>,
    history: History,
    redactor: Redactor,
    writer: Option<Writer>,
    failed: Option<io::Error>,
}

impl Recorder {
    /// Starts a history; with a writer it also goes to disk as it grows.
    pub fn new(header: Header, writer: Option<Writer>) -> Self {
        Self::with(header, writer, true)
    }

    /// Starts a history that goes to disk only: it may grow beyond any memory.
    pub fn on_disk(header: Header, writer: Writer) -> Self {
        Self::with(header, Some(writer), false)
    }

    fn with(header: Header, writer: Option<Writer>, kept: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            began: Instant::now(),
            began_in_runtime: None,
            moment: None,
            kept,
            calls: 0,
            invented: BTreeSet::new(),
            history: History { header, events: Vec::new() },
            redactor: Redactor::default(),
            writer,
            failed: None,
        })))
    }

    /// Goes by the time of the tokio runtime, which may be paused, instead of the machine's.
    #[must_use]
    pub fn in_time_of_the_runtime(self) -> Self {
        self.state().began_in_runtime = Some(tokio::time::Instant::now());
        self
    }

    /// Enters what follows at a moment, in microseconds since the beginning: for those who write behind the traffic.
    pub fn turn_to(&self, moment: u64) {
        self.state().moment = Some(moment);
    }

    /// Goes on in another file; how the writing of the former ended.
    ///
    /// # Errors
    ///
    /// When not all of the former file reached the disk.
    pub fn go_on_in(&self, writer: Writer) -> io::Result<()> {
        let mut state = self.state();
        let mut former = state.writer.replace(writer);
        match (state.failed.take(), &mut former) {
            (Some(error), _) => Err(error),
            (None, Some(former)) => former.flush(),
            (None, None) => Ok(()),
        }
    }

    /// How many bytes the present file holds.
    pub fn written(&self) -> u64 {
        self.state().writer.as_ref().map_or(0, Writer::written)
    }

    /// Hands everything that was entered to the operating system.
    ///
    /// # Errors
    ///
    /// When not all of it can be written.
    pub fn flush(&self) -> io::Result<()> {
        let mut state = self.state();
        match (state.failed.take(), &mut state.writer) {
            (Some(error), _) => Err(error),
            (None, Some(writer)) => writer.flush(),
            (None, None) => Ok(()),
        }
    }

    /// Remembers secrets, so that they are found in what the driver says.
    pub fn learn<'a>(&self, secrets: impl IntoIterator<Item = (&'a String, &'a String)>) {
        self.state().redactor.learn(secrets);
    }

    /// Remembers secrets that are wrong on purpose; see [`Redactor::mark`].
    pub fn mark<'a>(&self, secrets: impl IntoIterator<Item = (&'a String, &'a String)>, written: &'static str) {
        self.state().redactor.mark(secrets, written);
    }

    /// Remembers an id that is made up: every call that carries it will say so.
    pub fn invent(&self, id: &str) {
        self.state().invented.insert(id.to_owned());
    }

    /// Records that a request is about to be sent.
    pub fn call(&self, instance: &str, node: &str, scenario: &str, request: &Request) -> CallId {
        let mut state = self.state();
        let id = CallId(state.calls);
        state.calls += 1;
        let request = state.redactor.request(request);
        let (instance, node, scenario) = (instance.to_owned(), node.to_owned(), scenario.to_owned());
        let invented = match state.invented.is_empty() {
            true => Vec::new(),
            false => strings(&request.to_dynamic()).into_iter().filter(|text| state.invented.contains(text)).collect(),
        };
        state.push(EventKind::Call(Call { id, instance, node, scenario, invented, request }));
        id
    }

    /// Records an OK with its message.
    pub fn reply(&self, call: CallId, reply: Reply) {
        let mut state = self.state();
        let (reply, leaked) = state.redactor.reply(reply);
        state.push(EventKind::Return { call, outcome: Outcome::Reply { reply, leaked } });
    }

    /// Records another status; `details` counts the entries of its details.
    pub fn status(&self, call: CallId, code: i32, message: &str, details: u32) {
        let mut state = self.state();
        let end = message.floor_char_boundary(LONGEST_MESSAGE);
        let (message, leaked) = state.redactor.text(&message[..end]);
        let outcome = Outcome::Status(Status { code, message, details, leaked });
        state.push(EventKind::Return { call, outcome });
    }

    /// Records that nothing more will be known of a call.
    pub fn lost(&self, call: CallId, lost: Lost) {
        self.state().push(EventKind::Return { call, outcome: Outcome::Lost(lost) });
    }

    /// Records that what came is no answer.
    pub fn garbage(&self, call: CallId, what: &str) {
        let mut state = self.state();
        let end = what.floor_char_boundary(LONGEST_MESSAGE);
        let (what, _) = state.redactor.text(&what[..end]);
        state.push(EventKind::Return { call, outcome: Outcome::Garbage { what } });
    }

    /// Records an observation.
    pub fn observed(&self, observation: Observation) {
        self.state().push(EventKind::Observed(observation));
    }

    /// Records a fault.
    pub fn fault(&self, fault: Fault) {
        self.state().push(EventKind::Fault(fault));
    }

    /// Records the beginning or end of a scenario.
    pub fn scenario(&self, name: &str, phase: Phase) {
        self.state().push(EventKind::Scenario { name: name.to_owned(), phase });
    }

    /// Searches bytes for the secrets of the run; their keys.
    pub fn search(&self, bytes: &[u8]) -> Vec<String> {
        self.state().redactor.search(bytes)
    }

    /// The history so far.
    pub fn history(&self) -> History {
        self.state().history.clone()
    }

    /// The events from a position on, so that a reader can keep up with a run.
    pub fn since(&self, position: usize) -> Vec<Event> {
        self.state().history.events.get(position..).unwrap_or_default().to_vec()
    }

    /// Ends the recording: the history, and whether all of it reached the disk.
    pub fn finish(&self) -> (History, io::Result<()>) {
        let flushed = self.flush();
        (self.history(), flushed)
    }

    /// A panic elsewhere cannot leave the list half changed: pushing is the last thing done under the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, kind: EventKind) {
        let at = self.moment.unwrap_or_else(|| {
            self.began_in_runtime.map_or_else(|| self.began.elapsed(), |began| began.elapsed()).as_micros() as u64
        });
        let event = Event { at, kind };
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.append(&event)
        {
            self.failed.get_or_insert(error);
            self.writer = None;
        }
        if self.kept {
            self.history.events.push(event);
        }
    }
}

/// Every string of a message.
fn strings(message: &DynamicMessage) -> Vec<String> {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Message(message) => found.extend(strings(message)),
            Value::List(values) => values.iter().for_each(|value| walk(value, found)),
            Value::Map(entries) => entries.iter().for_each(|(key, value)| {
                found.extend(key.as_str().map(str::to_owned));
                walk(value, found);
            }),
            _ => {}
        }
    }
    let mut found = Vec::new();
    message.fields().for_each(|(_, value)| walk(value, &mut found));
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::csi::v1;

    #[test]
    fn what_is_recorded_is_read_back_and_holds_no_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        let header = Header { format: super::super::FORMAT, seed: 7, ..Header::default() };
        let recorder = Recorder::new(header.clone(), Some(Writer::create(&path, &header).unwrap()));
        let secrets = BTreeMap::from([("token".to_owned(), "0123456789abcdef".to_owned())]);
        let request = v1::DeleteVolumeRequest { volume_id: "v".into(), secrets };
        let call = recorder.call("plugin", "", "delete", &request.into());
        recorder.status(call, 13, "backend said 0123456789abcdef", 0);
        recorder.observed(Observation::Process { instance: "plugin".into(), alive: false, exit: "signal 9".into() });
        recorder.fault(Fault::Restarted { instance: "plugin".into() });
        recorder.scenario("delete", Phase::End);
        let (history, flushed) = recorder.finish();
        flushed.unwrap();
        assert_eq!(History::read(&path).unwrap(), history);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("0123456789abcdef"), "{text}");
        assert!(text.contains(r#""leaked":["token"]"#), "{text}");
    }

    #[test]
    fn a_history_cut_off_by_a_crash_is_read_up_to_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        let header = Header { format: super::super::FORMAT, ..Header::default() };
        let recorder = Recorder::new(header.clone(), Some(Writer::create(&path, &header).unwrap()));
        for _ in 0..3 {
            recorder.scenario("s", Phase::Begin);
        }
        recorder.finish().1.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        assert_eq!(History::read(&path).unwrap().events.len(), 2);
        std::fs::write(&path, text.replace("\"at\"", "\"when\"")).unwrap();
        let error = History::read(&path).unwrap_err().to_string();
        assert!(error.contains("line 2: not an event"), "{error}");
    }
}
