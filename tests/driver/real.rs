//! The driver with real mounts: FUSE directories and loop devices, on a host that has them.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use csi_certify::csi::v1::{self, controller_client::ControllerClient, node_client::NodeClient, volume_content_source};
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
        Some(Self { directory, driver, controller: ControllerClient::new(channel), node })
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
