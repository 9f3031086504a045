//! Lists whose pages do not come to the whole.

use tonic::Status;

use super::{
    conduct::{Conduct, Step},
    past::Past,
    registry::Seeded,
};
use crate::history::{Reply, Request};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B044", || {
            Conduct::edit(|request, reply, _| {
                if let (Request::ListVolumes(r), Reply::ListVolumes(reply)) = (request, reply)
                    && !r.starting_token.is_empty()
                    && !reply.entries.is_empty()
                {
                    reply.entries.remove(0);
                }
            })
        }),
        Seeded::conducting("B045", || {
            Conduct::edit(|request, reply, _| {
                if let (Request::ListVolumes(r), Reply::ListVolumes(reply)) = (request, reply)
                    && reply.next_token.is_empty()
                {
                    reply.next_token = r.starting_token.clone();
                }
            })
        }),
        Seeded::conducting("B047", || {
            Conduct::edit(|request, reply, past| {
                if let (Request::ListVolumes(r), Reply::ListVolumes(reply)) = (request, reply)
                    && has_shifted(&r.starting_token, past)
                    && !reply.entries.is_empty()
                {
                    reply.entries.remove(0);
                }
            })
        }),
        Seeded::conducting("B119", || {
            Conduct::before(|request, _| match &request {
                Request::ListVolumes(r) if r.max_entries < 0 => panicked(),
                Request::ListSnapshots(r) if r.max_entries < 0 => panicked(),
                _ => Step::Ask(request),
            })
        }),
    ]
}

fn panicked() -> Step {
    Step::Answer(Err(Status::unknown("panic: slice bounds out of range")))
}

/// Whether volumes went away since a token was given.
fn has_shifted(token: &str, past: &Past) -> bool {
    if token.is_empty() {
        return false;
    }
    let since = past.all(|request, answer| match (request, answer) {
        (_, Ok(Reply::ListVolumes(reply))) if reply.next_token == token => Some(false),
        (Request::DeleteVolume(_), Ok(_)) => Some(true),
        _ => None,
    });
    since.last().copied().unwrap_or(false)
}
