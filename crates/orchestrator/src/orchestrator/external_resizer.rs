//! external-resizer: ControllerExpandVolume for claims that ask for more than they have; `modify_controller` does the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    access_mode::{SingleNode, of_volume},
    capabilities::{self, Capabilities, Exit},
    context::Context,
    controller::{self, Controller},
    csi_client::{CsiClient, RpcError},
    departure::Departure,
    modify_controller::Modifications,
    names,
    object::{Kind, PersistentVolume, PersistentVolumeClaim, Pod, ResizePhase},
    pv_controller::uses,
    store::{Change, Store},
    timing::{ATTACHER_RESYNC, PROVISIONER_LIMIT, SLOW_RETRY},
    work_queue::Next,
};
use crate::{
    csi::v1::{
        self, controller_service_capability::rpc::Type, node_service_capability::rpc::Type as Node,
        plugin_capability::service::Type as Plugin,
    },
    spec::Rpc,
};

/// The name in histories.
pub(super) const NAME: &str = "external-resizer";

/// How many claims are worked on side by side.
const WORKERS: usize = 10;

/// How the start of the resizer names itself in its troubles.
const START: &str = "start-up";

/// What is remembered of a claim; lost with a restart.
#[derive(Clone, Debug, Default)]
struct Remembered {
    /// The last failure was final, so that another size may be tried.
    failed_for_good: bool,
    /// The driver refused because the volume is in use.
    is_in_use: bool,
    /// This size is not tried again before that moment.
    slow: Option<(i64, u64)>,
}

struct Claims {
    client: CsiClient,
    /// Only the node expands: the controller is not called.
    is_trivial: bool,
    /// Whether volumes in use are expanded.
    asks_in_use: bool,
    memory: Mutex<BTreeMap<String, Remembered>>,
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
    let started = async {
        capabilities::probe(&client, PROVISIONER_LIMIT).await?;
        capabilities::driver_name(&client, PROVISIONER_LIMIT).await?;
        let capabilities = capabilities::of_plugin(&client, PROVISIONER_LIMIT).await?;
        let can_expand = can_expand(&client, &capabilities).await.map_err(|error| error.to_string())?;
        let mut can_modify = false;
        if capabilities.plugin(Plugin::ControllerService) {
            // Asked once more for each of SINGLE_NODE_MULTI_WRITER and MODIFY_VOLUME.
            for _ in 0..2 {
                let asked = capabilities::controller(&client, START, PROVISIONER_LIMIT).await;
                let asked = asked.map_err(|error: RpcError| error.to_string())?;
                can_modify = asked.contains(&Type::ModifyVolume.into());
            }
        }
        Ok::<_, Exit>((can_expand, can_modify, capabilities.expands_in_use()))
    };
    let (can_expand, can_modify, expands_in_use) = match started.await {
        Ok(can) => can,
        Err(exit) => return exit,
    };
    let asks_in_use = expands_in_use || context.departs(Departure::ExpandInUse);
    let modifications = async {
        if !can_modify {
            return pending().await;
        }
        let modifications = Arc::new(Modifications::new(client.clone()));
        controller::run(modifications, context, WORKERS, ATTACHER_RESYNC).await
    };
    let expansions = async {
        // Nobody deploys a resizer beside a driver that can do neither: it would end at once, again and again.
        let Some(is_trivial) = can_expand else { return pending().await };
        let claims = Arc::new(Claims { client: client.clone(), is_trivial, asks_in_use, memory: Mutex::default() });
        controller::run(claims, context, WORKERS, ATTACHER_RESYNC).await
    };
    tokio::select! {
        never = expansions => match never {},
        never = modifications => match never {},
    }
}

/// Whether the node alone expands; `None` when nobody does.
async fn can_expand(client: &CsiClient, capabilities: &Capabilities) -> Result<Option<bool>, RpcError> {
    if !capabilities.plugin(Plugin::ControllerService) {
        return Ok(None);
    }
    if capabilities.controller(Type::ExpandVolume) {
        return Ok(Some(false));
    }
    let node = capabilities::node(client, START, PROVISIONER_LIMIT).await?;
    Ok(node.contains(&Node::ExpandVolume.into()).then_some(true))
}

/// What is to be done for a claim.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Nothing,
    /// To this size.
    Expand(i64),
    /// Refused because of its users, who are still there.
    WaitForUsers,
    /// This size was refused; again at that moment.
    WaitUntil(u64),
}

