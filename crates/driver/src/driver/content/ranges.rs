//! Which bytes of a block file hold data, and which differ between two of them; read as they are asked for.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _};

/// Ranges in ascending order that do not touch each other's bytes.
pub type Ranges = Box<dyn Iterator<Item = io::Result<Range<u64>>> + Send>;

/// The ranges of a file that hold data, from the block that holds `start` on.
pub(super) fn allocated(file: File, start: u64) -> io::Result<Ranges> {
    let length = file.metadata()?.len();
    let mut position = block_of(start);
    Ok(Box::new(std::iter::from_fn(move || match extent(&file, position, length) {
        Ok(Some(range)) => {
            position = range.end;
            Some(Ok(range))
        }
        Ok(None) => None,
        Err(error) => {
            position = length;
            Some(Err(error))
        }
    })))
}

/// The ranges in which `target` differs from `base`, in whole blocks, from the block that holds `start` on. What lies
/// beyond the end of `base` differs where `target` holds data.
pub(super) fn changed(base: File, target: File, start: u64) -> io::Result<Ranges> {
    let length = target.metadata()?.len();
    let mut comparison =
        Comparison { base_length: base.metadata()?.len(), base, target, length, position: block_of(start) };
    Ok(Box::new(std::iter::from_fn(move || match comparison.next() {
        Ok(range) => range.map(Ok),
        Err(error) => {
            comparison.position = comparison.length;
            Some(Err(error))
        }
    })))
}

struct Comparison {
    base: File,
    base_length: u64,
    target: File,
    length: u64,
    position: u64,
}

impl Comparison {
    fn next(&mut self) -> io::Result<Option<Range<u64>>> {
        let mut found: Option<Range<u64>> = None;
        while self.position < self.length {
            let Some(stretch) = self.stretch()? else { break };
            // A stretch without data in either file ends a range.
            if let Some(range) = found.take_if(|range| range.end < stretch.start) {
                self.position = stretch.start;
                return Ok(Some(range));
            }
            for block in blocks(&stretch) {
                self.position = block.end;
                match (&mut found, self.differs(&block)?) {
                    (None, true) => found = Some(block),
                    (Some(range), true) => range.end = block.end,
                    (Some(_), false) => return Ok(found),
                    (None, false) => {}
                }
                if found.as_ref().is_some_and(|range| range.end - range.start >= LONGEST_RANGE) {
                    return Ok(found);
                }
            }
        }
        self.position = self.position.max(found.as_ref().map_or(self.length, |range| range.end));
        Ok(found)
    }

    /// The next stretch in which one of the files holds data.
    fn stretch(&self) -> io::Result<Option<Range<u64>>> {
        let in_target = extent(&self.target, self.position, self.length)?;
        let in_base = extent(&self.base, self.position, self.base_length.min(self.length))?;
        Ok(match (in_target, in_base) {
            (Some(one), Some(other)) if one.start <= other.start => Some(one),
            (Some(one), None) => Some(one),
            (_, other) => other.map(|range| range.start..range.end.next_multiple_of(BLOCK).min(self.length)),
        })
    }

    fn differs(&self, block: &Range<u64>) -> io::Result<bool> {
        let length = usize::try_from(block.end - block.start).map_err(io::Error::other)?;
        let (mut ours, mut theirs) = ([0; BLOCK as usize], [0; BLOCK as usize]);
        self.target.read_exact_at(&mut ours[..length], block.start)?;
        let known = self.base_length.saturating_sub(block.start).min(block.end - block.start);
        if known == 0 {
            return Ok(true);
        }
        let known = usize::try_from(known).map_err(io::Error::other)?;
        self.base.read_exact_at(&mut theirs[..known], block.start)?;
        Ok(ours != theirs)
    }
}

/// The next range of data at or after a position.
fn extent(file: &File, position: u64, length: u64) -> io::Result<Option<Range<u64>>> {
    if position >= length {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(position)) {
        Ok(start) if start < length => start,
        // No data from here to the end.
        Ok(_) | Err(rustix::io::Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start))?.min(length);
    Ok((start < end).then_some(start..end))
}

