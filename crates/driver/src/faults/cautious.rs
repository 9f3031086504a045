//! What a driver may refuse that others let pass: secrets that are not its own, expansions of volumes in use, a Probe.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use tonic::{Code, Status};

use super::{
    conduct::{Conduct, Step},
    registry::Seeded,
};
use crate::{
    csi::v1::{CreateVolumeRequest, volume_capability::AccessType, volume_content_source::Type as SourceType},
    history::{Reply, Request},
    spec::Rpc,
};

/// The value of each secret that is taken.
const TAKEN: &str = "a-secret-that-nobody-guesses";

/// The value of each secret of somebody who may do nothing.
const POWERLESS: &str = "somebody-who-may-do-nothing";

pub(super) fn variants() -> Vec<Seeded> {
    let one = |id, what, conduct: fn() -> Conduct| Seeded::conducting(id, conduct).legally(what);
    vec![
        one("wants-secrets", "authenticates by the secrets, where there are any", || {
            Conduct::before(|request, _| {
                let secrets = request.secrets().into_iter().flat_map(|secrets| secrets.values());
                let mut refused = secrets.filter(|value| *value != TAKEN).peekable();
                match refused.peek().map(|value| value.as_str()) {
                    None => Step::Ask(request),
                    Some(POWERLESS) => Step::Answer(Err(Status::permission_denied("you may not do that"))),
                    Some(_) => Step::Answer(Err(Status::unauthenticated("the secrets are not those of anybody here"))),
                }
            })
        }),
        one("node-expands-what-is-unused", "grows no file system while the volume is in use on the node", || {
            Conduct::refuse(Code::FailedPrecondition, |request, past| match request {
                Request::NodeExpandVolume(asked) => {
                    let grown = past.last(|it, answer| match it {
                        Request::ControllerExpandVolume(it) if it.volume_id == asked.volume_id => {
                            answer.is_ok().then_some(())
                        }
                        _ => None,
                    });
                    grown.is_some() && past.is_published(&asked.volume_id, &asked.volume_path)
                }
                _ => false,
            })
        }),
        one("unwell-at-first", "says at the first Probe of each process that it is not well", || {
            let probed = Arc::new(AtomicBool::new(false));
            Conduct::before(move |request, _| {
                let first = request.rpc() == Rpc::Probe && !probed.swap(true, Ordering::Relaxed);
                match first {
                    true => Step::Answer(Err(Status::failed_precondition("a disk is missing"))),
                    false => Step::Ask(request),
                }
            })
        }),
        one("starts-slowly", "says at the first Probes of each process that it is not ready", || {
            let probes = Arc::new(AtomicU32::new(0));
            Conduct::edit(move |_, reply, _| {
                if let Reply::Probe(reply) = reply {
                    let number = probes.fetch_add(1, Ordering::Relaxed);
                    reply.ready = Some(number >= 3);
                }
            })
        }),
        one("same-kind-of-source", "makes no volume of one access type from a source of the other", || {
            Conduct::refuse(Code::InvalidArgument, |request, past| {
                let Request::CreateVolume(asked) = request else { return false };
                let source = asked.volume_content_source.as_ref().and_then(|source| source.r#type.as_ref());
                let Some(SourceType::Volume(source)) = source else { return false };
                past.creation(&source.volume_id).is_some_and(|first| is_block(&first) != is_block(asked))
            })
        }),
    ]
}

fn is_block(request: &CreateVolumeRequest) -> bool {
    request.volume_capabilities.iter().all(|it| matches!(it.access_type, Some(AccessType::Block(_))))
}
