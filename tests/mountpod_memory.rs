//! The memory runtime as the node service sees it: directories appear and go, pods are shared, refused and recovered.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use csi_certify::mountpod::{
    AccessMode, AccessType, Fingerprint, MountPods, Publication, PublishError, Role, TargetPath, VolumeContent,
    VolumeId,
    api::Preconditions,
    memory::{MemoryMountPods, MemoryOptions},
    protocol::Policy,
};
use tokio::time::{Instant, sleep};

struct Node {
    dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("volume")).unwrap();
        fs::File::create(dir.path().join("block")).unwrap().set_len(1 << 20).unwrap();
        Self { dir }
    }

    fn target(&self, name: &str) -> TargetPath {
        self.dir.path().join(name).to_str().unwrap().parse().unwrap()
    }

    fn publication(&self, volume: &str, target: &str, access_mode: AccessMode) -> Publication {
        Publication {
            volume: volume.parse().unwrap(),
            content: VolumeContent::Directory(self.dir.path().join("volume")),
            target: self.target(target),
            role: Role::Target,
            fingerprint: Fingerprint {
                access_type: AccessType::Mount,
                access_mode,
                read_only: false,
                fs_type: String::new(),
                mount_flags: String::new(),
                mount_group: String::new(),
            },
            mount_group: None,
            configuration: BTreeMap::new(),
        }
    }
}

const SHARED: AccessMode = AccessMode::MultiNodeMultiWriter;

