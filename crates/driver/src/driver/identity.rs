//! The Identity service.

use std::{collections::BTreeMap, sync::Arc};

use tonic::{Request, Response, Status};

use super::{
    Expansion, PLUGIN_NAME, Refusal,
    assembly::{Readiness, State},
    capability::Plugin,
    rpc::Rpc,
};
use crate::csi::v1::{
    self,
    identity_server::Identity,
    plugin_capability,
    plugin_capability::{service, volume_expansion},
};

/// Who the plugin is, what it has, how it is.
pub struct IdentityService {
    state: Arc<State>,
}

impl IdentityService {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    fn rpc(&self, method: &'static str) -> Rpc {
        Rpc { service: "csi.v1.Identity", method, patience: self.state.patience() }
    }

    fn capabilities(&self) -> Vec<v1::PluginCapability> {
        let offered = &self.state.capabilities;
        let service = |service: service::Type| {
            plugin_capability::Type::Service(plugin_capability::Service { r#type: service.into() })
        };
        let mut types = Vec::new();
        if offered.plugin(Plugin::ControllerService) {
            types.push(service(service::Type::ControllerService));
        }
        if offered.plugin(Plugin::VolumeAccessibilityConstraints) {
            types.push(service(service::Type::VolumeAccessibilityConstraints));
        }
        if offered.plugin(Plugin::VolumeExpansion) {
            let expansion = match self.state.configuration.expansion {
                Expansion::Online => volume_expansion::Type::Online,
                Expansion::Offline => volume_expansion::Type::Offline,
            };
            let expansion = plugin_capability::VolumeExpansion { r#type: expansion.into() };
            types.push(plugin_capability::Type::VolumeExpansion(expansion));
        }
        if offered.plugin(Plugin::GroupControllerService) {
            types.push(service(service::Type::GroupControllerService));
        }
        if offered.plugin(Plugin::SnapshotMetadataService) {
            types.push(service(service::Type::SnapshotMetadataService));
        }
        types.into_iter().map(|capability| v1::PluginCapability { r#type: Some(capability) }).collect()
    }

    /// Looks at everything that requests need (specification lines 739–767).
    async fn probe(&self) -> Result<v1::ProbeResponse, Refusal> {
        match self.state.readiness() {
            Readiness::Starting => return Ok(v1::ProbeResponse { ready: Some(false) }),
            Readiness::Failed(why) => {
                return Err(Refusal::FailedPrecondition(format!("the driver could not recover: {why}")));
            }
            Readiness::Ready => {}
        }
        self.state
            .blocking(|state| {
                let missing = |what: &str, why: &dyn ToString| {
                    Refusal::FailedPrecondition(format!("{what} is missing: {}", why.to_string()))
                };
                state.store.check().map_err(|error| missing("a writable store", &error))?;
                state.content.check().map_err(|error| missing("a writable content directory", &error))
            })
            .await?;
        let pods = self.state.mount_pods.ready().await;
        pods.map_err(|why| Refusal::FailedPrecondition(format!("publishing is not possible: {why}")))?;
        Ok(v1::ProbeResponse { ready: Some(true) })
    }
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn get_plugin_info(
        &self,
        request: Request<v1::GetPluginInfoRequest>,
    ) -> Result<Response<v1::GetPluginInfoResponse>, Status> {
        let info = v1::GetPluginInfoResponse {
            name: PLUGIN_NAME.into(),
            vendor_version: env!("CARGO_PKG_VERSION").into(),
            manifest: BTreeMap::default(),
        };
        self.rpc("GetPluginInfo").answer(request, |_, _| async { Ok(info) }).await
    }

    async fn get_plugin_capabilities(
        &self,
        request: Request<v1::GetPluginCapabilitiesRequest>,
    ) -> Result<Response<v1::GetPluginCapabilitiesResponse>, Status> {
        let capabilities = self.capabilities();
        let answer = v1::GetPluginCapabilitiesResponse { capabilities };
        self.rpc("GetPluginCapabilities").answer(request, |_, _| async { Ok(answer) }).await
    }

    async fn probe(&self, request: Request<v1::ProbeRequest>) -> Result<Response<v1::ProbeResponse>, Status> {
        self.rpc("Probe").answer(request, |_, _| Self::probe(self)).await
    }
}
