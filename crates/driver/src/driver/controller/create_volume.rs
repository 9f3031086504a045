//! CreateVolume (specification lines 774–1266): new, cloned and restored volumes.

use super::ControllerService;
use crate::{
    csi::v1::{self, controller_service_capability::rpc::Type as Controller, volume_content_source},
    driver::{
        Configuration, Refusal, SnapshotId,
        assembly::State,
        capability::{Capabilities, Plugin},
        content::Plan,
        field,
        lock::{Hold, Object},
        parameters::{self, Properties},
        record::{AccessTypes, Progress, Source, Volume},
        size::{SizeRange, signed},
        store::Change,
        topology::{Requirement, Topology},
        volume_use::{VolumeUse, access_types},
    },
    mountpod::VolumeId,
};

/// A well-formed request.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    name: String,
    range: Option<SizeRange>,
    access: AccessTypes,
    properties: Properties,
    source: Option<AskedSource>,
    requirement: Requirement,
}

/// A source as the request names it; `None` for an id that nothing of ours has.
#[derive(Clone, Debug, Eq, PartialEq)]
enum AskedSource {
    Snapshot(Option<SnapshotId>, String),
    Volume(Option<VolumeId>, String),
}

/// What a source brings along.
struct Origin {
    source: Source,
    size: u64,
    access: AccessTypes,
}

impl ControllerService {
    pub(super) async fn create(&self, request: &v1::CreateVolumeRequest) -> Result<v1::CreateVolumeResponse, Refusal> {
        let state = &self.state;
        let asked = Asked::parse(request, &state.capabilities)?;
        let name = state.locks.hold(Object::VolumeName(asked.name.clone()), Hold::Exclusive)?;
        let source = match asked.source.as_ref().and_then(AskedSource::object) {
            Some(object) => Some(state.locks.hold(object, Hold::Shared)?),
            None => None,
        };
        let volume = state
            .blocking(move |state| {
                let _held = (name, source);
                asked.carry_out(state)
            })
            .await?;
        Ok(v1::CreateVolumeResponse { volume: Some(message(&volume, &state.capabilities)) })
    }
}

impl Asked {
    fn parse(request: &v1::CreateVolumeRequest, capabilities: &Capabilities) -> Result<Self, Refusal> {
        let name = field::name("name", &request.name)?;
        let uses = VolumeUse::parse_all(&request.volume_capabilities)?;
        for volume_use in &uses {
            // One unsupported element fails the whole list (specification line 841).
            volume_use.supported_by(capabilities).map_err(|why| Refusal::invalid("volume_capabilities", why))?;
        }
        field::map("parameters", &request.parameters)?;
        field::map("mutable_parameters", &request.mutable_parameters)?;
        field::map("secrets", &request.secrets)?;
        if !request.mutable_parameters.is_empty() && !capabilities.controller(Controller::ModifyVolume) {
            return Err(Refusal::invalid("mutable_parameters", "are not supported: leave them out"));
        }
        Ok(Self {
            name,
            range: request.capacity_range.as_ref().map(SizeRange::parse).transpose()?,
            access: access_types(&uses),
            properties: Properties::parse(&request.parameters, &request.mutable_parameters)?,
            source: request
                .volume_content_source
                .as_ref()
                .map(|it| AskedSource::parse(it, capabilities))
                .transpose()?,
            requirement: match &request.accessibility_requirements {
                None => Requirement::default(),
                Some(_) if !capabilities.plugin(Plugin::VolumeAccessibilityConstraints) => {
                    return Err(Refusal::invalid("accessibility_requirements", "are not supported: leave them out"));
                }
                Some(requirement) => Requirement::parse(requirement)?,
            },
        })
    }

