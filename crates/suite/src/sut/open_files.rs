//! What a process of the driver holds open: ports on which it listens, files to which it appends.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use super::{Lane, blocking, launch::answers};
use crate::history::Observation;

/// How long a port may take to answer a greeting.
const PATIENCE: Duration = Duration::from_millis(300);

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The flags of a file that is open for appending, in octal as `fdinfo` has them.
const APPEND: u32 = 0o2000;

/// What a process holds open, as `/proc` tells.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OpenFiles {
    ports: BTreeSet<u16>,
    appended: BTreeSet<String>,
}

impl OpenFiles {
    /// Looks at a process; `None` where there is no `/proc`, or it must not be read.
    pub async fn of(process: u32) -> Option<Self> {
        blocking(move || Self::under(&Path::new("/proc").join(process.to_string()))).await.flatten()
    }

    fn under(process: &Path) -> Option<Self> {
        let mut sockets = BTreeSet::new();
        let mut appended = BTreeSet::new();
        for entry in fs::read_dir(process.join("fd")).ok()?.flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.to_string_lossy().into_owned();
            if let Some(inode) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
                sockets.insert(inode.to_owned());
                continue;
            }
            let info = fs::read_to_string(process.join("fdinfo").join(entry.file_name())).unwrap_or_default();
            if flags(&info) & APPEND != 0 && fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file()) {
                appended.insert(target);
            }
        }
        let tables = ["tcp", "tcp6"].map(|name| fs::read_to_string(process.join("net").join(name)).unwrap_or_default());
        let ports = tables.iter().flat_map(|table| listening(table, &sockets)).collect();
        Some(Self { ports, appended })
    }

    /// On which of the ports CSI is served.
    pub async fn ports(&self, instance: &str) -> Observation {
        let mut serving = Vec::new();
        for &port in &self.ports {
            if let Ok(endpoint) = format!("127.0.0.1:{port}").parse()
                && answers(&Lane::Socket(endpoint), PATIENCE).await
            {
                serving.push(port);
            }
        }
        let others = u32::try_from(self.ports.len() - serving.len()).unwrap_or(u32::MAX);
        Observation::Ports { instance: instance.to_owned(), serving, others }
    }

    /// The files to which it appends.
    pub fn log_files(&self, instance: &str) -> Observation {
        Observation::LogFiles { instance: instance.to_owned(), paths: self.appended.iter().cloned().collect() }
    }
}

fn flags(info: &str) -> u32 {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0)
}

/// The ports of a table of the kernel's on which one of the sockets listens.
fn listening(table: &str, sockets: &BTreeSet<String>) -> Vec<u16> {
    let port = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (columns.get(1)?, columns.get(3)?, columns.get(9)?);
        let listens = *state == LISTEN && sockets.contains(*inode);
        listens.then(|| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()).flatten()
    };
    table.lines().filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_tells_on_which_ports_a_process_listens() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0
   1: 0100007F:1F91 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0
   2: 0100007F:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0
";
        let sockets = ["4711", "4712"].map(str::to_owned).into();
        assert_eq!(listening(table, &sockets), [8080]);
    }

    #[test]
    fn what_is_opened_to_append_is_told_from_what_is_not() {
        assert_eq!(flags("pos:\t0\nflags:\t0102001\nmnt_id:\t29\n") & APPEND, APPEND);
        assert_eq!(flags("pos:\t0\nflags:\t0100001\n") & APPEND, 0);
        assert_eq!(flags(""), 0);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn this_very_process_is_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("driver.log");
        let _appended = fs::File::options().append(true).create(true).open(&log).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = OpenFiles::of(std::process::id()).await.unwrap();
        assert!(open.appended.contains(&log.display().to_string()), "{open:?}");
        assert!(open.ports.contains(&port), "{open:?}");
    }
}
