//! Valid requests about volumes on the node, in the order that the orchestrator owes the driver, and use of what is published.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{Bench, Stopped, bench::hash, facts::access_type, volumes::Volume};
use crate::{
    csi::v1::{self, VolumeCapability},
    history::Observation,
    spec::Rpc,
    sut::{AccessType, blocking, mounts_on},
};

/// A volume that is ready to be published on the node.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) volume: Volume,
    pub(super) capability: VolumeCapability,
    pub(super) publish_context: BTreeMap<String, String>,
    /// Empty where the driver does not stage.
    pub(super) staging: String,
}

impl Bench {
    /// A request that attaches a volume to the node under test.
    pub(super) fn attach(&self, volume: &Volume, capability: &VolumeCapability) -> v1::ControllerPublishVolumeRequest {
        v1::ControllerPublishVolumeRequest {
            volume_id: volume.id.clone(),
            node_id: self.facts.node_id.clone(),
            volume_capability: Some(capability.clone()),
            readonly: false,
            secrets: self.secrets(Rpc::ControllerPublishVolume),
            volume_context: volume.context.clone(),
        }
    }

    /// A request that detaches a volume.
    pub(super) fn detach(&self, volume: &str, node_id: &str) -> v1::ControllerUnpublishVolumeRequest {
        v1::ControllerUnpublishVolumeRequest {
            volume_id: volume.to_owned(),
            node_id: node_id.to_owned(),
            secrets: self.secrets(Rpc::ControllerUnpublishVolume),
        }
    }

    /// Attaches a volume where the driver knows that step; the publish context.
    pub(super) async fn attached(
        &self,
        volume: &Volume,
        capability: &VolumeCapability,
    ) -> Result<BTreeMap<String, String>, Stopped> {
        if !self.has("Controller.PUBLISH_UNPUBLISH_VOLUME") {
            return Ok(BTreeMap::new());
        }
        Ok(self.need(self.attach(volume, capability)).await?.publish_context)
    }

    /// A request that stages a volume.
    pub(super) fn stage(&self, prepared: &Prepared) -> v1::NodeStageVolumeRequest {
        v1::NodeStageVolumeRequest {
            volume_id: prepared.volume.id.clone(),
            publish_context: prepared.publish_context.clone(),
            staging_target_path: prepared.staging.clone(),
            volume_capability: Some(prepared.capability.clone()),
            secrets: self.secrets(Rpc::NodeStageVolume),
            volume_context: prepared.volume.context.clone(),
        }
    }

    /// A request that unstages a volume.
    pub(super) fn unstage(&self, prepared: &Prepared) -> v1::NodeUnstageVolumeRequest {
        v1::NodeUnstageVolumeRequest {
            volume_id: prepared.volume.id.clone(),
            staging_target_path: prepared.staging.clone(),
        }
    }

    /// A volume that is attached, with a staging directory, but not staged yet.
    pub(super) async fn unstaged(&self, volume: Volume, capability: VolumeCapability) -> Result<Prepared, Stopped> {
        let publish_context = self.attached(&volume, &capability).await?;
        self.unpublished(volume, capability, publish_context).await
    }

    /// As [`Bench::unstaged`], for a volume that is attached already.
    pub(super) async fn unpublished(
        &self,
        volume: Volume,
        capability: VolumeCapability,
        publish_context: BTreeMap<String, String>,
    ) -> Result<Prepared, Stopped> {
        let staging = match self.has("Node.STAGE_UNSTAGE_VOLUME") {
            true => self.staging_directory().await?,
            false => String::new(),
        };
        Ok(Prepared { volume, capability, publish_context, staging })
    }

    /// Attaches and stages a volume where the driver knows those steps.
    pub(super) async fn prepare(&self, volume: Volume, capability: VolumeCapability) -> Result<Prepared, Stopped> {
        let prepared = self.unstaged(volume, capability).await?;
        if !prepared.staging.is_empty() {
            self.need(self.stage(&prepared)).await?;
        }
        Ok(prepared)
    }

    /// A new volume for a capability, attached and staged.
    pub(super) async fn prepared_for(&self, capability: VolumeCapability) -> Result<Prepared, Stopped> {
        let volume = self.volume_for(capability.clone()).await?;
        self.prepare(volume, capability).await
    }

    /// A new volume as most scenarios need it, attached and staged.
    pub(super) async fn prepared(&self) -> Result<Prepared, Stopped> {
        self.prepared_for(self.capability()).await
    }

    /// A request that publishes a volume.
    pub(super) fn publish(&self, prepared: &Prepared, target: &str) -> v1::NodePublishVolumeRequest {
        v1::NodePublishVolumeRequest {
            volume_id: prepared.volume.id.clone(),
            publish_context: prepared.publish_context.clone(),
            staging_target_path: prepared.staging.clone(),
            target_path: target.to_owned(),
            volume_capability: Some(prepared.capability.clone()),
            readonly: false,
            secrets: self.secrets(Rpc::NodePublishVolume),
            volume_context: prepared.volume.context.clone(),
        }
    }

    /// A request that expands a volume on the node.
    pub(super) fn node_expand(&self, prepared: &Prepared, path: &str, bytes: i64) -> v1::NodeExpandVolumeRequest {
        v1::NodeExpandVolumeRequest {
            volume_id: prepared.volume.id.clone(),
            volume_path: path.to_owned(),
            capacity_range: Some(v1::CapacityRange { required_bytes: bytes, limit_bytes: 0 }),
            staging_target_path: prepared.staging.clone(),
            volume_capability: Some(prepared.capability.clone()),
            secrets: self.secrets(Rpc::NodeExpandVolume),
        }
    }

