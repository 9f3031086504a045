//! The gate that every change to a volume's directory goes through, so that a copy can be taken of one moment.
//!
//! Daemons of any process on this host enter it for each change; whoever copies the volume shuts it meanwhile. It consists
//! of two files beside the directory, locked through the kernel, so a process that dies lets go of them.

use std::{
    ffi::OsString,
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// The gate as one thread that changes the volume sees it. Each thread needs one of its own.
#[derive(Debug)]
pub struct WriteGate {
    /// Passed by each change; held by whoever wants changes to stop, so that a stream of them cannot keep it waiting.
    door: File,
    /// Held by each change while it lasts.
    inside: File,
}

/// A change under way; over on drop.
#[derive(Debug)]
#[must_use = "the change counts as over when this is dropped"]
pub struct Entered<'a>(&'a File);

/// A gate that is shut; open again on drop.
#[derive(Debug)]
#[must_use = "the gate opens again when this is dropped"]
pub struct Shut {
    _gate: WriteGate,
}

impl WriteGate {
    /// The gate of a volume's directory; its files are made when they are missing.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let open = |suffix| {
            let path = beside(directory, suffix);
            File::options().create(true).truncate(false).write(true).open(path)
        };
        Ok(Self { door: open(DOOR)?, inside: open(INSIDE)? })
    }

    /// Enters for one change; waits while the gate is shut.
    pub fn enter(&self) -> io::Result<Entered<'_>> {
        self.door.lock_shared()?;
        let entered = self.inside.lock_shared().map(|()| Entered(&self.inside));
        self.door.unlock()?;
        entered
    }

    /// Shuts the gate and waits until the changes under way are over; gives up at a moment, and leaves it open then.
    pub fn shut(self, until: Instant) -> io::Result<Shut> {
        lock(&self.door, until)?;
        lock(&self.inside, until)?;
        Ok(Shut { _gate: self })
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // The lock goes with the file at the latest; there is nobody to tell.
        let _ = self.0.unlock();
    }
}

fn lock(file: &File, until: Instant) -> io::Result<()> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the volume is being written to without a pause"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn beside(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(directory);
    name.push(suffix);
    name.into()
}

const DOOR: &str = ".door";
const INSIDE: &str = ".inside";
/// How long between two attempts to take a lock: the kernel has no lock with a deadline.
const PAUSE: Duration = Duration::from_micros(200);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn nothing_changes_while_the_gate_is_shut_and_a_stream_of_changes_cannot_keep_it_open() {
        let directory = tempfile::tempdir().unwrap();
        let volume = directory.path().join("fs");
        let (changes, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let gate = WriteGate::of(&volume).unwrap();
                    while !stop.load(Ordering::SeqCst) {
                        let _entered = gate.enter().unwrap();
                        changes.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            for _ in 0..20 {
                let shut = WriteGate::of(&volume).unwrap().shut(soon()).unwrap();
                let before = changes.load(Ordering::SeqCst);
                for _ in 0..1000 {
                    thread::yield_now();
                }
                assert_eq!(changes.load(Ordering::SeqCst), before);
                drop(shut);
                while changes.load(Ordering::SeqCst) == before {
                    thread::yield_now();
                }
            }
            stop.store(true, Ordering::SeqCst);
        });
    }

    #[test]
    fn a_change_that_does_not_end_is_not_waited_for_beyond_the_moment() {
        let directory = tempfile::tempdir().unwrap();
        let volume = directory.path().join("fs");
        let writer = WriteGate::of(&volume).unwrap();
        let entered = writer.enter().unwrap();
        let error = WriteGate::of(&volume).unwrap().shut(Instant::now()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(entered);
        // The failed attempt left the gate open.
        drop(writer.enter().unwrap());
        drop(WriteGate::of(&volume).unwrap().shut(soon()).unwrap());
    }
}
