//! Histories that were once judged wrongly: ids that are given twice, drivers that forget, enumerators yet to come.

use super::{Severity, judge};
use crate::{
    csi::v1::{self, volume_capability::AccessType},
    history::{FORMAT, Fault, Header, Observation, PathKind, Recorder},
};

struct Written(Recorder);

impl Written {
    fn by(restartable: bool) -> Self {
        let header = Header {
            format: FORMAT,
            tool: "test".into(),
            started: "2026-11-24T00:00:00Z".into(),
            seed: 0,
            node_fs: false,
            restartable,
            endpoints: vec!["unix:///csi.sock".into()],
            recording: None,
        };
        let written = Self(Recorder::new(header, None));
        let rpc = |kind: v1::controller_service_capability::rpc::Type| v1::ControllerServiceCapability {
            r#type: Some(v1::controller_service_capability::Type::Rpc(v1::controller_service_capability::Rpc {
                r#type: kind.into(),
            })),
        };
        use v1::controller_service_capability::rpc::Type::{CreateDeleteVolume, ListVolumes};
        let reply =
            v1::ControllerGetCapabilitiesResponse { capabilities: vec![rpc(CreateDeleteVolume), rpc(ListVolumes)] };
        let call = written.start(v1::ControllerGetCapabilitiesRequest {});
        written.0.reply(call, reply.into());
        written
    }

    fn start(&self, request: impl Into<crate::history::Request>) -> crate::history::CallId {
        self.0.call("plugin", "", "scenario", &request.into())
    }

    fn create(&self, name: &str, id: &str) {
        let call = self.start(create(name));
        self.0.reply(call, created(id).into());
    }

    fn delete(&self, id: &str) {
        let call = self.start(v1::DeleteVolumeRequest { volume_id: id.into(), ..Default::default() });
        self.0.reply(call, v1::DeleteVolumeResponse {}.into());
    }

    fn list(&self, ids: &[&str]) {
        let call = self.start(v1::ListVolumesRequest::default());
        self.0.reply(call, listed(ids).into());
    }

    fn crash_and_restart(&self) {
        self.0.fault(Fault::Crashed { instance: "plugin".into(), exit: "exit code 2".into() });
        self.0.fault(Fault::Restarted { instance: "plugin".into() });
    }

    /// The rules that the history breaks.
    fn violations(&self) -> Vec<&'static str> {
        let findings = judge(&self.0.history()).findings;
        findings.iter().filter(|one| one.severity == Severity::Violation).map(|one| one.rule.as_str()).collect()
    }
}

fn create(name: &str) -> v1::CreateVolumeRequest {
    let mode = v1::volume_capability::access_mode::Mode::SingleNodeWriter;
    v1::CreateVolumeRequest {
        name: name.into(),
        volume_capabilities: vec![v1::VolumeCapability {
            access_mode: Some(v1::volume_capability::AccessMode { mode: mode.into() }),
            access_type: Some(AccessType::Mount(v1::volume_capability::MountVolume::default())),
        }],
        ..Default::default()
    }
}

fn created(id: &str) -> v1::CreateVolumeResponse {
    v1::CreateVolumeResponse { volume: Some(v1::Volume { volume_id: id.into(), ..Default::default() }) }
}

fn listed(ids: &[&str]) -> v1::ListVolumesResponse {
    let entry = |id: &&str| v1::list_volumes_response::Entry {
        volume: Some(v1::Volume { volume_id: (*id).into(), ..Default::default() }),
        status: None,
    };
    v1::ListVolumesResponse { entries: ids.iter().map(entry).collect(), next_token: String::new() }
}

/// A call that a client sent after the driver was killed, and before another was there, was held against the driver.
#[test]
fn a_call_that_is_sent_while_the_driver_is_down_on_purpose_may_get_no_answer() {
    for (down, expected) in [(true, &[][..]), (false, &["GEN-ERR-001"][..])] {
        let history = Written::by(true);
        history.create("a", "1");
        history.0.fault(Fault::Killed { instance: "plugin".into(), signal: "SIGKILL".into() });
        if !down {
            history.0.fault(Fault::Restarted { instance: "plugin".into() });
        }
        let call = history.start(create("a"));
        history.0.lost(call, crate::history::Lost::Connection);
        if down {
            history.0.fault(Fault::Restarted { instance: "plugin".into() });
        }
        assert_eq!(history.violations(), expected, "down: {down}");
    }
}

/// A driver that ignores case gave `a` and `A` one volume. After its deletion it was rebuked for no longer listing it.
#[test]
fn one_id_for_two_names_is_one_violation_and_none_for_what_is_done_to_the_id_afterwards() {
    let history = Written::by(true);
    history.create("a", "1");
    history.create("A", "1");
    history.delete("1");
    history.list(&[]);
    history.create("b", "1");
    assert_eq!(history.violations(), ["CTRL-CREATE-087"]);
}

