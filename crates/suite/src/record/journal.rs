//! The journal: a thread that writes the history behind the traffic, so that the traffic does not wait for it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use prost::bytes::Bytes;
use thiserror::Error;

use super::{
    conversation::Way,
    minutes::Minutes,
    queue::{Happening, Queue, Reading},
};
use crate::history::{Header, Lost, Recorder, Recording, Writer};

/// How long an entry may stay in this process before it is handed to the operating system.
const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// When a new file is begun.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// A file that has grown beyond this many bytes is the last of its kind.
    pub bytes: u64,
}

/// Why a journal cannot be kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// There is a file already.
    #[error("{0} exists already: a recording never overwrites another, choose another name")]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("cannot write the history {path}: {error}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The thread ended by itself.
    #[error("the journal's thread ended by itself")]
    Ended,
}

/// Listens to any number of connections; cheap to clone.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

/// What passes over one connection; when it is dropped, the connection is gone.
pub(super) struct Listening {
    journal: Journal,
    connection: u64,
    /// What becomes of calls that are under way at the end.
    lost: Mutex<Lost>,
}

struct Shared {
    queue: Arc<Queue>,
}

/// The thread behind a journal.
pub struct Writing {
    thread: JoinHandle<Result<Summary, JournalError>>,
}

/// What was journalled.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Calls that were understood.
    pub calls: u64,
    /// What passed without having been understood, requests and whole connections, and why the last was not.
    pub not_understood: Option<(u64, String)>,
    /// The files, in order.
    pub files: Vec<PathBuf>,
}

impl Journal {
    /// Starts a journal in a file that does not exist yet.
    ///
    /// The header's `recording` tells where the history belongs; its part is counted here.
    ///
    /// # Errors
    ///
    /// When the file exists, or cannot be written.
    pub fn start(
        path: &Path,
        header: Header,
        instance: &'static str,
        node: String,
        rotation: Rotation,
    ) -> Result<(Self, Writing), JournalError> {
        let mut pages = Pages { path: path.to_owned(), header, rotation, files: Vec::new() };
        let recorder = Recorder::on_disk(pages.header.clone(), pages.next()?);
        let queue = Arc::new(Queue::new());
        let source = Reading(queue.clone());
        let minutes = Minutes::new(recorder, instance, node);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write(&source, minutes, pages))
            .map_err(|error| JournalError::Write { path: path.to_owned(), error })?;
        Ok((Self(Arc::new(Shared { queue })), Writing { thread }))
    }

    /// Begins to listen to a connection.
    pub(super) fn listen(&self) -> Listening {
        let connection = self.0.queue.number();
        Listening { journal: self.clone(), connection, lost: Mutex::new(Lost::Cancelled) }
    }

    /// Whether everything is written, and no call under way.
    pub(super) fn is_idle(&self) -> bool {
        self.0.queue.is_idle()
    }

    fn enter(&self, connection: u64, happening: Happening) {
        self.0.queue.enter(connection, happening);
    }
}

impl Listening {
    /// Bytes are about to be passed on: they are in the queue before anybody can answer them.
    pub(super) fn passing(&self, way: Way, bytes: Bytes) {
        self.journal.enter(self.connection, Happening::Passing(way, bytes));
    }

    /// The driver broke the connection off, or was never there.
    pub(super) fn cut_off(&self) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Lost::Connection;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let lost = *self.lost.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.journal.enter(self.connection, Happening::Gone(lost));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.complete();
    }
}

impl Writing {
    /// Waits until all journals of the thread are gone and everything is written.
    ///
    /// # Errors
    ///
    /// When not everything could be written.
    pub fn end(self) -> Result<Summary, JournalError> {
        self.thread.join().unwrap_or(Err(JournalError::Ended))
    }

