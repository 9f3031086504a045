//! The CSI plugin of a kubelet: stage, publish, unpublish, unstage and expand, with the queries before each and the
//! directories around them.
//!
//! Node capabilities are asked anew before every decision, as often as upstream does, and all calls of one operation
//! share one limit.

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use tokio::time::Instant;

use super::{
    super::{
        access_mode::{SingleNode, capability, first, mode},
        capabilities,
        csi_client::{CsiClient, RpcError},
        departure::Departure,
        names,
        object::VolumeMode,
        timing::KUBELET_LIMIT,
    },
    Places, VolumeData, VolumeSpec,
    operation_executor::{Certainty, OperationError},
};
use crate::{
    csi::v1::{self, node_service_capability::rpc::Type},
    spec::Rpc,
};

/// The operations on the driver of one node.
#[derive(Clone)]
pub(super) struct CsiMounter {
    pub(super) client: CsiClient,
    pub(super) places: Places,
    pub(super) node: String,
}

/// The time that is left for an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit(Instant);

impl Limit {
    /// The limit of an operation that begins now.
    pub(super) fn begin(client: &CsiClient) -> Self {
        Self(Instant::now() + client.context.timing.call_limit(KUBELET_LIMIT))
    }

    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }
}

/// The pod for which a volume is published.
#[derive(Clone, Debug)]
pub(super) struct ForPod<'a> {
    pub(super) uid: &'a str,
    pub(super) name: &'a str,
    pub(super) read_only: bool,
    /// Whether it was not published before: only then is what is left of a failure removed.
    pub(super) is_first: bool,
}

/// By its code.
fn by_code(error: RpcError) -> OperationError {
    let certainty = if error.is_uncertain() { Certainty::Uncertain } else { Certainty::Final };
    OperationError::of(certainty, error)
}

fn always(certainty: Certainty) -> impl Fn(RpcError) -> OperationError {
    move |error| OperationError::of(certainty, error)
}

fn of_disk(path: &Path) -> impl Fn(io::Error) -> OperationError {
    let path = path.display().to_string();
    move |error| OperationError::plain(Certainty::Transient, format!("{path}: {error}"))
}

impl CsiMounter {
    /// Stages a volume, where the driver wants that.
    pub(super) async fn stage(
        &self,
        spec: &VolumeSpec,
        publish_context: &BTreeMap<String, String>,
        limit: Limit,
    ) -> Result<(), OperationError> {
        let subject = self.subject(spec);
        let is_block = spec.volume_mode == VolumeMode::Block;
        // Upstream takes a failed query for a device as final, whatever its code.
        let stages = self.has(&subject, Type::StageUnstageVolume, limit).await;
        let is_final = is_block && self.client.context.departs(Departure::FailedQueryIsFinal);
        let stages = if is_final { stages.map_err(always(Certainty::Final)) } else { stages.map_err(by_code) }?;
        if !stages {
            return Ok(());
        }
        let staging = if is_block { self.places.block_staging(spec) } else { self.places.staging(spec) };
        if !is_block {
            self.has(&subject, Type::VolumeMountGroup, limit).await.map_err(always(Certainty::Transient))?;
        }
        fs::create_dir_all(&staging).map_err(of_disk(&staging))?;
        let beside = staging.parent().unwrap_or(&staging).to_owned();
        if !is_block {
            let data = VolumeData {
                volume_handle: spec.handle.clone(),
                driver_name: spec.driver.clone(),
                ..VolumeData::default()
            };
            data.write(&beside).map_err(of_disk(&beside))?;
        }
        let staged = async {
            let request = v1::NodeStageVolumeRequest {
                volume_id: spec.handle.clone(),
                publish_context: publish_context.clone(),
                staging_target_path: text(&staging),
                volume_capability: Some(self.capability(spec, &subject, limit).await?),
                secrets: self.client.secrets(Rpc::NodeStageVolume),
                volume_context: spec.attributes.clone(),
            };
            self.client.call(&subject, request, limit.left()).await.map_err(by_code)
        };
        let staged = staged.await.map(|_| ());
        if !is_block && staged.as_ref().is_err_and(|error| error.certainty == Certainty::Final) {
            remove_if_unused(&staging);
            VolumeData::remove(&beside);
            // Something else in it keeps it.
            let _ = fs::remove_dir(&beside);
        }
        staged
    }

