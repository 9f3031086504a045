//! Targets that were once judged wrongly: calls that are cancelled or cut off and take effect late, attachments that decide.

use std::collections::BTreeMap;

use tonic::Code;

use super::{Severity, judge};
use crate::{
    csi::v1::{
        self,
        controller_service_capability::{Rpc as Offered, Type as Kind, rpc::Type},
        volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
    },
    history::{CallId, FORMAT, Fault, Header, Lost, Mount, Observation, PathKind, Recorder, Request},
};

const NODE: &str = "node-1";
const TARGET: &str = "/target";

/// The history of one volume, `1`, which the driver has created.
struct OneVolume(Recorder);

impl OneVolume {
    fn with(capabilities: &[Type]) -> Self {
        let header = Header { format: FORMAT, restartable: true, node_fs: true, ..Header::default() };
        let history = Self(Recorder::new(header, None));
        let capability = |kind: &Type| v1::ControllerServiceCapability {
            r#type: Some(Kind::Rpc(Offered { r#type: (*kind).into() })),
        };
        let capabilities = [Type::CreateDeleteVolume].iter().chain(capabilities).map(capability).collect::<Vec<_>>();
        let call = history.start(v1::ControllerGetCapabilitiesRequest {});
        history.0.reply(call, v1::ControllerGetCapabilitiesResponse { capabilities }.into());
        let request = v1::CreateVolumeRequest {
            name: "a".into(),
            volume_capabilities: vec![capability_of_mounts()],
            ..Default::default()
        };
        let call = history.start(request);
        let volume = Some(v1::Volume { volume_id: "1".into(), ..Default::default() });
        history.0.reply(call, v1::CreateVolumeResponse { volume }.into());
        history
    }

    fn start(&self, request: impl Into<Request>) -> CallId {
        let request = request.into();
        let node = if request.rpc().is_node() { NODE } else { "" };
        self.0.call("plugin", node, "scenario", &request)
    }

    fn publish(&self) -> CallId {
        self.start(publication(false))
    }

    fn published(&self, call: CallId) {
        self.0.reply(call, v1::NodePublishVolumeResponse {}.into());
    }

    fn unpublish(&self) -> CallId {
        self.start(v1::NodeUnpublishVolumeRequest { volume_id: "1".into(), target_path: TARGET.into() })
    }

    fn unpublished(&self, call: CallId) {
        self.0.reply(call, v1::NodeUnpublishVolumeResponse {}.into());
    }

    fn killed(&self) {
        self.0.fault(Fault::Killed { instance: "plugin".into(), signal: "SIGKILL".into() });
    }

    fn restarted(&self) {
        self.0.fault(Fault::Restarted { instance: "plugin".into() });
    }

    fn seen(&self, kind: PathKind, mounts: usize) {
        let mount = Mount { fs_type: "fuse".into(), read_only: false, device: "0:1".into() };
        let mounts = vec![mount; mounts];
        self.0.observed(Observation::Path { node: NODE.into(), path: TARGET.into(), kind, mounts });
    }

    fn violations(self) -> Vec<&'static str> {
        let findings = judge(&self.0.finish().0).findings;
        findings.iter().filter(|one| one.severity == Severity::Violation).map(|one| one.rule.as_str()).collect()
    }
}

fn capability_of_mounts() -> v1::VolumeCapability {
    v1::VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume::default())),
    }
}

fn publication(readonly: bool) -> v1::NodePublishVolumeRequest {
    v1::NodePublishVolumeRequest {
        volume_id: "1".into(),
        target_path: TARGET.into(),
        volume_capability: Some(capability_of_mounts()),
        readonly,
        ..Default::default()
    }
}

