//! The attach/detach controller: which volumes pods need on which nodes, what is attached, and the VolumeAttachments.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    access_mode,
    beat::Beat,
    context::Context,
    departure::Departure,
    names,
    object::{AccessMode, Metadata, Node, Pod, PodPhase, VolumeAttachment},
    pending_operations::{OperationKey, PendingOperations},
    store::{Store, Tables},
    timing::{ATTACHMENT_WAIT, FORCED_DETACH, OPERATION_BACKOFF},
};

/// The reason under which is told what keeps a volume from being detached.
pub(super) const FAILED_DETACH: &str = "FailedDetach";

/// The pause before an attachment is looked at again.
const FIRST_POLL: Duration = Duration::from_millis(500);

/// A volume on a node.
type Place = (String, String);

/// A volume that a pod needs.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Wanted {
    volume_name: String,
    handle: String,
    /// Whether one node excludes all others.
    is_exclusive: bool,
}

/// What is known of a volume on a node.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Attached {
    /// Confirmed; otherwise it may be attached.
    is_confirmed: bool,
    /// Since when nobody needs it, in milliseconds.
    unwanted_since: Option<u64>,
    handle: String,
    is_exclusive: bool,
}

/// What is to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Operation {
    Attach { place: Place, wanted: Wanted },
    Detach { place: Place, handle: String },
}

/// The moment, in milliseconds, and what depends on it.
#[derive(Clone, Copy, Debug)]
struct Clock {
    now: u64,
    forced_after: u64,
    /// Whether a lost node loses its volumes.
    by_force: bool,
    /// Whether an attachment that may be there excludes another.
    waits_for_uncertain: bool,
}

/// Its memory, lost when it restarts.
struct Memory {
    actual: BTreeMap<Place, Attached>,
    pending: PendingOperations,
}

/// Runs it.
pub(super) async fn run(context: Context) -> Infallible {
    let backoff = context.timing.backoff(OPERATION_BACKOFF);
    let actual = context.store.read(|tables| rebuild(tables, &context.csi_driver.name));
    let mut memory = Memory { actual, pending: PendingOperations::new(backoff) };
    let mut running = JoinSet::new();
    let mut beat = Beat::new(&context);
    let waits_for_uncertain = !context.departs(Departure::AttachBesideUncertain);
    let by_force = context.departs(Departure::DetachByForce);
    let forced_after = context.timing.of(FORCED_DETACH).as_millis() as u64;
    loop {
        let now = beat.now();
        let wanted = match context.csi_driver.attach_required {
            true => context.store.read(|tables| wanted(tables, &context.csi_driver.name)),
            false => BTreeMap::new(),
        };
        let clock = context.store.now();
        let plan = context.store.read(|tables| {
            memory.plan(&wanted, tables, Clock { now: clock, forced_after, by_force, waits_for_uncertain })
        });
        for operation in plan {
            if !memory.pending.begin(&memory.key(&operation), name(&operation), now) {
                continue;
            }
            if let Operation::Detach { place: (volume, node), .. } = &operation {
                let remove = |node: &mut Node| {
                    node.volumes_attached.remove(volume);
                };
                // A node that is gone has no status.
                let _ = context.store.modify(node, remove);
            }
            memory.begin(&operation);
            let context = context.clone();
            running.spawn(async move {
                let succeeded = perform(&context, &operation).await;
                (operation, succeeded)
            });
        }
        memory.report(&context.store);
        let forced = memory.next_forced(clock, forced_after).map(|in_milliseconds| now + in_milliseconds);
        let due = memory.pending.next_due(now).into_iter().chain(forced).min();
        tokio::select! {
            () = beat.next(due) => {}
            Some(Ok((operation, succeeded))) = running.join_next() => {
                memory.end(&operation, succeeded, beat.now());
                memory.report(&context.store);
            }
        }
    }
}

/// Which volumes pods need attached, and where.
fn wanted(tables: &Tables, driver: &str) -> BTreeMap<Place, Wanted> {
    let mut wanted = BTreeMap::new();
    for pod in tables.pods.values().filter(|pod| counts(pod)) {
        for volume in &pod.volumes {
            let claim = volume.claim().and_then(|claim| tables.claims.get(claim)).filter(|claim| claim.is_bound);
            let Some(volume) = claim.and_then(|claim| tables.volumes.get(&claim.volume_name)) else { continue };
            if volume.driver != driver {
                continue;
            }
            let place = (names::unique_volume(driver, &volume.handle), pod.node_name.clone());
            let exclusive = [AccessMode::ReadWriteOnce, AccessMode::ReadWriteOncePod];
            wanted.entry(place).or_insert_with(|| Wanted {
                volume_name: volume.metadata.name.clone(),
                handle: volume.handle.clone(),
                is_exclusive: access_mode::combined(&volume.access_modes).is_some_and(|mode| exclusive.contains(&mode)),
            });
        }
    }
    wanted
}