    /// Publishes a volume for a pod.
    pub(super) async fn publish(
        &self,
        spec: &VolumeSpec,
        pod: &ForPod<'_>,
        publish_context: &BTreeMap<String, String>,
        limit: Limit,
    ) -> Result<(), OperationError> {
        let subject = self.subject(spec);
        let is_block = spec.volume_mode == VolumeMode::Block;
        let mut staging = self.places.block_staging(spec);
        let mut target = self.places.block_target(spec, pod.uid);
        let mut note = self.places.block_data(&spec.volume_name);
        let mut stages = true;
        if !is_block {
            let asked = self.has(&subject, Type::StageUnstageVolume, limit).await;
            stages = match self.client.context.departs(Departure::FailedQueryIsFinal) {
                true => asked.map_err(always(Certainty::Final)),
                false => asked.map_err(by_code),
            }?;
            self.has(&subject, Type::VolumeMountGroup, limit).await.map_err(always(Certainty::Transient))?;
            staging = self.places.staging(spec);
            target = self.places.target(spec, pod.uid);
            note = target.parent().unwrap_or(&target).to_owned();
        }
        let parent = target.parent().unwrap_or(&target).to_owned();
        fs::create_dir_all(&parent).map_err(of_disk(&parent))?;
        fs::create_dir_all(&note).map_err(of_disk(&note))?;
        self.note(spec).write(&note).map_err(of_disk(&note))?;
        let published = async {
            let request = v1::NodePublishVolumeRequest {
                volume_id: spec.handle.clone(),
                publish_context: publish_context.clone(),
                staging_target_path: if stages { text(&staging) } else { String::new() },
                target_path: text(&target),
                volume_capability: Some(self.capability(spec, &subject, limit).await?),
                readonly: pod.read_only,
                secrets: self.client.secrets(Rpc::NodePublishVolume),
                volume_context: self.volume_context(spec, pod),
            };
            self.client.call(&subject, request, limit.left()).await.map_err(by_code)
        };
        let published = published.await.map(|_| ());
        match &published {
            Ok(()) if is_block => self.link(spec, pod.uid, &target)?,
            Err(error) if error.certainty == Certainty::Final && pod.is_first => {
                remove_if_unused(&target);
                if !target.exists() && !is_block {
                    VolumeData::remove(&note);
                    // Something else in it keeps it.
                    let _ = fs::remove_dir(&note);
                }
            }
            _ => {}
        }
        published
    }

    /// Takes a volume away from a pod.
    pub(super) async fn unpublish(&self, spec: &VolumeSpec, pod: &str, limit: Limit) -> Result<(), OperationError> {
        let is_block = spec.volume_mode == VolumeMode::Block;
        let target = if is_block { self.places.block_target(spec, pod) } else { self.places.target(spec, pod) };
        if is_block {
            // The link goes first, so that nobody opens a device that is on its way out.
            let _ = fs::remove_file(self.places.block_link(spec, pod));
        }
        let request = v1::NodeUnpublishVolumeRequest { volume_id: spec.handle.clone(), target_path: text(&target) };
        let subject = self.subject(spec);
        self.client.call(&subject, request, limit.left()).await.map_err(always(Certainty::Uncertain))?;
        remove_if_unused(&target);
        if target.is_dir() && !is_mounted(&target) {
            let left = format!("{} is not empty and not mounted: the driver left something there", target.display());
            return Err(OperationError::plain(Certainty::Uncertain, left));
        }
        if !is_block {
            let directory = target.parent().unwrap_or(&target);
            VolumeData::remove(directory);
            let _ = fs::remove_dir(directory);
        }
        Ok(())
    }

    /// Takes a volume away from the node.
    pub(super) async fn unstage(&self, spec: &VolumeSpec, limit: Limit) -> Result<(), OperationError> {
        let is_block = spec.volume_mode == VolumeMode::Block;
        let staging = if is_block { self.places.block_staging(spec) } else { self.places.staging(spec) };
        let beside = staging.parent().unwrap_or(&staging).to_owned();
        let was_staged = if is_block { staging.exists() } else { VolumeData::read(&beside).is_ok() };
        if was_staged {
            let subject = self.subject(spec);
            let failed = always(Certainty::Uncertain);
            if self.has(&subject, Type::StageUnstageVolume, limit).await.map_err(&failed)? {
                let request = v1::NodeUnstageVolumeRequest {
                    volume_id: spec.handle.clone(),
                    staging_target_path: text(&staging),
                };
                self.client.call(&subject, request, limit.left()).await.map_err(&failed)?;
            }
            remove_if_unused(&staging);
        }
        if is_block {
            let data = self.places.block_data(&spec.volume_name);
            VolumeData::remove(&data);
            for directory in [data.as_path(), data.parent().unwrap_or(&data)] {
                let _ = fs::remove_dir(directory);
            }
        } else {
            VolumeData::remove(&beside);
            let _ = fs::remove_dir(&beside);
        }
        Ok(())
    }

