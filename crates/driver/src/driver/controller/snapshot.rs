//! CreateSnapshot and DeleteSnapshot (specification lines 1895–2079).

use super::{
    ControllerService,
    create_volume::{has_room, no_room},
};
use crate::{
    csi::v1,
    driver::{
        Refusal,
        assembly::State,
        content::Cut,
        field,
        lock::{Hold, Object},
        parameters,
        record::{Progress, Snapshot},
        size::signed,
        store::Change,
    },
    mountpod::VolumeId,
};

impl ControllerService {
    pub(super) async fn snapshot(
        &self,
        request: &v1::CreateSnapshotRequest,
    ) -> Result<v1::CreateSnapshotResponse, Refusal> {
        let source = field::volume_id("source_volume_id", &request.source_volume_id)?;
        let name = field::name("name", &request.name)?;
        field::map("secrets", &request.secrets)?;
        field::map("parameters", &request.parameters)?;
        parameters::snapshot_parameters(&request.parameters)?;
        let held_name = self.state.locks.hold(Object::SnapshotName(name.clone()), Hold::Exclusive)?;
        let held_source = match &source {
            Some(source) => Some(self.state.locks.hold(Object::Volume(source.clone()), Hold::Shared)?),
            None => None,
        };
        let source_text = request.source_volume_id.clone();
        let snapshot = self
            .state
            .blocking(move |state| {
                let _held = (held_name, held_source);
                if let Some(existing) = state.store.snapshot_named(&name)? {
                    if existing.is_ready() {
                        return same_source(existing, source.as_ref());
                    }
                    // Left behind by a call that failed half way, unless somebody is at it right now.
                    let _held = state.locks.hold(Object::Snapshot(existing.id.clone()), Hold::Exclusive)?;
                    State::remove_snapshot(state, &existing)?;
                }
                let source = source.ok_or_else(|| Refusal::no_volume(&source_text))?;
                state.cut(name, &source)
            })
            .await?;
        Ok(v1::CreateSnapshotResponse { snapshot: Some(message(&snapshot)) })
    }

    pub(super) async fn remove_snapshot(
        &self,
        request: &v1::DeleteSnapshotRequest,
    ) -> Result<v1::DeleteSnapshotResponse, Refusal> {
        let done = v1::DeleteSnapshotResponse {};
        field::map("secrets", &request.secrets)?;
        let Some(id) = field::snapshot_id("snapshot_id", &request.snapshot_id)? else { return Ok(done) };
        let held = self.state.locks.hold(Object::Snapshot(id.clone()), Hold::Exclusive)?;
        self.state
            .blocking(move |state| {
                let _held = held;
                let known = state.store.snapshot(&id)?.filter(|snapshot| snapshot.progress != Progress::Creating);
                let Some(mut snapshot) = known else { return Ok(()) };
                if let Some(group) = &snapshot.group {
                    // Specification line 2077.
                    let problem = format!("is a member of group snapshot {group}: delete the group");
                    return Err(Refusal::invalid("snapshot_id", problem));
                }
                // Volumes made from it are copies: they stay.
                snapshot.progress = Progress::Deleting;
                state.store.commit(&[Change::PutSnapshot(snapshot.clone())])?;
                State::remove_snapshot(state, &snapshot)
            })
            .await?;
        Ok(done)
    }
}

impl State {
    /// Cuts a snapshot: it is there, complete, when this returns.
    fn cut(&self, name: String, source: &VolumeId) -> Result<Snapshot, Refusal> {
        let volume = self.ready_volume(source)?;
        let mut snapshot = Snapshot {
            id: self.identifiers.next_snapshot(),
            name: Some(name),
            group: None,
            progress: Progress::Creating,
            source: volume.id,
            size: volume.capacity,
            created: self.clock.now(),
            access: volume.access,
            topology: volume.topology,
        };
        {
            let _reserving = self.reserving();
            if !has_room(self, &snapshot.topology, snapshot.size)? {
                return Err(no_room(&self.configuration, snapshot.size));
            }
            self.store.commit(&[Change::PutSnapshot(snapshot.clone())])?;
        }
        if let Err(error) = self.content.cut(&[Cut { snapshot: snapshot.id.clone(), source: snapshot.source.clone() }])
        {
            // What cannot be taken back now is taken back by a repeat, or at the next start.
            if let Err(refusal) = Self::remove_snapshot(self, &snapshot) {
                tracing::warn!(snapshot = %snapshot.id, %refusal, "an unfinished snapshot is left for a repeat");
            }
            return Err(Self::no_content("copying the content of the volume", &error));
        }
        snapshot.progress = Progress::Ready;
        self.store.commit(&[Change::PutSnapshot(snapshot.clone())])?;
        Ok(snapshot)
    }
}

fn same_source(existing: Snapshot, source: Option<&VolumeId>) -> Result<Snapshot, Refusal> {
    if source == Some(&existing.source) {
        return Ok(existing);
    }
    Err(Refusal::AlreadyExists(format!(
        "snapshot {} has this name, but shows volume {}: choose another name",
        existing.id, existing.source
    )))
}

/// A snapshot as the specification's message.
pub(in crate::driver) fn message(snapshot: &Snapshot) -> v1::Snapshot {
    v1::Snapshot {
        size_bytes: signed(snapshot.size),
        snapshot_id: snapshot.id.to_string(),
        source_volume_id: snapshot.source.to_string(),
        creation_time: Some(snapshot.created.into()),
        ready_to_use: snapshot.is_ready(),
        group_snapshot_id: snapshot.group.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}
