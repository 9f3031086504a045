//! The kubelet of one node: what pods need, what is mounted, and the operations that bring the two together.

mod actual_state_of_world;
mod csi_mounter;
mod desired_state_of_world;
mod habits;
mod node_agent;
mod operation_executor;
mod places;
mod plugin_registration;
mod pod_worker;
mod populator;
mod reconciler;
mod reconstruction;
mod statistics;
mod volume_ownership;

pub(super) use actual_state_of_world::{ActualStateOfWorld, ActualVolume, DeviceState, MountState};
pub(super) use desired_state_of_world::{DesiredPod, DesiredStateOfWorld, DesiredVolume, VolumeSpec};
pub(super) use node_agent::Machine;
pub(super) use node_agent::{Kubelet, component};
pub(super) use operation_executor::{Certainty, MountOutcome, Operation, Outcome};
pub(super) use places::{Places, VolumeData};
