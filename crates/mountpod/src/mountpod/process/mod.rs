//! Real mount pods of this host: a FUSE process for each pod, loop devices for block volumes.

mod daemon;
mod loop_device;
mod mountinfo;
mod mounts;
mod node;
mod places;
mod records;
mod runtime;
mod supervisor;
mod system_call;

pub use daemon::mount_daemon_main;
pub use loop_device::{PassedOn, flush_over, passed_on};
pub use mountinfo::{MountInfo, NotMountInfo, parse as parse_mountinfo};
pub use records::FileRecords;
pub use runtime::{ProcessMountPods, ProcessOptions, StartError};
