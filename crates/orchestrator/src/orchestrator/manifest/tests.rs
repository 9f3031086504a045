use super::*;
use crate::orchestrator::object::{
    AccessMode, BindingMode, DataSource, FsGroupPolicy, ReclaimPolicy, VolumeMode, VolumeSource,
};

fn objects(text: &str) -> Objects {
    match parse(text) {
        Ok(Manifest::Objects(objects)) => *objects,
        other => panic!("{other:?}"),
    }
}

const CLUSTER: &str = r#"
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: fast
provisioner: hostpath.csi.k8s.io
volumeBindingMode: WaitForFirstConsumer
allowVolumeExpansion: true
parameters:
  csi.storage.k8s.io/fstype: ext4
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: data
  labels: {app: db}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: fast
  resources:
    requests:
      storage: 1Gi
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: restored}
spec:
  accessModes: [ReadWriteMany]
  volumeMode: Block
  storageClassName: fast
  dataSource: {kind: VolumeSnapshot, name: cut, apiGroup: snapshot.storage.k8s.io}
  resources: {requests: {storage: 1073741824}}
---
kind: VolumeSnapshot
metadata: {name: cut}
spec:
  volumeSnapshotClassName: keep
  source: {persistentVolumeClaimName: data}
---
kind: VolumeSnapshotClass
metadata: {name: keep}
driver: hostpath.csi.k8s.io
deletionPolicy: Retain
---
kind: VolumeGroupSnapshot
metadata: {name: all}
spec:
  source:
    selector:
      matchLabels: {app: db}
---
kind: Pod
metadata: {name: web}
spec:
  nodeSelector: {kubernetes.io/hostname: node-2}
  securityContext:
    fsGroup: 2000
    seLinuxOptions: {user: u, role: r, type: t, level: "s0:c1"}
  containers: [{name: web, image: nginx}]
  volumes:
  - name: data
    persistentVolumeClaim: {claimName: data}
  - name: scratch
    csi: {driver: hostpath.csi.k8s.io, volumeAttributes: {size: 1Gi}}
  - name: settings
    configMap: {name: settings}
---
kind: CSIDriver
metadata: {name: hostpath.csi.k8s.io}
spec:
  attachRequired: false
  fsGroupPolicy: File
  volumeLifecycleModes: [Persistent, Ephemeral]
---
"#;

#[test]
fn a_file_of_several_documents_becomes_objects() {
    let objects = objects(CLUSTER);
    let class = &objects.storage_classes[0];
    assert_eq!((class.binding_mode, class.allow_volume_expansion), (BindingMode::WaitForFirstConsumer, true));
    assert_eq!((objects.claims[0].request, objects.claims[1].request), (1 << 30, 1 << 30));
    assert_eq!(objects.claims[1].volume_mode, VolumeMode::Block);
    assert_eq!(objects.claims[1].access_modes, [AccessMode::ReadWriteMany]);
    assert_eq!(objects.claims[1].data_source, Some(DataSource::Snapshot("cut".into())));
    assert_eq!(objects.snapshot_classes[0].deletion_policy, ReclaimPolicy::Retain);
    assert_eq!((objects.snapshots[0].claim.as_str(), objects.snapshots[0].class.as_str()), ("data", "keep"));
    assert_eq!(objects.group_snapshots[0].selector, objects.claims[0].metadata.labels);
    assert_eq!(objects.claims[0].metadata.labels["app"], "db");
    let pod = &objects.pods[0];
    assert_eq!(pod.volumes.len(), 2, "what is no driver's business is left out");
    assert_eq!(pod.volumes[0].claim(), Some("data"));
    assert!(matches!(&pod.volumes[1].source, VolumeSource::Inline(inline) if inline.attributes["size"] == "1Gi"));
    assert!(pod.allowed_nodes.contains("node-2"));
    assert_eq!((pod.fs_group, pod.selinux_label.as_deref()), (Some(2000), Some("u:r:t:s0:c1")));
    let driver = objects.csi_driver.unwrap();
    assert!(!driver.attach_required && driver.is_ephemeral);
    assert_eq!(driver.fs_group_policy, FsGroupPolicy::File);
}

#[test]
fn what_cannot_be_played_is_told_with_what_would_be_right() {
    let error = |text: &str| parse(text).unwrap_err().to_string();
    assert!(error("kind: Deployment\nmetadata: {name: web}").contains("StorageClass, PersistentVolume,"));
    assert!(error("kind: StorageClass\nmetadata: {name: s}").contains("name the driver"));
    let claim = "kind: PersistentVolumeClaim\nmetadata: {name: c}\nspec: {accessModes: [Once]}";
    assert!(error(claim).contains("ReadWriteOncePod"), "{}", error(claim));
    let no_size = "kind: PersistentVolumeClaim\nmetadata: {name: c}\nspec: {accessModes: [ReadWriteOnce]}";
    assert!(error(no_size).contains("such as 5Gi"), "{}", error(no_size));
    assert!(error("a: [").contains("no YAML"));
    assert!(error("").contains("no Kubernetes objects"));
    assert!(error("kind: Pod").contains("metadata.name"));
}

#[test]
fn the_manifest_of_the_external_storage_tests_says_what_a_driver_can_do() {
    let text = r"
StorageClass:
  FromName: true
SnapshotClass:
  FromFile: snapshotclass.yaml
DriverInfo:
  Name: hostpath.csi.k8s.io
  SupportedSizeRange:
    Min: 1Mi
  SupportedFsType:
    ext4: {}
  Capabilities:
    persistence: true
    block: true
    RWX: true
    snapshotDataSource: true
    controllerExpansion: true
    onlineExpansion: true
";
    let Ok(Manifest::TestDriver(driver)) = parse(text) else { panic!("{:?}", parse(text)) };
    assert_eq!((driver.name.as_str(), driver.least_size), ("hostpath.csi.k8s.io", Some(1 << 20)));
    assert_eq!(driver.access_modes(), [AccessMode::ReadWriteOnce, AccessMode::ReadWriteMany]);
    assert_eq!(driver.volume_modes(), [VolumeMode::Filesystem, VolumeMode::Block]);
    assert!(driver.snapshots() && driver.expansions());
    assert_eq!(driver.storage_class, ClassSource::FromName);
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(driver.classes(directory.path()), Err(ManifestError::File { .. })));
    let class = "kind: VolumeSnapshotClass\nmetadata: {name: s}\ndriver: hostpath.csi.k8s.io";
    std::fs::write(directory.path().join("snapshotclass.yaml"), class).unwrap();
    assert_eq!(driver.classes(directory.path()).unwrap().snapshot_classes[0].metadata.name, "s");
}