/// Whether the pod needs its volumes: it is on a node, and not at its end.
fn counts(pod: &Pod) -> bool {
    let ends = pod.metadata.is_deleting() || pod.phase == PodPhase::Succeeded;
    !pod.node_name.is_empty() && (pod.containers_run || !ends)
}

/// What a controller that starts takes as attached: what nodes report, and every attachment as uncertain.
fn rebuild(tables: &Tables, driver: &str) -> BTreeMap<Place, Attached> {
    let mut actual = BTreeMap::new();
    for attachment in tables.attachments.values().filter(|one| one.attacher == driver) {
        let Some(volume) = tables.volumes.get(&attachment.volume_name) else { continue };
        let unique = names::unique_volume(driver, &volume.handle);
        let reported = tables.nodes.get(&attachment.node_name).is_some_and(|n| n.volumes_attached.contains(&unique));
        let mode = access_mode::combined(&volume.access_modes);
        let attached = Attached {
            is_confirmed: reported && !attachment.metadata.is_deleting(),
            unwanted_since: None,
            handle: volume.handle.clone(),
            is_exclusive: matches!(mode, Some(AccessMode::ReadWriteOnce | AccessMode::ReadWriteOncePod)),
        };
        actual.insert((unique, attachment.node_name.clone()), attached);
    }
    actual
}

const fn name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Attach { .. } => "attach",
        Operation::Detach { .. } => "detach",
    }
}

impl Memory {
    /// Detaches come first, then attaches.
    fn plan(&mut self, wanted: &BTreeMap<Place, Wanted>, tables: &Tables, clock: Clock) -> Vec<Operation> {
        let Clock { now: clock, forced_after, by_force, waits_for_uncertain } = clock;
        let mut plan = Vec::new();
        for (place, attached) in &mut self.actual {
            if wanted.contains_key(place) {
                attached.unwanted_since = None;
                continue;
            }
            let since = *attached.unwanted_since.get_or_insert(clock);
            let node = tables.nodes.get(&place.1);
            let is_forced = node.is_none_or(|node| {
                by_force && !node.is_ready && (node.is_out_of_service || clock.saturating_sub(since) >= forced_after)
            });
            if is_forced || node.is_some_and(|node| !node.volumes_in_use.contains(&place.0)) {
                plan.push(Operation::Detach { place: place.clone(), handle: attached.handle.clone() });
            }
        }
        for (place, volume) in wanted {
            let is_attached = self.actual.get(place).is_some_and(|attached| attached.is_confirmed);
            let is_elsewhere = |(other, attached): (&Place, &Attached)| {
                other.0 == place.0 && other.1 != place.1 && (attached.is_confirmed || waits_for_uncertain)
            };
            let is_taken = volume.is_exclusive && self.actual.iter().any(is_elsewhere);
            if !is_attached && !is_taken {
                plan.push(Operation::Attach { place: place.clone(), wanted: volume.clone() });
            }
        }
        plan
    }

    /// Volumes for one node at a time have one key, so that attach and detach never overlap.
    fn key(&self, operation: &Operation) -> OperationKey {
        let ((volume, node), is_exclusive) = match operation {
            Operation::Attach { place, wanted } => (place, wanted.is_exclusive),
            Operation::Detach { place, .. } => (place, self.actual.get(place).is_some_and(|one| one.is_exclusive)),
        };
        match is_exclusive {
            true => OperationKey::volume(volume),
            false => OperationKey::part(volume, node),
        }
    }

    fn begin(&mut self, operation: &Operation) {
        match operation {
            // From now on it may be attached, whatever comes.
            Operation::Attach { place, wanted } => {
                self.actual.entry(place.clone()).or_insert_with(|| Attached {
                    handle: wanted.handle.clone(),
                    is_exclusive: wanted.is_exclusive,
                    ..Attached::default()
                });
            }
            Operation::Detach { .. } => {}
        }
    }

    fn end(&mut self, operation: &Operation, succeeded: bool, now: Duration) {
        let key = self.key(operation);
        match operation {
            Operation::Attach { place, .. } => {
                if let Some(attached) = self.actual.get_mut(place) {
                    attached.is_confirmed = succeeded;
                }
            }
            Operation::Detach { place, .. } if succeeded => {
                self.actual.remove(place);
            }
            Operation::Detach { place, .. } => {
                if let Some(attached) = self.actual.get_mut(place) {
                    attached.is_confirmed = false;
                }
            }
        }
        match succeeded {
            true => self.pending.succeeded(&key),
            false => {
                self.pending.failed(&key, now);
            }
        }
    }

    /// How long it takes until a volume of a node that is not ready is detached by force.
    fn next_forced(&self, clock: u64, forced_after: u64) -> Option<Duration> {
        let waits = self.actual.values().filter_map(|attached| attached.unwanted_since);
        let left = waits.map(|since| (since + forced_after).saturating_sub(clock)).filter(|left| *left > 0);
        left.min().map(Duration::from_millis)
    }