/// A driver that counts anew listed an object whose creation was still under way, under the id of a deleted one.
#[test]
fn an_id_that_is_given_again_may_be_listed_before_its_creation_is_answered() {
    let history = Written::by(true);
    history.create("a", "1");
    history.delete("1");
    let call = history.start(create("b"));
    history.list(&["1"]);
    history.0.reply(call, created("1").into());
    assert_eq!(history.violations(), [""; 0]);
}

#[test]
fn what_was_deleted_for_good_and_is_listed_is_a_violation() {
    let history = Written::by(true);
    history.create("a", "1");
    history.delete("1");
    history.list(&["1"]);
    assert_eq!(history.violations(), ["CTRL-LIST-002"]);
}

/// A driver in memory crashed, which is the violation; the run started it again, and it could not know its volumes.
#[test]
fn a_driver_that_is_said_not_to_survive_a_restart_may_forget_its_volumes_in_a_crash() {
    for (restartable, expected) in [(false, vec!["GEN-ERR-001"]), (true, vec!["GEN-ERR-001", "CTRL-LIST-002"])] {
        let history = Written::by(restartable);
        history.create("a", "1");
        history.crash_and_restart();
        history.list(&[]);
        let violations = history.violations();
        assert!(expected.iter().all(|rule| violations.contains(rule)), "{violations:?}");
        assert_eq!(violations.contains(&"CTRL-LIST-002"), restartable, "{violations:?}");
    }
}

/// What a list left out was taken to be listed later on, where a crash had given its id to another volume.
#[test]
fn a_volume_that_no_list_showed_does_not_turn_up_when_its_id_is_given_again_after_a_crash() {
    for (crashes, expected) in [(false, vec![]), (true, vec!["CTRL-LIST-002"])] {
        let history = Written::by(false);
        history.create("a", "1");
        history.list(&[]);
        if crashes {
            history.crash_and_restart();
            history.create("b", "1");
        }
        history.list(&["1"]);
        let mut violations = history.violations();
        violations.retain(|rule| *rule != "GEN-ERR-001");
        assert_eq!(violations, expected, "crashes: {crashes}");
    }
}

/// The access mode -1 was taken for a missing one.
#[test]
fn an_access_mode_of_any_number_is_not_a_missing_one() {
    for (mode, expected) in [(Some(-1), vec![]), (Some(99), vec![]), (None, vec!["CTRL-CREATE-075"])] {
        let history = Written::by(true);
        let mut request = create("a");
        request.volume_capabilities[0].access_mode = mode.map(|mode| v1::volume_capability::AccessMode { mode });
        let call = history.start(request);
        history.0.reply(call, created("1").into());
        assert_eq!(history.violations(), expected, "{mode:?}");
    }
}

/// A plugin that took a relative path to be below its own directory was said not to have mounted anything.
#[test]
fn where_a_relative_target_is_nobody_says() {
    for (path, is_missed) in [("relative/target", false), ("/absolute/target", true)] {
        let history = Written::by(true);
        history.create("a", "1");
        let capability = create("a").volume_capabilities.pop();
        let request = v1::NodePublishVolumeRequest {
            volume_id: "1".into(),
            target_path: path.into(),
            volume_capability: capability,
            ..Default::default()
        };
        let call = history.0.call("plugin", "node", "scenario", &request.into());
        history.0.reply(call, v1::NodePublishVolumeResponse {}.into());
        history.0.observed(Observation::Path {
            node: "node".into(),
            path: path.into(),
            kind: PathKind::Directory,
            mounts: Vec::new(),
        });
        assert_eq!(history.violations().contains(&"NODE-PUBLISH-051"), is_missed, "{path}");
    }
}

/// A plugin that expands volumes online says so first in GetPluginCapabilities; which service does it comes later.
#[test]
fn a_service_that_has_not_been_asked_may_still_advertise_expansion() {
    use v1::plugin_capability::{Service, Type, VolumeExpansion, service, volume_expansion};
    let written = Written(Recorder::new(Header { format: FORMAT, ..Header::default() }, None));
    let capability = |of| v1::PluginCapability { r#type: Some(of) };
    let call = written.start(v1::GetPluginCapabilitiesRequest {});
    let capabilities = vec![
        capability(Type::Service(Service { r#type: service::Type::ControllerService.into() })),
        capability(Type::VolumeExpansion(VolumeExpansion { r#type: volume_expansion::Type::Online.into() })),
    ];
    written.0.reply(call, v1::GetPluginCapabilitiesResponse { capabilities }.into());
    assert_eq!(written.violations(), Vec::<&str>::new());
    let call = written.start(v1::NodeGetCapabilitiesRequest {});
    written.0.reply(call, v1::NodeGetCapabilitiesResponse::default().into());
    assert_eq!(written.violations(), Vec::<&str>::new());
    let call = written.start(v1::ControllerGetCapabilitiesRequest {});
    written.0.reply(call, v1::ControllerGetCapabilitiesResponse::default().into());
    assert_eq!(written.violations(), ["IDENT-CAPS-014"]);
}
