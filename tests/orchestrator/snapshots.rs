//! Canonical traces of snapshots that were there first, and of groups.

use csi_certify::orchestrator::{
    AccessMode, Metadata, PersistentVolumeClaim, ReclaimPolicy, VolumeAttributesClass, VolumeGroupSnapshot, VolumeMode,
    VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent,
};

use super::{stage::play, traces::Recorded};

#[test]
fn t16_a_snapshot_that_was_there_first() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
        recorded.stage.bound("c1").await;
        // A snapshot of a class that retains it stays with the driver when its objects are gone.
        let store = recorded.stage.cluster.store();
        let class = VolumeSnapshotClass {
            metadata: Metadata::named("retain"),
            deletion_policy: ReclaimPolicy::Retain,
            ..VolumeSnapshotClass::default()
        };
        store.create(class).unwrap();
        let metadata = Metadata::named("s0");
        let snapshot =
            VolumeSnapshot { metadata, claim: "c1".into(), class: "retain".into(), ..VolumeSnapshot::default() };
        store.create(snapshot).unwrap();
        recorded.stage.until("it is cut", |tables| tables.snapshots["s0"].is_ready).await;
        recorded.name();
        let store = recorded.stage.cluster.store();
        let made = store.list::<VolumeSnapshotContent>().remove(0);
        store.delete::<VolumeSnapshot>("s0");
        recorded.stage.until("the snapshot is gone", |tables| tables.snapshots.is_empty()).await;
        let store = recorded.stage.cluster.store();
        store.delete::<VolumeSnapshotContent>(&made.metadata.name);
        recorded.stage.until("the content is gone", |tables| tables.snapshot_contents.is_empty()).await;
        recorded.begin_here();
        // It is taken up by its handle.
        let mut metadata = Metadata::named("old");
        metadata.finalizers = made.metadata.finalizers.clone();
        let content = VolumeSnapshotContent {
            metadata,
            driver: made.driver.clone(),
            handle: made.handle.clone(),
            ..VolumeSnapshotContent::default()
        };
        let store = recorded.stage.cluster.store();
        store.create(content).unwrap();
        let metadata = Metadata::named("s1");
        store.create(VolumeSnapshot { metadata, content: "old".into(), ..VolumeSnapshot::default() }).unwrap();
        recorded.stage.until("it is found", |tables| tables.snapshots["s1"].is_ready).await;
        recorded.name();
        recorded.stage.cluster.store().delete::<VolumeSnapshot>("s1");
        recorded
            .stage
            .until("the snapshot is gone", |tables| tables.snapshots.is_empty() && tables.snapshot_contents.is_empty())
            .await;
        recorded.stage.clean(&["c1"]).await;
        recorded.check("t16");
    });
}

#[test]
fn t18_a_group_is_cut_and_goes_as_a_whole() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        for claim in ["c1", "c2"] {
            recorded.stage.claim(claim, AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
            recorded.stage.bound(claim).await;
            let label = |claim: &mut PersistentVolumeClaim| {
                claim.metadata.labels.insert("app".into(), "db".into());
            };
            recorded.stage.cluster.store().modify(claim, label).unwrap();
        }
        recorded.name();
        recorded.begin_here();
        let metadata = Metadata::named("g1");
        let selector = [("app".to_owned(), "db".to_owned())].into();
        let group = VolumeGroupSnapshot { metadata, selector, ..VolumeGroupSnapshot::default() };
        recorded.stage.cluster.store().create(group).unwrap();
        recorded
            .stage
            .until("all members are ready", |tables| {
                tables.group_snapshots["g1"].is_ready
                    && tables.snapshots.len() == 2
                    && tables.snapshots.values().all(|member| member.is_ready)
            })
            .await;
        recorded.name();
        recorded.stage.cluster.store().delete::<VolumeGroupSnapshot>("g1");
        recorded
            .stage
            .until("nothing of it is left", |tables| {
                tables.group_snapshots.is_empty()
                    && tables.group_snapshot_contents.is_empty()
                    && tables.snapshots.is_empty()
                    && tables.snapshot_contents.is_empty()
            })
            .await;
        assert_eq!(recorded.stage.driver_store.snapshots_after(None, 10).unwrap(), Vec::new());
        for claim in ["c1", "c2"] {
            recorded.stage.cluster.delete_claim(claim);
            let left = usize::from(claim == "c1");
            recorded.stage.until("it is gone", |tables| tables.volumes.len() == left).await;
        }
        recorded.stage.clean(&[]).await;
        recorded.check("t18");
    });
}

#[test]
fn t39_a_claim_gets_another_class_of_attributes() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        let class = VolumeAttributesClass {
            metadata: Metadata::named("gold"),
            driver: csi_certify::driver::PLUGIN_NAME.into(),
            parameters: [("tier".to_owned(), "fast".to_owned())].into(),
        };
        recorded.stage.cluster.store().create(class).unwrap();
        recorded.stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
        recorded.stage.bound("c1").await;
        recorded.name();
        recorded.begin_here();
        let gold = |claim: &mut PersistentVolumeClaim| claim.attributes_class = "gold".into();
        recorded.stage.cluster.store().modify("c1", gold).unwrap();
        recorded.stage.until("it has them", |tables| tables.claims["c1"].current_attributes_class == "gold").await;
        assert_eq!(recorded.stage.cluster.store().read(|tables| tables.claims["c1"].modification.clone()), None);
        recorded.stage.clean(&["c1"]).await;
        recorded.check("t39");
    });
}
