//! What a user asks of a cluster: objects that are created and deleted.

use std::collections::BTreeMap;

use super::{Cluster, ClusterError};
use crate::orchestrator::{
    names,
    object::{Metadata, PersistentVolumeClaim, Pod, StorageClass, VolumeSnapshot},
};

impl Cluster {
    /// Adds a class.
    ///
    /// # Errors
    ///
    /// When there is one of this name.
    pub fn create_class(&self, class: StorageClass) -> Result<(), ClusterError> {
        self.context.store.create(class)?;
        Ok(())
    }

    /// A class of the driver, with the profile's parameters.
    pub fn class(&self, name: &str) -> StorageClass {
        let mut parameters = self.context.profile.parameters.clone();
        let fs_type = &self.context.profile.fs_type;
        if !fs_type.is_empty() {
            parameters.insert(names::FS_TYPE.to_owned(), fs_type.clone());
        }
        StorageClass {
            metadata: Metadata::named(name),
            provisioner: self.context.csi_driver.name.clone(),
            parameters,
            allow_volume_expansion: true,
            ..StorageClass::default()
        }
    }

    /// Adds a claim.
    ///
    /// # Errors
    ///
    /// When there is one of this name.
    pub fn create_claim(&self, mut claim: PersistentVolumeClaim) -> Result<(), ClusterError> {
        claim.metadata.finalizers.insert(names::CLAIM_PROTECTION.to_owned());
        self.context.store.create(claim)?;
        Ok(())
    }

    /// Gives all secrets these contents; whoever makes a call reads them then.
    pub fn rotate_secrets(&self, secrets: BTreeMap<String, String>) {
        self.context.recorder.learn(&secrets);
        self.context.rotated.set(secrets);
    }

    /// Asks for the deletion of a claim.
    pub fn delete_claim(&self, name: &str) {
        self.context.store.delete::<PersistentVolumeClaim>(name);
    }

    /// Adds a pod.
    ///
    /// # Errors
    ///
    /// When there is one of this name.
    pub fn create_pod(&self, pod: Pod) -> Result<(), ClusterError> {
        self.context.store.create(pod)?;
        Ok(())
    }

    /// Asks for the deletion of a pod: its containers are stopped and its volumes unmounted first.
    pub fn delete_pod(&self, name: &str) {
        self.context.store.delete::<Pod>(name);
    }

    /// Deletes a pod by force: the object is gone at once, and its node cleans up when it can.
    pub fn force_delete_pod(&self, name: &str) {
        self.context.store.delete::<Pod>(name);
        // It may be gone by now.
        let _ = self.context.store.modify(name, |pod: &mut Pod| pod.metadata.finalizers.clear());
    }

    /// Asks for a snapshot of a claim; without a class it is cut with the profile's parameters.
    ///
    /// # Errors
    ///
    /// When there is one of this name.
    pub fn create_snapshot(&self, name: &str, claim: &str, class: &str) -> Result<(), ClusterError> {
        let (metadata, claim, class) = (Metadata::named(name), claim.to_owned(), class.to_owned());
        self.context.store.create(VolumeSnapshot { metadata, claim, class, ..Default::default() })?;
        Ok(())
    }
}
