//! Reads `/proc/self/mountinfo`: what is mounted where, in the order of mounting.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use thiserror::Error;

/// One mount.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MountInfo {
    /// The id of the mount.
    pub id: u64,
    /// The id of the mount that it stands on.
    pub parent: u64,
    /// Major and minor number of the file system.
    pub device: (u32, u32),
    /// Which path of the file system is mounted.
    pub root: PathBuf,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Whether this mount refuses writes.
    pub read_only: bool,
    /// The file system's type.
    pub fs_type: String,
    /// The source, as the file system names it.
    pub source: String,
}

/// A line is not of the form that the kernel documents.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("line {line} of the mount table cannot be read: {text}")]
pub struct NotMountInfo {
    /// The number of the line, from one.
    pub line: usize,
    /// The line.
    pub text: String,
}

/// Parses the whole table.
pub fn parse(table: &[u8]) -> Result<Vec<MountInfo>, NotMountInfo> {
    table
        .split(|&byte| byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            let text = || String::from_utf8_lossy(line).into_owned();
            parse_line(line).ok_or_else(|| NotMountInfo { line: index + 1, text: text() })
        })
        .collect()
}

/// The mounts on exactly this path, the visible one last.
pub(super) fn layers<'a>(table: &'a [MountInfo], path: &Path) -> Vec<&'a MountInfo> {
    let on_path: Vec<&MountInfo> = table.iter().filter(|mount| mount.mount_point == path).collect();
    // A mount stands on the one that it covers; the table's order is that of mounting except after mounts beneath.
    let mut ordered: Vec<&MountInfo> = Vec::with_capacity(on_path.len());
    let is_base = |mount: &&&MountInfo| !on_path.iter().any(|other| other.id == mount.parent && other.id != mount.id);
    let mut next = on_path.iter().find(is_base).copied();
    while let Some(mount) = next {
        if ordered.iter().any(|known| known.id == mount.id) {
            break;
        }
        ordered.push(mount);
        next = on_path.iter().find(|above| above.parent == mount.id).copied();
    }
    // Whatever the chain does not explain still counts.
    let rest = on_path.iter().filter(|mount| !ordered.iter().any(|known| known.id == mount.id));
    let mut all: Vec<&MountInfo> = rest.copied().collect();
    all.extend(ordered);
    all
}

fn parse_line(line: &[u8]) -> Option<MountInfo> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    // Between the options and the separator stand any number of propagation fields.
    let separator = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    let text = |index: usize| std::str::from_utf8(fields.get(index)?).ok();
    let (major, minor) = text(2)?.split_once(':')?;
    Some(MountInfo {
        id: text(0)?.parse().ok()?,
        parent: text(1)?.parse().ok()?,
        device: (major.parse().ok()?, minor.parse().ok()?),
        root: unescape(fields[3]),
        mount_point: unescape(fields[4]),
        read_only: text(5)?.split(',').any(|option| option == "ro"),
        fs_type: text(separator + 1)?.to_owned(),
        source: unescape(fields.get(separator + 2)?).into_os_string().to_string_lossy().into_owned(),
    })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match (first, digits) {
            (b'\\', Some(digits)) => {
                let value = digits.iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                bytes.push(u8::try_from(value & 0xff).unwrap_or_default());
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    debug_assert!(OsString::from_vec(bytes.clone()).as_bytes().len() <= field.len());
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_any_number_of_propagation_fields() {
        for propagation in ["", "shared:7 ", "shared:7 master:3 ", "unbindable "] {
            let line =
                format!("36 35 98:0 /mnt1 /mnt2 ro,noatime {propagation}- fuse.mountpod csi:a.1 rw,errors=continue");
            let mounts = parse(line.as_bytes()).unwrap();
            assert_eq!(
                mounts,
                [MountInfo {
                    id: 36,
                    parent: 35,
                    device: (98, 0),
                    root: "/mnt1".into(),
                    mount_point: "/mnt2".into(),
                    read_only: true,
                    fs_type: "fuse.mountpod".into(),
                    source: "csi:a.1".into(),
                }],
                "{propagation:?}"
            );
        }
    }

    #[test]
    fn octal_escapes_and_foreign_bytes_survive() {
        let table = b"1 0 0:1 / /a\\040b\\011c\\134d\xff rw - tmpfs none rw\n";
        let mounts = parse(table).unwrap();
        assert_eq!(mounts[0].mount_point.as_os_str().as_bytes(), b"/a b\tc\\d\xff");
        assert!(!mounts[0].read_only);
        assert_eq!(unescape(b"/x\\9\\04").as_os_str().as_bytes(), b"/x\\9\\04", "not an escape");
    }

    #[test]
    fn a_truncated_line_is_an_error_with_its_number() {
        let error = parse(b"1 0 0:1 / / rw - tmpfs none rw\n2 1 0:2 / /x rw shared:1 tmpfs none rw\n").unwrap_err();
        assert_eq!(error.line, 2);
        assert!(parse(b"").unwrap().is_empty());
    }

    #[test]
    fn stacked_layers_come_in_the_order_in_which_they_cover_each_other() {
        let table = b"5 1 0:1 / /t rw - fuse a rw\n7 6 0:1 / /t rw - fuse c rw\n6 5 0:1 / /t rw - fuse b rw\n8 1 0:1 / /u rw - fuse d rw\n";
        let mounts = parse(table).unwrap();
        let sources: Vec<&str> = layers(&mounts, Path::new("/t")).iter().map(|mount| mount.source.as_str()).collect();
        assert_eq!(sources, ["a", "b", "c"]);
    }

    #[test]
    fn the_table_of_this_process_is_read() {
        let mounts = parse(&std::fs::read("/proc/self/mountinfo").unwrap()).unwrap();
        assert!(mounts.iter().any(|mount| mount.mount_point == Path::new("/proc")), "{mounts:?}");
    }
}
