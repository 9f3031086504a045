//! NodeGetVolumeStats (specification lines 2621–2715).

use super::NodeService;
use crate::{
    csi::v1::{self, node_service_capability::rpc::Type, volume_usage::Unit},
    driver::{Refusal, field, record::Volume, size::signed},
    mountpod::{TargetPath, UnpublishError, Usage},
};

impl NodeService {
    pub(super) async fn stats(
        &self,
        request: &v1::NodeGetVolumeStatsRequest,
    ) -> Result<v1::NodeGetVolumeStatsResponse, Refusal> {
        let id = field::volume_id("volume_id", &request.volume_id)?;
        let path = field::volume_path(&request.volume_path)?;
        field::optional_path("staging_target_path", &request.staging_target_path)?;
        let volume = self.find(id, &request.volume_id)?;
        let absent = || Refusal::NotAtPath { volume: volume.id.clone(), path: request.volume_path.clone() };
        let path = path.ok_or_else(absent)?;
        let offered = &self.state.capabilities;
        let usage = match self.usage_at(&volume, &path).await {
            // Published there, but not well enough to be measured: that is what a condition is for.
            Err(UnpublishError::Failed(why))
                if offered.node(Type::VolumeCondition) && self.is_at(&volume, &path).await? =>
            {
                let condition = v1::VolumeCondition { abnormal: true, message: brief(why) };
                return Ok(v1::NodeGetVolumeStatsResponse { usage: Vec::new(), volume_condition: Some(condition) });
            }
            usage => usage?,
        };
        let usage = usage.ok_or_else(absent)?;
        Ok(v1::NodeGetVolumeStatsResponse {
            usage: if offered.node(Type::GetVolumeStats) { self.usage(&volume, usage) } else { Vec::new() },
            volume_condition: if offered.node(Type::VolumeCondition) {
                Some(self.condition(&volume).await)
            } else {
                None
            },
        })
    }

    /// What the volume takes up at this path, which may be its staging path.
    pub(super) async fn usage_at(&self, volume: &Volume, path: &TargetPath) -> Result<Option<Usage>, UnpublishError> {
        self.state.mount_pods.usage(&volume.id, path).await
    }

    async fn is_at(&self, volume: &Volume, path: &TargetPath) -> Result<bool, Refusal> {
        let published = self.state.mount_pods.published(&volume.id).await?;
        Ok(published.iter().any(|reference| reference.target == *path))
    }

    fn usage(&self, volume: &Volume, usage: Usage) -> Vec<v1::VolumeUsage> {
        let entry = |unit: Unit, used: u64, available: u64, total: u64| v1::VolumeUsage {
            available: signed(available),
            total: signed(total),
            used: signed(used),
            unit: unit.into(),
        };
        let available = volume.capacity.saturating_sub(usage.used_bytes);
        let mut entries = vec![entry(Unit::Bytes, usage.used_bytes, available, volume.capacity)];
        if usage.used_inodes > 0 {
            let available = self.volumes.free_inodes().unwrap_or(0);
            let total = usage.used_inodes.saturating_add(available);
            entries.push(entry(Unit::Inodes, usage.used_inodes, available, total));
        }
        entries
    }

    /// Well if both the content and the daemons are.
    async fn condition(&self, volume: &Volume) -> v1::VolumeCondition {
        let condition = match self.volumes.condition(volume) {
            Ok(_) => self.state.mount_pods.condition(&volume.id).await,
            abnormal => abnormal,
        };
        let (abnormal, message) = match condition {
            Ok(message) => (false, message),
            Err(message) => (true, message),
        };
        v1::VolumeCondition { abnormal, message: brief(message) }
    }
}

/// A message within the general limit of a string (specification line 470), and never empty (line 2701).
fn brief(mut message: String) -> String {
    if message.is_empty() {
        message.push_str("no details are known");
    }
    let mut end = message.len().min(field::LONGEST_STRING);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_has_a_message_within_the_limit() {
        assert!(!brief(String::new()).is_empty());
        assert!(brief("ä".repeat(100)).len() <= 128);
    }
}