    fn carry_out(&self, state: &State) -> Result<Volume, Refusal> {
        if let Some(existing) = state.store.volume_named(&self.name)? {
            if existing.is_ready() {
                return self.is_met_by(&existing).map(|()| existing);
            }
            // Left behind by a call that failed half way, unless somebody is at it right now.
            let _held = state.locks.hold(Object::Volume(existing.id.clone()), Hold::Exclusive)?;
            state.remove_volume(&existing)?;
        }
        let origin = self.origin(state)?;
        let capacity = state.configuration.sizes.choose(self.range, origin.as_ref().map_or(0, |origin| origin.size))?;
        let mut volume = Volume {
            id: state.identifiers.next_volume(),
            name: self.name.clone(),
            progress: Progress::Creating,
            capacity,
            access: self.access,
            topology: state.configuration.topologies[0].clone(),
            source: origin.map(|origin| origin.source),
            created_with: self.properties.clone(),
            properties: self.properties.clone(),
        };
        self.reserve(state, &mut volume)?;
        let plan = Plan {
            access: self.access,
            capacity,
            directory_mode: self.properties.directory_mode,
            source: volume.source.clone(),
        };
        if let Err(error) = state.content.create(&volume.id, &plan) {
            // What cannot be taken back now is taken back by a repeat, or at the next start.
            if let Err(refusal) = state.remove_volume(&volume) {
                tracing::warn!(volume = %volume.id, %refusal, "an unfinished volume is left for a repeat");
            }
            return Err(State::no_content("making the content of the volume", &error));
        }
        volume.progress = Progress::Ready;
        state.store.commit(&[Change::PutVolume(volume.clone())])?;
        Ok(volume)
    }

    /// Writes the intent where there is room for it.
    fn reserve(&self, state: &State, volume: &mut Volume) -> Result<(), Refusal> {
        let candidates = self.requirement.candidates(&state.configuration.topologies);
        if candidates.is_empty() {
            let why = "no volume can be made in any topology of accessibility_requirements: ask for another";
            return Err(Refusal::ResourceExhausted(why.into()));
        }
        let _reserving = state.reserving();
        for topology in candidates {
            if has_room(state, topology, volume.capacity)? {
                volume.topology = topology.clone();
                return Ok(state.store.commit(&[Change::PutVolume(volume.clone())])?);
            }
        }
        Err(no_room(&state.configuration, volume.capacity))
    }

    /// Whether the volume of this name is what is asked for (specification lines 778 and 1264).
    fn is_met_by(&self, existing: &Volume) -> Result<(), Refusal> {
        let same_source = match (&self.source, &existing.source) {
            (None, None) => true,
            (Some(asked), Some(source)) => asked.is(source),
            _ => false,
        };
        let difference = if self.range.is_some_and(|range| !range.holds(existing.capacity)) {
            "another size"
        } else if !existing.access.include(self.access) {
            "another access type"
        } else if self.properties != existing.created_with && self.properties != existing.properties {
            "other parameters"
        } else if !same_source {
            "another content source"
        } else if !self.requirement.is_met_by(&existing.topology) {
            "another topology"
        } else {
            return Ok(());
        };
        Err(Refusal::AlreadyExists(format!(
            "volume {} has this name, but {difference}: choose another name, or ask for the same",
            existing.id
        )))
    }

    fn origin(&self, state: &State) -> Result<Option<Origin>, Refusal> {
        let missing = |kind, id: &str| Refusal::NotFound { kind, id: id.to_owned() };
        let origin = match &self.source {
            None => return Ok(None),
            Some(AskedSource::Snapshot(id, text)) => {
                let id = id.as_ref().ok_or_else(|| missing("source snapshot", text))?;
                let snapshot = state.store.snapshot(id)?.filter(|snapshot| snapshot.is_ready());
                let snapshot = snapshot.ok_or_else(|| missing("source snapshot", text))?;
                Origin { source: Source::Snapshot(snapshot.id), size: snapshot.size, access: snapshot.access }
            }
            Some(AskedSource::Volume(id, text)) => {
                let id = id.as_ref().ok_or_else(|| missing("source volume", text))?;
                let volume = state.store.volume(id)?.filter(Volume::is_ready);
                let volume = volume.ok_or_else(|| missing("source volume", text))?;
                Origin { source: Source::Volume(volume.id), size: volume.capacity, access: volume.access }
            }
        };
        if !origin.access.include(self.access) {
            let problem = "has content of another access type: ask for the access types of the source";
            return Err(Refusal::invalid("volume_content_source", problem));
        }
        Ok(Some(origin))
    }
}

