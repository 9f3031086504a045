//! DeleteVolume (specification lines 1271–1308).

use super::ControllerService;
use crate::{
    csi::v1,
    driver::{
        Refusal, field,
        lock::{Hold, Object},
        record::{Progress, Volume},
        store::Change,
    },
};

impl ControllerService {
    /// Deletes a volume that nobody uses; one that does not exist is success. Snapshots and clones are copies and stay.
    pub(super) async fn delete(&self, request: &v1::DeleteVolumeRequest) -> Result<v1::DeleteVolumeResponse, Refusal> {
        let done = v1::DeleteVolumeResponse {};
        field::map("secrets", &request.secrets)?;
        let Some(id) = field::volume_id("volume_id", &request.volume_id)? else { return Ok(done) };
        let held = self.state.locks.hold(Object::Volume(id.clone()), Hold::Exclusive)?;
        // One that is still being created has an id that nobody was told.
        let known = self.state.store.volume(&id)?.filter(|volume| volume.progress != Progress::Creating);
        let Some(volume) = known else { return Ok(done) };
        if volume.is_ready()
            && let Some(user) = self.state.user_of(&id).await?
        {
            let why = format!("volume {id} is {user}: unpublish it there first");
            return Err(Refusal::FailedPrecondition(why));
        }
        self.state
            .blocking(move |state| {
                let _held = held;
                let volume = Volume { progress: Progress::Deleting, ..volume };
                state.store.commit(&[Change::PutVolume(volume.clone())])?;
                state.remove_volume(&volume)
            })
            .await?;
        Ok(done)
    }
}
