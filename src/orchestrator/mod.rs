//! A container orchestrator in miniature: the components of Kubernetes that drive a driver, each as upstream behaves.
//!
//! It makes history and judges nothing. What to do next is decided by plain functions over objects and worlds; calls,
//! time and files are at the rim.

mod access_mode;
mod attach_detach_controller;
mod beat;
mod capabilities;
mod cluster;
mod context;
mod controller;
mod csi_client;
mod departure;
mod dice;
mod external_attacher;
mod external_provisioner;
mod external_resizer;
mod external_snapshotter;
mod kubelet;
mod names;
mod object;
mod outcome;
mod pending_operations;
mod pv_controller;
mod scheduler;
mod snapshot_controller;
mod store;
mod timing;
mod topology;
mod work_queue;
mod workload;

pub use cluster::{Cluster, ClusterError, NodeSetup, Settings};
pub use context::{Context, Fate, Nemesis, Peace, Trouble, Troubles};
pub use csi_client::RpcError;
pub use departure::Departure;
pub use dice::Dice;
pub use object::{
    AccessMode, BindingMode, ClaimReference, CsiDriver, DataSource, Kind, Metadata, Node, Object, PersistentVolume,
    PersistentVolumeClaim, Pod, PodPhase, PodVolume, ReclaimPolicy, Registration, ResizePhase, StorageClass,
    VolumeAttachment, VolumeMode, VolumePhase, VolumeSnapshot, VolumeSnapshotContent,
};
pub use outcome::{Stuck, WorkloadOutcome};
pub use store::{Change, Store, StoreError, Tables, Watch};
pub use timing::{Backoff, Timing};
pub use workload::{FaultKind, RandomNemesis, Watcher, Workload, tear_down};
