//! The CSI plugin of a kubelet: stage, publish, unpublish, unstage and expand, with the queries before each and the
//! directories around them.
//!
//! Node capabilities are asked anew before every decision, as often as upstream does, and all calls of one operation
//! share one limit.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

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
    DesiredPod, Places, VolumeData, VolumeSpec,
    habits::NodeAbilities,
    operation_executor::{Certainty, OperationError},
    volume_ownership,
};
use crate::{
    csi::v1::{self, node_service_capability::rpc::Type, volume_capability::AccessType},
    spec::Rpc,
};

/// The operations on the driver of one node.
#[derive(Clone)]
pub(super) struct CsiMounter {
    pub(super) client: CsiClient,
    pub(super) places: Places,
    pub(super) node: String,
    /// Whether the driver is registered.
    pub(super) registered: watch::Receiver<bool>,
    /// How many tokens of service accounts were made out.
    pub(super) tokens: Arc<AtomicU64>,
    /// Told what the node service says that it can do.
    pub(super) abilities: watch::Sender<NodeAbilities>,
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
    /// The volume as the pod wants it.
    pub(super) wanted: &'a DesiredPod,
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
        wanted: &DesiredPod,
        publish_context: &BTreeMap<String, String>,
        limit: Limit,
    ) -> Result<(), OperationError> {
        let spec = &wanted.spec;
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
        let mount_group = self.mount_group(wanted, &subject, limit).await?;
        fs::create_dir_all(&staging).map_err(of_disk(&staging))?;
        let beside = staging.parent().unwrap_or(&staging).to_owned();
        if !is_block {
            let data = VolumeData {
                volume_handle: spec.handle.clone(),
                driver_name: spec.driver.clone(),
                selinux_label: wanted.selinux_label.clone().unwrap_or_default(),
                ..VolumeData::default()
            };
            data.write(&beside).map_err(of_disk(&beside))?;
        }
        let staged = async {
            let request = v1::NodeStageVolumeRequest {
                volume_id: spec.handle.clone(),
                publish_context: publish_context.clone(),
                staging_target_path: text(&staging),
                volume_capability: Some(self.asked_for(wanted, &mount_group, &subject, limit).await?),
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
        pod: &ForPod<'_>,
        publish_context: &BTreeMap<String, String>,
        limit: Limit,
    ) -> Result<(), OperationError> {
        let (wanted, spec) = (pod.wanted, &pod.wanted.spec);
        if spec.is_inline && !self.client.context.csi_driver.is_ephemeral {
            let why = format!("{} has no Ephemeral among its volumeLifecycleModes", spec.driver);
            return Err(OperationError::plain(Certainty::Transient, why));
        }
        let subject = self.subject(spec);
        let is_block = spec.volume_mode == VolumeMode::Block;
        let mut staging = self.places.block_staging(spec);
        let mut target = self.places.block_target(spec, pod.uid);
        let mut note = self.places.block_data(&spec.volume_name);
        let mut stages = !spec.is_inline;
        let mut mount_group = String::new();
        if spec.is_inline {
            mount_group = self.mount_group(wanted, &subject, limit).await?;
            target = self.places.target(spec, pod.uid);
            note = target.parent().unwrap_or(&target).to_owned();
        } else if !is_block {
            let asked = self.has(&subject, Type::StageUnstageVolume, limit).await;
            stages = match self.client.context.departs(Departure::FailedQueryIsFinal) {
                true => asked.map_err(always(Certainty::Final)),
                false => asked.map_err(by_code),
            }?;
            mount_group = self.mount_group(wanted, &subject, limit).await?;
            staging = self.places.staging(spec);
            target = self.places.target(spec, pod.uid);
            note = target.parent().unwrap_or(&target).to_owned();
        }
        let parent = target.parent().unwrap_or(&target).to_owned();
        fs::create_dir_all(&parent).map_err(of_disk(&parent))?;
        fs::create_dir_all(&note).map_err(of_disk(&note))?;
        self.note(wanted).write(&note).map_err(of_disk(&note))?;
        if is_block {
            stages = self.names_staging(&subject, limit).await.map_err(by_code)?;
        }
        let (secrets, volume_context) = self.for_pod(pod);
        let published = async {
            let request = v1::NodePublishVolumeRequest {
                volume_id: spec.handle.clone(),
                publish_context: publish_context.clone(),
                staging_target_path: if stages { text(&staging) } else { String::new() },
                target_path: text(&target),
                volume_capability: Some(self.asked_for(wanted, &mount_group, &subject, limit).await?),
                readonly: wanted.read_only,
                secrets,
                volume_context,
            };
            self.client.call(&subject, request, limit.left()).await.map_err(by_code)
        };
        let published = published.await.map(|_| ());
        match &published {
            Ok(()) if is_block => self.link(spec, pod.uid, &target)?,
            // The driver has seen to the group where it can.
            Ok(()) if mount_group.is_empty() => {
                volume_ownership::apply(wanted, self.client.context.csi_driver.fs_group_policy, &target)?;
            }
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
        let names_staging = self.names_staging(&subject, limit).await.map_err(always(Certainty::Final))?;
        let request = v1::NodeExpandVolumeRequest {
            volume_id: spec.handle.clone(),
            volume_path: text(&target),
            capacity_range: Some(v1::CapacityRange { required_bytes: size, limit_bytes: 0 }),
            staging_target_path: if names_staging { text(&staging) } else { String::new() },
            volume_capability: Some(self.capability(spec, &subject, limit).await?),
            secrets: self.client.secrets(Rpc::NodeExpandVolume),
        };
        let answer = self.client.call(&subject, request, limit.left()).await;
        answer.map(|_| ()).map_err(always(Certainty::Final))
    }

    /// Measures a volume of a pod; what is wrong with it, where the driver says so and that is looked at.
    ///
    /// It runs beside all other operations on the volume, and may meet a path that has just vanished.
    pub(super) async fn measure(&self, spec: &VolumeSpec, pod: &str) -> Result<Option<String>, OperationError> {
        let (subject, limit) = (self.subject(spec), Limit::begin(&self.client));
        // A failure costs one measurement.
        let transient = always(Certainty::Transient);
        if !self.has(&subject, Type::GetVolumeStats, limit).await.map_err(&transient)? {
            return Ok(None);
        }
        let mut staging_target_path = String::new();
        if !self.client.context.departs(Departure::MeasureWithoutStaging)
            && !spec.is_inline
            && self.has(&subject, Type::StageUnstageVolume, limit).await.map_err(&transient)?
        {
            staging_target_path = text(&self.places.staging(spec));
        }
        let request = v1::NodeGetVolumeStatsRequest {
            volume_id: spec.handle.clone(),
            volume_path: text(&self.places.target(spec, pod)),
            staging_target_path,
        };
        let reply = self.client.call(&subject, request, limit.left()).await.map_err(&transient)?;
        if !self.client.context.checks_health {
            return Ok(None);
        }
        let tells = self.has(&subject, Type::VolumeCondition, limit).await.map_err(&transient)?;
        let condition = reply.volume_condition.filter(|condition| tells && condition.abnormal);
        Ok(condition.map(|condition| condition.message))
    }

    /// What the troubles call the volume.
    pub(super) fn subject(&self, spec: &VolumeSpec) -> String {
        format!("volume {} on {}", spec.volume_name, self.node)
    }

    /// Whether the node service has a capability, asked anew: no decision on a call rests on an earlier answer.
    async fn has(&self, subject: &str, capability: Type, limit: Limit) -> Result<bool, RpcError> {
        let capabilities = capabilities::node(&self.client, subject, limit.left()).await?;
        let has = |capability: Type| capabilities.contains(&capability.into());
        self.abilities.send_replace(NodeAbilities {
            single_node_multi_writer: has(Type::SingleNodeMultiWriter),
            volume_mount_group: has(Type::VolumeMountGroup),
        });
        Ok(has(capability))
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

    /// Whether a staging path is named where upstream does not ask whether there is staging at all.
    async fn names_staging(&self, subject: &str, limit: Limit) -> Result<bool, RpcError> {
        match self.client.context.departs(Departure::NameStagingAlways) {
            true => Ok(true),
            false => self.has(subject, Type::StageUnstageVolume, limit).await,
        }
    }

    /// The group in which the driver is to mount, where it can; asked anew, as all node capabilities are.
    async fn mount_group(&self, wanted: &DesiredPod, subject: &str, limit: Limit) -> Result<String, OperationError> {
        if wanted.spec.volume_mode == VolumeMode::Block {
            return Ok(String::new());
        }
        let can = self.has(subject, Type::VolumeMountGroup, limit).await.map_err(always(Certainty::Transient))?;
        Ok(wanted.fs_group.filter(|_| can).map(|group| group.to_string()).unwrap_or_default())
    }

    /// The capability with what is the pod's own: group and label.
    async fn asked_for(
        &self,
        wanted: &DesiredPod,
        mount_group: &str,
        subject: &str,
        limit: Limit,
    ) -> Result<v1::VolumeCapability, OperationError> {
        let mut capability = self.capability(&wanted.spec, subject, limit).await?;
        if let Some(AccessType::Mount(mount)) = &mut capability.access_type {
            mount_group.clone_into(&mut mount.volume_mount_group);
            mount.mount_flags.extend(wanted.selinux_label.iter().map(|label| format!("context=\"{label}\"")));
        }
        Ok(capability)
    }

    fn note(&self, wanted: &DesiredPod) -> VolumeData {
        let spec = &wanted.spec;
        let mode = match (spec.volume_mode, spec.is_inline) {
            (VolumeMode::Block, _) => "",
            (VolumeMode::Filesystem, true) => VolumeData::EPHEMERAL,
            (VolumeMode::Filesystem, false) => VolumeData::PERSISTENT,
        };
        VolumeData {
            volume_name: spec.volume_name.clone(),
            volume_handle: spec.handle.clone(),
            driver_name: spec.driver.clone(),
            node_name: self.node.clone(),
            attachment: names::attachment(&spec.handle, &spec.driver, &self.node),
            volume_lifecycle_mode: mode.to_owned(),
            selinux_label: wanted.selinux_label.clone().unwrap_or_default(),
        }
    }

    /// Secrets and context of a publication, with what they tell of the pod.
    fn for_pod(&self, pod: &ForPod<'_>) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        let spec = &pod.wanted.spec;
        let csi_driver = &self.client.context.csi_driver;
        let mut secrets = self.client.secrets(Rpc::NodePublishVolume);
        let mut context = spec.attributes.clone();
        if csi_driver.pod_info_on_mount && self.client.context.departs(Departure::AddToContext) {
            let entries = [
                ("pod.name", pod.wanted.name.as_str()),
                ("pod.namespace", "default"),
                ("pod.uid", pod.uid),
                ("serviceAccount.name", "default"),
                ("ephemeral", if spec.is_inline { "true" } else { "false" }),
            ];
            context.extend(entries.map(|(key, value)| (format!("csi.storage.k8s.io/{key}"), value.to_owned())));
        }
        if !csi_driver.token_requests.is_empty() && spec.volume_mode == VolumeMode::Filesystem {
            let into = if csi_driver.tokens_in_secrets { &mut secrets } else { &mut context };
            into.insert(names::SERVICE_ACCOUNT_TOKENS.to_owned(), self.service_account_tokens());
        }
        (secrets, context)
    }

    /// A fresh token for each audience that the driver asks for.
    fn service_account_tokens(&self) -> String {
        let token = |audience: &String| {
            let number = self.tokens.fetch_add(1, Ordering::Relaxed) + 1;
            let token = serde_json::json!({
                "token": format!("{}-{number}", self.node),
                "expirationTimestamp": "2100-01-01T00:00:00Z",
            });
            (audience.clone(), token)
        };
        let tokens = self.client.context.csi_driver.token_requests.iter().map(token);
        serde_json::Value::Object(tokens.collect()).to_string()
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
