//! Single request fields: what is required, how long it may be, which characters it may hold.

use std::collections::BTreeMap;

use super::{GroupSnapshotId, Refusal, SnapshotId};
use crate::mountpod::{TargetPath, VolumeId};

/// The name that the orchestrator chose for a volume or snapshot; any Unicode apart from the banned control
/// characters (specification lines 814–821).
pub(super) fn name(field: &'static str, text: &str) -> Result<String, Refusal> {
    required(field, text, LONGEST_STRING)?;
    match text.chars().find(|&character| is_banned(character)) {
        Some(character) => {
            Err(Refusal::invalid(field, format!("holds the control character U+{:04X}: remove it", character as u32)))
        }
        None => Ok(text.to_owned()),
    }
}

/// A volume id. `None` for a text that can be no id of ours: no volume has it.
pub(super) fn volume_id(field: &'static str, text: &str) -> Result<Option<VolumeId>, Refusal> {
    required(field, text, LONGEST_STRING)?;
    Ok(text.parse().ok())
}

/// The id of a volume that has to exist.
pub(super) fn existing_volume_id(field: &'static str, text: &str) -> Result<VolumeId, Refusal> {
    volume_id(field, text)?.ok_or_else(|| Refusal::no_volume(text))
}

/// A snapshot id. `None` for a text that can be no id of ours: no snapshot has it.
pub(super) fn snapshot_id(field: &'static str, text: &str) -> Result<Option<SnapshotId>, Refusal> {
    required(field, text, LONGEST_STRING)?;
    Ok(text.parse().ok())
}

/// A group snapshot id. `None` for a text that can be no id of ours: no group snapshot has it.
pub(super) fn group_snapshot_id(text: &str) -> Result<Option<GroupSnapshotId>, Refusal> {
    required("group_snapshot_id", text, LONGEST_STRING)?;
    Ok(text.parse().ok())
}

/// A node id; longer than other strings (specification line 2812).
pub(super) fn node_id(text: &str) -> Result<(), Refusal> {
    at_most("node_id", text, LONGEST_NODE_ID)
}

/// A required absolute path (specification lines 2349–2352).
pub(super) fn path(field: &'static str, text: &str) -> Result<TargetPath, Refusal> {
    required(field, text, LONGEST_PATH)?;
    text.parse().map_err(|problem| {
        Refusal::invalid(field, format!("is refused ({problem}): give an absolute path without `.` and `..`"))
    })
}

/// The required path of a volume that is looked for. `None` for a text that can be no such path: no volume is there.
pub(super) fn volume_path(text: &str) -> Result<Option<TargetPath>, Refusal> {
    required("volume_path", text, LONGEST_PATH)?;
    Ok(text.parse().ok())
}

/// An optional absolute path.
pub(super) fn optional_path(field: &'static str, text: &str) -> Result<Option<TargetPath>, Refusal> {
    if text.is_empty() { Ok(None) } else { path(field, text).map(Some) }
}

/// A map of strings, at most 4 KiB in all (specification line 470).
pub(super) fn map(field: &'static str, entries: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let size: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > LARGEST_MAP {
        return Err(Refusal::invalid(field, format!("has {size} bytes: at most {LARGEST_MAP} are allowed")));
    }
    Ok(())
}

/// The number of entries that a page may hold; `None` for no limit.
pub(super) fn max_entries(count: i32) -> Result<Option<usize>, Refusal> {
    match usize::try_from(count) {
        Ok(0) => Ok(None),
        Ok(limit) => Ok(Some(limit)),
        Err(_) => Err(Refusal::invalid("max_entries", "is negative: give 0 for no limit")),
    }
}

/// A string that is present and not too long.
pub(super) fn required(field: &'static str, text: &str, longest: usize) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err(Refusal::Missing(field));
    }
    at_most(field, text, longest)
}

fn at_most(field: &'static str, text: &str, longest: usize) -> Result<(), Refusal> {
    if text.len() > longest {
        return Err(Refusal::invalid(field, format!("has {} bytes: at most {longest} are allowed", text.len())));
    }
    Ok(())
}

/// Control characters that a name may not hold; tab, line feed and carriage return are allowed.
fn is_banned(character: char) -> bool {
    matches!(character, '\u{0}'..='\u{8}' | '\u{B}' | '\u{C}' | '\u{E}'..='\u{1F}' | '\u{7F}'..='\u{9F}')
}

/// The general limit of a string (specification line 470).
pub(super) const LONGEST_STRING: usize = 128;
const LONGEST_NODE_ID: usize = 256;
const LARGEST_MAP: usize = 4096;
/// `PATH_MAX` without its terminator.
const LONGEST_PATH: usize = 4095;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_exotic_but_hold_no_control_characters() {
        for good in ["a b/c", "../x", "日本語🦀", "tab\there", &"x".repeat(128)] {
            assert!(name("name", good).is_ok(), "{good:?}");
        }
        for bad in ["", "\u{1}", "a\u{7f}", "\u{9f}", "\u{c}", &"x".repeat(129)] {
            assert!(name("name", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn relative_and_climbing_paths_are_refused() {
        for bad in ["", "relative", "/a/../b", "/", "/a/./b"] {
            assert!(path("target_path", bad).is_err(), "{bad:?}");
        }
        assert!(path("target_path", &format!("/{}", "a/".repeat(1500))).is_ok());
    }

    #[test]
    fn a_map_of_exactly_four_kibibytes_is_accepted() {
        let of = |length: usize| BTreeMap::from([("k".to_owned(), "v".repeat(length))]);
        assert!(map("secrets", &of(4095)).is_ok());
        assert!(map("secrets", &of(4096)).is_err());
    }
}
