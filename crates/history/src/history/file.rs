//! Histories on disk: JSON Lines, a header first, then one event a line.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Event, EventKind, Events};

/// The version of the format; a reader refuses others.
pub const FORMAT: u32 = 1;

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
    pub fn parse(path: &Path, reader: impl BufRead) -> Result<Self, HistoryError> {
        let events = Events::parse(path, reader)?;
        Ok(Self { header: events.header().clone(), events: events.collect::<Result<_, _>>()? })
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
