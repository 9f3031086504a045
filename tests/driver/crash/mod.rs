//! A crash at every step: the store and the content stop working after the n-th operation, a new driver takes over, and
//! the request is repeated.

mod mortal;
mod unswept;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use csi_certify::{
    csi::v1::{self, volume_content_source},
    driver::Configuration,
};

use mortal::{Afterwards, Countdown, MortalContent, MortalStore};
use unswept::{Unread, Unswept};

use crate::world::{Ground, MIB, Mode, World, create_volume, mount, strings};

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
