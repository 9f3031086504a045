//! A crash at every step: the store and the content stop working after the n-th operation, a new driver takes over, and
//! the request is repeated.

use std::{
    collections::BTreeSet,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use csi_certify::{
    csi::v1::{self, volume_content_source},
    driver::{
        Configuration, GroupSnapshotId, SnapshotId,
        content::{Content, Cut, Plan, Ranges},
        record::{AccessTypes, Attachment, GroupSnapshot, Snapshot, Volume},
        store::{Change, Store, StoreError},
        topology::Topology,
    },
    mountpod::{AccessType, VolumeContent, VolumeId},
};

use crate::world::{Ground, MIB, Mode, World, create_volume, mount, strings};

/// How many operations are left before the crash, or before the one that fails.
#[derive(Clone)]
struct Countdown(Arc<AtomicI64>, Afterwards);

/// What becomes of the operations after the first that failed.
#[derive(Clone, Copy, PartialEq)]
enum Afterwards {
    Dead,
    Well,
}

impl Countdown {
    fn is_over(&self) -> bool {
        let left = self.0.fetch_sub(1, Ordering::SeqCst);
        left == 0 || (left < 0 && self.1 == Afterwards::Dead)
    }

    fn store(&self) -> Result<(), StoreError> {
        if self.is_over() { Err(StoreError::Failed("crashed".into())) } else { Ok(()) }
    }

    fn content(&self) -> io::Result<()> {
        if self.is_over() { Err(io::Error::other("crashed")) } else { Ok(()) }
    }
}

struct MortalStore(Arc<dyn Store>, Countdown);

impl Store for MortalStore {
    fn volume(&self, id: &VolumeId) -> Result<Option<Volume>, StoreError> {
        self.1.store()?;
        self.0.volume(id)
    }

    fn volume_named(&self, name: &str) -> Result<Option<Volume>, StoreError> {
        self.1.store()?;
        self.0.volume_named(name)
    }

    fn volumes_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Volume>, StoreError> {
        self.1.store()?;
        self.0.volumes_after(after, limit)
    }

    fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, StoreError> {
        self.1.store()?;
        self.0.snapshot(id)
    }

    fn snapshot_named(&self, name: &str) -> Result<Option<Snapshot>, StoreError> {
        self.1.store()?;
        self.0.snapshot_named(name)
    }

    fn snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Snapshot>, StoreError> {
        self.1.store()?;
        self.0.snapshots_after(after, limit)
    }

    fn group_snapshot(&self, id: &GroupSnapshotId) -> Result<Option<GroupSnapshot>, StoreError> {
        self.1.store()?;
        self.0.group_snapshot(id)
    }

    fn group_snapshot_named(&self, name: &str) -> Result<Option<GroupSnapshot>, StoreError> {
        self.1.store()?;
        self.0.group_snapshot_named(name)
    }

    fn group_snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<GroupSnapshot>, StoreError> {
        self.1.store()?;
        self.0.group_snapshots_after(after, limit)
    }

    fn attachments_of(&self, volume: &VolumeId) -> Result<Vec<Attachment>, StoreError> {
        self.1.store()?;
        self.0.attachments_of(volume)
    }

    fn attached_to(&self, node: &str) -> Result<usize, StoreError> {
        self.1.store()?;
        self.0.attached_to(node)
    }

    fn allocated(&self, topology: &Topology) -> Result<u64, StoreError> {
        self.1.store()?;
        self.0.allocated(topology)
    }

    fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.1.store()?;
        self.0.commit(changes)?;
        // The commit may be durable without anybody hearing of it.
        self.1.store()
    }

    fn check(&self) -> Result<(), StoreError> {
        self.1.store()?;
        self.0.check()
    }
}

struct MortalContent(Arc<dyn Content>, Countdown);

impl MortalContent {
    /// Dies before or after the operation.
    fn around(&self, operation: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.1.content()?;
        operation()?;
        self.1.content()
    }
}

impl Content for MortalContent {
    fn create(&self, volume: &VolumeId, plan: &Plan) -> io::Result<()> {
        self.around(|| self.0.create(volume, plan))
    }

