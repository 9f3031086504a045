//! external-provisioner: CreateVolume for claims, DeleteVolume for volumes that nobody has any more.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    access_mode::{SingleNode, capability, mode},
    capabilities::{self, Capabilities, Exit},
    context::Context,
    controller::{self, Controller},
    csi_client::CsiClient,
    departure::Departure,
    names,
    object::{
        ClaimReference, DataSource, Kind, Metadata, PersistentVolume, PersistentVolumeClaim, ReclaimPolicy,
        StorageClass, VolumeAttachment, VolumeAttributesClass, VolumeMode, VolumePhase, VolumeSnapshot,
        VolumeSnapshotContent,
    },
    store::{Change, Store},
    timing::{PROVISIONER_LIMIT, PROVISIONER_RESYNC, SLOW_RETRY},
    topology,
    work_queue::Next,
};
use crate::{
    csi::v1::{
        self, controller_service_capability::rpc::Type, plugin_capability::service::Type as Plugin,
        volume_content_source,
    },
    spec::Rpc,
    sut::Code,
};

/// The name in histories.
pub(super) const NAME: &str = "external-provisioner";

/// How many claims, and how many volumes, are worked on side by side.
const WORKERS: usize = 100;

/// How often DeleteVolume is tried for a volume that was not what was asked for.
const REJECTED_TRIES: usize = 5;

/// Creations that may be running, by the uid of their claim.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders(Arc<Mutex<BTreeMap<String, InBackground>>>);

/// What stands in for a claim while its CreateVolume may be running: it outlives the claim.
#[derive(Clone, Debug)]
struct InBackground {
    claim: PersistentVolumeClaim,
    request: v1::CreateVolumeRequest,
    class: StorageClass,
}

/// Its memory, lost when it restarts.
struct Claims {
    client: CsiClient,
    capabilities: Capabilities,
    identity: String,
    in_background: Orders,
    slow: Mutex<BTreeMap<String, u64>>,
}

struct Volumes {
    client: CsiClient,
    capabilities: Capabilities,
}

/// Runs it until its process would end.
pub(super) async fn run(client: CsiClient) -> Exit {
    let (context, disconnected) = (client.context.clone(), client.disconnected.clone());
    tokio::select! {
        exit = work(client, &context) => exit,
        () = disconnected.notified() => "lost connection to CSI driver".to_owned(),
    }
}

async fn work(client: CsiClient, context: &Context) -> Exit {
    let capabilities = async {
        capabilities::probe(&client, PROVISIONER_LIMIT).await?;
        capabilities::driver_name(&client, PROVISIONER_LIMIT).await?;
        capabilities::of_plugin(&client, PROVISIONER_LIMIT).await
    };
    let capabilities = match capabilities.await {
        Ok(capabilities) => capabilities,
        Err(exit) => return exit,
    };
    let identity = format!("{}-{}-{}", context.store.now(), 1 + context.store.now() % 9999, context.csi_driver.name);
    let claims = Claims {
        client: client.clone(),
        capabilities: capabilities.clone(),
        identity,
        in_background: match context.departs(Departure::ForgetOrders) {
            true => Orders::default(),
            false => context.orders.clone(),
        },
        slow: Mutex::default(),
    };
    let volumes = Volumes { client, capabilities };
    tokio::select! {
        never = controller::run(Arc::new(claims), context, WORKERS, PROVISIONER_RESYNC) => match never {},
        never = controller::run(Arc::new(volumes), context, WORKERS, PROVISIONER_RESYNC) => match never {},
    }
}

/// Whether the claim is to be provisioned by this driver now.
fn is_wanted(claim: &PersistentVolumeClaim, class: &StorageClass, driver: &str) -> bool {
    let annotations = &claim.metadata.annotations;
    let delayed = class.binding_mode == super::object::BindingMode::WaitForFirstConsumer;
    claim.volume_name.is_empty()
        && annotations.get(names::STORAGE_PROVISIONER).is_some_and(|provisioner| provisioner == driver)
        && (!delayed || annotations.contains_key(names::SELECTED_NODE))
}

