//! What a driver answered, as it stood on the wire.

use std::fmt;

use crate::{
    csi::v1,
    history::{CallId, Lost, Recorder, Reply, Request},
};

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Status OK and a message.
    Reply(Reply),
    /// Another status, sent by the driver.
    Status {
        /// The number in `grpc-status`, whatever it is.
        code: i32,
        /// The text, percent-decoded.
        message: String,
        /// How many entries its details hold.
        details: u32,
    },
    /// Nothing more will be known of the call.
    Lost(Lost),
    /// Something came that is no answer to this call.
    Garbage(String),
}

/// The statuses that a harness reacts to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Code(pub i32);

impl Code {
    /// Something went wrong, and nobody says what.
    pub const UNKNOWN: Self = Self(2);
    /// The caller's request is wrong.
    pub const INVALID_ARGUMENT: Self = Self(3);
    /// No such object.
    pub const NOT_FOUND: Self = Self(5);
    /// Something is used up.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// Something else is under way on the object.
    pub const ABORTED: Self = Self(10);
    /// Not served.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// Something went wrong inside.
    pub const INTERNAL: Self = Self(13);
    /// Try again later.
    pub const UNAVAILABLE: Self = Self(14);

    /// The name of the number.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "OK",
            1 => "CANCELLED",
            2 => "UNKNOWN",
            3 => "INVALID_ARGUMENT",
            4 => "DEADLINE_EXCEEDED",
            5 => "NOT_FOUND",
            6 => "ALREADY_EXISTS",
            7 => "PERMISSION_DENIED",
            8 => "RESOURCE_EXHAUSTED",
            9 => "FAILED_PRECONDITION",
            10 => "ABORTED",
            11 => "OUT_OF_RANGE",
            12 => "UNIMPLEMENTED",
            13 => "INTERNAL",
            14 => "UNAVAILABLE",
            15 => "DATA_LOSS",
            16 => "UNAUTHENTICATED",
            _ => "(not a gRPC code)",
        }
    }

    /// Whether the status leaves open if the call has taken effect.
    pub const fn leaves_open(self) -> bool {
        !matches!(self.0, 3 | 5..=9 | 11 | 12 | 16)
    }
}

impl Answer {
    /// Enters into a history how the call ended.
    pub(crate) fn record(&self, recorder: &Recorder, call: CallId) {
        match self {
            Self::Reply(reply) => recorder.reply(call, reply.clone()),
            Self::Status { code, message, details } => recorder.status(call, *code, message, *details),
            Self::Lost(lost) => recorder.lost(call, *lost),
            Self::Garbage(what) => recorder.garbage(call, what),
        }
    }

    /// The code of a status other than OK.
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Status { code, .. } => Some(Code(*code)),
            _ => None,
        }
    }

    /// Whether the call may have taken effect without the client knowing.
    pub const fn leaves_open(&self) -> bool {
        match self {
            Self::Reply(_) => false,
            Self::Status { code, .. } => Code(*code).leaves_open(),
            Self::Lost(_) | Self::Garbage(_) => true,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(_) => f.write_str("OK"),
            Self::Status { code, message, .. } => {
                let end = message.floor_char_boundary(200);
                write!(f, "{} ({code}): {}", Code(*code).name(), message[..end].escape_debug())
            }
            Self::Lost(Lost::Deadline) => f.write_str("no answer before the deadline"),
            Self::Lost(Lost::Connection) => f.write_str("the connection was lost"),
            Self::Lost(Lost::Cancelled) => f.write_str("cancelled"),
            Self::Lost(Lost::Dropped) => f.write_str("the answer was dropped on purpose"),
            Self::Garbage(what) => write!(f, "no gRPC answer: {what}"),
        }
    }
}

/// A request of a unary RPC, and the reply that belongs to it.
pub trait Unary: Into<Request> + Clone + Send {
    /// The reply.
    type Reply: Clone + Send;

    /// Takes the reply out of the sum of all replies; `None` when it is another RPC's.
    fn reply(reply: Reply) -> Option<Self::Reply>;
}

macro_rules! unary {
    ($($rpc:ident($request:ident) -> $reply:ident;)+) => {
        $(
            impl Unary for v1::$request {
                type Reply = v1::$reply;

                fn reply(reply: Reply) -> Option<Self::Reply> {
                    match reply {
                        Reply::$rpc(reply) => Some(reply),
                        _ => None,
                    }
                }
            }
        )+
    };
}

unary! {
    GetPluginInfo(GetPluginInfoRequest) -> GetPluginInfoResponse;
    GetPluginCapabilities(GetPluginCapabilitiesRequest) -> GetPluginCapabilitiesResponse;
    Probe(ProbeRequest) -> ProbeResponse;
    CreateVolume(CreateVolumeRequest) -> CreateVolumeResponse;
    DeleteVolume(DeleteVolumeRequest) -> DeleteVolumeResponse;
    ControllerPublishVolume(ControllerPublishVolumeRequest) -> ControllerPublishVolumeResponse;
    ControllerUnpublishVolume(ControllerUnpublishVolumeRequest) -> ControllerUnpublishVolumeResponse;
    ValidateVolumeCapabilities(ValidateVolumeCapabilitiesRequest) -> ValidateVolumeCapabilitiesResponse;
    ListVolumes(ListVolumesRequest) -> ListVolumesResponse;
    GetCapacity(GetCapacityRequest) -> GetCapacityResponse;
    ControllerGetCapabilities(ControllerGetCapabilitiesRequest) -> ControllerGetCapabilitiesResponse;
    CreateSnapshot(CreateSnapshotRequest) -> CreateSnapshotResponse;
    DeleteSnapshot(DeleteSnapshotRequest) -> DeleteSnapshotResponse;
    ListSnapshots(ListSnapshotsRequest) -> ListSnapshotsResponse;
    GetSnapshot(GetSnapshotRequest) -> GetSnapshotResponse;
    ControllerExpandVolume(ControllerExpandVolumeRequest) -> ControllerExpandVolumeResponse;
    ControllerGetVolume(ControllerGetVolumeRequest) -> ControllerGetVolumeResponse;
    ControllerModifyVolume(ControllerModifyVolumeRequest) -> ControllerModifyVolumeResponse;
    GroupControllerGetCapabilities(GroupControllerGetCapabilitiesRequest) -> GroupControllerGetCapabilitiesResponse;
    CreateVolumeGroupSnapshot(CreateVolumeGroupSnapshotRequest) -> CreateVolumeGroupSnapshotResponse;
    DeleteVolumeGroupSnapshot(DeleteVolumeGroupSnapshotRequest) -> DeleteVolumeGroupSnapshotResponse;
    GetVolumeGroupSnapshot(GetVolumeGroupSnapshotRequest) -> GetVolumeGroupSnapshotResponse;
    NodeStageVolume(NodeStageVolumeRequest) -> NodeStageVolumeResponse;
    NodeUnstageVolume(NodeUnstageVolumeRequest) -> NodeUnstageVolumeResponse;
    NodePublishVolume(NodePublishVolumeRequest) -> NodePublishVolumeResponse;
    NodeUnpublishVolume(NodeUnpublishVolumeRequest) -> NodeUnpublishVolumeResponse;
    NodeGetVolumeStats(NodeGetVolumeStatsRequest) -> NodeGetVolumeStatsResponse;
    NodeExpandVolume(NodeExpandVolumeRequest) -> NodeExpandVolumeResponse;
    NodeGetCapabilities(NodeGetCapabilitiesRequest) -> NodeGetCapabilitiesResponse;
    NodeGetInfo(NodeGetInfoRequest) -> NodeGetInfoResponse;
}