fn blocks(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let Range { start, end } = range.clone();
    (block_of(start)..end).step_by(BLOCK as usize).map(move |block| block.max(start)..(block + BLOCK).min(end))
}

fn block_of(position: u64) -> u64 {
    position - position % BLOCK
}

/// The unit in which changes are told.
const BLOCK: u64 = 4096;
/// A longer change is told in parts, so that whoever reads hears of it while the comparison goes on.
const LONGEST_RANGE: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    fn write(path: &Path, length: u64, at: &[(u64, &[u8])]) -> File {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
        file.set_len(length).unwrap();
        for &(offset, bytes) in at {
            file.write_all_at(bytes, offset).unwrap();
        }
        file
    }

    fn collect(ranges: io::Result<Ranges>) -> Vec<Range<u64>> {
        ranges.unwrap().collect::<io::Result<_>>().unwrap()
    }

    #[test]
    fn data_is_found_from_the_block_of_the_start_on() {
        let directory = tempfile::tempdir().unwrap();
        let file = || write(&directory.path().join("a"), 1 << 20, &[(0, &[1; 8192]), (65536, b"x")]);
        assert_eq!(collect(allocated(file(), 0)), [0..8192, 65536..69632]);
        assert_eq!(collect(allocated(file(), 5000)), [4096..8192, 65536..69632]);
        assert_eq!(collect(allocated(file(), 69632)), []);
        assert_eq!(collect(allocated(file(), 1 << 20)), []);
    }

    #[test]
    fn a_difference_is_found_wherever_bytes_differ_and_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for round in 0..60 {
            let mut draw = |longest: u64| -> (u64, Vec<(u64, Vec<u8>)>) {
                let length = random.random_range(1..=longest);
                let count = random.random_range(0..6);
                let writes = (0..count)
                    .map(|_| {
                        let offset = random.random_range(0..length);
                        let size = random.random_range(1..=(length - offset).min(20_000));
                        (offset, vec![random.random_range(0..3_u8); usize::try_from(size).unwrap()])
                    })
                    .collect();
                (length, writes)
            };
            let (base_length, base_writes) = draw(200_000);
            let (length, mut target_writes) = draw(200_000);
            // Half of the time the target goes on from the base.
            if round % 2 == 0 {
                target_writes
                    .splice(0..0, base_writes.iter().filter(|(at, bytes)| at + bytes.len() as u64 <= length).cloned());
            }
            let make = |name: &str, length: u64, writes: &[(u64, Vec<u8>)]| {
                let writes: Vec<(u64, &[u8])> = writes.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
                write(&directory.path().join(name), length, &writes)
            };
            let (base, target) = (make("base", base_length, &base_writes), make("target", length, &target_writes));
            let read = |file: &File, length: u64| {
                let mut bytes = vec![0; usize::try_from(length).unwrap()];
                file.read_exact_at(&mut bytes, 0).unwrap();
                bytes
            };
            let (before, after) = (read(&base, base_length), read(&target, length));
            let start = if round % 3 == 0 { length / 3 } else { 0 };
            let ranges = collect(changed(base, target, start));
            assert!(ranges.is_sorted_by(|a, b| a.end <= b.start), "{ranges:?}");
            assert!(ranges.iter().all(|it| it.start < it.end && it.end <= length && it.end > start), "{ranges:?}");
            for at in start..length {
                let byte = usize::try_from(at).unwrap();
                let differs = before.get(byte).copied().unwrap_or(0) != after[byte];
                let told = ranges.iter().any(|range| range.contains(&at));
                assert!(told || !differs, "byte {at} differs and is not in {ranges:?}");
            }
            for range in &ranges {
                let bytes = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                let same = bytes.clone().all(|byte| before.get(byte) == Some(&after[byte]));
                assert!(!same, "{range:?} is the same in both");
            }
        }
    }
}
