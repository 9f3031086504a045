//! Data and paths of others.

use super::{conduct::Conduct, idempotency::volume_of, registry::Seeded};
use crate::{
    csi::v1::{self, volume_content_source as source},
    history::{Reply, Request},
};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        // A message that repeats what the caller must keep to itself.
        Seeded::conducting("B052", || {
            Conduct::after(|request, answer, _| {
                answer.map_err(|refusal| match secrets(request) {
                    Some(secrets) => tonic::Status::new(refusal.code(), format!("{}: {secrets}", refusal.message())),
                    None => refusal,
                })
            })
        }),
        Seeded::conducting("B099", || {
            Conduct::rewrite(|request, past| {
                if let Request::CreateVolume(r) = request
                    && r.volume_content_source.is_none()
                    && let Some(old) = past.volumes().last()
                    && past.creation(&old.volume_id).is_some_and(|it| it.volume_capabilities == r.volume_capabilities)
                    && past.volume_named(&r.name).is_none()
                {
                    let of = source::VolumeSource { volume_id: old.volume_id.clone() };
                    r.volume_content_source = Some(v1::VolumeContentSource { r#type: Some(source::Type::Volume(of)) });
                }
            })
            .and_after(|request, answer, _| {
                answer.map(|mut reply: Reply| {
                    if let (Request::CreateVolume(r), Some(volume)) = (request, volume_of(&mut reply)) {
                        volume.content_source = r.volume_content_source.clone();
                    }
                    reply
                })
            })
        }),
    ]
}

fn secrets(request: &Request) -> Option<String> {
    let secrets = match request {
        Request::CreateVolume(r) => &r.secrets,
        Request::DeleteVolume(r) => &r.secrets,
        Request::ControllerPublishVolume(r) => &r.secrets,
        Request::NodeStageVolume(r) => &r.secrets,
        Request::NodePublishVolume(r) => &r.secrets,
        Request::NodeExpandVolume(r) => &r.secrets,
        _ => return None,
    };
    secrets.values().next().cloned()
}
