//! The journal: a thread that writes the history behind the traffic, so that the traffic does not wait for it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::{
    history::{CallId, Header, Recorder, Recording, Request, Writer},
    spec::Rpc,
    sut::Answer,
};

/// How many entries may wait for the disk before the traffic has to wait too.
const QUEUE: usize = 4096;

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

/// Something to be journalled.
#[derive(Debug)]
pub(super) enum Entry {
    /// A request is about to be passed on.
    Request(Request),
    /// What the driver answered, or why nothing came.
    Answer {
        /// The call.
        call: CallId,
        /// How it ended.
        answer: Answer,
    },
    /// A request that passed without having been understood.
    NotUnderstood {
        /// Where it was sent.
        rpc: Rpc,
        /// Why.
        problem: String,
    },
}

/// Takes entries from any number of connections; cheap to clone.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

struct Shared {
    began: Instant,
    /// The number of the next call, and the way to the thread: one lock, so that the thread meets calls in their order.
    queue: Mutex<(u64, SyncSender<(u64, Entry)>)>,
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
    /// Requests that passed without having been understood, and why the last was not.
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
        let (sender, receiver) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write(&receiver, &recorder, pages, instance, &node))
            .map_err(|error| JournalError::Write { path: path.to_owned(), error })?;
        let shared = Shared { began: Instant::now(), queue: Mutex::new((0, sender)) };
        Ok((Self(Arc::new(shared)), Writing { thread }))
    }

    /// Journals a request, and numbers its call.
    pub(super) fn call(&self, request: Request) -> CallId {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let id = CallId(queue.0);
        queue.0 += 1;
        self.send(&queue.1, Entry::Request(request));
        id
    }

    /// Journals anything else.
    pub(super) fn enter(&self, entry: Entry) {
        let queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        self.send(&queue.1, entry);
    }

    /// A full queue makes the traffic wait: memory is bounded, and nothing is left out.
    fn send(&self, sender: &SyncSender<(u64, Entry)>, entry: Entry) {
        let at = self.0.began.elapsed().as_micros() as u64;
        // Without a thread nothing can be journalled; `Writing::end` tells why.
        let _ = sender.send((at, entry));
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

fn write(
    entries: &Receiver<(u64, Entry)>,
    recorder: &Recorder,
    mut pages: Pages,
    instance: &str,
    node: &str,
) -> Result<Summary, JournalError> {
    let mut summary = Summary::default();
    let mut flushed = Instant::now();
    loop {
        let entry = entries.recv_timeout(FLUSH_EVERY);
        if let Ok((at, entry)) = &entry {
            recorder.turn_to(*at);
            match entry {
                Entry::Request(request) => {
                    let node = if request.rpc().is_node() { node } else { "" };
                    recorder.call(instance, node, "", request);
                    summary.calls += 1;
                }
                Entry::Answer { call, answer } => answer.record(recorder, *call),
                Entry::NotUnderstood { rpc, problem } => {
                    let (count, last) = summary.not_understood.get_or_insert_default();
                    *count += 1;
                    *last = format!("{rpc}: {problem}");
                }
            }
        }
        if matches!(entry, Err(RecvTimeoutError::Disconnected)) {
            break;
        }
        if recorder.written() > pages.rotation.bytes {
            pages.turn(recorder)?;
        }
        if flushed.elapsed() > FLUSH_EVERY {
            recorder.flush().map_err(|error| pages.failed(error))?;
            flushed = Instant::now();
        }
    }
    recorder.flush().map_err(|error| pages.failed(error))?;
    summary.files = pages.files;
    Ok(summary)
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
    use super::*;
    use crate::{
        csi::v1,
        history::{EventKind, FORMAT, History},
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
        for _ in 0..50 {
            let call = journal.call(v1::ProbeRequest {}.into());
            journal.enter(Entry::Answer { call, answer: Answer::Reply(v1::ProbeResponse::default().into()) });
        }
        drop(journal);
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