impl AskedSource {
    fn parse(source: &v1::VolumeContentSource, capabilities: &Capabilities) -> Result<Self, Refusal> {
        let unsupported = |kind| {
            Refusal::invalid("volume_content_source", format!("is a {kind}, which is not supported: leave it out"))
        };
        match &source.r#type {
            None => Err(Refusal::invalid("volume_content_source", "is empty: name a snapshot or a volume")),
            Some(volume_content_source::Type::Snapshot(_))
                if !capabilities.controller(Controller::CreateDeleteSnapshot) =>
            {
                Err(unsupported("snapshot"))
            }
            Some(volume_content_source::Type::Volume(_)) if !capabilities.controller(Controller::CloneVolume) => {
                Err(unsupported("volume"))
            }
            Some(volume_content_source::Type::Snapshot(snapshot)) => {
                let id = field::snapshot_id("volume_content_source.snapshot.snapshot_id", &snapshot.snapshot_id)?;
                Ok(Self::Snapshot(id, snapshot.snapshot_id.clone()))
            }
            Some(volume_content_source::Type::Volume(volume)) => {
                let id = field::volume_id("volume_content_source.volume.volume_id", &volume.volume_id)?;
                Ok(Self::Volume(id, volume.volume_id.clone()))
            }
        }
    }

    fn object(&self) -> Option<Object> {
        match self {
            Self::Snapshot(id, _) => id.clone().map(Object::Snapshot),
            Self::Volume(id, _) => id.clone().map(Object::Volume),
        }
    }

    fn is(&self, source: &Source) -> bool {
        match (self, source) {
            (Self::Snapshot(asked, _), Source::Snapshot(id)) => asked.as_ref() == Some(id),
            (Self::Volume(asked, _), Source::Volume(id)) => asked.as_ref() == Some(id),
            _ => false,
        }
    }
}

/// Whether the pool of a topology can take on these bytes. Only within [`State::reserving`].
pub(in crate::driver) fn has_room(state: &State, topology: &Topology, bytes: u64) -> Result<bool, Refusal> {
    let allocated = state.store.allocated(topology)?;
    Ok(allocated.saturating_add(bytes) <= state.configuration.pool_capacity)
}

/// The refusal when no pool has room.
pub(in crate::driver) fn no_room(configuration: &Configuration, bytes: u64) -> Refusal {
    let pool = configuration.pool_capacity;
    Refusal::ResourceExhausted(format!(
        "no pool of {pool} bytes has {bytes} bytes left: delete something or ask for less"
    ))
}

/// A volume as the specification's message.
pub(super) fn message(volume: &Volume, capabilities: &Capabilities) -> v1::Volume {
    let source = volume.source.as_ref().map(|source| match source {
        Source::Snapshot(id) => {
            volume_content_source::Type::Snapshot(volume_content_source::SnapshotSource { snapshot_id: id.to_string() })
        }
        Source::Volume(id) => {
            volume_content_source::Type::Volume(volume_content_source::VolumeSource { volume_id: id.to_string() })
        }
    });
    v1::Volume {
        capacity_bytes: signed(volume.capacity),
        volume_id: volume.id.to_string(),
        volume_context: parameters::volume_context(&volume.created_with),
        content_source: source.map(|source| v1::VolumeContentSource { r#type: Some(source) }),
        accessible_topology: if capabilities.plugin(Plugin::VolumeAccessibilityConstraints) {
            vec![(&volume.topology).into()]
        } else {
            Vec::new()
        },
    }
}