    fn cut(&self, cuts: &[Cut]) -> io::Result<()> {
        // One after the other, so that a crash finds some of the members of a group cut.
        cuts.iter().try_for_each(|cut| self.around(|| self.0.cut(std::slice::from_ref(cut))))
    }

    fn allocated(&self, snapshot: &SnapshotId, start: u64) -> io::Result<Ranges> {
        self.1.content()?;
        self.0.allocated(snapshot, start)
    }

    fn changed(&self, base: &SnapshotId, target: &SnapshotId, start: u64) -> io::Result<Ranges> {
        self.1.content()?;
        self.0.changed(base, target, start)
    }

    fn grow(&self, volume: &VolumeId, capacity: u64) -> io::Result<()> {
        self.around(|| self.0.grow(volume, capacity))
    }

    fn remove_volume(&self, volume: &VolumeId) -> io::Result<()> {
        self.around(|| self.0.remove_volume(volume))
    }

    fn remove_snapshot(&self, snapshot: &SnapshotId) -> io::Result<()> {
        self.around(|| self.0.remove_snapshot(snapshot))
    }

    fn sweep(&self, volumes: &BTreeSet<VolumeId>, snapshots: &BTreeSet<SnapshotId>) -> io::Result<()> {
        self.around(|| self.0.sweep(volumes, snapshots))
    }

    fn location(&self, volume: &VolumeId, access_type: AccessType) -> VolumeContent {
        self.0.location(volume, access_type)
    }

    fn condition(&self, volume: &VolumeId, access: AccessTypes) -> Result<String, String> {
        self.0.condition(volume, access)
    }

    fn free_inodes(&self) -> Option<u64> {
        self.0.free_inodes()
    }

    fn check(&self) -> io::Result<()> {
        self.0.check()
    }
}

/// A driver on this ground that stops working after some operations.
fn mortal(ground: &Ground, operations: i64) -> World {
    let countdown = Countdown(Arc::new(AtomicI64::new(i64::MAX)), Afterwards::Dead);
    let mortal = Ground {
        store: Arc::new(MortalStore(ground.store.clone(), countdown.clone())),
        content: Arc::new(MortalContent(ground.content.clone(), countdown.clone())),
        ..ground.clone()
    };
    let world = World::on(mortal, Configuration::default());
    world.driver.recover().unwrap();
    countdown.0.store(operations, Ordering::SeqCst);
    world
}

fn reborn(ground: &Ground) -> World {
    let world = World::on(ground.clone(), Configuration::default());
    world.driver.recover().unwrap();
    world
}

/// What a request came to: the answer as text, or that it failed.
type Outcome<'a> = Pin<Box<dyn Future<Output = Option<String>> + 'a>>;

/// Crashes a request at every operation, with and without a restart before the repeat, and checks that the repeat
/// succeeds, that a second repeat says the same, and that nothing is left over.
async fn crash_everywhere(
    name: &str,
    prepare: impl for<'a> Fn(&'a mut World) -> Outcome<'a>,
    request: impl for<'a> Fn(&'a mut World, &'a str) -> Outcome<'a>,
    contents: (usize, usize, usize),
    allocated: i64,
) {
    let mut crashes = 0;
    for operations in 0.. {
        assert!(operations < 200, "{name} has no end");
        for repeat_in_same_process in [false, true] {
            let ground = Ground::over_a_database();
            let prepared = prepare(&mut reborn(&ground)).await.unwrap();
            let at = format!("{name}, crash after {operations} operations, same process {repeat_in_same_process}");

            let mut dying = mortal(&ground, operations);
            let first = request(&mut dying, &prepared).await;
            let mut world = if repeat_in_same_process { ground_healed(&ground) } else { reborn(&ground) };
            let second = request(&mut world, &prepared).await.unwrap_or_else(|| panic!("{at}: the repeat failed"));
            if let Some(first) = &first {
                assert_eq!(*first, second, "{at}: the answer changed");
            }
            assert_eq!(request(&mut world, &prepared).await, Some(second), "{at}: the second repeat differs");
            assert_eq!(ground.contents(), contents, "{at}");
            assert_eq!(world.available().await, (10 << 40) - allocated, "{at}");

            let mut after = reborn(&ground);
            assert_eq!(ground.contents(), contents, "{at}, after another start");
            assert_eq!(after.available().await, (10 << 40) - allocated, "{at}, after another start");
            if first.is_some() && repeat_in_same_process {
                assert!(crashes > 2, "{name} was hardly crashed");
                return;
            }
            crashes += i32::from(first.is_none());
        }
    }
}

