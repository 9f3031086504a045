//! The process runtime against this kernel: real FUSE daemons, real loop devices, real kills.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests are tests")]

mod host;

use host::*;

use std::{
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use csi_certify::mountpod::{
    AccessMode, MountPods, PublishError, Role, VolumeContent,
    process::{ProcessMountPods, ProcessOptions},
};

#[tokio::test(flavor = "multi_thread")]
async fn two_targets_see_one_volume_and_leave_nothing_behind() {
    let Some(host) = Host::new().await else { return };
    let pods = host.start();
    pods.publish(host.publication("a"), soon()).await.unwrap();
    pods.publish(host.publication("b"), soon()).await.unwrap();
    pods.publish(host.publication("b"), soon()).await.unwrap();
    assert_eq!(host.daemons().len(), 1, "both targets share one daemon");
    assert_eq!((host.layers("a"), host.layers("b")), (1, 1));

    fs::write(host.target("a").as_path().join("f"), "seen").unwrap();
    assert_eq!(fs::read_to_string(host.target("b").as_path().join("f")).unwrap(), "seen");
    assert_eq!(fs::read_to_string(host.path("volume/f")).unwrap(), "seen");
    let target = host.target("a");
    let mounts = host.mounts();
    let mount = mounts.iter().find(|mount| mount.mount_point == target.as_path()).unwrap();
    assert_eq!(mount.fs_type, "fuse.mountpod", "not a bind of the host's directory");

    let published = pods.published(&volume()).await.unwrap();
    assert_eq!(published.len(), 2);
    let usage = pods.usage(&volume(), &host.target("a")).await.unwrap().expect("published");
    assert!(usage.used_bytes > 0 && usage.used_inodes == 2, "{usage:?}");
    assert!(pods.condition(&volume()).await.is_ok());

    pods.unpublish(&volume(), &host.target("a"), Role::Target, soon()).await.unwrap();
    assert!(!host.target("a").as_path().exists());
    assert_eq!(fs::read_to_string(host.target("b").as_path().join("f")).unwrap(), "seen");
    assert_eq!(pods.usage(&volume(), &host.target("a")).await.unwrap(), None);
    pods.unpublish(&volume(), &host.target("b"), Role::Target, soon()).await.unwrap();
    pods.unpublish(&volume(), &host.target("b"), Role::Target, soon()).await.unwrap();
    host.assert_nothing_left().await;
    pods.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_target_refuses_writes_beside_one_that_takes_them() {
    let Some(host) = Host::new().await else { return };
    let pods = host.start();
    let mut read_only = host.publication("ro");
    read_only.fingerprint.read_only = true;
    pods.publish(read_only, soon()).await.unwrap();
    pods.publish(host.publication("rw"), soon()).await.unwrap();
    let refused = fs::write(host.target("ro").as_path().join("f"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    fs::write(host.target("rw").as_path().join("f"), "x").unwrap();
    assert_eq!(fs::read_to_string(host.target("ro").as_path().join("f")).unwrap(), "x");
    let changed = pods.publish(host.publication("ro"), soon()).await;
    assert!(matches!(changed, Err(PublishError::Incompatible { .. })), "{changed:?}");
    for target in ["ro", "rw"] {
        pods.unpublish(&volume(), &host.target(target), Role::Target, soon()).await.unwrap();
    }
    host.assert_nothing_left().await;
    pods.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_is_replaced_under_its_targets() {
    let Some(host) = Host::new().await else { return };
    let pods = host.start();
    for target in ["a", "b"] {
        pods.publish(host.publication(target), soon()).await.unwrap();
    }
    fs::write(host.target("a").as_path().join("f"), "kept").unwrap();
    for attempt in 0..2 {
        let killed = host.daemons();
        assert_eq!(killed.len(), 1);
        let status = std::process::Command::new("kill").args(["-9", &killed[0].to_string()]).status().unwrap();
        assert!(status.success());
        eventually("both targets are served again, by one layer", || {
            ["a", "b"].iter().all(|target| {
                let read = fs::read_to_string(host.target(target).as_path().join("f"));
                read.is_ok_and(|text| text == "kept") && host.layers(target) == 1
            })
        })
        .await;
        assert_ne!(host.daemons(), killed, "attempt {attempt}");
    }
    for target in ["a", "b"] {
        pods.unpublish(&volume(), &host.target(target), Role::Target, soon()).await.unwrap();
    }
    host.assert_nothing_left().await;
    pods.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_at_the_usage_repairs_a_dead_target() {
    let Some(host) = Host::new().await else { return };
    let mut options = ProcessOptions::new(host.path("state"), "node");
    options.executable = Some(env!("CARGO_BIN_EXE_csi-certify").into());
    options.housekeeping = Duration::from_secs(3600);
    let pods = ProcessMountPods::start(options).unwrap();
    pods.publish(host.publication("a"), soon()).await.unwrap();
    let killed = host.daemons();
    std::process::Command::new("kill").args(["-9", &killed[0].to_string()]).status().unwrap();
    eventually("the daemon is dead", || fs::metadata(host.target("a").as_path()).is_err()).await;
    assert!(pods.usage(&volume(), &host.target("a")).await.unwrap().is_some());
    assert!(fs::metadata(host.target("a").as_path()).is_ok());
    pods.unpublish(&volume(), &host.target("a"), Role::Target, soon()).await.unwrap();
    host.assert_nothing_left().await;
    pods.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_takes_up_what_the_first_left() {
    let Some(host) = Host::new().await else { return };
    let first = host.start();
    first.publish(host.publication("a"), soon()).await.unwrap();
    fs::write(host.target("a").as_path().join("f"), "kept").unwrap();
    let served_by = host.daemons();
    first.shutdown().await;
    drop(first);
    assert_eq!(fs::read_to_string(host.target("a").as_path().join("f")).unwrap(), "kept", "nobody needs the driver");

    let second = host.start();
    assert_eq!(second.published(&volume()).await.unwrap().len(), 1);
    second.publish(host.publication("a"), soon()).await.unwrap();
    second.publish(host.publication("b"), soon()).await.unwrap();
    assert_eq!(host.daemons(), served_by);
    assert_eq!(host.layers("a"), 1);
    for target in ["a", "b"] {
        second.unpublish(&volume(), &host.target(target), Role::Target, soon()).await.unwrap();
    }
    host.assert_nothing_left().await;
    second.shutdown().await;
}

/// Not a test of its own: the driver that `a_driver_that_is_killed_disturbs_nothing` kills.
#[tokio::test(flavor = "multi_thread")]
async fn driver_process() {
    let Some(dir) = std::env::var_os(DRIVER_DIR) else { return };
    let host = Borrowed(PathBuf::from(dir));
    let pods = host.start();
    for number in 0.. {
        // The last one is cut off somewhere by the kill.
        pods.publish(host.publication(&format!("t{number}")), soon()).await.unwrap();
        fs::write(host.0.join("published"), format!("{number}")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_killed_disturbs_nothing() {
    let Some(host) = Host::new().await else { return };
    let mut driver = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "driver_process"])
        .env(DRIVER_DIR, host.dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let count = || fs::read_to_string(host.path("published")).ok().and_then(|text| text.parse::<u32>().ok());
    eventually("the driver has published some targets", || count().is_some_and(|count| count >= 3)).await;
    driver.kill().unwrap();
    driver.wait().unwrap();
    let last = count().unwrap();
    for number in 0..=last {
        let file = host.target(&format!("t{number}")).as_path().join("f");
        fs::write(&file, "x").unwrap();
        assert_eq!(host.layers(&format!("t{number}")), 1);
    }
    assert_eq!(fs::read_to_string(host.path("volume/f")).unwrap(), "x");

    // The one that the kill cut off is taken up by a repeat, or taken away, like every other.
    let pods = host.start();
    pods.publish(host.publication(&format!("t{}", last + 1)), soon()).await.unwrap();
    assert_eq!(host.layers(&format!("t{}", last + 1)), 1);
    for number in 0..=last + 2 {
        pods.unpublish(&volume(), &host.target(&format!("t{number}")), Role::Target, soon()).await.unwrap();
    }
    host.assert_nothing_left().await;
    pods.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_instances_start_one_daemon_and_lose_no_reference() {
    let Some(host) = Host::new().await else { return };
    let instances: Vec<Arc<ProcessMountPods>> = (0..3).map(|_| Arc::new(host.start())).collect();
    let mut tasks = Vec::new();
    for (number, pods) in instances.iter().enumerate() {
        for target in 0..3 {
            let (pods, publication) = (pods.clone(), host.publication(&format!("t{number}-{target}")));
            tasks.push(tokio::spawn(async move { pods.publish(publication, soon()).await }));
        }
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    eventually("one daemon serves", || host.daemons().len() == 1).await;
    assert_eq!(instances[0].published(&volume()).await.unwrap().len(), 9);
    for published in instances[0].published(&volume()).await.unwrap() {
        instances[1].unpublish(&volume(), &published.target, Role::Target, soon()).await.unwrap();
    }
    host.assert_nothing_left().await;
    for pods in instances {
        pods.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_volume_is_a_device_that_follows_its_file() {
    let Some(host) = Host::new().await else { return };
    let pods = host.start();
    pods.publish(host.block("rw", false), soon()).await.unwrap();
    pods.publish(host.block("ro", true), soon()).await.unwrap();
    assert_eq!(host.loop_devices().len(), 2);

    let device = fs::File::options().read(true).write(true).open(host.target("rw").as_path()).unwrap();
    device.write_all_at(&[7; 4096], 8192).unwrap();
    device.sync_all().unwrap();
    let mut read = [0; 4096];
    fs::File::open(host.path("block")).unwrap().read_exact_at(&mut read, 8192).unwrap();
    assert_eq!(read, [7; 4096]);
    let refused = fs::File::options().write(true).open(host.target("ro").as_path());
    assert!(refused.and_then(|device| device.write_all_at(&[1; 512], 0)).is_err(), "the device is read-only");

    fs::File::options().write(true).open(host.path("block")).unwrap().set_len(8 << 20).unwrap();
    pods.resized(&volume()).await.unwrap();
    use std::io::Seek as _;
    let mut device = device;
    assert_eq!(device.seek(std::io::SeekFrom::End(0)).unwrap(), 8 << 20);
    drop(device);

    let usage = pods.usage(&volume(), &host.target("rw")).await.unwrap().expect("published");
    assert!(usage.used_bytes >= 4096 && usage.used_bytes < 4 << 20, "{usage:?}");
    for target in ["rw", "ro"] {
        pods.unpublish(&volume(), &host.target(target), Role::Target, soon()).await.unwrap();
    }
    host.assert_nothing_left().await;
    pods.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_goes_with_its_last_reference_although_its_file_was_deleted() {
    let Some(host) = Host::new().await else { return };
    let pods = host.start();
    pods.publish(host.block("a", false), soon()).await.unwrap();
    fs::remove_file(host.path("block")).unwrap();
    assert_eq!(host.loop_devices().len(), 1);
    pods.unpublish(&volume(), &host.target("a"), Role::Target, soon()).await.unwrap();
    host.assert_nothing_left().await;
    pods.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_volume_is_staged_as_a_file_in_the_staging_directory() {
    let Some(host) = Host::new().await else { return };
    let pods = host.start();
    fs::create_dir(host.target("stage").as_path()).unwrap();
    let mut staging = host.block("stage", false);
    staging.role = Role::Staging;
    for _ in 0..2 {
        pods.publish(staging.clone(), soon()).await.unwrap();
    }
    pods.publish(host.block("a", false), soon()).await.unwrap();
    let mut targets: Vec<_> = pods.published(&volume()).await.unwrap();
    targets.sort_by_key(|published| published.role);
    assert_eq!(
        targets.iter().map(|published| published.target.clone()).collect::<Vec<_>>(),
        [host.target("stage"), host.target("a")]
    );
    assert!(pods.usage(&volume(), &host.target("stage")).await.unwrap().is_some());
    let mut directory = host.publication("stage");
    directory.role = Role::Staging;
    let changed = pods.publish(directory, soon()).await;
    assert!(matches!(changed, Err(PublishError::Incompatible { .. })), "{changed:?}");
    pods.unpublish(&volume(), &host.target("a"), Role::Target, soon()).await.unwrap();
    pods.unpublish(&volume(), &host.target("stage"), Role::Staging, soon()).await.unwrap();
    fs::remove_dir(host.target("stage").as_path()).expect("the staging directory is empty again");
    host.assert_nothing_left().await;
    pods.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_carry_the_mount_group() {
    let Some(host) = Host::new().await else { return };
    let pods = host.start();
    fs::write(host.path("volume/old"), "x").unwrap();
    let mut publication = host.publication("a");
    publication.mount_group = Some(4242);
    pods.publish(publication, soon()).await.unwrap();
    fs::write(host.target("a").as_path().join("new"), "x").unwrap();
    for name in ["old", "new"] {
        assert_eq!(fs::metadata(host.target("a").as_path().join(name)).unwrap().gid(), 4242, "{name}");
    }
    pods.unpublish(&volume(), &host.target("a"), Role::Target, soon()).await.unwrap();
    host.assert_nothing_left().await;
    pods.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staging_directory_stays_and_does_not_count_as_a_target() {
    let Some(host) = Host::new().await else { return };
    let pods = host.start();
    fs::create_dir(host.target("stage").as_path()).unwrap();
    let mut staging = host.publication("stage");
    staging.role = Role::Staging;
    staging.fingerprint.access_mode = AccessMode::SingleNodeSingleWriter;
    let mut target = host.publication("a");
    target.fingerprint.access_mode = AccessMode::SingleNodeSingleWriter;
    let mut other = target.clone();
    other.target = host.target("b");
    pods.publish(staging, soon()).await.unwrap();
    pods.publish(target, soon()).await.unwrap();
    let refused = pods.publish(other, soon()).await;
    assert!(matches!(refused, Err(PublishError::SingleTarget { .. })), "{refused:?}");
    assert!(!host.target("b").as_path().exists());
    pods.unpublish(&volume(), &host.target("a"), Role::Target, soon()).await.unwrap();
    pods.unpublish(&volume(), &host.target("stage"), Role::Staging, soon()).await.unwrap();
    assert!(host.target("stage").as_path().is_dir());
    fs::remove_dir(host.target("stage").as_path()).unwrap();
    host.assert_nothing_left().await;
    pods.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_does_not_exist_is_named_and_nothing_stays() {
    let Some(host) = Host::new().await else { return };
    let pods = host.start();
    let mut publication = host.publication("a");
    publication.content = VolumeContent::Directory(host.path("gone"));
    let failed = pods.publish(publication, soon()).await.unwrap_err();
    assert!(failed.to_string().contains("gone"), "{failed}");
    host.assert_nothing_left().await;
    pods.shutdown().await;
}
