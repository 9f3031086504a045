//! The driver under test: endpoints, connections, deadlines, its processes, and a view of the node's file system.
//!
//! Whatever is sent to a driver goes through [`Driver`], which records it. What an answer means is not decided here.

mod answer;
mod driver;
mod endpoint;
mod instance;
mod lane;
mod launch;
mod mountinfo;
mod node_fs;
mod open_files;
mod process;
mod profile;
mod tls;
mod wire;

pub use answer::{Answer, Code, Unary};
pub use driver::{Driver, Target};
pub use endpoint::{Endpoint, EndpointError};
pub use instance::{BringUpError, Instance};
pub use lane::{ConnectError, InProcess, Lane};
pub use mountinfo::mounts_on;
pub use node_fs::{NodeFs, blocking};
pub use open_files::OpenFiles;
pub use process::{Output, Process, ProcessError, Signal};
pub use profile::{AccessType, KnownFailure, NodeFsMode, Profile, ProfileError, Start, glob};
pub use tls::{Tls, TlsError, TlsFiles};
pub use wire::LARGEST_ANSWER;

/// Connections, and reading gRPC by hand, for those who pass it on.
pub(crate) mod reading {
    pub(crate) use super::{
        lane::Stream,
        wire::{conclude, split},
    };
}