/// A driver that goes on without recovery having removed anything: what a repeat in the same process meets.
fn ground_healed(ground: &Ground) -> World {
    // Recovery over a world without records changes nothing; then the real parts take over.
    let untouched = Ground { content: Arc::new(Unswept(ground.content.clone())), ..ground.clone() };
    let untouched = Ground { store: Arc::new(Unread(ground.store.clone(), AtomicI64::new(3))), ..untouched };
    let world = World::on(untouched, Configuration::default());
    world.driver.recover().unwrap();
    world
}

/// A store that shows nothing to recovery.
struct Unread(Arc<dyn Store>, AtomicI64);

impl Store for Unread {
    fn volumes_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Volume>, StoreError> {
        if self.1.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(vec![]) } else { self.0.volumes_after(after, limit) }
    }

    fn snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Snapshot>, StoreError> {
        if self.1.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(vec![]) } else { self.0.snapshots_after(after, limit) }
    }

    fn group_snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<GroupSnapshot>, StoreError> {
        if self.1.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(vec![]) } else { self.0.group_snapshots_after(after, limit) }
    }

    fn group_snapshot(&self, id: &GroupSnapshotId) -> Result<Option<GroupSnapshot>, StoreError> {
        self.0.group_snapshot(id)
    }

    fn group_snapshot_named(&self, name: &str) -> Result<Option<GroupSnapshot>, StoreError> {
        self.0.group_snapshot_named(name)
    }

    fn volume(&self, id: &VolumeId) -> Result<Option<Volume>, StoreError> {
        self.0.volume(id)
    }

    fn volume_named(&self, name: &str) -> Result<Option<Volume>, StoreError> {
        self.0.volume_named(name)
    }

    fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, StoreError> {
        self.0.snapshot(id)
    }

    fn snapshot_named(&self, name: &str) -> Result<Option<Snapshot>, StoreError> {
        self.0.snapshot_named(name)
    }

    fn attachments_of(&self, volume: &VolumeId) -> Result<Vec<Attachment>, StoreError> {
        self.0.attachments_of(volume)
    }

    fn attached_to(&self, node: &str) -> Result<usize, StoreError> {
        self.0.attached_to(node)
    }

    fn allocated(&self, topology: &Topology) -> Result<u64, StoreError> {
        self.0.allocated(topology)
    }

    fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.0.commit(changes)
    }

    fn check(&self) -> Result<(), StoreError> {
        self.0.check()
    }
}

/// Content that recovery does not sweep.
struct Unswept(Arc<dyn Content>);

impl Content for Unswept {
    fn sweep(&self, _: &BTreeSet<VolumeId>, _: &BTreeSet<SnapshotId>) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, volume: &VolumeId, plan: &Plan) -> io::Result<()> {
        self.0.create(volume, plan)
    }

    fn cut(&self, cuts: &[Cut]) -> io::Result<()> {
        self.0.cut(cuts)
    }

    fn allocated(&self, snapshot: &SnapshotId, start: u64) -> io::Result<Ranges> {
        self.0.allocated(snapshot, start)
    }

    fn changed(&self, base: &SnapshotId, target: &SnapshotId, start: u64) -> io::Result<Ranges> {
        self.0.changed(base, target, start)
    }

    fn grow(&self, volume: &VolumeId, capacity: u64) -> io::Result<()> {
        self.0.grow(volume, capacity)
    }

    fn remove_volume(&self, volume: &VolumeId) -> io::Result<()> {
        self.0.remove_volume(volume)
    }

    fn remove_snapshot(&self, snapshot: &SnapshotId) -> io::Result<()> {
        self.0.remove_snapshot(snapshot)
    }

    fn location(&self, volume: &VolumeId, access_type: AccessType) -> VolumeContent {
        self.0.location(volume, access_type)
    }

    fn condition(&self, volume: &VolumeId, access: AccessTypes) -> Result<String, String> {
        self.0.condition(volume, access)
    }

    fn free_inodes(&self) -> Option<u64> {
        self.0.free_inodes()
    }

    fn check(&self) -> io::Result<()> {
        self.0.check()
    }
}

