//! Histories on disk: JSON Lines, a header first, then one event a line.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write as _},
    panic::resume_unwind,
    path::{Path, PathBuf},
    thread,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Event, EventKind};

/// The version of the format; a reader refuses others.
pub const FORMAT: u32 = 1;

/// Lines that are read before they are turned into events, on all processors at once: that takes longer than reading.
const BATCH: usize = 16_384;

/// Fewer lines than this are not worth a thread.
const SHARE: usize = 1024;

/// What stands on the first line.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of the tool that wrote it.
    pub tool: String,
    /// When it began, RFC 3339 in UTC.
    pub started: String,
    /// The seed of everything random in the run.
    pub seed: u64,
    /// Whether the node's file system was looked at.
    pub node_fs: bool,
    /// Whether the plugin's supervisor was ours: it could be restarted.
    pub restartable: bool,
    /// Whether a plugin that is controller and node was reached over one endpoint.
    pub endpoints: Vec<String>,
    /// Of a recording: what joins its files, and those of other components, into one history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Recording>,
}

/// A recording of traffic that others caused: it begins in the middle of things.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// The same in all files of one recorder.
    pub id: String,
    /// Counts its files, from 1.
    pub part: u32,
    /// The moment 0 of its events, in microseconds since 1970.
    pub epoch: u64,
}

/// A run, from its first call to its last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// About the run as a whole.
    pub header: Header,
    /// What happened, in the order in which the recorder saw it.
    pub events: Vec<Event>,
}

/// Why a history could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The first line is no header of ours.
    #[error("{path} is not a history: its first line is no header ({error})")]
    NoHeader {
        /// The file.
        path: PathBuf,
        /// What is wrong with the line.
        error: String,
    },
    /// The format is of another version.
    #[error("{path} has format {found}, this version reads format {FORMAT}: use the csi-certify that wrote it")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// A line is no event.
    #[error("{path}, line {line}: not an event ({error})")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with the line.
        error: String,
    },
}

impl History {
    /// Reads a history from a file.
    ///
    /// A last line that was cut off, as a crash leaves it, is dropped.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is no history.
    pub fn read(path: &Path) -> Result<Self, HistoryError> {
        let fail = |error| HistoryError::Read { path: path.to_owned(), error };
        let file = File::open(path).map_err(fail)?;
        Self::parse(path, BufReader::new(file))
    }

    /// Reads a history from anywhere; `path` names the source in errors.
    ///
    /// # Errors
    ///
    /// As [`History::read`].
    pub fn parse(path: &Path, mut reader: impl BufRead) -> Result<Self, HistoryError> {
        let path = path.to_owned();
        let mut next = || {
            let mut line = Vec::new();
            let read = reader.read_until(b'\n', &mut line);
            read.map_err(|error| HistoryError::Read { path: path.clone(), error }).map(|_| line)
        };
        let header: Header = serde_json::from_slice(&next()?)
            .map_err(|error| HistoryError::NoHeader { path: path.clone(), error: error.to_string() })?;
        if header.format != FORMAT {
            return Err(HistoryError::Version { path, found: header.format });
        }
        let mut events = Vec::new();
        let mut number = 2;
        loop {
            let mut lines = Vec::new();
            while lines.len() < BATCH {
                match next()? {
                    line if line.is_empty() => break,
                    line => lines.push(line),
                }
            }
            if lines.is_empty() {
                return Ok(Self { header, events });
            }
            for (line, event) in lines.iter().zip(parsed(&lines)) {
                match event {
                    Ok(event) => events.push(event),
                    // Only the last line can be cut off.
                    Err(_) if line.last() != Some(&b'\n') => {}
                    Err(_) if line.iter().all(u8::is_ascii_whitespace) => {}
                    Err(error) => return Err(HistoryError::Line { path, line: number, error: error.to_string() }),
                }
                number += 1;
            }
        }
    }

    /// The last moment of the history, in microseconds since its beginning.
    pub fn duration(&self) -> u64 {
        self.events.last().map_or(0, |event| event.at)
    }

    /// How many calls it holds.
    pub fn calls(&self) -> usize {
        self.events.iter().filter(|event| matches!(event.kind, EventKind::Call(_))).count()
    }
}

/// The events of the lines, in their order.
fn parsed(lines: &[Vec<u8>]) -> Vec<serde_json::Result<Event>> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut shares = lines.chunks(lines.len().div_ceil(threads).max(SHARE));
    let parse = |share: &[Vec<u8>]| share.iter().map(|line| serde_json::from_slice(line)).collect::<Vec<_>>();
    let own = shares.next().unwrap_or_default();
    thread::scope(|scope| {
        let others: Vec<_> = shares.map(|share| scope.spawn(move || parse(share))).collect();
        let mut events = parse(own);
        for other in others {
            events.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        events
    })
}

/// Writes a history, event by event.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    written: u64,
}

impl Writer {
    /// Creates the file and writes the header.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let mut writer = Self { path: path.to_owned(), file: BufWriter::new(File::create(path)?), written: 0 };
        writer.line(header)?;
        Ok(writer)
    }

    /// Appends an event.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn append(&mut self, event: &Event) -> io::Result<()> {
        self.line(event)
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// How many bytes were written.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.written += line.len() as u64;
        self.file.write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Fault;

    /// A file with so many events, told apart by their moments.
    fn lines(count: u64) -> Vec<String> {
        let header = serde_json::to_string(&Header { format: FORMAT, ..Header::default() }).unwrap();
        let kind = EventKind::Fault(Fault::Disconnected { instance: "plugin".into() });
        let event = |at| serde_json::to_string(&Event { at, kind: kind.clone() }).unwrap();
        std::iter::once(header).chain((0..count).map(event)).collect()
    }

    fn parse(lines: &[String], ending: &str) -> Result<History, HistoryError> {
        History::parse(Path::new("h.jsonl"), (lines.join("\n") + ending).as_bytes())
    }

    #[test]
    fn events_stay_in_their_order_over_batches_and_threads() {
        let count = 2 * BATCH as u64 + 3;
        let history = parse(&lines(count), "\n").unwrap();
        assert!(history.events.iter().map(|event| event.at).eq(0..count));
    }

    #[test]
    fn a_line_that_is_no_event_is_named_and_one_that_was_cut_off_is_dropped() {
        let mut broken = lines(BATCH as u64 + 5);
        broken[BATCH + 3] = "{}".into();
        let error = parse(&broken, "\n").unwrap_err();
        assert!(matches!(error, HistoryError::Line { line, .. } if line == BATCH + 4), "{error}");
        let mut cut = lines(3);
        cut.push("{\"at\":7".into());
        assert_eq!(parse(&cut, "").unwrap().events.len(), 3);
    }
}
