//! The kernel's table of mounts, `/proc/self/mountinfo`, as text.

use crate::history::Mount;

/// The mounts on exactly this path, lowest first.
///
/// Lines that are not understood are left out: a table that changes while it is read may hold half a line.
pub fn mounts_on(table: &str, path: &str) -> Vec<Mount> {
    table.lines().filter_map(parse).filter(|(at, _)| at == path).map(|(_, mount)| mount).collect()
}

/// Reads a line: `36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/sda rw`.
fn parse(line: &str) -> Option<(String, Mount)> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ');
    let device = front.nth(2)?.to_owned();
    let point = unescape(front.nth(1)?);
    let read_only = front.next()?.split(',').any(|option| option == "ro");
    let mut back = back.split(' ');
    let fs_type = unescape(back.next()?);
    // The options of the whole file system come last: a read-only one makes each of its mounts so.
    let read_only = read_only || back.nth(1).is_some_and(|options| options.split(',').any(|option| option == "ro"));
    Some((point, Mount { fs_type, read_only, device }))
}

/// Undoes the octal escapes of space, tab, newline and backslash.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match (bytes[at], octal) {
            (b'\\', Some(digits)) => {
                plain.push(digits.iter().fold(0_u8, |byte, digit| byte.wrapping_mul(8).wrapping_add(digit - b'0')));
                at += 4;
            }
            (byte, _) => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:45 / /mnt/a\\040b ro,nosuid - fuse.passthrough none rw,user_id=0
31 30 7:0 /sub /mnt/a\\040b rw shared:3 master:2 - xfs /dev/loop0 rw
32 22 0:5 / /mnt/c rw - devtmpfs dev ro
half a line";

    #[test]
    fn mounts_are_found_by_their_exact_path_lowest_first() {
        let found = mounts_on(TABLE, "/mnt/a b");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].fs_type.as_str(), found[0].read_only), ("fuse.passthrough", true));
        assert_eq!((found[1].device.as_str(), found[1].read_only), ("7:0", false));
        assert!(mounts_on(TABLE, "/mnt").is_empty());
        assert!(mounts_on(TABLE, "/mnt/c")[0].read_only);
    }

    proptest::proptest! {
        #[test]
        fn no_table_makes_the_parser_panic(table in "[ -~\n\\\\0-7]*") {
            mounts_on(&table, "/");
        }
    }
}
