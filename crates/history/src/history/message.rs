//! Requests and replies of every RPC as one type each, and their canonical JSON.

use std::{collections::BTreeMap, sync::LazyLock};

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed as _, Error as _},
    ser::Error as _,
};
use serde_json::Value;

use super::stored::{Read, Stored, StoredCall};
use crate::{csi::v1, spec::Rpc};

/// The descriptors of the interface, custom options included.
///
/// # Panics
///
/// Never: the bytes are made by this crate's own build script.
#[allow(clippy::panic, reason = "a build script that wrote garbage cannot be met otherwise")]
pub fn descriptors() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| match DescriptorPool::decode(crate::csi::DESCRIPTOR_SET) {
            Ok(pool) => pool,
            Err(error) => panic!("the compiled descriptor does not decode: {error}"),
        });
    &POOL
}

macro_rules! messages {
    (unary { $($rpc:ident($request:ident) -> $reply:ident;)+ } streaming { $($srpc:ident($srequest:ident) -> $sreply:ident;)+ }) => {
        /// The request of a call.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "the variants are the RPCs of the specification")]
        pub enum Request {
            $($rpc(v1::$request),)+
            $($srpc(v1::$srequest),)+
        }

        /// The reply to a call; a stream is the list of its messages.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "the variants are the RPCs of the specification")]
        pub enum Reply {
            $($rpc(v1::$reply),)+
            $($srpc(Vec<v1::$sreply>),)+
        }

        $(
            impl From<v1::$request> for Request {
                fn from(request: v1::$request) -> Self {
                    Self::$rpc(request)
                }
            }

            impl From<v1::$reply> for Reply {
                fn from(reply: v1::$reply) -> Self {
                    Self::$rpc(reply)
                }
            }
        )+
        $(
            impl From<v1::$srequest> for Request {
                fn from(request: v1::$srequest) -> Self {
                    Self::$srpc(request)
                }
            }

            impl From<Vec<v1::$sreply>> for Reply {
                fn from(reply: Vec<v1::$sreply>) -> Self {
                    Self::$srpc(reply)
                }
            }
        )+

        impl Request {
            /// The RPC that the request belongs to.
            pub const fn rpc(&self) -> Rpc {
                match self {
                    $(Self::$rpc(_) => Rpc::$rpc,)+
                    $(Self::$srpc(_) => Rpc::$srpc,)+
                }
            }

            /// The request with every field at its default.
            pub fn empty(rpc: Rpc) -> Self {
                match rpc {
                    $(Rpc::$rpc => Self::$rpc(Default::default()),)+
                    $(Rpc::$srpc => Self::$srpc(Default::default()),)+
                }
            }

            /// The wire form.
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    $(Self::$rpc(request) => request.encode_to_vec(),)+
                    $(Self::$srpc(request) => request.encode_to_vec(),)+
                }
            }

            /// Reads the wire form.
            ///
            /// # Errors
            ///
            /// When the bytes are no such message.
            pub fn decode(rpc: Rpc, bytes: &[u8]) -> Result<Self, prost::DecodeError> {
                Ok(match rpc {
                    $(Rpc::$rpc => Self::$rpc(v1::$request::decode(bytes)?),)+
                    $(Rpc::$srpc => Self::$srpc(v1::$srequest::decode(bytes)?),)+
                })
            }

            /// The descriptor of the request of an RPC.
            pub fn descriptor(rpc: Rpc) -> MessageDescriptor {
                message(match rpc {
                    $(Rpc::$rpc => concat!("csi.v1.", stringify!($request)),)+
                    $(Rpc::$srpc => concat!("csi.v1.", stringify!($srequest)),)+
                })
            }
        }

        impl Reply {
            /// The RPC that the reply belongs to.
            pub const fn rpc(&self) -> Rpc {
                match self {
                    $(Self::$rpc(_) => Rpc::$rpc,)+
                    $(Self::$srpc(_) => Rpc::$srpc,)+
                }
            }

            /// The wire form, one element for each message of a stream.
            pub fn encode(&self) -> Vec<Vec<u8>> {
                match self {
                    $(Self::$rpc(reply) => vec![reply.encode_to_vec()],)+
                    $(Self::$srpc(reply) => reply.iter().map(prost::Message::encode_to_vec).collect(),)+
                }
            }

            /// Reads the wire form.
            ///
            /// # Errors
            ///
            /// When some bytes are no such message; a unary reply without a message reads as the empty one.
            pub fn decode(rpc: Rpc, messages: &[Vec<u8>]) -> Result<Self, prost::DecodeError> {
                let first = messages.first().map_or(&[][..], Vec::as_slice);
                Ok(match rpc {
                    $(Rpc::$rpc => Self::$rpc(v1::$reply::decode(first)?),)+
                    $(Rpc::$srpc => Self::$srpc(
                        messages.iter().map(|bytes| v1::$sreply::decode(&**bytes)).collect::<Result<_, _>>()?,
                    ),)+
                })
            }

            /// The descriptor of the reply of an RPC.
            pub fn descriptor(rpc: Rpc) -> MessageDescriptor {
                message(match rpc {
                    $(Rpc::$rpc => concat!("csi.v1.", stringify!($reply)),)+
                    $(Rpc::$srpc => concat!("csi.v1.", stringify!($sreply)),)+
                })
            }
        }
    };
}

