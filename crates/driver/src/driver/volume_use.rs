//! How a volume is to be used: a volume capability, parsed, and whether the driver and the volume support it.

use sha2::{Digest, Sha256};

use super::{
    Refusal,
    capability::Capabilities,
    page::hexadecimal,
    record::{AccessTypes, Volume},
};
use crate::{
    csi::v1::{self, node_service_capability::rpc::Type as Node, volume_capability::access_mode::Mode},
    mountpod::{AccessMode, AccessType, Fingerprint},
};

/// A well-formed volume capability.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct VolumeUse {
    /// Mount or block.
    pub(super) access_type: AccessType,
    /// The access mode.
    pub(super) access_mode: AccessMode,
    fs_type: String,
    mount_flags: Vec<String>,
    mount_group: String,
}

impl VolumeUse {
    /// Reads a required capability.
    pub(super) fn parse(capability: Option<&v1::VolumeCapability>) -> Result<Self, Refusal> {
        let capability = capability.ok_or(Refusal::Missing("volume_capability"))?;
        let mode = capability.access_mode.as_ref().ok_or(Refusal::Missing("volume_capability.access_mode"))?;
        let access_mode = access_mode(mode.mode)?;
        let access_type = capability.access_type.as_ref().ok_or(Refusal::Missing("volume_capability.access_type"))?;
        match access_type {
            v1::volume_capability::AccessType::Block(_) => Ok(Self {
                access_type: AccessType::Block,
                access_mode,
                fs_type: String::new(),
                mount_flags: Vec::new(),
                mount_group: String::new(),
            }),
            v1::volume_capability::AccessType::Mount(mount) => Self::mount(access_mode, mount),
        }
    }

    /// Reads a required list with at least one element.
    pub(super) fn parse_all(capabilities: &[v1::VolumeCapability]) -> Result<Vec<Self>, Refusal> {
        if capabilities.is_empty() {
            return Err(Refusal::Missing("volume_capabilities"));
        }
        capabilities.iter().map(|capability| Self::parse(Some(capability))).collect()
    }

    fn mount(access_mode: AccessMode, mount: &v1::volume_capability::MountVolume) -> Result<Self, Refusal> {
        if mount.fs_type.len() > super::field::LONGEST_STRING {
            return Err(Refusal::invalid("volume_capability.mount.fs_type", "is longer than 128 bytes"));
        }
        if mount.mount_flags.iter().map(String::len).sum::<usize>() > MOST_FLAG_BYTES {
            return Err(Refusal::invalid("volume_capability.mount.mount_flags", "have more than 4096 bytes"));
        }
        if !mount.volume_mount_group.is_empty() && mount.volume_mount_group.parse::<u32>().is_err() {
            let problem = "is no number: give the id of a group";
            return Err(Refusal::invalid("volume_capability.mount.volume_mount_group", problem));
        }
        Ok(Self {
            access_type: AccessType::Mount,
            access_mode,
            fs_type: mount.fs_type.clone(),
            mount_flags: mount.mount_flags.clone(),
            mount_group: mount.volume_mount_group.clone(),
        })
    }

    /// Whether the driver serves this use at all; the text says what it lacks, without naming a mount flag.
    pub(super) fn supported_by(&self, capabilities: &Capabilities) -> Result<(), String> {
        let is_newer =
            matches!(self.access_mode, AccessMode::SingleNodeSingleWriter | AccessMode::SingleNodeMultiWriter);
        if is_newer && !capabilities.node(Node::SingleNodeMultiWriter) {
            return Err("this access mode is not supported: choose SINGLE_NODE_WRITER".into());
        }
        if !FILE_SYSTEM_TYPES.contains(&self.fs_type.as_str()) {
            return Err("this fs_type is not supported: leave it empty, or choose fuse".into());
        }
        if self.mount_flags.iter().any(|flag| !MOUNT_FLAGS.contains(&flag.as_str())) {
            return Err(format!("a mount flag is not supported: choose from {}", MOUNT_FLAGS.join(", ")));
        }
        if !self.mount_group.is_empty() && !capabilities.node(Node::VolumeMountGroup) {
            return Err("volume_mount_group is not supported: leave it empty".into());
        }
        Ok(())
    }

    /// Whether this volume can be used like that.
    pub(super) fn supported_for(&self, volume: &Volume, capabilities: &Capabilities) -> Result<(), String> {
        self.supported_by(capabilities)?;
        if volume.access.allow(self.access_type) {
            return Ok(());
        }
        Err(match self.access_type {
            AccessType::Mount => "the volume was created for block access only: use it as a block device".into(),
            AccessType::Block => "the volume was created for mount access only: use it as a directory".into(),
        })
    }

    /// What is compared with a later request.
    pub(super) fn fingerprint(&self, read_only: bool) -> Fingerprint {
        let asked_read_only = self.mount_flags.iter().any(|flag| flag == "ro");
        Fingerprint {
            access_type: self.access_type,
            access_mode: self.access_mode,
            read_only: read_only || asked_read_only || self.access_mode.is_reader_only(),
            fs_type: self.fs_type.clone(),
            mount_flags: digest(&self.mount_flags),
            mount_group: self.mount_group.clone(),
        }
    }

    /// The group that owns the mount.
    pub(super) fn mount_group(&self) -> Option<u32> {
        self.mount_group.parse().ok()
    }
}

/// The access types that a list of uses needs.
pub(super) fn access_types(uses: &[VolumeUse]) -> AccessTypes {
    let any = |access_type| uses.iter().any(|volume_use| volume_use.access_type == access_type);
    AccessTypes { mount: any(AccessType::Mount), block: any(AccessType::Block) }
}

fn access_mode(mode: i32) -> Result<AccessMode, Refusal> {
    Ok(match Mode::try_from(mode) {
        Ok(Mode::SingleNodeWriter) => AccessMode::SingleNodeWriter,
        Ok(Mode::SingleNodeReaderOnly) => AccessMode::SingleNodeReaderOnly,
        Ok(Mode::MultiNodeReaderOnly) => AccessMode::MultiNodeReaderOnly,
        Ok(Mode::MultiNodeSingleWriter) => AccessMode::MultiNodeSingleWriter,
        Ok(Mode::MultiNodeMultiWriter) => AccessMode::MultiNodeMultiWriter,
        Ok(Mode::SingleNodeSingleWriter) => AccessMode::SingleNodeSingleWriter,
        Ok(Mode::SingleNodeMultiWriter) => AccessMode::SingleNodeMultiWriter,
        Ok(Mode::Unknown) | Err(_) => {
            return Err(Refusal::invalid("volume_capability.access_mode.mode", "is unknown: choose a mode"));
        }
    })
}

fn digest(flags: &[String]) -> String {
    if flags.is_empty() {
        return String::new();
    }
    let mut digest = Sha256::new();
    for flag in flags {
        digest.update((flag.len() as u64).to_be_bytes());
        digest.update(flag.as_bytes());
    }
    hexadecimal(&digest.finalize())
}

/// What a volume is served as: a FUSE mount, whatever its content lies on.
const FILE_SYSTEM_TYPES: [&str; 2] = ["", "fuse"];
/// What can be promised: every mount of a mount pod is `nodev`, `nosuid` and `noatime` anyhow, and read-only on demand.
const MOUNT_FLAGS: [&str; 5] = ["ro", "rw", "nodev", "nosuid", "noatime"];
/// Specification line 932.
const MOST_FLAG_BYTES: usize = 4096;