/// The caller gave up, the driver went on: what was mounted, or half made, after the unpublish was held against it.
#[test]
fn a_cancelled_publish_may_take_effect_after_an_unpublish_until_its_process_has_ended() {
    for (kind, mounts, rule) in
        [(PathKind::Directory, 1, "NODE-UNPUBLISH-002"), (PathKind::Directory, 0, "NODE-UNPUBLISH-010")]
    {
        for lost in [Lost::Cancelled, Lost::Deadline] {
            for ended in [false, true] {
                let history = OneVolume::with(&[]);
                let call = history.publish();
                history.0.lost(call, lost);
                if ended {
                    history.killed();
                    history.restarted();
                }
                let call = history.unpublish();
                history.unpublished(call);
                history.seen(kind, mounts);
                let expected = if ended { vec![rule] } else { vec![] };
                assert_eq!(history.violations(), expected, "{lost:?}, ended: {ended}");
            }
        }
    }
}

/// A cancelled unpublish may take a mount away that was published after it.
#[test]
fn a_cancelled_unpublish_may_take_effect_after_a_publish() {
    for (cancelled, expected) in [(true, &[][..]), (false, &["NODE-PUBLISH-051"][..])] {
        let history = OneVolume::with(&[]);
        let call = history.unpublish();
        match cancelled {
            true => history.0.lost(call, Lost::Cancelled),
            false => history.unpublished(call),
        }
        let call = history.publish();
        history.published(call);
        history.seen(PathKind::Absent, 0);
        let violations = history.violations();
        assert!(expected.iter().all(|rule| violations.contains(rule)), "{violations:?}");
        assert_eq!(violations.is_empty(), cancelled, "{violations:?}");
    }
}

/// A publish of another volume over the target was refused, and its unpublish answered OK, as it may be where the volume is
/// not: the mount of the volume that is there was held against it.
#[test]
fn an_unpublish_of_another_volume_leaves_the_mount_of_the_one_that_is_there() {
    for (unpublished, expected) in [(false, &[][..]), (true, &["NODE-UNPUBLISH-002"][..])] {
        let history = OneVolume::with(&[]);
        let call = history.publish();
        history.published(call);
        let call = history.start(v1::NodePublishVolumeRequest { volume_id: "2".into(), ..publication(false) });
        history.0.status(call, Code::NotFound as i32, "no such volume", 0);
        let call = history.start(v1::NodeUnpublishVolumeRequest { volume_id: "2".into(), target_path: TARGET.into() });
        history.unpublished(call);
        if unpublished {
            let call = history.unpublish();
            history.unpublished(call);
        }
        history.seen(PathKind::Directory, 1);
        assert_eq!(history.violations(), expected, "unpublished: {unpublished}");
    }
}

/// The driver had unpublished, and published again, when it was killed; the first answer was read only after that.
#[test]
fn a_publish_that_a_kill_cut_off_may_have_come_after_an_unpublish_whose_answer_was_read_late() {
    for (late, expected) in [(true, &[][..]), (false, &["NODE-UNPUBLISH-002"][..])] {
        let history = OneVolume::with(&[]);
        let call = history.publish();
        history.published(call);
        let (unpublish, publish) = (history.unpublish(), history.publish());
        history.killed();
        match late {
            true => {
                history.unpublished(unpublish);
                history.0.lost(publish, Lost::Connection);
                history.restarted();
            }
            false => {
                history.0.lost(publish, Lost::Connection);
                history.0.lost(unpublish, Lost::Connection);
                history.restarted();
                let call = history.unpublish();
                history.unpublished(call);
            }
        }
        history.seen(PathKind::Directory, 1);
        assert_eq!(history.violations(), expected, "late: {late}");
    }
}

