//! Operations of a kubelet, and how each is carried out.

use std::collections::BTreeMap;

use super::{
    super::{
        csi_client::RpcError,
        names,
        object::{AccessMode, PersistentVolume, PersistentVolumeClaim, ResizePhase, VolumeAttachment},
        pending_operations::OperationKey,
    },
    DesiredPod, VolumeSpec,
    csi_mounter::{CsiMounter, ForPod, Limit},
};

/// What an error says about the state of things.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Certainty {
    /// What was asked for has not happened.
    Final,
    /// It may have happened, or still be running.
    Uncertain,
    /// Nothing was asked for yet.
    Transient,
}

/// Why an operation failed.
#[derive(Clone, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct OperationError {
    /// What it says about the state of things.
    pub certainty: Certainty,
    /// For people.
    pub text: String,
    /// An expansion that is not tried again while the volume is in use here.
    pub is_final_here: bool,
    is_infeasible: bool,
}

impl OperationError {
    /// Without an answer of the driver.
    pub(crate) fn plain(certainty: Certainty, text: impl Into<String>) -> Self {
        Self { certainty, text: text.into(), is_final_here: false, is_infeasible: false }
    }

    pub(super) fn of(certainty: Certainty, error: RpcError) -> Self {
        Self {
            certainty,
            text: error.to_string(),
            is_final_here: error.is_failed_precondition(),
            is_infeasible: error.is_infeasible_resize(),
        }
    }
}

/// An operation.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Operation {
    /// Stage where that is needed, publish, and expand where that is due.
    Mount {
        /// The pod's identity.
        pod: String,
        /// The pod, and the volume as it wants it.
        wanted: DesiredPod,
        /// Whether it has to be staged first.
        stages: bool,
        /// Whether the pod never had it.
        is_first: bool,
        /// The size that it will have.
        size: i64,
    },
    /// Unpublish.
    Unmount {
        /// The volume.
        spec: VolumeSpec,
        /// The pod's identity.
        pod: String,
    },
    /// Unstage.
    UnmountDevice {
        /// The volume.
        spec: VolumeSpec,
    },
    /// Expand while it is published.
    Expand {
        /// The volume.
        spec: VolumeSpec,
        /// A pod that has it.
        pod: String,
        /// The new size.
        size: i64,
    },
}

/// How an operation ended.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Outcome {
    /// Of a mount.
    Mount(MountOutcome),
    /// Of an unmount.
    Unmount(Result<(), OperationError>),
    /// Of a device's unmount.
    UnmountDevice(Result<(), OperationError>),
    /// Of an expansion.
    Expand(Result<(), OperationError>),
}

/// How far a mount came.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct MountOutcome {
    /// Staging, if it was tried.
    pub device: Option<Result<(), OperationError>>,
    /// Publishing, if it was tried.
    pub mount: Option<Result<(), OperationError>>,
    /// The expansion at the end.
    pub expansion: Result<(), OperationError>,
}

impl Operation {
    /// Its name; another name on the same key does not wait for the back-off.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Mount { .. } => "mount",
            Self::Unmount { .. } => "unmount",
            Self::UnmountDevice { .. } => "unmount device",
            Self::Expand { .. } => "expand",
        }
    }

    /// The volume.
    pub(crate) const fn spec(&self) -> &VolumeSpec {
        match self {
            Self::Mount { wanted, .. } => &wanted.spec,
            Self::Unmount { spec, .. } | Self::UnmountDevice { spec } | Self::Expand { spec, .. } => spec,
        }
    }

    /// How it ends when it could not even begin: nothing is known that was not known before.
    fn not_begun(&self, why: String) -> Outcome {
        let error = OperationError::plain(Certainty::Transient, why);
        match self {
            Self::Mount { .. } => {
                Outcome::Mount(MountOutcome { device: None, mount: Some(Err(error)), expansion: Ok(()) })
            }
            Self::Unmount { .. } => Outcome::Unmount(Err(error)),
            Self::UnmountDevice { .. } => Outcome::UnmountDevice(Err(error)),
            Self::Expand { .. } => Outcome::Expand(Err(error)),
        }
    }

    /// What it must not meet. Unmounts of several pods go side by side; all else has the volume to itself.
    pub(crate) fn key(&self) -> OperationKey {
        match self {
            Self::Unmount { spec, pod } => OperationKey::part(&spec.unique_name, pod),
            other => OperationKey::volume(&other.spec().unique_name),
        }
    }
}

impl Outcome {
    /// The first thing that went wrong.
    pub(crate) fn error(&self) -> Option<&OperationError> {
        match self {
            Self::Mount(MountOutcome { device, mount, expansion }) => {
                let of = |result: &'_ Option<Result<(), OperationError>>| result.clone().and_then(Result::err);
                match (of(device).is_some(), of(mount).is_some()) {
                    (true, _) => device.as_ref().and_then(|result| result.as_ref().err()),
                    (_, true) => mount.as_ref().and_then(|result| result.as_ref().err()),
                    _ => expansion.as_ref().err(),
                }
            }
            Self::Unmount(result) | Self::UnmountDevice(result) | Self::Expand(result) => result.as_ref().err(),
        }
    }
}

