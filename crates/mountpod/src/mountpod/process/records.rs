//! Pod records as files: durable, and compare-and-swap across processes.
//!
//! Every request holds an advisory lock on one file for its whole read-decide-write; each record is replaced atomically
//! and synced, so a crash leaves the old or the new record.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use async_trait::async_trait;

use super::{
    super::{
        api::{ApiError, PodApi, Preconditions, Selector, WriteMode},
        objects,
        pod::{Pod, PodName, PodStatus, ResourceVersion, Uid},
    },
    places::{Places, UNFINISHED, replace_file, sync_directory},
};

/// The pod API over a directory.
#[derive(Clone, Debug)]
pub struct FileRecords {
    places: Places,
}

impl FileRecords {
    /// The records of this state directory.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        Places::open(state_dir).map(Self::at)
    }

    pub(super) fn at(places: Places) -> Self {
        Self { places }
    }

    /// Runs a request under the lock, off the threads that serve other requests.
    async fn locked<T: Send + 'static>(
        &self,
        request: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let records = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let lock = File::create(records.places.records_lock()).map_err(failed("open the lock"))?;
            lock.lock().map_err(failed("take the lock"))?;
            request(&records)
        });
        task.await.unwrap_or_else(|error| Err(ApiError::Unknown(error.to_string())))
    }

    fn read(&self, name: &PodName) -> Result<Option<Pod>, ApiError> {
        match fs::read(self.places.pod_file(name)) {
            Ok(text) => parse(&self.places.pod_file(name), &text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read a pod record")(error)),
        }
    }

    fn read_all(&self) -> Result<Vec<Pod>, ApiError> {
        let entries = fs::read_dir(self.places.pods()).map_err(failed("list the pod records"))?;
        let mut pods = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed("list the pod records"))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(UNFINISHED) {
                // What a writer that was killed left behind; nobody else can be writing, since the lock is ours.
                fs::remove_file(&path).map_err(failed("remove a half-written record"))?;
                continue;
            }
            if !name.ends_with(".json") {
                continue;
            }
            pods.push(parse(&path, &fs::read(&path).map_err(failed("read a pod record"))?)?);
        }
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pods)
    }

    fn write(&self, pod: &Pod) -> Result<(), ApiError> {
        let text = serde_json::to_vec_pretty(pod).map_err(|error| ApiError::Failed(error.to_string()))?;
        replace_file(&self.places.pod_file(&pod.name), &text).map_err(unknown)
    }

    /// Makes the outcome of a write durable.
    fn keep(&self, name: &PodName, pod: Option<Pod>) -> Result<Option<Pod>, ApiError> {
        match &pod {
            Some(pod) => self.write(pod)?,
            None => {
                fs::remove_file(self.places.pod_file(name)).map_err(unknown)?;
                sync_directory(&self.places.pods()).map_err(unknown)?;
            }
        }
        Ok(pod)
    }
}

#[async_trait]
impl PodApi for FileRecords {
    async fn get(&self, name: &PodName) -> Result<Pod, ApiError> {
        let name = name.clone();
        self.locked(move |records| records.read(&name)?.ok_or(ApiError::NotFound)).await
    }

    async fn list(&self, selector: &Selector) -> Result<Vec<Pod>, ApiError> {
        let selector = selector.clone();
        self.locked(move |records| {
            let mut pods = records.read_all()?;
            pods.retain(|pod| selector.selects(pod));
            Ok(pods)
        })
        .await
    }

    async fn create(&self, pod: Pod) -> Result<Pod, ApiError> {
        self.locked(move |records| {
            let uid = Uid::new(format!("{:016x}", rand::random::<u64>()));
            let created = objects::create(records.read(&pod.name)?.as_ref(), pod, uid, new_version())?;
            records.write(&created)?;
            Ok(created)
        })
        .await
    }

    async fn update(&self, pod: Pod, mode: WriteMode) -> Result<Option<Pod>, ApiError> {
        self.locked(move |records| {
            let name = pod.name.clone();
            let updated = objects::update(records.read(&name)?.as_ref(), pod, mode, new_version())?;
            records.keep(&name, updated)
        })
        .await
    }