/// The directory of a target that an unpublish had emptied, or a publish had made, when it was killed was held against the driver.
#[test]
fn what_a_kill_left_half_done_is_held_against_nobody_until_it_is_unpublished_again() {
    for is_unpublish in [true, false] {
        for (again, expected) in [(false, &[][..]), (true, &["NODE-UNPUBLISH-010"][..])] {
            let history = OneVolume::with(&[]);
            let call = history.publish();
            history.published(call);
            if !is_unpublish {
                let call = history.unpublish();
                history.unpublished(call);
            }
            let cut = if is_unpublish { history.unpublish() } else { history.publish() };
            history.killed();
            history.0.lost(cut, Lost::Connection);
            history.restarted();
            if again {
                let call = history.unpublish();
                history.unpublished(call);
            }
            history.seen(PathKind::Directory, 0);
            assert_eq!(history.violations(), expected, "an unpublish: {is_unpublish}, again: {again}");
        }
    }
}

/// A mount that is read-only by its attachment fits a request for a read-only one.
#[test]
fn a_target_of_a_read_only_attachment_is_compatible_with_either_readonly_flag() {
    for (attached_read_only, expected) in [(true, &[][..]), (false, &["NODE-PUBLISH-069"][..])] {
        for first in [false, true] {
            let history = OneVolume::with(&[Type::PublishUnpublishVolume, Type::PublishReadonly]);
            let call = history.start(v1::ControllerPublishVolumeRequest {
                volume_id: "1".into(),
                node_id: NODE.into(),
                volume_capability: Some(capability_of_mounts()),
                readonly: attached_read_only,
                ..Default::default()
            });
            let publish_context = BTreeMap::from([("attached".to_owned(), "so".to_owned())]);
            let reply = v1::ControllerPublishVolumeResponse { publish_context: publish_context.clone() };
            history.0.reply(call, reply.into());
            for readonly in [first, !first] {
                let request =
                    v1::NodePublishVolumeRequest { publish_context: publish_context.clone(), ..publication(readonly) };
                let call = history.start(request);
                history.published(call);
            }
            assert_eq!(history.violations(), expected, "read-only: {attached_read_only}, first {first}");
        }
    }
}

/// Where the controller grows nothing, the node does, and the volume is larger from then on.
#[test]
fn a_volume_that_its_node_has_grown_is_larger_for_the_controller_too() {
    for (controller, expected) in [(&[Type::GetVolume][..], 0), (&[Type::GetVolume, Type::ExpandVolume], 1)] {
        let history = OneVolume::with(controller);
        let capability = v1::NodeServiceCapability {
            r#type: Some(v1::node_service_capability::Type::Rpc(v1::node_service_capability::Rpc {
                r#type: v1::node_service_capability::rpc::Type::ExpandVolume.into(),
            })),
        };
        let call = history.start(v1::NodeGetCapabilitiesRequest {});
        history.0.reply(call, v1::NodeGetCapabilitiesResponse { capabilities: vec![capability] }.into());
        let sized = |capacity_bytes| v1::Volume { volume_id: "2".into(), capacity_bytes, ..Default::default() };
        let call = history.start(v1::CreateVolumeRequest {
            name: "b".into(),
            volume_capabilities: vec![capability_of_mounts()],
            ..Default::default()
        });
        history.0.reply(call, v1::CreateVolumeResponse { volume: Some(sized(10)) }.into());
        let call = history.start(v1::NodePublishVolumeRequest { volume_id: "2".into(), ..publication(false) });
        history.published(call);
        let call = history.start(v1::NodeExpandVolumeRequest {
            volume_id: "2".into(),
            volume_path: TARGET.into(),
            capacity_range: Some(v1::CapacityRange { required_bytes: 20, limit_bytes: 0 }),
            ..Default::default()
        });
        history.0.reply(call, v1::NodeExpandVolumeResponse { capacity_bytes: 20 }.into());
        let call = history.start(v1::ControllerGetVolumeRequest { volume_id: "2".into() });
        let reply = v1::ControllerGetVolumeResponse { volume: Some(sized(20)), ..Default::default() };
        history.0.reply(call, reply.into());
        let findings = judge(&history.0.finish().0).findings;
        let told = findings.iter().filter(|one| one.rule.as_str() == "CTRL-GET-004").count();
        assert_eq!(told, expected, "{findings:#?}");
    }
}