    /// Tells the kubelets what is attached.
    fn report(&self, store: &Store) {
        let mut by_node: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for ((volume, node), attached) in &self.actual {
            let detaches = self.pending.is_running(&self.place_key(volume, node, attached), "detach");
            if attached.is_confirmed && !detaches {
                by_node.entry(node).or_default().insert(volume.clone());
            }
        }
        for node in store.list::<Node>() {
            let attached = by_node.remove(node.metadata.name.as_str()).unwrap_or_default();
            // A node that is gone has no status.
            let _ = store.modify(&node.metadata.name, |node: &mut Node| node.volumes_attached = attached);
        }
    }

    fn place_key(&self, volume: &str, node: &str, attached: &Attached) -> OperationKey {
        match attached.is_exclusive {
            true => OperationKey::volume(volume),
            false => OperationKey::part(volume, node),
        }
    }
}

/// Writes the attachment, and waits for what the attacher makes of it.
async fn perform(context: &Context, operation: &Operation) -> bool {
    let store = &context.store;
    let driver = &context.csi_driver.name;
    let until = Instant::now() + context.timing.of(ATTACHMENT_WAIT);
    let mut pause = context.timing.of(FIRST_POLL);
    match operation {
        Operation::Attach { place: (_, node), wanted } => {
            let name = names::attachment(&wanted.handle, driver, node);
            let attachment = VolumeAttachment {
                metadata: Metadata::named(&name),
                attacher: driver.clone(),
                volume_name: wanted.volume_name.clone(),
                node_name: node.clone(),
                ..VolumeAttachment::default()
            };
            // One that exists is waited for.
            let _ = store.create(attachment);
            loop {
                match store.get::<VolumeAttachment>(&name) {
                    None => return false,
                    Some(one) if one.metadata.is_deleting() || one.attach_error.is_some() => return false,
                    Some(one) if one.attached => return true,
                    Some(_) if Instant::now() >= until => return false,
                    Some(_) => sleep(pause).await,
                }
                pause = pause.mul_f64(1.05);
            }
        }
        Operation::Detach { place: (volume, node), handle } => {
            let split = match context.departs(Departure::SplitName) {
                true => names::split_unique_volume(volume),
                false => Some((driver.as_str(), handle.as_str())),
            };
            let Some((driver, handle)) = split else {
                context.tell(volume, FAILED_DETACH, "the attach/detach controller splits its name at ^, and finds two");
                return false;
            };
            let name = names::attachment(handle, driver, node);
            store.delete::<VolumeAttachment>(&name);
            loop {
                match store.get::<VolumeAttachment>(&name) {
                    None => return true,
                    Some(one) if one.detach_error.is_some() || Instant::now() >= until => return false,
                    Some(_) => sleep(pause).await,
                }
                pause = pause.mul_f64(1.05);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(now: u64) -> Clock {
        Clock { now, forced_after: 10, by_force: true, waits_for_uncertain: false }
    }

    fn wish(node: &str) -> BTreeMap<Place, Wanted> {
        let wanted = Wanted { volume_name: "pv".into(), handle: "v".into(), is_exclusive: true };
        [(("u".to_owned(), node.to_owned()), wanted)].into()
    }

    fn memory(node: &str, is_confirmed: bool) -> Memory {
        let attached = Attached { is_confirmed, is_exclusive: true, ..Attached::default() };
        Memory {
            actual: [(("u".to_owned(), node.to_owned()), attached)].into(),
            pending: PendingOperations::new(OPERATION_BACKOFF),
        }
    }

    fn tables(is_ready: bool, is_out_of_service: bool) -> Tables {
        let node = |in_use: bool| Node {
            is_ready,
            is_out_of_service,
            volumes_in_use: if in_use { ["u".to_owned()].into() } else { BTreeSet::new() },
            ..Node::default()
        };
        Tables { nodes: [("a".to_owned(), node(true)), ("b".to_owned(), node(false))].into(), ..Tables::default() }
    }

    #[test]
    fn a_second_node_waits_while_the_first_is_confirmed_and_not_while_it_is_uncertain() {
        let plan = memory("a", true).plan(&wish("b"), &tables(true, false), at(0));
        assert_eq!(plan, [], "in use on the first node");
        let plan = memory("a", false).plan(&wish("b"), &tables(true, false), at(0));
        assert!(matches!(plan.as_slice(), [Operation::Attach { .. }]), "{plan:?}");
        let strict = Clock { waits_for_uncertain: true, ..at(0) };
        assert_eq!(memory("a", false).plan(&wish("b"), &tables(true, false), strict), []);
    }

    #[test]
    fn a_volume_in_use_is_detached_by_force_only_from_a_node_that_is_lost() {
        let nobody = BTreeMap::new();
        let mut memory = memory("a", true);
        assert_eq!(memory.plan(&nobody, &tables(true, false), at(0)), []);
        assert_eq!(memory.plan(&nobody, &tables(false, false), at(9)), []);
        assert_eq!(memory.plan(&nobody, &tables(false, false), at(10)).len(), 1);
        assert_eq!(memory.plan(&nobody, &tables(false, true), at(0)).len(), 1);
        assert_eq!(memory.plan(&nobody, &tables(true, true), at(0)), []);
    }
}