    async fn delete(&self, name: &PodName, preconditions: Preconditions) -> Result<Option<Pod>, ApiError> {
        let name = name.clone();
        self.locked(move |records| {
            let deleted = objects::delete(records.read(&name)?.as_ref(), &preconditions, new_version())?;
            records.keep(&name, deleted)
        })
        .await
    }

    async fn update_status(&self, name: &PodName, uid: &Uid, status: PodStatus) -> Result<(), ApiError> {
        let (name, uid) = (name.clone(), uid.clone());
        self.locked(move |records| {
            let updated = objects::update_status(records.read(&name)?.as_ref(), &uid, status, new_version())?;
            records.write(&updated)
        })
        .await
    }
}

/// Reads one record; the mount daemon does so without the lock, since a record is replaced as a whole.
pub(super) fn read_record(path: &Path) -> Result<Pod, String> {
    let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(path, &text).map_err(|error| error.to_string())
}

fn parse(path: &Path, text: &[u8]) -> Result<Pod, ApiError> {
    serde_json::from_slice(text)
        .map_err(|error| ApiError::Failed(format!("{} is no pod record: {error}", path.display())))
}

/// Versions are opaque; random ones never come again, also after a crash.
fn new_version() -> ResourceVersion {
    ResourceVersion::new(format!("{:016x}", rand::random::<u64>()))
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> ApiError {
    move |error| ApiError::Failed(format!("cannot {what}: {error}"))
}

/// A write that failed half way may be seen after a crash.
#[allow(clippy::needless_pass_by_value, reason = "used as an argument of map_err")]
fn unknown(error: io::Error) -> ApiError {
    ApiError::Unknown(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::mountpod::{
        VolumeContent, annotations,
        pod::{ConfigurationHash, NodeId, PodKey},
    };

    fn pod() -> Pod {
        let content = VolumeContent::Directory("/v".into());
        let configuration = ConfigurationHash::of(&BTreeMap::new(), &content);
        let key = PodKey { node: NodeId::new("n"), volume: "v".parse().unwrap(), configuration };
        Pod::new(key, 0, content)
    }

    fn all() -> Selector {
        Selector { node: NodeId::new("n"), volume: None }
    }

    #[tokio::test]
    async fn records_survive_and_half_written_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let created = FileRecords::open(dir.path()).unwrap().create(pod()).await.unwrap();
        fs::write(dir.path().join("pods/.new-torn"), "{").unwrap();
        let records = FileRecords::open(dir.path()).unwrap();
        assert_eq!(records.list(&all()).await.unwrap(), std::slice::from_ref(&created));
        assert_eq!(records.get(&created.name).await.unwrap(), created);
        assert_eq!(fs::read_dir(dir.path().join("pods")).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn of_two_writers_on_one_version_one_is_told_of_the_conflict() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (FileRecords::open(dir.path()).unwrap(), FileRecords::open(dir.path()).unwrap());
        let mut seen = one.create(pod()).await.unwrap();
        assert_eq!(two.create(pod()).await, Err(ApiError::AlreadyExists));
        let mut other = seen.clone();
        annotations::add_reference(&mut seen, &"/t/a".parse().unwrap(), None);
        annotations::add_reference(&mut other, &"/t/b".parse().unwrap(), None);
        let (first, second) =
            tokio::join!(one.update(seen, WriteMode::CompareAndSwap), two.update(other, WriteMode::CompareAndSwap));
        assert_eq!([first.is_ok(), second.is_ok()].iter().filter(|ok| **ok).count(), 1);
        assert_eq!(annotations::references(&one.list(&all()).await.unwrap()[0]).len(), 1);
    }

    #[tokio::test]
    async fn a_record_vanishes_with_its_last_finalizer() {
        let dir = tempfile::tempdir().unwrap();
        let records = FileRecords::open(dir.path()).unwrap();
        let created = records.create(pod()).await.unwrap();
        let mut deleting = records.delete(&created.name, Preconditions::default()).await.unwrap().unwrap();
        assert!(deleting.deleting);
        deleting.finalizers.clear();
        assert_eq!(records.update(deleting, WriteMode::CompareAndSwap).await, Ok(None));
        assert_eq!(records.list(&all()).await.unwrap(), []);
    }
}
