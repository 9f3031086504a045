//! How a volume grows, at the controller or, where that grows none, on the node.

use std::sync::Arc;

use super::{
    Refusal,
    assembly::State,
    controller::{has_room, no_room},
    lock::Held,
    record::Volume,
    size::SizeRange,
    store::Change,
};

/// The size that the volume will have: the present one where that is enough.
pub(super) fn target(volume: &Volume, range: SizeRange, state: &State) -> Result<u64, Refusal> {
    let present = volume.capacity;
    match range.limit {
        Some(limit) if limit < present => Err(Refusal::OutOfRange(format!(
            "volume {} has {present} bytes and never shrinks: raise limit_bytes",
            volume.id
        ))),
        _ if range.required <= present => Ok(present),
        _ => state.configuration.sizes.choose(Some(range), present),
    }
}

/// Gives a volume this size. The store learns it first and the content follows, also after a crash.
pub(super) async fn grow(state: &Arc<State>, held: Held, volume: Volume, capacity: u64) -> Result<(), Refusal> {
    state
        .blocking(move |state| {
            // The lock goes with the work, also when the caller gives up.
            let _held = held;
            if capacity > volume.capacity {
                let _reserving = state.reserving();
                if !has_room(state, &volume.topology, capacity - volume.capacity)? {
                    return Err(no_room(&state.configuration, capacity));
                }
                state.store.commit(&[Change::PutVolume(Volume { capacity, ..volume.clone() })])?;
            }
            // Also when the size is there already: an earlier call may have ended between the two.
            let grown = state.content.grow(&volume.id, capacity);
            grown.map_err(|error| State::no_content("growing the content of the volume", &error))
        })
        .await
}
