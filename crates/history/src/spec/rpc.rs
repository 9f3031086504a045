//! The 32 RPCs and 5 services of the interface.

use std::fmt;

macro_rules! rpcs {
    ($($service:ident { $($rpc:ident),+ $(,)? })+) => {
        /// A service of the interface.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Service {
            $(
                #[doc = concat!("`csi.v1.", stringify!($service), "`")]
                $service,
            )+
        }

        /// An RPC of the interface, in the order of the specification.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Rpc {
            $($(
                #[doc = concat!("`", stringify!($rpc), "` of the service `", stringify!($service), "`")]
                $rpc,
            )+)+
        }

        impl Service {
            /// Every service, in the order of the specification.
            pub const ALL: &'static [Self] = &[$(Self::$service),+];

            /// The name without the package.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$service => stringify!($service),)+
                }
            }
        }

        impl Rpc {
            /// Every RPC, in the order of the specification.
            pub const ALL: &'static [Self] = &[$($(Self::$rpc),+),+];

            /// The method's name, unique over all services.
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Self::$rpc => stringify!($rpc),)+)+
                }
            }

            /// The service that it belongs to.
            pub const fn service(self) -> Service {
                match self {
                    $($(Self::$rpc)|+ => Service::$service,)+
                }
            }

            /// The path of the HTTP/2 request.
            pub const fn path(self) -> &'static str {
                match self {
                    $($(Self::$rpc => concat!("/csi.v1.", stringify!($service), "/", stringify!($rpc)),)+)+
                }
            }
        }
    };
}

rpcs! {
    Identity {
        GetPluginInfo,
        GetPluginCapabilities,
        Probe,
    }
    Controller {
        CreateVolume,
        DeleteVolume,
        ControllerPublishVolume,
        ControllerUnpublishVolume,
        ValidateVolumeCapabilities,
        ListVolumes,
        GetCapacity,
        ControllerGetCapabilities,
        CreateSnapshot,
        DeleteSnapshot,
        ListSnapshots,
        GetSnapshot,
        ControllerExpandVolume,
        ControllerGetVolume,
        ControllerModifyVolume,
    }
    GroupController {
        GroupControllerGetCapabilities,
        CreateVolumeGroupSnapshot,
        DeleteVolumeGroupSnapshot,
        GetVolumeGroupSnapshot,
    }
    SnapshotMetadata {
        GetMetadataAllocated,
        GetMetadataDelta,
    }
    Node {
        NodeStageVolume,
        NodeUnstageVolume,
        NodePublishVolume,
        NodeUnpublishVolume,
        NodeGetVolumeStats,
        NodeExpandVolume,
        NodeGetCapabilities,
        NodeGetInfo,
    }
}

impl Rpc {
    /// Finds an RPC by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rpc| rpc.name() == name)
    }

    /// Whether the reply is a stream of messages.
    pub const fn streams(self) -> bool {
        matches!(self, Self::GetMetadataAllocated | Self::GetMetadataDelta)
    }

    /// Whether the RPC is served on the node's endpoint; all others are served on the controller's.
    ///
    /// Identity is served on both.
    pub const fn is_node(self) -> bool {
        matches!(self.service(), Service::Node)
    }
}

impl fmt::Display for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl serde::Serialize for Rpc {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Rpc {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| serde::de::Error::custom(format!("no RPC {name:?} in CSI")))
    }
}
