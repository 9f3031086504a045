//! A small honest driver that keeps its volumes in memory and mounts nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use csi_certify::{
    csi::v1::{
        self, controller_server::ControllerServer, identity_server::IdentityServer, node_server::NodeServer,
        plugin_capability, volume_capability::AccessType, volume_capability::access_mode::Mode,
        volume_content_source::Type,
    },
    sut::InProcess,
};
use tonic::{Request, Response, Status, service::Routes};

mod controller;
mod identity;
mod node;

type Answer<T> = Result<Response<T>, Status>;

const NODE: &str = "fake-node-0001";

/// All that the driver knows; shared by the services, and kept over restarts.
#[derive(Default)]
pub(crate) struct World {
    counter: u64,
    volumes: BTreeMap<String, Volume>,
    snapshots: BTreeMap<String, (String, v1::Snapshot)>,
    staged: BTreeSet<(String, String)>,
    published: BTreeMap<(String, String), bool>,
    /// How many volumes and snapshots were ever created.
    pub(crate) created: u64,
}

#[derive(Clone)]
struct Volume {
    request: v1::CreateVolumeRequest,
    bytes: i64,
    attached: Option<bool>,
}

impl World {
    /// What is left of all that was created.
    pub(crate) fn left(&self) -> Vec<String> {
        let paths = self.staged.iter().map(|it| it.1.clone()).chain(self.published.keys().map(|it| it.1.clone()));
        self.volumes.keys().chain(self.snapshots.keys()).cloned().chain(paths).collect()
    }
}

/// The driver's services over one world.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    world: Arc<Mutex<World>>,
    /// Where volumes really are, as directories that get mounted; without it nothing is mounted.
    store: Option<PathBuf>,
}

impl Fake {
    pub(crate) fn routes(&self) -> Routes {
        Routes::new(IdentityServer::new(self.clone()))
            .add_service(ControllerServer::new(self.clone()))
            .add_service(NodeServer::new(self.clone()))
    }

    pub(crate) fn in_process(&self) -> InProcess {
        InProcess::new(self.routes())
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// A driver that keeps volumes as directories below `store`, and mounts them.
    pub(crate) fn mounting(store: PathBuf) -> Self {
        Self { store: Some(store), ..Self::default() }
    }

    fn content(&self, id: &str) -> Option<PathBuf> {
        self.store.as_ref().map(|store| store.join(id))
    }

    fn copy(&self, from: &str, to: &str) {
        let (Some(from), Some(to)) = (self.content(from), self.content(to)) else { return };
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap().flatten() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }

    fn mount(&self, from: &Path, to: &str, readonly: bool) {
        use rustix::mount::{MountFlags, mount_bind, mount_remount};
        if self.store.is_none() {
            return;
        }
        fs::create_dir_all(to).unwrap();
        mount_bind(from, to).unwrap();
        if readonly {
            mount_remount(to, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
        }
    }

    fn unmount(&self, path: &str) {
        if self.store.is_none() {
            return;
        }
        // A process that another test is about to start holds our open files until it has begun its program.
        while let Err(error) = rustix::mount::unmount(path, rustix::mount::UnmountFlags::empty()) {
            // Somebody may have taken away the path, and the mount before it.
            if error == rustix::io::Errno::NOENT {
                return;
            }
            assert_eq!(error, rustix::io::Errno::BUSY, "umount {path}");
            std::thread::yield_now();
        }
    }
}

fn required(text: &str, field: &str) -> Result<(), Status> {
    match text.is_empty() {
        true => Err(Status::invalid_argument(format!("{field} is required"))),
        false => Ok(()),
    }
}

fn absolute(path: &str, field: &str) -> Result<(), Status> {
    required(path, field)?;
    match path.starts_with('/') {
        true => Ok(()),
        false => Err(Status::invalid_argument(format!("{field} is not absolute"))),
    }
}

/// Checks a capability; block devices are not supported.
fn usable(capability: Option<&v1::VolumeCapability>, unsupported: fn(String) -> Status) -> Result<(), Status> {
    let capability = capability.ok_or_else(|| Status::invalid_argument("volume_capability is required"))?;
    let mode = capability.access_mode.as_ref().map_or(Ok(Mode::Unknown), |it| Mode::try_from(it.mode));
    if matches!(mode, Err(_) | Ok(Mode::Unknown)) {
        return Err(Status::invalid_argument("access_mode is required"));
    }
    match capability.access_type {
        None => Err(Status::invalid_argument("access_type is required")),
        Some(AccessType::Block(_)) => Err(unsupported("block devices are not supported".to_owned())),
        Some(AccessType::Mount(_)) => Ok(()),
    }
}

fn sized(range: Option<&v1::CapacityRange>) -> Result<i64, Status> {
    let Some(range) = range else { return Ok(1 << 20) };
    let (required, limit) = (range.required_bytes, range.limit_bytes);
    if required < 0 || limit < 0 || (required == 0 && limit == 0) || (limit != 0 && limit < required) {
        return Err(Status::invalid_argument("capacity_range makes no sense"));
    }
    let bytes = if required == 0 { limit.min(1 << 20) } else { required };
    match (4096..=1 << 40).contains(&bytes) {
        true => Ok(bytes),
        false => Err(Status::out_of_range("volumes have 4 KiB to 1 TiB")),
    }
}

fn page<T: Clone>(all: Vec<T>, max_entries: i32, token: &str) -> Result<(Vec<T>, String), Status> {
    if max_entries < 0 {
        return Err(Status::invalid_argument("max_entries is negative"));
    }
    let start = match token.strip_prefix("from-").and_then(|it| it.parse::<usize>().ok()) {
        Some(start) => start,
        None if token.is_empty() => 0,
        None => return Err(Status::aborted("starting_token is not valid")),
    };
    let end = if max_entries == 0 { all.len() } else { all.len().min(start + max_entries as usize) };
    let next = if end < all.len() { format!("from-{end}") } else { String::new() };
    Ok((all.get(start..end).unwrap_or_default().to_vec(), next))
}

impl Fake {
    fn exists(&self, id: &str) -> Result<(), Status> {
        required(id, "volume_id")?;
        match self.world().volumes.contains_key(id) {
            true => Ok(()),
            false => Err(Status::not_found("no such volume")),
        }
    }
}
