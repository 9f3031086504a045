//! Who the driver is.

use super::*;

#[tonic::async_trait]
impl v1::identity_server::Identity for Fake {
    async fn get_plugin_info(&self, _: Request<v1::GetPluginInfoRequest>) -> Answer<v1::GetPluginInfoResponse> {
        let (name, vendor_version) = ("fake.example.com".to_owned(), "1".to_owned());
        Ok(Response::new(v1::GetPluginInfoResponse { name, vendor_version, manifest: BTreeMap::new() }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<v1::GetPluginCapabilitiesRequest>,
    ) -> Answer<v1::GetPluginCapabilitiesResponse> {
        let service = plugin_capability::Service { r#type: plugin_capability::service::Type::ControllerService.into() };
        let online =
            plugin_capability::VolumeExpansion { r#type: plugin_capability::volume_expansion::Type::Online.into() };
        let capabilities =
            [plugin_capability::Type::Service(service), plugin_capability::Type::VolumeExpansion(online)]
                .map(|it| v1::PluginCapability { r#type: Some(it) });
        Ok(Response::new(v1::GetPluginCapabilitiesResponse { capabilities: capabilities.into() }))
    }

    async fn probe(&self, _: Request<v1::ProbeRequest>) -> Answer<v1::ProbeResponse> {
        Ok(Response::new(v1::ProbeResponse { ready: Some(true) }))
    }
}