/// A volume with a file in it.
fn volume_with_a_file(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let volume = world.create("source").await.volume_id;
        std::fs::write(world.ground.volume(&volume, "fs").join("file"), "content").unwrap();
        Some(volume)
    })
}

fn nothing(_: &mut World) -> Outcome<'_> {
    Box::pin(async { Some(String::new()) })
}

#[tokio::test]
async fn creating_a_volume() {
    let request: for<'a> fn(&'a mut World, &'a str) -> Outcome<'a> = |world, _| {
        Box::pin(async { world.create_as(create_volume("a")).await.ok().map(|volume| format!("{volume:?}")) })
    };
    crash_everywhere("create", nothing, request, (1, 0, 0), MIB).await;
}

#[tokio::test]
async fn cloning_a_volume() {
    let request: for<'a> fn(&'a mut World, &'a str) -> Outcome<'a> = |world, source| {
        Box::pin(async move {
            let of = volume_content_source::VolumeSource { volume_id: source.into() };
            let request = v1::CreateVolumeRequest {
                volume_content_source: Some(v1::VolumeContentSource {
                    r#type: Some(volume_content_source::Type::Volume(of)),
                }),
                ..create_volume("clone")
            };
            let clone = world.create_as(request).await.ok()?;
            let file = world.ground.volume(&clone.volume_id, "fs").join("file");
            assert_eq!(std::fs::read_to_string(file).unwrap(), "content");
            Some(format!("{clone:?}"))
        })
    };
    crash_everywhere("clone", volume_with_a_file, request, (2, 0, 0), 2 * MIB).await;
}

#[tokio::test]
async fn deleting_a_volume() {
    let request: for<'a> fn(&'a mut World, &'a str) -> Outcome<'a> =
        |world, volume| Box::pin(async move { world.delete(volume).await.ok().map(|()| String::new()) });
    crash_everywhere("delete", volume_with_a_file, request, (0, 0, 0), 0).await;
}

#[tokio::test]
async fn cutting_a_snapshot() {
    let request: for<'a> fn(&'a mut World, &'a str) -> Outcome<'a> = |world, volume| {
        Box::pin(async move { world.snapshot("s", volume).await.ok().map(|snapshot| format!("{snapshot:?}")) })
    };
    crash_everywhere("snapshot", volume_with_a_file, request, (1, 1, 0), 2 * MIB).await;
}

#[tokio::test]
async fn deleting_a_snapshot() {
    let prepare: for<'a> fn(&'a mut World) -> Outcome<'a> = |world| {
        Box::pin(async {
            let volume = world.create("source").await.volume_id;
            Some(world.snapshot("s", &volume).await.unwrap().snapshot_id)
        })
    };
    let request: for<'a> fn(&'a mut World, &'a str) -> Outcome<'a> = |world, snapshot| {
        Box::pin(async move {
            let delete = v1::DeleteSnapshotRequest { snapshot_id: snapshot.into(), ..Default::default() };
            world.controller.delete_snapshot(delete).await.ok().map(|_| String::new())
        })
    };
    crash_everywhere("delete snapshot", prepare, request, (1, 0, 0), MIB).await;
}

#[tokio::test]
async fn cutting_a_group_snapshot() {
    let prepare: for<'a> fn(&'a mut World) -> Outcome<'a> = |world| {
        Box::pin(async {
            let (first, second) = (world.create("a").await.volume_id, world.create("b").await.volume_id);
            Some(format!("{first} {second}"))
        })
    };
    let request: for<'a> fn(&'a mut World, &'a str) -> Outcome<'a> = |world, volumes| {
        Box::pin(async move {
            let volumes: Vec<&str> = volumes.split(' ').collect();
            world.group("g", &volumes).await.ok().map(|group| format!("{group:?}"))
        })
    };
    crash_everywhere("group snapshot", prepare, request, (2, 2, 0), 4 * MIB).await;
}

