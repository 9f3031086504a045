//! Scenarios of the Identity service.

pub(super) mod get_plugin_capabilities;
pub(super) mod get_plugin_info;
pub(super) mod probe;
