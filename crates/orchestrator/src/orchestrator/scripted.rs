//! A scripted workload: the objects of a manifest come, everything runs that can, and everything goes again.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    cluster::{Cluster, ClusterError},
    manifest::Objects,
    outcome::{Stuck, WorkloadOutcome, has_settled, stuck_pods, waiting_pods},
    store::Tables,
    workload::{Watcher, tear_down},
};

/// How long everything may take to be as the manifest wants it.
const CONVERGENCE: Duration = Duration::from_secs(3600);

/// Plays the objects, takes them away again, and says what did not come about.
///
/// # Errors
///
/// When a class is another driver's, or objects cannot be written.
pub async fn play_objects(
    objects: &Objects,
    cluster: &mut Cluster,
    watcher: &dyn Watcher,
) -> Result<WorkloadOutcome, ClusterError> {
    let driver = cluster.context().csi_driver.name.clone();
    let other = objects.storage_classes.iter().find(|class| class.provisioner != driver);
    if let Some(class) = other {
        let (class, other) = (class.metadata.name.clone(), class.provisioner.clone());
        return Err(ClusterError::OtherDriver { class, other, driver });
    }
    let began = Instant::now();
    objects.create(cluster.store())?;
    cluster.store().read(|tables| watcher.acted("the objects of the manifest are created", tables));
    // What has not come about by then is told.
    let _ = cluster.wait_until("everything of the manifest is there", CONVERGENCE, is_there).await;
    cluster.store().read(|tables| watcher.acted("it is as far as it gets", tables));
    let (steady_after, steady) = (began.elapsed(), Instant::now());
    let at = cluster.context().store.now();
    let waiting = waiting_pods(cluster.context());
    let mut stuck = stuck_pods(cluster.context());
    stuck.extend(cluster.store().read(|tables| unready(tables, at)));
    let running = cluster.store().read(|tables| tables.pods.values().filter(|pod| pod.containers_run).count());
    stuck.extend(tear_down(cluster).await);
    cluster.store().read(|tables| watcher.acted("everything was deleted", tables));
    let (claims, pods) = (objects.claims.len(), objects.pods.len());
    let snapshots = objects.snapshots.len() + objects.group_snapshots.len();
    let gone_after = steady.elapsed();
    Ok(WorkloadOutcome { claims, pods, snapshots, faults: 0, running, steady_after, gone_after, waiting, stuck })
}

fn is_there(tables: &Tables) -> bool {
    has_settled(tables) && unready(tables, 0).is_empty()
}

/// Snapshots that are not ready, and claims that wait for nobody and are not bound.
fn unready(tables: &Tables, at: u64) -> Vec<Stuck> {
    let mut unready = Vec::new();
    let mut add = |object: String, waits_for: &str| {
        unready.push(Stuck { object, waits_for: waits_for.to_owned(), because: None, at });
    };
    for (name, claim) in &tables.claims {
        let class = tables.storage_classes.get(&claim.storage_class);
        let is_late = class.is_some_and(|class| class.binding_mode == super::object::BindingMode::WaitForFirstConsumer);
        if !claim.is_bound && !is_late {
            add(format!("claim {name}"), "a volume");
        }
    }
    for (name, snapshot) in &tables.snapshots {
        if !snapshot.is_ready {
            add(format!("snapshot {name}"), snapshot.error.as_deref().unwrap_or("the driver to have it ready"));
        }
    }
    for (name, group) in &tables.group_snapshots {
        if !group.is_ready {
            add(format!("group snapshot {name}"), group.error.as_deref().unwrap_or("the driver to have it ready"));
        }
    }
    unready
}
