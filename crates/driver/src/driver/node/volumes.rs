//! What the node needs to know of the volumes.

use crate::{
    driver::{Refusal, record::Volume},
    mountpod::{AccessType, VolumeContent, VolumeId},
};

/// The volumes as a node sees them. The store and the content of the same process serve it; a process that serves a
/// node alone brings its own.
pub trait NodeVolumes: Send + Sync + 'static {
    /// A volume that is there, content and all.
    fn volume(&self, id: &VolumeId) -> Result<Option<Volume>, Refusal>;

    /// Where its content is on this host.
    fn location(&self, id: &VolumeId, access_type: AccessType) -> VolumeContent;

    /// Whether its content is well: a text for people, either way.
    fn condition(&self, volume: &Volume) -> Result<String, String>;

    /// How many more inodes there can be; `None` where nobody knows.
    fn free_inodes(&self) -> Option<u64>;
}