fn step(
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
    remembered: &Remembered,
    has_users: bool,
    now: u64,
) -> Step {
    let target = target(claim, remembered);
    let is_at_node = matches!(claim.resize, Some(ResizePhase::NodeResizePending | ResizePhase::NodeResizeInProgress));
    if !claim.is_bound || claim.metadata.is_deleting() || target <= claim.capacity && claim.resize.is_none() {
        return Step::Nothing;
    }
    if is_at_node && volume.capacity >= claim.allocated.unwrap_or(target) {
        return Step::Nothing;
    }
    match remembered.slow {
        Some((size, until)) if size == target && until > now => return Step::WaitUntil(until),
        _ => {}
    }
    if remembered.is_in_use && has_users {
        return Step::WaitForUsers;
    }
    Step::Expand(target)
}

/// The size to ask for: frozen while an earlier one may still come about.
fn target(claim: &PersistentVolumeClaim, remembered: &Remembered) -> i64 {
    let is_open = matches!(
        claim.resize,
        Some(
            ResizePhase::ControllerResizeInProgress
                | ResizePhase::NodeResizePending
                | ResizePhase::NodeResizeInProgress
        )
    );
    match claim.allocated {
        Some(allocated) if claim.resize == Some(ResizePhase::NodeResizeInfeasible) => allocated,
        Some(allocated) if is_open && !remembered.failed_for_good => allocated,
        _ => claim.request,
    }
}

impl Claims {
    fn memory(&self) -> MutexGuard<'_, BTreeMap<String, Remembered>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> &Store {
        &self.client.context.store
    }

    fn is_attached(&self, volume: &str) -> bool {
        self.store().read(|tables| tables.attachments.values().any(|one| one.volume_name == volume))
    }

    async fn expand(&self, claim: &PersistentVolumeClaim, volume: &PersistentVolume, size: i64) -> Next {
        let name = &claim.metadata.name;
        let begin = |claim: &mut PersistentVolumeClaim| {
            claim.allocated = Some(size);
            claim.metadata.annotations.remove(names::NODE_EXPANSION_NOT_REQUIRED);
            if !matches!(claim.resize, Some(ResizePhase::NodeResizePending | ResizePhase::NodeResizeInProgress)) {
                claim.resize = Some(ResizePhase::ControllerResizeInProgress);
            }
        };
        // Claims and volumes that vanish meanwhile have no status.
        let _ = self.store().note(name, begin);
        if self.is_trivial {
            self.at_node(name, volume, size, size);
            return Next::Settled;
        }
        match self.call(name, volume, size).await {
            Ok(None) => Next::Retry,
            Ok(Some(reply)) => {
                self.memory().remove(&claim.metadata.uid);
                match reply.node_expansion_required {
                    true => self.at_node(name, volume, reply.capacity_bytes, size),
                    false => self.finished(name, volume, reply.capacity_bytes),
                }
                // The request may have grown meanwhile.
                Next::After(Duration::ZERO)
            }
            Err(error) => self.failed(claim, size, &error),
        }
    }

    /// Capabilities first, then the call; `None` where no CSI access mode fits.
    async fn call(
        &self,
        name: &str,
        volume: &PersistentVolume,
        size: i64,
    ) -> Result<Option<v1::ControllerExpandVolumeResponse>, RpcError> {
        let subject = self.subject(name);
        let capabilities = capabilities::controller(&self.client, &subject, PROVISIONER_LIMIT).await?;
        let single_node = SingleNode::of(capabilities.contains(&Type::SingleNodeMultiWriter.into()));
        let Some(capability) = of_volume(volume, single_node) else { return Ok(None) };
        let request = v1::ControllerExpandVolumeRequest {
            volume_id: volume.handle.clone(),
            capacity_range: Some(v1::CapacityRange { required_bytes: size, limit_bytes: 0 }),
            secrets: self.client.secrets(Rpc::ControllerExpandVolume),
            volume_capability: Some(capability),
        };
        self.client.call(&subject, request, PROVISIONER_LIMIT).await.map(Some)
    }

    /// The node has to do the rest.
    fn at_node(&self, claim: &str, volume: &PersistentVolume, capacity: i64, size: i64) {
        let hand_over = |claim: &mut PersistentVolumeClaim| {
            claim.allocated = Some(size);
            claim.resize = Some(ResizePhase::NodeResizePending);
        };
        let _ = self.store().note(claim, hand_over);
        let grow = |volume: &mut PersistentVolume| volume.capacity = capacity;
        let _ = self.store().modify(&volume.metadata.name, grow);
    }

    /// All is done: said on the claim first, so that no kubelet takes the larger volume for a task.
    fn finished(&self, claim: &str, volume: &PersistentVolume, capacity: i64) {
        let finish = |claim: &mut PersistentVolumeClaim| {
            claim.metadata.annotations.insert(names::NODE_EXPANSION_NOT_REQUIRED.to_owned(), "true".to_owned());
            claim.capacity = capacity;
            claim.allocated = None;
            claim.resize = None;
        };
        let _ = self.store().note(claim, finish);
        let grow = |volume: &mut PersistentVolume| volume.capacity = capacity;
        let _ = self.store().modify(&volume.metadata.name, grow);
    }

    fn failed(&self, claim: &PersistentVolumeClaim, size: i64, error: &RpcError) -> Next {
        let pause = self.client.context.timing.of(SLOW_RETRY);
        let until = self.store().now() + pause.as_millis() as u64;
        let mut memory = self.memory();
        let remembered = memory.entry(claim.metadata.uid.clone()).or_default();
        remembered.failed_for_good = !error.is_uncertain();
        remembered.is_in_use = error.is_failed_precondition();
        if !error.is_infeasible_resize() {
            return Next::Retry;
        }
        remembered.slow = Some((size, until));
        let refuse = |claim: &mut PersistentVolumeClaim| claim.resize = Some(ResizePhase::ControllerResizeInfeasible);
        let _ = self.store().note(&claim.metadata.name, refuse);
        Next::After(pause)
    }
}