    /// A request for the usage of a volume.
    pub(super) fn stats(&self, prepared: &Prepared, path: &str) -> v1::NodeGetVolumeStatsRequest {
        v1::NodeGetVolumeStatsRequest {
            volume_id: prepared.volume.id.clone(),
            volume_path: path.to_owned(),
            staging_target_path: prepared.staging.clone(),
        }
    }

    /// A request that unpublishes a volume.
    pub(super) fn unpublish(&self, prepared: &Prepared, target: &str) -> v1::NodeUnpublishVolumeRequest {
        v1::NodeUnpublishVolumeRequest { volume_id: prepared.volume.id.clone(), target_path: target.to_owned() }
    }

    /// Publishes a volume at a new target, whose path is returned.
    pub(super) async fn published(&self, prepared: &Prepared) -> Result<String, Stopped> {
        let target = self.target().await?;
        self.need(self.publish(prepared, &target)).await?;
        Ok(target)
    }

    /// Takes a volume off the node again, from its targets to its attachment, and stops at the first refusal.
    pub(super) async fn released(&self, prepared: &Prepared, targets: &[&str]) -> Result<(), Stopped> {
        for target in targets {
            self.need(self.unpublish(prepared, target)).await?;
        }
        if !prepared.staging.is_empty() {
            self.need(self.unstage(prepared)).await?;
        }
        if self.has("Controller.PUBLISH_UNPUBLISH_VOLUME") {
            self.need(self.detach(&prepared.volume.id, &self.facts.node_id)).await?;
        }
        Ok(())
    }

    /// Writes a marker through a target, where the node's file system can be seen; whether that worked.
    pub(super) async fn write(&self, capability: &VolumeCapability, target: &str, content: &str) -> bool {
        let Some(node_fs) = self.node_fs() else { return false };
        let observation = node_fs.write(target, marker(capability), content).await;
        let worked = matches!(&observation, Observation::Write { error, .. } if error.is_empty());
        self.observed(observation);
        worked
    }

    /// Reads the marker through a target, where the node's file system can be seen.
    pub(super) async fn read(&self, capability: &VolumeCapability, target: &str) {
        if let Some(node_fs) = self.node_fs() {
            self.observed(node_fs.read(target, marker(capability)).await);
        }
    }

    /// Measures what is published at a target, where the node's file system can be seen.
    pub(super) async fn measure(&self, target: &str) {
        if let Some(node_fs) = self.node_fs()
            && let Some(observation) = node_fs.size(target).await
        {
            self.observed(observation);
        }
    }

    /// A new staging directory, which is the orchestrator's to make (specification line 2332).
    pub(super) async fn staging_directory(&self) -> Result<String, Stopped> {
        let path = self.directory().join(format!("s{}", self.next()));
        self.make_directory(path).await
    }

    /// The path of a new target; its parent exists, itself it does not.
    pub(super) async fn target(&self) -> Result<String, Stopped> {
        let parent = self.make_directory(self.directory().join(format!("t{}", self.next()))).await?;
        Ok(format!("{parent}/target"))
    }

    /// A path of exactly that many bytes whose parent exists.
    pub(super) async fn path_of_length(&self, length: usize) -> Result<String, Stopped> {
        let mut path = format!("{}/{}", self.directory().display(), self.next());
        // Each component stays below the 255 bytes that file systems allow.
        while path.len() + 2 + 200 < length {
            path.push('/');
            path.push_str(&"d".repeat(100));
        }
        if path.len() + 2 > length {
            return Err(Stopped::because(format!("{path} is too long to be made one of {length} bytes")));
        }
        let parent = self.make_directory(PathBuf::from(&path)).await?;
        let rest = length - parent.len() - 1;
        Ok(format!("{parent}/{}", "x".repeat(rest)))
    }

    /// A directory with everything above it.
    pub(super) async fn make_directory(&self, path: PathBuf) -> Result<String, Stopped> {
        let text = path.display().to_string();
        if self.run.driver.is_local() {
            let made = blocking(move || fs::create_dir_all(path)).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
            made.map_err(|error| Stopped::because(format!("cannot make {text}: {error}")))?;
        }
        Ok(text)
    }

    /// Where the scenario's paths lie.
    pub(super) fn directory(&self) -> PathBuf {
        self.run.directory.join(format!("{:08x}", hash(self.scenario)))
    }

    /// Removes the scenario's directories; what is not empty, or still mounted, stays.
    pub(super) async fn remove_directories(&self) {
        let directory = self.directory();
        if self.run.driver.is_local() {
            blocking(move || remove_empty(&directory)).await;
        }
    }
}

/// Removes a directory and those in it, deepest first, never a file, and nothing in what is mounted there.
pub(crate) fn remove_empty(directory: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if !mounts_on(&table, &directory.to_string_lossy()).is_empty() {
        return;
    }
    if let Ok(entries) = fs::read_dir(directory) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove_empty(&entry.path());
        }
    }
    // A refusal means that something is left in it, which the ledger's leftovers tell.
    let _ = fs::remove_dir(directory);
}

/// The file that markers are written to: none in a block device.
pub(super) fn marker(capability: &VolumeCapability) -> &'static str {
    match access_type(capability) {
        Some(AccessType::Block) => "",
        _ => "csi-certify-marker",
    }
}
