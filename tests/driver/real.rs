//! The driver with real mounts: FUSE directories and loop devices, on a host that has them.

use std::{
    fs,
    os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, atomic::AtomicBool},
};

use csi_certify::csi::v1::{
    self, controller_client::ControllerClient, group_controller_client::GroupControllerClient, node_client::NodeClient,
    volume_content_source,
};
use tokio::process::Child;
use tonic::{Code, transport::Channel};

use crate::{
    process::connect,
    world::{MIB, Mode, block, code, create_volume, mount, strings},
};

/// A driver process with its clients and paths.
struct Host {
    directory: tempfile::TempDir,
    driver: Child,
    controller: ControllerClient<Channel>,
    groups: GroupControllerClient<Channel>,
    node: NodeClient<Channel>,
}

impl Host {
    /// `None`, with the reason printed, where nothing can be mounted.
    async fn start() -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let (driver, channel) = run(directory.path()).await;
        let node = NodeClient::new(channel.clone());
        let groups = GroupControllerClient::new(channel.clone());
        Some(Self { directory, driver, controller: ControllerClient::new(channel), groups, node })
    }

    async fn restart(&mut self) {
        self.driver.kill().await.unwrap();
        let (driver, channel) = run(self.directory.path()).await;
        self.driver = driver;
        self.controller = ControllerClient::new(channel.clone());
        self.node = NodeClient::new(channel);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn publish(&mut self, volume: &str, name: &str, capability: v1::VolumeCapability, readonly: bool) -> PathBuf {
        let staging = self.path(&format!("staging-{volume}"));
        fs::create_dir_all(&staging).unwrap();
        let staging_target_path = staging.to_str().unwrap().to_owned();
        let target = self.path(name);
        let stage = v1::NodeStageVolumeRequest {
            volume_id: volume.into(),
            staging_target_path: staging_target_path.clone(),
            volume_capability: Some(capability.clone()),
            ..Default::default()
        };
        self.node.node_stage_volume(stage).await.unwrap();
        let publish = v1::NodePublishVolumeRequest {
            volume_id: volume.into(),
            staging_target_path,
            target_path: target.to_str().unwrap().into(),
            volume_capability: Some(capability),
            readonly,
            ..Default::default()
        };
        self.node.node_publish_volume(publish).await.unwrap();
        target
    }

    async fn unpublish(&mut self, volume: &str, name: &str) {
        let target_path = self.path(name).to_str().unwrap().into();
        let unpublish = v1::NodeUnpublishVolumeRequest { volume_id: volume.into(), target_path };
        self.node.node_unpublish_volume(unpublish).await.unwrap();
    }

    async fn unstage(&mut self, volume: &str) {
        let staging_target_path = self.path(&format!("staging-{volume}")).to_str().unwrap().into();
        let unstage = v1::NodeUnstageVolumeRequest { volume_id: volume.into(), staging_target_path };
        self.node.node_unstage_volume(unstage).await.unwrap();
    }

    async fn create(&mut self, request: v1::CreateVolumeRequest) -> String {
        self.controller.create_volume(request).await.unwrap().into_inner().volume.unwrap().volume_id
    }

    async fn delete(&mut self, volume: &str) {
        let delete = v1::DeleteVolumeRequest { volume_id: volume.into(), ..Default::default() };
        self.controller.delete_volume(delete).await.unwrap();
    }

    /// Nothing of ours is mounted any more.
    async fn end(mut self) {
        let directory = self.directory.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours: Vec<&str> = mounts.lines().filter(|line| line.contains(directory)).collect();
        assert!(ours.is_empty(), "{ours:#?}");
        self.driver.kill().await.unwrap();
    }
}

/// Whether anything can be mounted here; prints the reason if not.
pub(crate) fn can_mount() -> bool {
    let can = rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists();
    if !can {
        eprintln!("skipped: needs root and /dev/fuse");
    }
    can
}