/// Class parameters as the driver sees them: without the reserved keys.
fn parameters(class: &StorageClass) -> BTreeMap<String, String> {
    let is_the_drivers = |key: &&String| !key.starts_with(names::RESERVED_PREFIX);
    class.parameters.iter().filter(|(key, _)| is_the_drivers(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// The file system that the class asks for.
fn fs_type(class: &StorageClass) -> String {
    let of = |key| class.parameters.get(key);
    of(names::FS_TYPE).or_else(|| of(names::FS_TYPE_OLD)).cloned().unwrap_or_default()
}

impl Claims {
    fn in_background(&self) -> MutexGuard<'_, BTreeMap<String, InBackground>> {
        self.in_background.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slow(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> &Store {
        &self.client.context.store
    }

    /// The request, unless a check fails, after which no call is made.
    fn request(
        &self,
        claim: &PersistentVolumeClaim,
        class: &StorageClass,
    ) -> Result<v1::CreateVolumeRequest, &'static str> {
        if !self.capabilities.controller(Type::CreateDeleteVolume) {
            return Err("the driver cannot create volumes");
        }
        let source = claim.data_source.as_ref().map(|source| self.content_source(source, claim)).transpose()?;
        let accessibility = self.capabilities.plugin(Plugin::VolumeAccessibilityConstraints);
        let requirement = match accessibility {
            true => topology::requirement(&self.store().list(), claim).ok_or("no node has the driver yet")?.into(),
            false => None,
        };
        Ok(v1::CreateVolumeRequest {
            name: names::volume(&claim.metadata.uid),
            capacity_range: Some(v1::CapacityRange { required_bytes: claim.request, limit_bytes: 0 }),
            volume_capabilities: self.volume_capabilities(claim, class),
            parameters: parameters(class),
            secrets: self.client.secrets(Rpc::CreateVolume),
            volume_content_source: source,
            accessibility_requirements: requirement,
            mutable_parameters: self.mutable_parameters(claim)?,
        })
    }

    fn volume_capabilities(&self, claim: &PersistentVolumeClaim, class: &StorageClass) -> Vec<v1::VolumeCapability> {
        let single_node = SingleNode::of(self.capabilities.controller(Type::SingleNodeMultiWriter));
        let of = |access: &_| {
            capability(claim.volume_mode, &fs_type(class), &class.mount_options, mode(*access, single_node))
        };
        claim.access_modes.iter().map(of).collect()
    }

    /// An order with secrets and class as they are now; of a class that is gone, as it was.
    fn renewed(&self, order: InBackground) -> InBackground {
        let InBackground { claim, request, class } = order;
        let class = self.store().get(&claim.storage_class).unwrap_or(class);
        let request = v1::CreateVolumeRequest {
            volume_capabilities: self.volume_capabilities(&claim, &class),
            parameters: parameters(&class),
            secrets: self.client.secrets(Rpc::CreateVolume),
            ..request
        };
        InBackground { claim, request, class }
    }

    /// The attributes that the claim wants, if it wants some.
    fn mutable_parameters(&self, claim: &PersistentVolumeClaim) -> Result<BTreeMap<String, String>, &'static str> {
        if claim.attributes_class.is_empty() {
            return Ok(BTreeMap::new());
        }
        if !self.capabilities.controller(Type::ModifyVolume) {
            return Err("the driver knows no classes of attributes");
        }
        let class: Option<VolumeAttributesClass> = self.store().get(&claim.attributes_class);
        class.map(|class| class.parameters).ok_or("there is no such class of attributes")
    }

    /// The source of the content, protected from now on.
    fn content_source(
        &self,
        source: &DataSource,
        claim: &PersistentVolumeClaim,
    ) -> Result<v1::VolumeContentSource, &'static str> {
        use volume_content_source::{SnapshotSource, Type as Source, VolumeSource};
        let store = self.store();
        let source = match source {
            DataSource::Snapshot(name) => {
                if !self.capabilities.controller(Type::CreateDeleteSnapshot) {
                    return Err("the driver cannot restore snapshots");
                }
                let snapshot: VolumeSnapshot = store.get(name).ok_or("there is no such snapshot")?;
                let is_protected = snapshot.metadata.finalizers.contains(names::RESTORE_PROTECTION);
                if snapshot.metadata.is_deleting() && !is_protected {
                    return Err("the snapshot is being deleted");
                }
                if !snapshot.is_ready || claim.request < snapshot.restore_size {
                    return Err("the snapshot is not ready, or larger than the claim");
                }
                let content: VolumeSnapshotContent = store.get(&snapshot.content).ok_or("the snapshot is not bound")?;
                let protect = |one: &mut VolumeSnapshot| {
                    one.metadata.finalizers.insert(names::RESTORE_PROTECTION.to_owned());
                };
                store.modify(name, protect).map_err(|_| "the snapshot vanished")?;
                Source::Snapshot(SnapshotSource { snapshot_id: content.handle })
            }
            DataSource::Claim(name) => {
                if !self.capabilities.controller(Type::CloneVolume) {
                    return Err("the driver cannot clone volumes");
                }
                let parent: PersistentVolumeClaim = store.get(name).ok_or("there is no such claim")?;
                let is_protected = parent.metadata.finalizers.contains(names::CLONING_PROTECTION);
                let fits = parent.volume_mode == claim.volume_mode && claim.request >= parent.capacity;
                if !parent.is_bound || !fits || parent.metadata.is_deleting() && !is_protected {
                    return Err("the source claim is not bound, does not fit, or is being deleted");
                }
                let volume: PersistentVolume = store.get(&parent.volume_name).ok_or("the source has no volume")?;
                let protect = |one: &mut PersistentVolumeClaim| {
                    one.metadata.finalizers.insert(names::CLONING_PROTECTION.to_owned());
                };
                store.modify(name, protect).map_err(|_| "the source claim vanished")?;
                Source::Volume(VolumeSource { volume_id: volume.handle })
            }
        };
        Ok(v1::VolumeContentSource { r#type: Some(source) })
    }

    /// Lets go of sources that no pending claim needs any more.
    fn release_sources(&self) {
        let store = self.store();
        let pending: Vec<DataSource> = store.read(|tables| {
            let pending = tables.claims.values().filter(|claim| claim.volume_name.is_empty());
            pending.filter_map(|claim| claim.data_source.clone()).collect()
        });
        let in_background: Vec<_> =
            self.in_background().values().filter_map(|one| one.claim.data_source.clone()).collect();
        let is_needed = |source: DataSource| pending.contains(&source) || in_background.contains(&source);
        for snapshot in store.list::<VolumeSnapshot>() {
            let name = snapshot.metadata.name;
            if snapshot.metadata.finalizers.contains(names::RESTORE_PROTECTION)
                && !is_needed(DataSource::Snapshot(name.clone()))
            {
                let release = |one: &mut VolumeSnapshot| {
                    one.metadata.finalizers.remove(names::RESTORE_PROTECTION);
                };
                // Gone is let go.
                let _ = store.modify(&name, release);
            }
        }
        for claim in store.list::<PersistentVolumeClaim>() {
            let name = claim.metadata.name;
            if claim.metadata.finalizers.contains(names::CLONING_PROTECTION)
                && !is_needed(DataSource::Claim(name.clone()))
            {
                let release = |one: &mut PersistentVolumeClaim| {
                    one.metadata.finalizers.remove(names::CLONING_PROTECTION);
                };
                let _ = store.modify(&name, release);
            }
        }
    }

    async fn provision(&self, key: &str, order: InBackground) -> Next {
        let subject = self.subject(key);
        let uid = order.claim.metadata.uid.clone();
        if !self.client.context.departs(Departure::ForgetOrders) {
            // Noted before it is made: it may be the last thing that this provisioner does.
            self.in_background().insert(uid.clone(), order.clone());
        }
        match self.client.call(&subject, order.request.clone(), PROVISIONER_LIMIT).await {
            Ok(reply) => self.provisioned(&subject, order, reply).await,
            Err(error) if error.is_in_background() => {
                self.in_background().insert(uid, order);
                Next::Retry
            }
            Err(error) => {
                self.in_background().remove(&uid);
                let selected = order.claim.metadata.annotations.contains_key(names::SELECTED_NODE);
                if error.is_exhausted() && order.request.accessibility_requirements.is_some() && selected {
                    let reschedule = |claim: &mut PersistentVolumeClaim| {
                        claim.metadata.annotations.remove(names::SELECTED_NODE);
                    };
                    let _ = self.store().modify(key, reschedule);
                    return Next::Settled;
                }
                if self.store().get::<PersistentVolumeClaim>(key).is_none() {
                    self.client.context.troubles.over(NAME, &subject);
                    self.release_sources();
                    return Next::Settled;
                }
                if error.is(Code::INVALID_ARGUMENT) {
                    let pause = self.client.context.timing.of(SLOW_RETRY);
                    self.slow().insert(uid, self.store().now() + pause.as_millis() as u64);
                    return Next::After(pause);
                }
                Next::Retry
            }
        }
    }

    async fn provisioned(&self, subject: &str, order: InBackground, reply: v1::CreateVolumeResponse) -> Next {
        let uid = order.claim.metadata.uid.clone();
        let volume = reply.volume.unwrap_or_default();
        let capacity = if volume.capacity_bytes == 0 { order.claim.request } else { volume.capacity_bytes };
        let lacks_source = order.request.volume_content_source.is_some() && volume.content_source.is_none();
        if capacity < order.claim.request || lacks_source {
            self.reject(subject, &volume.volume_id).await;
            self.in_background().insert(uid, order);
            return Next::Retry;
        }
        let mut attributes = volume.volume_context;
        if self.client.context.departs(Departure::AddToContext) {
            attributes.entry(names::PROVISIONER_IDENTITY.to_owned()).or_insert_with(|| self.identity.clone());
        }
        let driver = &self.client.context.csi_driver.name;
        let (claim, class) = (&order.claim, &order.class);
        let mut metadata = Metadata::named(names::volume(&uid));
        metadata.annotations.insert(names::PROVISIONED_BY.to_owned(), driver.clone());
        metadata.finalizers.insert(names::VOLUME_PROTECTION.to_owned());
        if class.reclaim_policy == ReclaimPolicy::Delete {
            metadata.finalizers.insert(names::PROVISIONER_FINALIZER.to_owned());
        }
        let object = PersistentVolume {
            metadata,
            driver: driver.clone(),
            handle: volume.volume_id,
            attributes,
            fs_type: if claim.volume_mode == VolumeMode::Block { String::new() } else { fs_type(class) },
            mount_options: class.mount_options.clone(),
            capacity,
            access_modes: claim.access_modes.clone(),
            volume_mode: claim.volume_mode,
            reclaim_policy: class.reclaim_policy,
            storage_class: class.metadata.name.clone(),
            read_only: false,
            attributes_class: claim.attributes_class.clone(),
            accessible_topology: volume.accessible_topology.into_iter().map(|one| one.segments).collect(),
            claim: Some(ClaimReference { name: claim.metadata.name.clone(), uid: uid.clone() }),
            phase: VolumePhase::Available,
        };
        // One that exists already was saved by an earlier try.
        let _ = self.store().create(object);
        self.in_background().remove(&uid);
        self.release_sources();
        Next::Settled
    }

    /// Deletes a volume that is not what was asked for; the claim is tried again whatever comes of it.
    async fn reject(&self, subject: &str, volume_id: &str) {
        for _ in 0..REJECTED_TRIES {
            let request = v1::DeleteVolumeRequest {
                volume_id: volume_id.to_owned(),
                secrets: self.client.secrets(Rpc::DeleteVolume),
            };
            if self.client.call(subject, request, PROVISIONER_LIMIT).await.is_ok() {
                return;
            }
        }
    }
}

#[async_trait]
impl Controller for Claims {
    fn name(&self) -> &str {
        NAME
    }

    fn concerns(&self, change: &Change) -> Vec<String> {
        match change.kind {
            Kind::PersistentVolumeClaim => vec![change.name.clone()],
            // A source that became ready, a class that appeared.
            Kind::VolumeSnapshot | Kind::StorageClass | Kind::VolumeAttributesClass => self.all(),
            _ => Vec::new(),
        }
    }

    fn all(&self) -> Vec<String> {
        let store = self.store();
        let mut keys: Vec<String> = store.read(|tables| tables.claims.keys().cloned().collect());
        keys.extend(self.in_background().values().map(|one| one.claim.metadata.name.clone()));
        keys
    }

    fn subject(&self, key: &str) -> String {
        format!("claim {key}")
    }

    async fn reconcile(&self, key: &str) -> Next {
        let current: Option<PersistentVolumeClaim> = self.store().get(key);
        let remembered = {
            let in_background = self.in_background();
            let is_it = |one: &&InBackground| one.claim.metadata.name == key;
            in_background.values().find(is_it).cloned()
        };
        if let Some(order) = remembered {
            let order = match self.client.context.departs(Departure::ReadAnew) {
                true => self.renewed(order),
                false => order,
            };
            return self.provision(key, order).await;
        }
        let Some(claim) = current else {
            self.client.context.troubles.over(NAME, &self.subject(key));
            self.release_sources();
            return Next::Settled;
        };
        let Some(class) = self.store().get::<StorageClass>(&claim.storage_class) else { return Next::Settled };
        let is_made = self.store().get::<PersistentVolume>(&names::volume(&claim.metadata.uid)).is_some();
        if is_made || !is_wanted(&claim, &class, &self.client.context.csi_driver.name) {
            self.release_sources();
            return Next::Settled;
        }
        let now = self.store().now();
        let until = self.slow().get(&claim.metadata.uid).copied().unwrap_or_default();
        if until > now {
            return Next::After(Duration::from_millis(until - now));
        }
        match self.request(&claim, &class) {
            Ok(request) => self.provision(key, InBackground { claim, request, class }).await,
            Err(reason) => {
                tracing::info!(claim = key, reason, "cannot be provisioned yet");
                Next::Retry
            }
        }
    }
}

/// Whether a volume is to be deleted from the driver.
fn is_to_be_deleted(volume: &PersistentVolume, driver: &str) -> bool {
    let ours = volume.metadata.annotations.get(names::PROVISIONED_BY).is_some_and(|by| by == driver);
    let released = volume.phase == VolumePhase::Released && volume.reclaim_policy == ReclaimPolicy::Delete;
    ours && released && volume.metadata.finalizers.contains(names::PROVISIONER_FINALIZER)
}

#[async_trait]
impl Controller for Volumes {
    fn name(&self) -> &str {
        NAME
    }

    fn concerns(&self, change: &Change) -> Vec<String> {
        match change.kind {
            Kind::PersistentVolume => vec![change.name.clone()],
            _ => Vec::new(),
        }
    }

    fn all(&self) -> Vec<String> {
        self.client.context.store.read(|tables| tables.volumes.keys().cloned().collect())
    }

    fn subject(&self, key: &str) -> String {
        format!("volume {key}")
    }

    async fn reconcile(&self, key: &str) -> Next {
        let store = &self.client.context.store;
        let Some(volume) = store.get::<PersistentVolume>(key) else {
            self.client.context.troubles.over(NAME, &self.subject(key));
            return Next::Settled;
        };
        if !is_to_be_deleted(&volume, &self.client.context.csi_driver.name) {
            return Next::Settled;
        }
        let is_attached = store.list::<VolumeAttachment>().iter().any(|one| one.volume_name == key);
        if is_attached && self.capabilities.controller(Type::PublishUnpublishVolume) {
            return Next::Retry;
        }
        let request =
            v1::DeleteVolumeRequest { volume_id: volume.handle, secrets: self.client.secrets(Rpc::DeleteVolume) };
        if self.client.call(&self.subject(key), request, PROVISIONER_LIMIT).await.is_err() {
            return Next::Retry;
        }
        store.delete::<PersistentVolume>(key);
        let release = |volume: &mut PersistentVolume| {
            volume.metadata.finalizers.remove(names::PROVISIONER_FINALIZER);
        };
        // It may be gone with its last finalizer.
        let _ = store.modify(key, release);
        Next::Settled
    }
}
