//! Copies of volumes as they are at one moment, although they are being written to.
//!
//! Changes to directories wait at their gates for as long as the copy takes. Writes to block devices cannot be made to
//! wait: the device writes out what it holds, and the copy counts if nothing was passed on to the file while it ran;
//! otherwise it is made again. So a copy of a block volume is what a loss of power at one moment would have left.

use std::{
    fs, io,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::copy::Copy;
#[cfg(target_os = "linux")]
use crate::mountpod::process::{PassedOn, flush_over, passed_on};
use crate::mountpod::{Shut, WriteGate};
#[cfg(not(target_os = "linux"))]
use no_devices::{PassedOn, flush_over, passed_on};

/// Something to be copied to a place where nothing is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Part {
    /// The directory of a volume.
    Directory {
        /// Where it is.
        from: PathBuf,
        /// Where the copy goes.
        to: PathBuf,
    },
    /// The file of a block volume.
    BlockFile {
        /// Where it is.
        from: PathBuf,
        /// Where the copy goes.
        to: PathBuf,
    },
}

/// Copies all of the parts as they are at one moment.
///
/// # Errors
///
/// `TimedOut` when writers leave no such moment for too long.
pub(super) fn copy_at_one_moment(mut parts: Vec<Part>, copy: impl Fn() -> Copy) -> io::Result<()> {
    // In one order, so that two copies of the same volumes do not wait for each other.
    parts.sort();
    let until = Instant::now() + PATIENCE;
    let mut shut: Vec<Shut> = Vec::new();
    for part in &parts {
        if let Part::Directory { from, .. } = part {
            shut.push(WriteGate::of(from)?.shut(until)?);
        }
    }
    for part in &parts {
        if let Part::Directory { from, to } = part {
            copy().tree(from, to)?;
        }
    }
    loop {
        for (from, _) in block_files(&parts) {
            flush_over(from)?;
        }
        let before = all_passed_on(&parts)?;
        for (from, to) in block_files(&parts) {
            copy().file(from, to)?;
        }
        if before.is_some() && all_passed_on(&parts)? == before {
            return Ok(());
        }
        for (_, to) in block_files(&parts) {
            fs::remove_file(to)?;
        }
        if Instant::now() > until {
            let why = "a block volume is written to faster than it can be copied";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
    }
}

/// Copies parts of a snapshot.
pub(super) fn copy_what_nobody_changes(parts: Vec<Part>, copy: impl Fn() -> Copy) -> io::Result<()> {
    parts.iter().try_for_each(|part| match part {
        Part::Directory { from, to } => copy().tree(from, to),
        Part::BlockFile { from, to } => copy().file(from, to),
    })
}

fn block_files(parts: &[Part]) -> impl Iterator<Item = (&PathBuf, &PathBuf)> {
    parts.iter().filter_map(|part| match part {
        Part::BlockFile { from, to } => Some((from, to)),
        Part::Directory { .. } => None,
    })
}

/// What was passed on to each file; `None` while something is on its way to one of them.
fn all_passed_on(parts: &[Part]) -> io::Result<Option<Vec<PassedOn>>> {
    block_files(parts).map(|(from, _)| passed_on(from)).collect()
}

/// Nothing is mounted on other systems, so no device writes to a file.
#[cfg(not(target_os = "linux"))]
mod no_devices {
    use std::{io, path::Path};

    #[derive(Eq, PartialEq)]
    pub(super) struct PassedOn;

    pub(super) fn flush_over(_: &Path) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn passed_on(_: &Path) -> io::Result<Option<PassedOn>> {
        Ok(Some(PassedOn))
    }
}

/// How long writers may keep a copy from being taken.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;

    /// Writes a counter to one volume, then to another, in a loop: the second is never ahead of the first.
    #[test]
    fn a_copy_of_two_directories_never_shows_a_later_write_without_an_earlier_one() {
        let root = tempfile::tempdir().unwrap();
        let place = |name: &str| root.path().join(name);
        fs::create_dir(place("a")).unwrap();
        fs::create_dir(place("b")).unwrap();
        fs::write(place("a").join("counter"), "0").unwrap();
        fs::write(place("b").join("counter"), "0").unwrap();
        let stop = AtomicBool::new(false);
        let counter =
            |directory: &str| -> u64 { fs::read_to_string(place(directory).join("counter")).unwrap().parse().unwrap() };
        thread::scope(|scope| {
            scope.spawn(|| {
                let gates = [WriteGate::of(&place("a")).unwrap(), WriteGate::of(&place("b")).unwrap()];
                for count in 1_u64.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    for (gate, name) in gates.iter().zip(["a", "b"]) {
                        let _entered = gate.enter().unwrap();
                        fs::write(place(name).join("counter"), count.to_string()).unwrap();
                    }
                }
            });
            for round in 0..50 {
                let part = |name: &str| Part::Directory { from: place(name), to: place(&format!("{name}-{round}")) };
                copy_at_one_moment(vec![part("b"), part("a")], || Copy::new(false)).unwrap();
                let (first, second) = (counter(&format!("a-{round}")), counter(&format!("b-{round}")));
                assert!(first == second || first == second + 1, "{first} and {second}");
            }
            stop.store(true, Ordering::SeqCst);
        });
    }
}
