//! Derived names, finalizers, annotations and reserved keys, as Kubernetes writes them.

use sha2::{Digest as _, Sha256};

/// Keeps a claim while a pod uses it.
pub(super) const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
/// Keeps a volume while it is bound.
pub(super) const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";
/// Keeps a volume until DeleteVolume has succeeded.
pub(super) const PROVISIONER_FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
/// Keeps the source of a clone while the clone is pending.
pub(super) const CLONING_PROTECTION: &str = "provisioner.storage.kubernetes.io/cloning-protection";
/// Keeps a snapshot while a restore from it is pending.
pub(super) const RESTORE_PROTECTION: &str = "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection";
/// Keeps a claim while it is being cut.
pub(super) const SNAPSHOT_SOURCE_PROTECTION: &str = "snapshot.storage.kubernetes.io/pvc-as-source-protection";
/// Keeps a snapshot that has a content.
pub(super) const SNAPSHOT_PROTECTION: &str = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection";
/// Keeps a content until DeleteSnapshot has succeeded.
pub(super) const CONTENT_PROTECTION: &str = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection";
/// Stands for the grace period of a pod: its kubelet lets go when containers and volumes are gone.
pub(super) const POD_GRACE: &str = "kubelet";

/// The driver that has to provision a claim.
pub(super) const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// The older name of the same.
pub(super) const STORAGE_PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// The node that the scheduler chose for a claim.
pub(super) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The driver that made a volume.
pub(super) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The claim is bound.
pub(super) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The node id of an attachment, for a node that is gone when it is detached.
pub(super) const NODE_ID: &str = "csi.alpha.kubernetes.io/node-id";
/// The controller has done all of an expansion.
pub(super) const NODE_EXPANSION_NOT_REQUIRED: &str = "volume.kubernetes.io/node-expansion-not-required";
/// CreateSnapshot may be running.
pub(super) const SNAPSHOT_BEING_CREATED: &str = "snapshot.storage.kubernetes.io/volumesnapshot-being-created";
/// The VolumeSnapshot is going away.
pub(super) const SNAPSHOT_BEING_DELETED: &str = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted";

/// The entry that the provisioner adds to `volume_context`.
pub(super) const PROVISIONER_IDENTITY: &str = "storage.kubernetes.io/csiProvisionerIdentity";
/// The class parameter that names the file system.
pub(super) const FS_TYPE: &str = "csi.storage.k8s.io/fstype";
/// Its older name.
pub(super) const FS_TYPE_OLD: &str = "fstype";
/// The key under which tokens of a pod's service account come.
pub(super) const SERVICE_ACCOUNT_TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";
/// Keys of class parameters below this prefix are for the sidecars.
pub(super) const RESERVED_PREFIX: &str = "csi.storage.k8s.io/";

/// The name of CreateVolume and of the volume object.
pub(super) fn volume(claim_uid: &str) -> String {
    format!("pvc-{claim_uid}")
}

/// The name of CreateSnapshot.
pub(super) fn snapshot(snapshot_uid: &str) -> String {
    format!("snapshot-{snapshot_uid}")
}

/// The name of CreateVolumeGroupSnapshot.
pub(super) fn group_snapshot(group_snapshot_uid: &str) -> String {
    format!("groupsnapshot-{group_snapshot_uid}")
}

/// The name of the content of a group snapshot.
pub(super) fn group_snapshot_content(group_snapshot_uid: &str) -> String {
    format!("groupsnapcontent-{group_snapshot_uid}")
}

/// The name of the content of a snapshot.
pub(super) fn snapshot_content(snapshot_uid: &str) -> String {
    format!("snapcontent-{snapshot_uid}")
}

/// The name of an attachment.
pub(super) fn attachment(handle: &str, driver: &str, node: &str) -> String {
    format!("csi-{}", sha256(&[handle, driver, node]))
}

/// The name under which kubelet and attach/detach controller know a volume.
pub(super) fn unique_volume(driver: &str, handle: &str) -> String {
    format!("kubernetes.io/csi/{driver}^{handle}")
}

/// Driver and `volume_id`, as the attach/detach controller gets them back from a unique name: not at all where the id
/// has a `^` of its own.
pub(super) fn split_unique_volume(unique: &str) -> Option<(&str, &str)> {
    let (driver, handle) = unique.strip_prefix("kubernetes.io/csi/")?.split_once('^')?;
    (!handle.contains('^')).then_some((driver, handle))
}

/// The `volume_id` of a volume that lives and dies with its pod.
pub(super) fn inline_handle(pod_uid: &str, volume: &str) -> String {
    format!("csi-{}", sha256(&[pod_uid, volume]))
}

/// The name under which a kubelet knows a volume that lives and dies with its pod.
pub(super) fn unique_inline_volume(pod_uid: &str, volume: &str) -> String {
    format!("kubernetes.io/csi/{pod_uid}-{volume}")
}

/// The finalizer of the attacher.
pub(super) fn attacher_finalizer(driver: &str) -> String {
    let plain = driver.chars().map(|one| if one.is_ascii_alphanumeric() { one } else { '-' });
    format!("external-attacher/{}", plain.collect::<String>())
}

/// The digest of the parts one after the other, in hexadecimal digits.
pub(super) fn sha256(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part.as_bytes()));
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_shapes_that_drivers_and_people_know() {
        assert_eq!(volume("u"), "pvc-u");
        assert_eq!(snapshot("u"), "snapshot-u");
        assert_eq!(attacher_finalizer("a.b-c"), "external-attacher/a-b-c");
        assert_eq!(unique_volume("d", "v"), "kubernetes.io/csi/d^v");
        assert_eq!(split_unique_volume(&unique_volume("d", "v")), Some(("d", "v")));
        assert_eq!(split_unique_volume(&unique_volume("d", "v^w")), None);
        // The digest of "abc".
        assert_eq!(attachment("a", "b", "c"), "csi-ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