/// Starts the driver and waits until it is ready.
pub(crate) async fn run(directory: &Path) -> (Child, Channel) {
    let socket = directory.join("csi.sock");
    let driver = tokio::process::Command::new(env!("CARGO_BIN_EXE_csi-certify"))
        .args(["driver", "--runtime", "process", "--endpoint"])
        .arg(format!("unix://{}", socket.display()))
        .arg("--state-dir")
        .arg(directory.join("state"))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    (driver, connect(&socket).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mounted_volume_keeps_its_files_over_a_killed_driver_and_into_a_snapshot() {
    let Some(mut host) = Host::start().await else { return };
    let volume = host.create(create_volume("a")).await;
    let capability = mount(Mode::SingleNodeMultiWriter);
    let target = host.publish(&volume, "target", capability.clone(), false).await;
    fs::write(target.join("file"), "before").unwrap();
    let reader = host.publish(&volume, "reader", capability, true).await;
    assert_eq!(fs::read_to_string(reader.join("file")).unwrap(), "before");
    assert_eq!(fs::write(reader.join("other"), "").unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);

    host.restart().await;
    let snapshot =
        v1::CreateSnapshotRequest { source_volume_id: volume.clone(), name: "s".into(), ..Default::default() };
    let snapshot = host.controller.create_snapshot(snapshot).await.unwrap().into_inner().snapshot.unwrap();
    fs::write(target.join("file"), "after").unwrap();
    let source = volume_content_source::SnapshotSource { snapshot_id: snapshot.snapshot_id };
    let source = v1::VolumeContentSource { r#type: Some(volume_content_source::Type::Snapshot(source)) };
    let restored =
        host.create(v1::CreateVolumeRequest { volume_content_source: Some(source), ..create_volume("restored") }).await;
    let restored_target = host.publish(&restored, "restored", mount(Mode::SingleNodeWriter), false).await;
    assert_eq!(fs::read_to_string(restored_target.join("file")).unwrap(), "before");

    let stats = |path: &Path| v1::NodeGetVolumeStatsRequest {
        volume_id: volume.clone(),
        volume_path: path.to_str().unwrap().into(),
        ..Default::default()
    };
    let answer = host.node.node_get_volume_stats(stats(&target)).await.unwrap().into_inner();
    assert!(answer.usage.iter().all(|usage| usage.total > 0 && usage.used > 0), "{answer:?}");
    let elsewhere = host.node.node_get_volume_stats(stats(&restored_target)).await;
    assert_eq!(code(&elsewhere), Code::NotFound);

    for (volume, name) in [(&volume, "target"), (&volume, "reader"), (&restored, "restored")] {
        host.unpublish(volume, name).await;
        assert!(!host.path(name).exists());
    }
    for volume in [&volume, &restored] {
        host.unstage(volume).await;
        host.delete(volume).await;
    }
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_volume_is_a_device_of_exactly_its_size_and_grows() {
    let Some(mut host) = Host::start().await else { return };
    let volume = host.create(create_volume("a")).await;
    let target = host.publish(&volume, "device", block(Mode::SingleNodeWriter), false).await;
    let about = fs::metadata(&target).unwrap();
    assert!(about.file_type().is_block_device(), "{:o}", about.mode());
    assert_eq!(size(&target), MIB as u64);
    let expand = v1::ControllerExpandVolumeRequest {
        volume_id: volume.clone(),
        capacity_range: Some(v1::CapacityRange { required_bytes: 3 * MIB, limit_bytes: 0 }),
        ..Default::default()
    };
    host.controller.controller_expand_volume(expand).await.unwrap();
    let expand = v1::NodeExpandVolumeRequest {
        volume_id: volume.clone(),
        volume_path: target.to_str().unwrap().into(),
        ..Default::default()
    };
    host.node.node_expand_volume(expand).await.unwrap();
    assert_eq!(size(&target), 3 * MIB as u64);
    host.unpublish(&volume, "device").await;
    assert!(!target.exists());
    host.unstage(&volume).await;
    host.delete(&volume).await;
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mount_flags_and_group_are_kept_and_a_changed_tier_leaves_published_targets_alone() {
    let Some(mut host) = Host::start().await else { return };
    let volume = host.create(create_volume("a")).await;
    let options = v1::volume_capability::MountVolume {
        fs_type: String::new(),
        mount_flags: vec!["nodev".into(), "nosuid".into(), "noatime".into()],
        volume_mount_group: "4711".into(),
    };
    let capability = v1::VolumeCapability {
        access_type: Some(v1::volume_capability::AccessType::Mount(options)),
        ..mount(Mode::SingleNodeMultiWriter)
    };
    let first = host.publish(&volume, "first", capability.clone(), false).await;
    let modify = v1::ControllerModifyVolumeRequest {
        volume_id: volume.clone(),
        mutable_parameters: strings(&[("tier", "fast")]),
        ..Default::default()
    };
    host.controller.controller_modify_volume(modify).await.unwrap();
    let second = host.publish(&volume, "second", capability, false).await;
    fs::write(first.join("file"), "shared").unwrap();
    assert_eq!(fs::read_to_string(second.join("file")).unwrap(), "shared");
    assert_eq!(fs::metadata(first.join("file")).unwrap().gid(), 4711);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let of_first = mounts.lines().find(|line| line.split(' ').nth(4) == first.to_str()).unwrap();
    for flag in ["nodev", "nosuid", "noatime"] {
        assert!(of_first.contains(flag), "{of_first}");
    }
    for name in ["first", "second"] {
        host.unpublish(&volume, name).await;
    }
    host.unstage(&volume).await;
    host.delete(&volume).await;
    host.end().await;
}

fn size(device: &Path) -> u64 {
    use std::io::{Seek as _, SeekFrom};
    fs::File::open(device).unwrap().seek(SeekFrom::End(0)).unwrap()
}

/// A counter in each of two places; the first is always written before the second.
fn count_until(stop: &std::sync::atomic::AtomicBool, first: &Path, second: &Path, write: impl Fn(&Path, u64)) {
    for count in 1_u64.. {
        if stop.load(std::sync::atomic::Ordering::SeqCst) {
            return;
        }
        write(first, count);
        write(second, count);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_clones_and_groups_of_volumes_that_are_written_to_show_one_moment() {
    let Some(mut host) = Host::start().await else { return };
    let capability = mount(Mode::SingleNodeWriter);
    let volumes = [host.create(create_volume("a")).await, host.create(create_volume("b")).await];
    let targets = [
        host.publish(&volumes[0], "a", capability.clone(), false).await,
        host.publish(&volumes[1], "b", capability, false).await,
    ];
    let places = [targets[0].join("first"), targets[0].join("second"), targets[1].join("third")];
    let write = |path: &Path, count: u64| fs::write(path, format!("{count:08}")).unwrap();
    places.iter().for_each(|path| write(path, 0));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (stop, places) = (stop.clone(), places.clone());
        std::thread::spawn(move || {
            // The third follows the second, which follows the first.
            count_until(&stop, &places[0], &places[1], |path, count| {
                // A file that is cut short first would be seen empty: one write has to do.
                let file = fs::File::options().write(true).open(path).unwrap();
                file.write_all_at(format!("{count:08}").as_bytes(), 0).unwrap();
                if path == places[1] {
                    let third = fs::File::options().write(true).open(&places[2]).unwrap();
                    third.write_all_at(format!("{count:08}").as_bytes(), 0).unwrap();
                }
            });
        })
    };
    let content = host.path("state/content");
    let counter = |path: PathBuf| -> u64 { fs::read_to_string(path).unwrap().parse().unwrap() };
    let follows = |first: u64, second: u64| first == second || first == second + 1;
    for round in 0..15 {
        let cut = v1::CreateSnapshotRequest {
            source_volume_id: volumes[0].clone(),
            name: format!("snapshot {round}"),
            ..Default::default()
        };
        let snapshot = host.controller.create_snapshot(cut).await.unwrap().into_inner().snapshot.unwrap().snapshot_id;
        let of = volume_content_source::VolumeSource { volume_id: volumes[0].clone() };
        let source = v1::VolumeContentSource { r#type: Some(volume_content_source::Type::Volume(of)) };
        let clone =
            v1::CreateVolumeRequest { volume_content_source: Some(source), ..create_volume(&format!("clone {round}")) };
        let clone = host.create(clone).await;
        for copy in [content.join("snapshots").join(snapshot), content.join("volumes").join(clone)] {
            let (first, second) = (counter(copy.join("fs/first")), counter(copy.join("fs/second")));
            assert!(follows(first, second), "{first} and {second} in {}", copy.display());
        }
        let cut = v1::CreateVolumeGroupSnapshotRequest {
            name: format!("group {round}"),
            source_volume_ids: volumes.to_vec(),
            ..Default::default()
        };
        let group = host.groups.create_volume_group_snapshot(cut).await.unwrap().into_inner().group_snapshot.unwrap();
        let member = |volume: &str| {
            let member = group.snapshots.iter().find(|member| member.source_volume_id == volume).unwrap();
            content.join("snapshots").join(&member.snapshot_id).join("fs")
        };
        let second = counter(member(&volumes[0]).join("second"));
        let third = counter(member(&volumes[1]).join("third"));
        assert!(follows(second, third), "{second} and {third}");
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    writer.join().unwrap();
    assert!(counter(places[0].clone()) > 0, "nothing was written");
    for (volume, name) in volumes.iter().zip(["a", "b"]) {
        host.unpublish(volume, name).await;
        host.unstage(volume).await;
    }
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_a_block_device_that_is_written_to_keeps_the_order_of_synced_writes() {
    let Some(mut host) = Host::start().await else { return };
    let volume = host.create(create_volume("a")).await;
    let device = host.publish(&volume, "device", block(Mode::SingleNodeWriter), false).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let device = fs::File::options().write(true).open(device).unwrap();
            for count in 1_u64.. {
                if stop.load(std::sync::atomic::Ordering::SeqCst) {
                    return count;
                }
                // Each is on the device before the next begins; a moment between rounds lets a copy be taken.
                for offset in [0, 1 << 19] {
                    device.write_all_at(&count.to_le_bytes(), offset).unwrap();
                    device.sync_data().unwrap();
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            0
        })
    };
    for round in 0..10 {
        let cut = v1::CreateSnapshotRequest {
            source_volume_id: volume.clone(),
            name: format!("snapshot {round}"),
            ..Default::default()
        };
        let snapshot = host.controller.create_snapshot(cut).await.unwrap().into_inner().snapshot.unwrap();
        let file =
            fs::File::open(host.path("state/content/snapshots").join(snapshot.snapshot_id).join("block")).unwrap();
        let counter = |offset| {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, offset).unwrap();
            u64::from_le_bytes(bytes)
        };
        let (first, second) = (counter(0), counter(1 << 19));
        assert!(first == second || first == second + 1, "{first} and {second}");
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(writer.join().unwrap() > 1, "nothing was written");
    host.unpublish(&volume, "device").await;
    host.unstage(&volume).await;
    host.end().await;
}