    /// Lets a volume grow on the node. The staging path is always named, also to drivers that stage nothing.
    pub(super) async fn expand(
        &self,
        spec: &VolumeSpec,
        pod: &str,
        size: i64,
        limit: Limit,
    ) -> Result<(), OperationError> {
        let subject = self.subject(spec);
        let is_block = spec.volume_mode == VolumeMode::Block;
        if !self.has(&subject, Type::ExpandVolume, limit).await.map_err(always(Certainty::Final))? {
            let missing = "the node has no EXPAND_VOLUME, and an expansion waits for it".to_owned();
            return Err(OperationError::plain(Certainty::Final, missing));
        }
        let (staging, target) = match is_block {
            true => (self.places.block_staging(spec), self.places.block_target(spec, pod)),
            false => (self.places.staging(spec), self.places.target(spec, pod)),
        };
        let request = v1::NodeExpandVolumeRequest {
            volume_id: spec.handle.clone(),
            volume_path: text(&target),
            capacity_range: Some(v1::CapacityRange { required_bytes: size, limit_bytes: 0 }),
            staging_target_path: text(&staging),
            volume_capability: Some(self.capability(spec, &subject, limit).await?),
            secrets: self.client.secrets(Rpc::NodeExpandVolume),
        };
        let answer = self.client.call(&subject, request, limit.left()).await;
        answer.map(|_| ()).map_err(always(Certainty::Final))
    }

    /// What the troubles call the volume.
    pub(super) fn subject(&self, spec: &VolumeSpec) -> String {
        format!("volume {} on {}", spec.volume_name, self.node)
    }

    async fn has(&self, subject: &str, capability: Type, limit: Limit) -> Result<bool, RpcError> {
        capabilities::node(&self.client, subject, capability, limit.left()).await
    }

    async fn capability(
        &self,
        spec: &VolumeSpec,
        subject: &str,
        limit: Limit,
    ) -> Result<v1::VolumeCapability, OperationError> {
        let told_apart = self.has(subject, Type::SingleNodeMultiWriter, limit).await.map_err(by_code)?;
        let access_mode = mode(first(&spec.access_modes), SingleNode::of(told_apart));
        Ok(capability(spec.volume_mode, &spec.fs_type, &spec.mount_options, access_mode))
    }

    fn note(&self, spec: &VolumeSpec) -> VolumeData {
        let mode = if spec.volume_mode == VolumeMode::Block { "" } else { "Persistent" };
        VolumeData {
            volume_name: spec.volume_name.clone(),
            volume_handle: spec.handle.clone(),
            driver_name: spec.driver.clone(),
            node_name: self.node.clone(),
            attachment: names::attachment(&spec.handle, &spec.driver, &self.node),
            volume_lifecycle_mode: mode.to_owned(),
        }
    }

    fn volume_context(&self, spec: &VolumeSpec, pod: &ForPod<'_>) -> BTreeMap<String, String> {
        let mut context = spec.attributes.clone();
        if self.client.context.csi_driver.pod_info_on_mount {
            let entries = [
                ("pod.name", pod.name),
                ("pod.namespace", "default"),
                ("pod.uid", pod.uid),
                ("serviceAccount.name", "default"),
                ("ephemeral", "false"),
            ];
            context.extend(entries.map(|(key, value)| (format!("csi.storage.k8s.io/{key}"), value.to_owned())));
        }
        context
    }

    fn link(&self, spec: &VolumeSpec, pod: &str, target: &Path) -> Result<(), OperationError> {
        let link = self.places.block_link(spec, pod);
        let parent = link.parent().unwrap_or(&link);
        fs::create_dir_all(parent).map_err(of_disk(parent))?;
        match std::os::unix::fs::symlink(target, &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(of_disk(&link)(error)),
            _ => Ok(()),
        }
    }
}

/// Removes what a driver left at a path, if it is an empty directory or a plain file and nothing is mounted there.
fn remove_if_unused(path: &Path) {
    if is_mounted(path) {
        return;
    }
    // What cannot be removed is noticed by whoever needs the path.
    let _ = fs::remove_dir(path).or_else(|_| match path.is_file() {
        true => fs::remove_file(path),
        false => Ok(()),
    });
}

fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    !crate::sut::mounts_on(&table, &text(path)).is_empty()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