messages! {
    unary {
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
    streaming {
        GetMetadataAllocated(GetMetadataAllocatedRequest) -> GetMetadataAllocatedResponse;
        GetMetadataDelta(GetMetadataDeltaRequest) -> GetMetadataDeltaResponse;
    }
}

impl Request {
    /// The secrets that the request carries; `None` where it has no place for any.
    pub const fn secrets(&self) -> Option<&BTreeMap<String, String>> {
        Some(match self {
            Self::CreateVolume(it) => &it.secrets,
            Self::DeleteVolume(it) => &it.secrets,
            Self::ControllerPublishVolume(it) => &it.secrets,
            Self::ControllerUnpublishVolume(it) => &it.secrets,
            Self::ValidateVolumeCapabilities(it) => &it.secrets,
            Self::CreateSnapshot(it) => &it.secrets,
            Self::DeleteSnapshot(it) => &it.secrets,
            Self::ListSnapshots(it) => &it.secrets,
            Self::GetSnapshot(it) => &it.secrets,
            Self::ControllerExpandVolume(it) => &it.secrets,
            Self::ControllerModifyVolume(it) => &it.secrets,
            Self::CreateVolumeGroupSnapshot(it) => &it.secrets,
            Self::DeleteVolumeGroupSnapshot(it) => &it.secrets,
            Self::GetVolumeGroupSnapshot(it) => &it.secrets,
            Self::NodeStageVolume(it) => &it.secrets,
            Self::NodePublishVolume(it) => &it.secrets,
            Self::NodeExpandVolume(it) => &it.secrets,
            Self::GetMetadataAllocated(it) => &it.secrets,
            Self::GetMetadataDelta(it) => &it.secrets,
            _ => return None,
        })
    }

    /// The id of the volume that the request is about; `None` where it names none, or several.
    pub const fn volume_id(&self) -> Option<&String> {
        Some(match self {
            Self::DeleteVolume(it) => &it.volume_id,
            Self::ControllerPublishVolume(it) => &it.volume_id,
            Self::ControllerUnpublishVolume(it) => &it.volume_id,
            Self::ValidateVolumeCapabilities(it) => &it.volume_id,
            Self::ControllerGetVolume(it) => &it.volume_id,
            Self::ControllerModifyVolume(it) => &it.volume_id,
            Self::ControllerExpandVolume(it) => &it.volume_id,
            Self::NodeStageVolume(it) => &it.volume_id,
            Self::NodeUnstageVolume(it) => &it.volume_id,
            Self::NodePublishVolume(it) => &it.volume_id,
            Self::NodeUnpublishVolume(it) => &it.volume_id,
            Self::NodeGetVolumeStats(it) => &it.volume_id,
            Self::NodeExpandVolume(it) => &it.volume_id,
            _ => return None,
        })
    }

    /// The request as a message whose fields can be walked.
    pub fn to_dynamic(&self) -> DynamicMessage {
        dynamic(Self::descriptor(self.rpc()), &self.encode())
    }

    /// Back from the walkable form.
    ///
    /// # Errors
    ///
    /// When the message is of another type.
    pub fn from_dynamic(rpc: Rpc, message: &DynamicMessage) -> Result<Self, prost::DecodeError> {
        Self::decode(rpc, &message.encode_to_vec())
    }
}

impl Reply {
    /// The reply's messages as such whose fields can be walked.
    pub fn to_dynamic(&self) -> Vec<DynamicMessage> {
        let descriptor = Self::descriptor(self.rpc());
        self.encode().iter().map(|bytes| dynamic(descriptor.clone(), bytes)).collect()
    }
}

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        StoredCall { rpc: self.rpc(), messages: vec![store(&self.to_dynamic())] }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Request {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (rpc, messages) = Read(Self::descriptor).deserialize(deserializer)?;
        let [message] = &*messages else {
            return Err(D::Error::custom("a request is one message"));
        };
        Self::decode(rpc, message).map_err(D::Error::custom)
    }
}

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let messages = self.to_dynamic().iter().map(store).collect();
        StoredCall { rpc: self.rpc(), messages }.serialize(serializer).map_err(S::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (rpc, messages) = Read(Self::descriptor).deserialize(deserializer)?;
        if messages.len() != 1 && !rpc.streams() {
            return Err(D::Error::custom("the reply to a unary call is one message"));
        }
        Self::decode(rpc, &messages).map_err(D::Error::custom)
    }
}