fn v() -> VolumeId {
    "v".parse().unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[tokio::test(start_paused = true)]
async fn a_target_is_made_on_publish_and_removed_on_unpublish() {
    let node = Node::new();
    let pods = MemoryMountPods::new(MemoryOptions::new("n"));
    pods.ready().await.unwrap();
    pods.publish(node.publication("v", "t", SHARED), soon()).await.unwrap();
    assert!(node.target("t").as_path().is_dir());
    let mut block = node.publication("b", "device", SHARED);
    block.content = VolumeContent::BlockFile(node.dir.path().join("block"));
    pods.publish(block, soon()).await.unwrap();
    assert!(node.target("device").as_path().is_file());
    assert!(pods.usage(&v(), &node.target("t")).await.unwrap().is_some());
    assert_eq!(pods.usage(&v(), &node.target("device")).await.unwrap(), None, "another volume is there");
    pods.unpublish(&v(), &node.target("t"), Role::Target, soon()).await.unwrap();
    pods.unpublish(&"b".parse().unwrap(), &node.target("device"), Role::Target, soon()).await.unwrap();
    assert!(!node.target("t").as_path().exists() && !node.target("device").as_path().exists());
    pods.with_world(|world| assert!(world.pods.is_empty() && world.daemons.is_empty() && world.layers.is_empty()));
    pods.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_without_a_parent_fails_and_leaves_no_reference() {
    let node = Node::new();
    let pods = MemoryMountPods::new(MemoryOptions::new("n"));
    let failed = pods.publish(node.publication("v", "no/t", SHARED), soon()).await.unwrap_err();
    assert!(failed.to_string().contains("parent"), "{failed}");
    assert!(pods.published(&v()).await.unwrap().is_empty());
    pods.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn refusals_are_told_apart() {
    let node = Node::new();
    let pods = MemoryMountPods::new(MemoryOptions::new("n"));
    let single = AccessMode::SingleNodeSingleWriter;
    pods.publish(node.publication("v", "t", single), soon()).await.unwrap();
    let occupied = pods.publish(node.publication("w", "t", single), soon()).await;
    assert!(matches!(occupied, Err(PublishError::Occupied { ref holder, .. }) if *holder == v()), "{occupied:?}");
    let second = pods.publish(node.publication("v", "u", single), soon()).await;
    assert!(matches!(second, Err(PublishError::SingleTarget { ref at, .. }) if *at == node.target("t")), "{second:?}");
    let other = pods.publish(node.publication("v", "t", SHARED), soon()).await;
    assert!(matches!(other, Err(PublishError::Incompatible { .. })), "{other:?}");
    assert!(!node.target("u").as_path().exists());
    pods.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_daemon_is_waited_for_until_the_deadline_and_a_second_request_is_told_so() {
    let node = Node::new();
    let mut options = MemoryOptions::new("n");
    options.daemon_start = Duration::from_secs(20);
    let pods = Arc::new(MemoryMountPods::new(options));
    let first = tokio::spawn({
        let (pods, publication) = (pods.clone(), node.publication("v", "t", SHARED));
        async move { pods.publish(publication, soon()).await }
    });
    sleep(Duration::from_secs(1)).await;
    let second = pods.publish(node.publication("v", "t", SHARED), soon()).await;
    assert!(matches!(second, Err(PublishError::InProgress(_))), "{second:?}");
    let hurried = pods.publish(node.publication("v", "u", SHARED), Instant::now() + Duration::from_secs(2)).await;
    assert!(matches!(hurried, Err(PublishError::DeadlineExceeded(_))), "{hurried:?}");
    first.await.unwrap().unwrap();
    pods.publish(node.publication("v", "u", SHARED), soon()).await.unwrap();
    assert_eq!(pods.published(&v()).await.unwrap().len(), 2);
    pods.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_evicted_pod_is_replaced_and_its_targets_follow() {
    let node = Node::new();
    let pods = MemoryMountPods::new(MemoryOptions::new("n"));
    for target in ["t", "u"] {
        pods.publish(node.publication("v", target, SHARED), soon()).await.unwrap();
    }
    let evicted = pods.with_world(|world| {
        let pod = world.pods.values().next().unwrap().clone();
        world.delete(&pod.name, &Preconditions::default()).unwrap();
        pod.uid
    });
    assert!(pods.condition(&v()).await.is_err());
    sleep(Duration::from_secs(30)).await;
    pods.with_world(|world| {
        assert_eq!(world.pods.len(), 1);
        let pod = world.pods.values().next().unwrap();
        assert_ne!(pod.uid, evicted);
        for target in ["t", "u"] {
            let layers = &world.layers[&node.target(target)];
            assert_eq!(
                layers.iter().map(|layer| layer.daemon.as_ref().unwrap().pod.clone()).collect::<Vec<_>>(),
                [pod.uid.clone()]
            );
        }
    });
    assert!(pods.condition(&v()).await.is_ok());
    pods.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_delay_timer_deletes_a_pod_that_is_not_used_again() {
    let node = Node::new();
    let mut options = MemoryOptions::new("n");
    options.policy = Policy { delete_delay: Some(Duration::from_secs(300)), ..Policy::default() };
    let pods = MemoryMountPods::new(options);
    pods.publish(node.publication("v", "t", SHARED), soon()).await.unwrap();
    pods.unpublish(&v(), &node.target("t"), Role::Target, soon()).await.unwrap();
    sleep(Duration::from_secs(290)).await;
    assert_eq!(pods.with_world(|world| world.pods.len()), 1, "the delay has not passed");
    sleep(Duration::from_secs(30)).await;
    assert_eq!(pods.with_world(|world| world.pods.len()), 0);
    pods.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn another_instance_knows_what_the_first_one_published() {
    let node = Node::new();
    let first = MemoryMountPods::new(MemoryOptions::new("n"));
    first.publish(node.publication("v", "t", SHARED), soon()).await.unwrap();
    first.shutdown().await;
    let second = first.beside(MemoryOptions::new("n"));
    let read_only = Fingerprint { read_only: true, ..node.publication("v", "t", SHARED).fingerprint };
    let changed = Publication { fingerprint: read_only, ..node.publication("v", "t", SHARED) };
    assert!(matches!(second.publish(changed, soon()).await, Err(PublishError::Incompatible { .. })));
    second.publish(node.publication("v", "t", SHARED), soon()).await.unwrap();
    second.unpublish(&v(), &node.target("t"), Role::Target, soon()).await.unwrap();
    assert!(second.published(&v()).await.unwrap().is_empty());
    second.shutdown().await;
}