#[tokio::test]
async fn a_group_of_which_one_member_cannot_be_cut_leaves_nothing_behind() {
    for good in 0..4 {
        let ground = Ground::over_a_database();
        let countdown = Countdown(Arc::new(AtomicI64::new(i64::MAX)), Afterwards::Well);
        let content = Arc::new(MortalContent(ground.content.clone(), countdown.clone()));
        let mut world = World::on(Ground { content, ..ground.clone() }, Configuration::default());
        world.driver.recover().unwrap();
        let (first, second) = (world.create("a").await.volume_id, world.create("b").await.volume_id);
        countdown.0.store(good, Ordering::SeqCst);
        assert!(world.group("g", &[&first, &second]).await.is_err(), "{good}");
        assert_eq!(ground.contents(), (2, 0, 0), "{good}");
        let list = world.controller.list_snapshots(v1::ListSnapshotsRequest::default()).await.unwrap();
        assert_eq!(list.into_inner().entries, [], "{good}");
        assert_eq!(world.available().await, (10 << 40) - 2 * MIB, "{good}");
        // The name is free for other volumes.
        world.group("g", &[&first]).await.unwrap();
    }
}

#[tokio::test]
async fn deleting_a_group_snapshot() {
    let prepare: for<'a> fn(&'a mut World) -> Outcome<'a> = |world| {
        Box::pin(async {
            let (first, second) = (world.create("a").await.volume_id, world.create("b").await.volume_id);
            let group = world.group("g", &[&first, &second]).await.unwrap();
            let members: Vec<String> = group.snapshots.into_iter().map(|member| member.snapshot_id).collect();
            Some(format!("{} {}", group.group_snapshot_id, members.join(" ")))
        })
    };
    let request: for<'a> fn(&'a mut World, &'a str) -> Outcome<'a> = |world, ids| {
        Box::pin(async move {
            let mut ids = ids.split(' ').map(str::to_owned);
            let group_snapshot_id = ids.next().unwrap();
            let delete = v1::DeleteVolumeGroupSnapshotRequest {
                group_snapshot_id,
                snapshot_ids: ids.collect(),
                ..Default::default()
            };
            world.groups.delete_volume_group_snapshot(delete).await.ok().map(|_| String::new())
        })
    };
    crash_everywhere("delete group snapshot", prepare, request, (2, 0, 0), 2 * MIB).await;
}

#[tokio::test]
async fn growing_a_volume() {
    let request: for<'a> fn(&'a mut World, &'a str) -> Outcome<'a> = |world, volume| {
        Box::pin(async move {
            let expand = v1::ControllerExpandVolumeRequest {
                volume_id: volume.into(),
                capacity_range: Some(v1::CapacityRange { required_bytes: 2 * MIB, limit_bytes: 0 }),
                ..Default::default()
            };
            let answer = world.controller.controller_expand_volume(expand).await.ok()?.into_inner();
            assert_eq!(std::fs::metadata(world.ground.volume(volume, "block")).unwrap().len(), 2 << 20);
            Some(format!("{answer:?}"))
        })
    };
    crash_everywhere("expand", volume_with_a_file, request, (1, 0, 0), 2 * MIB).await;
}

#[tokio::test]
async fn attaching_a_volume() {
    let request: for<'a> fn(&'a mut World, &'a str) -> Outcome<'a> = |world, volume| {
        Box::pin(async move {
            let attach = v1::ControllerPublishVolumeRequest {
                volume_id: volume.into(),
                node_id: "node-1".into(),
                volume_capability: Some(mount(Mode::SingleNodeWriter)),
                ..Default::default()
            };
            let answer = world.controller.controller_publish_volume(attach).await.ok()?;
            Some(format!("{:?}", answer.into_inner()))
        })
    };
    crash_everywhere("attach", volume_with_a_file, request, (1, 0, 0), MIB).await;
}

#[tokio::test]
async fn modifying_a_volume() {
    let request: for<'a> fn(&'a mut World, &'a str) -> Outcome<'a> = |world, volume| {
        Box::pin(async move {
            let modify = v1::ControllerModifyVolumeRequest {
                volume_id: volume.into(),
                mutable_parameters: strings(&[("tier", "fast")]),
                ..Default::default()
            };
            world.controller.controller_modify_volume(modify).await.ok().map(|_| String::new())
        })
    };
    crash_everywhere("modify", volume_with_a_file, request, (1, 0, 0), MIB).await;
}
