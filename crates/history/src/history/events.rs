//! The events of a history on disk, one by one: lines become events on all processors, ahead of whoever takes the events.

use std::{
    collections::VecDeque,
    io::BufRead,
    panic::resume_unwind,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
    vec,
};

use super::{Event, FORMAT, Header, HistoryError};

/// Lines that are turned into events together: that takes longer than reading them.
const BATCH: usize = 2048;

/// Fewer lines than this are not worth a thread.
const SHARE: usize = 1024;

/// Reads a history event by event; what it holds at a time does not depend on how long the history is.
#[derive(Debug)]
pub struct Events<R> {
    path: PathBuf,
    reader: R,
    header: Header,
    /// The batches that are being parsed, in their order, and how many of these there are at a time.
    under_way: VecDeque<Batch>,
    threads: usize,
    /// What has been parsed and is to be taken.
    parsed: vec::IntoIter<Event>,
    /// What is wrong with the line after it.
    failed: Option<HistoryError>,
    /// The number of the next line.
    line: usize,
    is_read: bool,
}

#[derive(Debug)]
enum Batch {
    Parsing(JoinHandle<Parsed>),
    Parsed(Parsed),
    Failed(HistoryError),
}

/// What became of some lines.
#[derive(Debug, Default)]
struct Parsed {
    events: Vec<Event>,
    lines: usize,
    /// Which of the lines is no event, and why; nothing after it counts.
    failed: Option<(usize, String)>,
}

impl<R: BufRead> Events<R> {
    /// Reads the header; `path` names the source in errors.
    ///
    /// A last line that was cut off, as a crash leaves it, is dropped.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is no history.
    pub fn parse(path: &Path, mut reader: R) -> Result<Self, HistoryError> {
        let path = path.to_owned();
        let mut line = Vec::new();
        let read = reader.read_until(b'\n', &mut line);
        read.map_err(|error| HistoryError::Read { path: path.clone(), error })?;
        let header: Header = serde_json::from_slice(&line)
            .map_err(|error| HistoryError::NoHeader { path: path.clone(), error: error.to_string() })?;
        if header.format != FORMAT {
            return Err(HistoryError::Version { path, found: header.format });
        }
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            path,
            reader,
            header,
            under_way: VecDeque::new(),
            threads,
            parsed: Vec::new().into_iter(),
            failed: None,
            line: 2,
            is_read: false,
        })
    }

    /// What stands on the first line.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Reads the next batch and has it parsed.
    fn read_on(&mut self) {
        let mut text = Vec::new();
        let mut lines = 0;
        while lines < BATCH {
            match self.reader.read_until(b'\n', &mut text) {
                Ok(0) => {
                    self.is_read = true;
                    break;
                }
                Ok(_) => lines += 1,
                Err(error) => {
                    self.is_read = true;
                    self.under_way.push_back(Batch::Parsed(parsed(&text)));
                    self.under_way.push_back(Batch::Failed(HistoryError::Read { path: self.path.clone(), error }));
                    return;
                }
            }
        }
        self.under_way.push_back(match lines < SHARE {
            true => Batch::Parsed(parsed(&text)),
            false => Batch::Parsing(thread::spawn(move || parsed(&text))),
        });
    }

    /// Takes the batch that was read first. Whether there is one.
    fn take_batch(&mut self) -> bool {
        while !self.is_read && self.under_way.len() <= self.threads {
            self.read_on();
        }
        let parsed = match self.under_way.pop_front() {
            Some(Batch::Parsing(thread)) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Some(Batch::Parsed(parsed)) => parsed,
            Some(Batch::Failed(error)) => {
                self.failed = Some(error);
                return true;
            }
            None => return false,
        };
        self.parsed = parsed.events.into_iter();
        self.failed = parsed.failed.map(|(at, error)| HistoryError::Line {
            path: self.path.clone(),
            line: self.line + at,
            error,
        });
        self.line += parsed.lines;
        true
    }
}

impl<R: BufRead> Iterator for Events<R> {
    type Item = Result<Event, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.parsed.next() {
                return Some(Ok(event));
            }
            if let Some(error) = self.failed.take() {
                self.is_read = true;
                self.under_way.clear();
                return Some(Err(error));
            }
            if !self.take_batch() {
                return None;
            }
        }
    }
}

/// The events of the lines, up to the first that is none.
fn parsed(text: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(event) => parsed.events.push(event),
            // Only the last line can be cut off.
            Err(_) if line.last() != Some(&b'\n') => {}
            Err(_) if line.iter().all(u8::is_ascii_whitespace) => {}
            Err(error) => {
                parsed.failed = Some((parsed.lines, error.to_string()));
                return parsed;
            }
        }
        parsed.lines += 1;
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{EventKind, Fault, History};

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
        for count in [0, 3, BATCH as u64, 9 * BATCH as u64 + 3] {
            let history = parse(&lines(count), "\n").unwrap();
            assert!(history.events.iter().map(|event| event.at).eq(0..count));
        }
    }

    #[test]
    fn a_line_that_is_no_event_is_named_and_one_that_was_cut_off_is_dropped() {
        for at in [2, BATCH + 3, 3 * BATCH] {
            let mut broken = lines(3 * BATCH as u64 + 5);
            broken[at] = "{}".into();
            let error = parse(&broken, "\n").unwrap_err();
            assert!(matches!(error, HistoryError::Line { line, .. } if line == at + 1), "{error}");
        }
        let mut cut = lines(3);
        cut.push("{\"at\":7".into());
        assert_eq!(parse(&cut, "").unwrap().events.len(), 3);
    }
}