    /// Whether the thread has ended, which it does early only when it cannot write.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

fn write(source: &Reading, mut minutes: Minutes, mut pages: Pages) -> Result<Summary, JournalError> {
    let mut flushed = Instant::now();
    while let Some(entries) = source.next(minutes.under_way()) {
        for (at, connection, happening) in entries {
            minutes.take(at, connection, happening);
            if minutes.recorder.written() > pages.rotation.bytes {
                pages.turn(&minutes.recorder)?;
            }
        }
        if flushed.elapsed() > FLUSH_EVERY {
            minutes.recorder.flush().map_err(|error| pages.failed(error))?;
            flushed = Instant::now();
        }
    }
    minutes.recorder.flush().map_err(|error| pages.failed(error))?;
    Ok(Summary { files: pages.files, ..minutes.summary })
}

/// The files of a recording: `history.jsonl`, then `history.2.jsonl` and so on.
struct Pages {
    path: PathBuf,
    header: Header,
    rotation: Rotation,
    files: Vec<PathBuf>,
}

impl Pages {
    fn next(&mut self) -> Result<Writer, JournalError> {
        let part = self.files.len() as u32 + 1;
        let path = match part {
            1 => self.path.clone(),
            part => numbered(&self.path, part),
        };
        if path.exists() {
            return Err(JournalError::Exists(path));
        }
        self.header.recording.get_or_insert_with(Recording::default).part = part;
        self.files.push(path.clone());
        Writer::create(&path, &self.header).map_err(|error| JournalError::Write { path, error })
    }

    fn turn(&mut self, recorder: &Recorder) -> Result<(), JournalError> {
        let next = self.next()?;
        recorder.go_on_in(next).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> JournalError {
        JournalError::Write { path: self.files.last().unwrap_or(&self.path).clone(), error }
    }
}

/// `history.jsonl` and 2 make `history.2.jsonl`.
fn numbered(path: &Path, part: u32) -> PathBuf {
    match path.extension() {
        Some(extension) => path.with_extension(format!("{part}.{}", extension.to_string_lossy())),
        None => path.with_extension(part.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::conversation::tests::Wire, *};
    use crate::{
        history::{EventKind, FORMAT, History},
        spec::Rpc,
    };

    fn header() -> Header {
        let recording = Some(Recording { id: "r".into(), part: 0, epoch: 5 });
        Header { format: FORMAT, recording, ..Header::default() }
    }

    #[test]
    fn files_follow_each_other_and_nothing_is_left_out_between_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        let (journal, writing) =
            Journal::start(&path, header(), "plugin", "n".into(), Rotation { bytes: 2000 }).unwrap();
        let listening = journal.listen();
        let mut wire = Wire::default();
        listening.passing(Way::Request, wire.preface());
        for call in 0..50 {
            let stream = 2 * call + 1;
            listening.passing(Way::Request, wire.request(stream, Rpc::Probe, b"\0\0\0\0\0"));
            listening.passing(Way::Answer, wire.answer(stream, b"\0\0\0\0\0", "0"));
        }
        drop((journal, listening));
        let summary = writing.end().unwrap();
        assert_eq!(summary.calls, 50);
        assert!(summary.files.len() > 2, "{:?}", summary.files);
        assert_eq!(summary.files[1], directory.path().join("history.2.jsonl"));
        let histories: Vec<History> = summary.files.iter().map(|file| History::read(file).unwrap()).collect();
        let ids: Vec<u64> = histories
            .iter()
            .flat_map(|history| &history.events)
            .filter_map(|event| match &event.kind {
                EventKind::Call(call) => Some(call.id.0),
                _ => None,
            })
            .collect();
        assert_eq!(ids, (0..50).collect::<Vec<_>>());
        let parts = histories.iter().map(|history| history.header.recording.as_ref().unwrap().part);
        assert!(parts.eq(1..=histories.len() as u32));
    }

    #[test]
    fn a_recording_never_overwrites_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        std::fs::write(&path, "precious").unwrap();
        let started = Journal::start(&path, header(), "plugin", String::new(), Rotation { bytes: 1 });
        assert!(matches!(started.map(drop), Err(JournalError::Exists(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
