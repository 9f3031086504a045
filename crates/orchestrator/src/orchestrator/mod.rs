//! A container orchestrator in miniature: the components of Kubernetes that drive a driver, each as upstream behaves.
//!
//! It makes history and judges nothing. What to do next is decided by plain functions over objects and worlds; calls,
//! time and files are at the rim.

mod access_mode;
mod attach_detach_controller;
mod attempts;
mod beat;
mod capabilities;
mod cluster;
mod context;
mod controller;
mod csi_client;
mod departure;
mod dice;
mod economy;
mod external_attacher;
mod external_health_monitor;
mod external_provisioner;
mod external_resizer;
mod external_snapshotter;
mod group_snapshot_controller;
mod group_snapshotter;
mod kubelet;
mod livenessprobe;
mod manifest;
mod modify_controller;
mod names;
mod node_driver_registrar;
mod object;
mod outcome;
mod pending_operations;
mod pv_controller;
mod refusals;
mod scheduler;
mod scripted;
mod snapshot_controller;
mod store;
mod timing;
mod topology;
mod work_queue;
mod workload;

pub use cluster::{Cluster, ClusterError, NodeMounts, NodeSetup, Settings, Watching};
pub use context::{Context, Fate, Nemesis, Peace, Trouble, Troubles};
pub use csi_client::RpcError;
pub use departure::Departure;
pub use dice::Dice;
pub use economy::Economy;
pub use manifest::{ClassSource, Manifest, ManifestError, Objects, TestDriver, parse as parse_manifest};
pub use object::{
    AccessMode, BindingMode, ClaimReference, CsiDriver, DataSource, Event, FsGroupPolicy, InlineVolume, Kind, Metadata,
    Modification, Node, Object, PersistentVolume, PersistentVolumeClaim, Pod, PodPhase, PodVolume, ReclaimPolicy,
    Registration, ResizePhase, StorageClass, VolumeAttachment, VolumeAttributesClass, VolumeGroupSnapshot,
    VolumeGroupSnapshotContent, VolumeMode, VolumePhase, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent,
    VolumeSource,
};
pub use outcome::{Stuck, WorkloadOutcome};
pub use scripted::play_objects;
pub use store::{Change, Store, StoreError, Tables, Watch};
pub use timing::{Backoff, Timing};
pub use workload::{FaultKind, RandomNemesis, Watcher, Workload, tear_down};
