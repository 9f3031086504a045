//! Where the process runtime keeps its files, and how its mounts are named.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::super::{
    pod::{NodeId, PodName, Uid, hexadecimal},
    protocol::DaemonId,
};

/// The state directory of one node.
#[derive(Clone, Debug)]
pub(super) struct Places {
    root: PathBuf,
    instance: String,
}

impl Places {
    /// Makes the directories where they are missing.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        for name in [PODS, DAEMONS, MOUNTS] {
            fs::create_dir_all(state_dir.join(name))?;
        }
        let root = fs::canonicalize(state_dir)?;
        let hash = hexadecimal(&Sha256::digest(root.as_os_str().as_encoded_bytes()));
        Ok(Self { root, instance: hash[..12].to_owned() })
    }

    /// Claims the directory for a node: another node's instance would take these daemons for leftovers.
    pub(super) fn claim(&self, node: &NodeId) -> io::Result<()> {
        let path = self.root.join("node");
        let claimed = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                replace_file(&path, node.as_str().as_bytes())?;
                fs::read_to_string(&path)?
            }
            other => other?,
        };
        if claimed == node.as_str() {
            return Ok(());
        }
        Err(io::Error::other(format!("it belongs to node {claimed}: give each node a directory of its own")))
    }

    /// The state directory that a pod's file lies in.
    pub(super) fn of_pod_file(pod_file: &Path) -> io::Result<Self> {
        let root = pod_file.parent().and_then(Path::parent);
        Self::open(root.ok_or_else(|| io::Error::other("the pod file lies in no state directory"))?)
    }

    pub(super) fn pods(&self) -> PathBuf {
        self.root.join(PODS)
    }

    pub(super) fn records_lock(&self) -> PathBuf {
        self.root.join("pods.lock")
    }

    pub(super) fn pod_file(&self, name: &PodName) -> PathBuf {
        self.pods().join(format!("{name}.json"))
    }

    pub(super) fn daemons(&self) -> PathBuf {
        self.root.join(DAEMONS)
    }

    /// What belongs to the runs of one pod: lock, record of the run, log.
    pub(super) fn daemon(&self, uid: &Uid) -> PathBuf {
        self.daemons().join(uid.as_str())
    }

    pub(super) fn mounts(&self) -> PathBuf {
        self.root.join(MOUNTS)
    }

    /// A mount path of its own for each run: a dead mount on an older one stands in nobody's way.
    pub(super) fn mount(&self, daemon: &DaemonId) -> PathBuf {
        self.mounts().join(daemon.to_string())
    }

    /// The name of a daemon's mount in the mount table. It tells this state directory from others.
    pub(super) fn source(&self, daemon: &DaemonId) -> String {
        format!("{SOURCE}{}:{daemon}", self.instance)
    }

    /// The daemon behind a mount, when it is one of this state directory.
    pub(super) fn daemon_of_source(&self, source: &str) -> Option<DaemonId> {
        let (instance, daemon) = source.strip_prefix(SOURCE)?.split_once(':')?;
        let (pod, run) = daemon.rsplit_once('.')?;
        (instance == self.instance).then_some(())?;
        Some(DaemonId { pod: Uid::new(pod), run: run.parse().ok()? })
    }
}

/// How the name of a file begins that is not written to its end.
pub(super) const UNFINISHED: &str = ".new-";
const PODS: &str = "pods";
const DAEMONS: &str = "daemons";
const MOUNTS: &str = "mnt";
const SOURCE: &str = "csi-certify-";

/// Replaces a file so that a reader sees the old or the new content whole, and a crash leaves one of them.
pub(super) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let directory = path.parent().ok_or_else(|| io::Error::other("a file without a directory"))?;
    let mut temporary = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(directory)?;
    temporary.write_all(content)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_directory(directory)
}

/// Makes the names of a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_names_its_daemon_to_its_own_state_directory_alone() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (here, there) = (Places::open(here.path()).unwrap(), Places::open(there.path()).unwrap());
        let daemon = DaemonId { pod: Uid::new("0f"), run: 3 };
        assert_eq!(here.daemon_of_source(&here.source(&daemon)), Some(daemon.clone()));
        assert_eq!(there.daemon_of_source(&here.source(&daemon)), None);
        assert_eq!(here.daemon_of_source("tmpfs"), None);
    }

    #[test]
    fn a_state_directory_belongs_to_one_node() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::open(dir.path()).unwrap();
        places.claim(&NodeId::new("a")).unwrap();
        places.claim(&NodeId::new("a")).unwrap();
        assert!(places.claim(&NodeId::new("b")).unwrap_err().to_string().contains("node a"));
    }

    #[test]
    fn a_replaced_file_leaves_no_temporary_behind() {
        let dir = tempfile::tempdir().unwrap();
        for content in ["a", "b"] {
            replace_file(&dir.path().join("f"), content.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(dir.path().join("f")).unwrap(), "b");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