impl CsiMounter {
    /// Carries an operation out.
    pub(super) async fn perform(&self, operation: &Operation) -> Outcome {
        if !*self.registered.borrow() {
            return operation.not_begun(format!(
                "driver {} is not registered on {}",
                operation.spec().driver,
                self.node
            ));
        }
        let limit = Limit::begin(&self.client);
        match operation {
            Operation::Mount { .. } => Outcome::Mount(self.mount(operation, limit).await),
            Operation::Unmount { spec, pod } => Outcome::Unmount(self.unpublish(spec, pod, limit).await),
            Operation::UnmountDevice { spec } => Outcome::UnmountDevice(self.unstage(spec, limit).await),
            Operation::Expand { spec, pod, size } => Outcome::Expand(self.expand_in_use(spec, pod, *size, limit).await),
        }
    }

    async fn mount(&self, operation: &Operation, limit: Limit) -> MountOutcome {
        let mut outcome = MountOutcome { device: None, mount: None, expansion: Ok(()) };
        let Operation::Mount { pod, wanted, stages, is_first, .. } = operation else {
            return outcome;
        };
        let spec = &wanted.spec;
        let publish_context = match self.publish_context(spec) {
            Ok(publish_context) => publish_context,
            Err(error) => {
                outcome.mount = Some(Err(error));
                return outcome;
            }
        };
        if *stages {
            let staged = self.stage(wanted, &publish_context, limit).await;
            let failed = staged.is_err();
            outcome.device = Some(staged);
            if failed {
                return outcome;
            }
        }
        // Staging and publishing are two operations on the driver, each with its own limit.
        let limit = Limit::begin(&self.client);
        let for_pod = ForPod { uid: pod, wanted, is_first: *is_first };
        let published = self.publish(&for_pod, &publish_context, limit).await;
        let failed = published.is_err();
        outcome.mount = Some(published);
        if !failed && !wanted.read_only && !spec.is_inline {
            outcome.expansion = self.expand_at_mount(spec, pod).await;
        }
        outcome
    }

    /// The attachment has to be there and attached: nothing is waited for here.
    fn publish_context(&self, spec: &VolumeSpec) -> Result<BTreeMap<String, String>, OperationError> {
        let context = &self.client.context;
        if !context.csi_driver.attach_required || spec.is_inline {
            return Ok(BTreeMap::new());
        }
        let name = names::attachment(&spec.handle, &spec.driver, &self.node);
        let attachment: Option<VolumeAttachment> = context.store.get(&name);
        match attachment.filter(|one| one.attached && !one.metadata.is_deleting()) {
            Some(attachment) => Ok(attachment.attachment_metadata),
            None => Err(OperationError::plain(Certainty::Transient, format!("attachment {name} is not attached"))),
        }
    }

    /// What is left of an expansion when the volume is mounted again.
    async fn expand_at_mount(&self, spec: &VolumeSpec, pod: &str) -> Result<(), OperationError> {
        let store = &self.client.context.store;
        let claim: Option<PersistentVolumeClaim> = store.get(&spec.claim);
        let volume: Option<PersistentVolume> = store.get(&spec.volume_name);
        let (Some(claim), Some(volume)) = (claim, volume) else { return Ok(()) };
        if claim.capacity >= volume.capacity || !is_due(&claim) {
            return Ok(());
        }
        let size = claim.allocated.unwrap_or(volume.capacity);
        match self.expand_claim(spec, pod, size, Limit::begin(&self.client)).await {
            Err(error) if error.is_final_here => Ok(()),
            result => result,
        }
    }

    async fn expand_in_use(&self, spec: &VolumeSpec, pod: &str, size: i64, limit: Limit) -> Result<(), OperationError> {
        let claim: Option<PersistentVolumeClaim> = self.client.context.store.get(&spec.claim);
        let Some(claim) = claim else { return Ok(()) };
        let is_shared = spec.access_modes.contains(&AccessMode::ReadWriteMany);
        match claim.resize {
            _ if is_due(&claim) => self.expand_claim(spec, pod, claim.allocated.unwrap_or(size), limit).await,
            // Another node has finished the claim; this one has to follow.
            None if claim.capacity >= size && is_shared => self.expand(spec, pod, size, limit).await,
            None if claim.capacity >= size => Ok(()),
            _ => {
                let text = format!("the expansion of {} is not at the node's turn", spec.claim);
                Err(OperationError::plain(Certainty::Transient, text))
            }
        }
    }

    async fn expand_claim(&self, spec: &VolumeSpec, pod: &str, size: i64, limit: Limit) -> Result<(), OperationError> {
        let store = &self.client.context.store;
        let set = |phase| {
            // A claim that is gone needs no phase.
            let _ = store.modify(&spec.claim, |claim: &mut PersistentVolumeClaim| claim.resize = Some(phase));
        };
        set(ResizePhase::NodeResizeInProgress);
        match self.expand(spec, pod, size, limit).await {
            Ok(()) => {
                let finish = |claim: &mut PersistentVolumeClaim| {
                    claim.capacity = claim.capacity.max(size);
                    claim.resize = None;
                    claim.allocated = None;
                };
                let _ = store.modify(&spec.claim, finish);
                Ok(())
            }
            Err(error) => {
                let claim: Option<PersistentVolumeClaim> = store.get(&spec.claim);
                let changed = claim.is_some_and(|claim| claim.request != size);
                if error.is_infeasible || changed && !error.is_final_here {
                    set(ResizePhase::NodeResizeInfeasible);
                }
                Err(error)
            }
        }
    }
}

fn is_due(claim: &PersistentVolumeClaim) -> bool {
    matches!(claim.resize, Some(ResizePhase::NodeResizePending | ResizePhase::NodeResizeInProgress))
}