/// The canonical JSON of a message, or a string of its bytes where it has none.
pub fn to_json(message: &DynamicMessage) -> Value {
    match store(message) {
        Stored::Json(value) => value,
        Stored::Hex(bytes) => Value::String(bytes),
    }
}

fn store(message: &DynamicMessage) -> Stored {
    let options = SerializeOptions::new().use_proto_field_name(true);
    match message.serialize_with_options(serde_json::value::Serializer, &options) {
        Ok(value) => Stored::Json(value),
        Err(_) => Stored::Hex(message.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect()),
    }
}

#[allow(clippy::panic, reason = "the names are those that the build script compiled")]
fn message(name: &str) -> MessageDescriptor {
    match descriptors().get_message_by_name(name) {
        Some(descriptor) => descriptor,
        None => panic!("{name} is not in the descriptor"),
    }
}

fn dynamic(descriptor: MessageDescriptor, bytes: &[u8]) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor);
    // The bytes come from the typed form of the same message, which always decodes.
    let _ = message.merge(bytes);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(reply: &Reply) -> Reply {
        serde_json::from_str(&serde_json::to_string(reply).unwrap()).unwrap()
    }

    #[test]
    fn secrets_are_found_wherever_the_interface_has_a_place_for_them() {
        for &rpc in Rpc::ALL {
            let has_place = Request::descriptor(rpc).get_field_by_name("secrets").is_some();
            assert_eq!(Request::empty(rpc).secrets().is_some(), has_place, "{rpc}");
        }
    }

    #[test]
    fn every_rpc_survives_the_disk() {
        for &rpc in Rpc::ALL {
            let request = Request::empty(rpc);
            assert_eq!(request.rpc(), rpc);
            let text = serde_json::to_string(&request).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request, "{text}");
        }
    }

    #[test]
    fn nonsense_of_a_driver_survives_the_disk() {
        let snapshot = v1::Snapshot {
            snapshot_id: "s\u{0}\u{202e}".into(),
            creation_time: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: -7 }),
            ..Default::default()
        };
        let reply = Reply::from(v1::CreateSnapshotResponse { snapshot: Some(snapshot) });
        assert_eq!(round_trip(&reply), reply);
        let capability = v1::NodeServiceCapability {
            r#type: Some(v1::node_service_capability::Type::Rpc(v1::node_service_capability::Rpc { r#type: 99 })),
        };
        let reply = Reply::from(v1::NodeGetCapabilitiesResponse { capabilities: vec![capability] });
        assert_eq!(round_trip(&reply), reply);
    }

    #[test]
    fn broken_files_are_refused_with_a_reason() {
        for text in [
            r#"{"rpc":"Nothing","messages":[]}"#,
            r#"{"rpc":"Probe","messages":[]}"#,
            r#"{"rpc":"Probe","messages":[{"json":{"x":1}}]}"#,
            r#"{"rpc":"Probe","messages":[{"hex":"0"}]}"#,
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }
}
