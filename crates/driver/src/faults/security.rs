//! Data and paths of others.

use std::{fs, path::Path};

use super::{
    conduct::{Conduct, Step},
    idempotency::volume_of,
    registry::Seeded,
};
use crate::{
    csi::v1::{self, volume_content_source as source},
    history::{Reply, Request},
};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        // The id is taken for a path below the share.
        Seeded::conducting("B049", || {
            Conduct::before(|request, _| {
                if let Request::DeleteVolume(r) = &request
                    && r.volume_id.contains("../")
                {
                    // Only a directory of ours, and only an empty one: the seed harms nobody.
                    let _ = fs::remove_dir(Path::new(SHARE).join(&r.volume_id));
                }
                Step::Ask(request)
            })
        }),
        Seeded::conducting("B053", || {
            Conduct::before(|request, _| {
                if let Request::NodePublishVolume(r) = &request {
                    tracing::info!(volume_context = ?r.volume_context, "publishing");
                }
                Step::Ask(request)
            })
        }),
        Seeded::conducting("B102", || {
            Conduct::before(|request, _| {
                if let Request::NodePublishVolume(r) = &request
                    && Path::new(&r.target_path).is_symlink()
                {
                    let _ = fs::write(Path::new(&r.target_path).join("driver-was-here"), "");
                }
                Step::Ask(request)
            })
        }),
        Seeded::conducting("B199", || {
            Conduct::after(|request, answer, _| {
                if let (Request::NodePublishVolume(r), Ok(_)) = (request, &answer) {
                    let names = r.volume_context.values().filter(|value| value.contains("../"));
                    names.for_each(|name| drop(fs::write(Path::new(&r.target_path).join(name), "")));
                }
                answer
            })
        }),
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

/// Where the volumes of a careless driver would be.
const SHARE: &str = "/tmp";

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