#[async_trait]
impl Controller for Claims {
    fn name(&self) -> &str {
        NAME
    }

    fn concerns(&self, change: &Change) -> Vec<String> {
        match change.kind {
            Kind::PersistentVolumeClaim if !change.is_quiet => vec![change.name.clone()],
            _ => Vec::new(),
        }
    }

    fn all(&self) -> Vec<String> {
        self.store().read(|tables| tables.claims.keys().cloned().collect())
    }

    fn subject(&self, key: &str) -> String {
        format!("claim {key}")
    }

    async fn reconcile(&self, key: &str) -> Next {
        let claim: Option<PersistentVolumeClaim> = self.store().get(key);
        let Some(claim) = claim else {
            self.client.context.troubles.over(NAME, &self.subject(key));
            let uids: BTreeSet<String> =
                self.store().list::<PersistentVolumeClaim>().into_iter().map(|claim| claim.metadata.uid).collect();
            self.memory().retain(|uid, _| uids.contains(uid));
            return Next::Settled;
        };
        let Some(volume) = self.store().get::<PersistentVolume>(&claim.volume_name) else { return Next::Settled };
        let remembered = self.memory().get(&claim.metadata.uid).cloned().unwrap_or_default();
        let has_users = self.store().list::<Pod>().iter().any(|pod| uses(pod, key));
        let now = self.store().now();
        match step(&claim, &volume, &remembered, has_users, now) {
            Step::Nothing => Next::Settled,
            Step::WaitForUsers => Next::Retry,
            Step::WaitUntil(until) => Next::After(Duration::from_millis(until - now)),
            // Tried again when it is used no more: every change of the claim's pods is a while away.
            Step::Expand(_) if !self.asks_in_use && (has_users || self.is_attached(&claim.volume_name)) => Next::Retry,
            Step::Expand(size) => self.expand(&claim, &volume, size).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(request: i64, capacity: i64) -> PersistentVolumeClaim {
        PersistentVolumeClaim { request, capacity, is_bound: true, ..Default::default() }
    }

    fn next(claim: &PersistentVolumeClaim, remembered: &Remembered) -> Step {
        step(claim, &PersistentVolume { capacity: claim.capacity, ..Default::default() }, remembered, true, 0)
    }

    #[test]
    fn an_uncertain_expansion_freezes_its_size_and_a_final_failure_frees_it() {
        let mut claim = claim(30, 10);
        claim.allocated = Some(50);
        claim.resize = Some(ResizePhase::ControllerResizeInProgress);
        assert_eq!(next(&claim, &Remembered::default()), Step::Expand(50));
        let remembered = Remembered { failed_for_good: true, ..Remembered::default() };
        assert_eq!(next(&claim, &remembered), Step::Expand(30));
    }

    #[test]
    fn a_refused_size_waits_and_another_does_not() {
        let remembered = Remembered { slow: Some((50, 9)), failed_for_good: true, ..Remembered::default() };
        assert_eq!(next(&claim(50, 10), &remembered), Step::WaitUntil(9));
        assert_eq!(next(&claim(40, 10), &remembered), Step::Expand(40));
    }

    #[test]
    fn a_volume_in_use_waits_for_its_users_and_what_is_at_the_node_for_the_node() {
        let remembered = Remembered { is_in_use: true, ..Remembered::default() };
        assert_eq!(next(&claim(50, 10), &remembered), Step::WaitForUsers);
        let mut claim = claim(50, 10);
        claim.allocated = Some(50);
        claim.resize = Some(ResizePhase::NodeResizePending);
        let volume = PersistentVolume { capacity: 50, ..Default::default() };
        assert_eq!(step(&claim, &volume, &Remembered::default(), true, 0), Step::Nothing);
    }
}
