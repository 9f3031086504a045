//! What has to be known of a driver and a run before a program of calls can be run.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::step::Use;
use crate::{
    csi::v1::{
        self, VolumeCapability,
        volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume, access_mode::Mode},
    },
    history::{Recorder, Reply, Request},
    spec::Rpc,
    suite::{Facts, with_secrets},
    sut::{Answer, Driver, Profile},
};

/// The label of the first calls in a history.
const GREETING: &str = "greeting";

/// What is known of the driver, and what a run gives its objects.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// What the driver advertises, and its node.
    pub(super) facts: Facts,
    /// What is particular to the driver.
    pub(super) profile: Profile,
    /// Stands in each name.
    pub(super) prefix: String,
    /// Where targets lie.
    pub(super) directory: PathBuf,
    /// How long a call may take.
    pub(super) patience: Duration,
    /// An id that nobody gave out.
    pub(super) absent: String,
    modes: BTreeMap<bool, Mode>,
}

impl Surroundings {
    /// Asks the driver who it is and what it advertises; the calls are recorded.
    ///
    /// Every name holds the prefix, and every path lies in the directory. `None` when the driver answers nothing.
    pub async fn greet(
        driver: &Driver,
        recorder: &Recorder,
        profile: Profile,
        prefix: &str,
        directory: PathBuf,
        patience: Duration,
    ) -> Option<Self> {
        let absent = format!("{prefix}-absent");
        recorder.invent(&absent);
        recorder.learn(&profile.secrets);
        for secrets in profile.secrets_by_rpc.values() {
            recorder.learn(secrets);
        }
        let mut facts = Facts::default();
        let mut answered = false;
        for instance in driver.instances() {
            let requests: [Request; 3] = [
                v1::GetPluginInfoRequest {}.into(),
                v1::GetPluginCapabilitiesRequest {}.into(),
                v1::ProbeRequest {}.into(),
            ];
            for request in requests {
                let answer = driver.call_on(&instance, recorder, GREETING, &request, patience).await;
                answered |= matches!(answer, Answer::Reply(_) | Answer::Status { .. });
                if let Answer::Reply(Reply::GetPluginCapabilities(reply)) = &answer {
                    facts.learn_plugin(reply);
                }
            }
        }
        let requests: [Request; 3] = [
            v1::ControllerGetCapabilitiesRequest {}.into(),
            v1::NodeGetCapabilitiesRequest {}.into(),
            v1::NodeGetInfoRequest {}.into(),
        ];
        for request in requests.iter().filter(|request| answered && driver.serving(request.rpc()).is_some()) {
            match driver.call(recorder, GREETING, request, patience).await {
                Answer::Reply(Reply::ControllerGetCapabilities(reply)) => facts.learn_controller(&reply),
                Answer::Reply(Reply::NodeGetCapabilities(reply)) => facts.learn_node(&reply),
                Answer::Reply(Reply::NodeGetInfo(reply)) => facts.learn_node_info(reply),
                _ => {}
            }
        }
        let (prefix, modes) = (prefix.to_owned(), BTreeMap::new());
        answered.then_some(Self { facts, profile, prefix, directory, patience, absent, modes })
    }

    /// Finds out, once for many programs, with which modes several writers and one writer are served; the calls are
    /// recorded, and what they make is removed.
    pub async fn discover(&mut self, driver: &Driver, recorder: &Recorder) {
        let wishes = [
            (true, &[Mode::MultiNodeMultiWriter, Mode::SingleNodeMultiWriter, Mode::SingleNodeWriter][..]),
            (false, &[Mode::SingleNodeWriter, Mode::SingleNodeSingleWriter][..]),
        ];
        for (shared, modes) in wishes {
            for &mode in modes {
                let request = v1::CreateVolumeRequest {
                    volume_capabilities: vec![self.mount(mode)],
                    ..self.create_volume(format!("{}-{}", self.prefix, mode as i32))
                };
                let answer = driver.call(recorder, GREETING, &request.into(), self.patience).await;
                let Answer::Reply(Reply::CreateVolume(reply)) = answer else { continue };
                self.modes.insert(shared, mode);
                let request = v1::DeleteVolumeRequest {
                    volume_id: reply.volume.unwrap_or_default().volume_id,
                    secrets: self.profile.secrets_of(Rpc::DeleteVolume).clone(),
                };
                driver.call(recorder, GREETING, &request.into(), self.patience).await;
                break;
            }
        }
    }

    /// With the modes that were found out before.
    #[must_use]
    pub(super) fn with_modes_of(self, other: &Self) -> Self {
        Self { modes: other.modes.clone(), ..self }
    }

    /// The request with the secrets of its RPC, for the calls that remove things.
    pub(super) fn with_secrets(&self, request: Request) -> Request {
        with_secrets(&self.profile, request)
    }

    /// Whether the driver advertises a capability, such as `Node.STAGE_UNSTAGE_VOLUME`.
    pub fn has(&self, capability: &str) -> bool {
        self.facts.has(capability)
    }

    /// The capability for a use of a volume.
    pub(super) fn capability(&self, usage: Use) -> VolumeCapability {
        let mode = |shared, otherwise| self.modes.get(&shared).copied().unwrap_or(otherwise);
        match usage {
            Use::Shared => self.mount(mode(true, Mode::MultiNodeMultiWriter)),
            Use::Single => self.mount(mode(false, Mode::SingleNodeWriter)),
            Use::Block => VolumeCapability {
                access_mode: Some(AccessMode { mode: mode(true, Mode::MultiNodeMultiWriter).into() }),
                access_type: Some(AccessType::Block(BlockVolume {})),
            },
        }
    }

    fn mount(&self, mode: Mode) -> VolumeCapability {
        let mount = MountVolume { fs_type: self.profile.fs_type.clone(), ..Default::default() };
        VolumeCapability {
            access_mode: Some(AccessMode { mode: mode.into() }),
            access_type: Some(AccessType::Mount(mount)),
        }
    }

    /// A request for a new volume, without capabilities.
    pub(super) fn create_volume(&self, name: String) -> v1::CreateVolumeRequest {
        let profile = &self.profile;
        let segments = if profile.topology.is_empty() { self.facts.topology.clone() } else { profile.topology.clone() };
        let constrained = self.has("Plugin.VOLUME_ACCESSIBILITY_CONSTRAINTS") && !segments.is_empty();
        let topology = v1::Topology { segments };
        let mutable = self.has("Controller.MODIFY_VOLUME");
        v1::CreateVolumeRequest {
            name,
            capacity_range: Some(v1::CapacityRange { required_bytes: profile.capacity_bytes, limit_bytes: 0 }),
            volume_capabilities: Vec::new(),
            parameters: profile.parameters.clone(),
            secrets: profile.secrets_of(Rpc::CreateVolume).clone(),
            volume_content_source: None,
            accessibility_requirements: constrained
                .then(|| v1::TopologyRequirement { requisite: vec![topology.clone()], preferred: vec![topology] }),
            mutable_parameters: if mutable { profile.mutable_parameters.clone() } else { BTreeMap::new() },
        }
    }

    /// A path at which a volume of the program can appear.
    pub fn target(&self, volume: u8, target: u8) -> String {
        format!("{}/v{volume}/t{target}", self.directory.display())
    }

    /// The path at which a volume of the program is staged; empty where the driver does not stage.
    pub(super) fn staging(&self, volume: u8) -> String {
        match self.has("Node.STAGE_UNSTAGE_VOLUME") {
            true => format!("{}/v{volume}/staging", self.directory.display()),
            false => String::new(),
        }
    }
}
