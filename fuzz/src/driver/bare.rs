//! The driver in this process without a program: single requests, well-formed or not.

use std::{sync::Arc, time::Duration};

use csi_certify_history::{
    csi::v1,
    history::{FORMAT, Header, Recorder, Request},
    spec::Rpc,
};
use csi_certify_mountpod::mountpod::protocol::Policy;
use csi_certify_suite::{
    explore::calls::Environment,
    sut::{self, Answer, Profile, Target},
};
use http_body_util::{BodyExt as _, Full};
use prost::bytes::Bytes;
use tonic::{body::Body, codegen::Service as _, service::Routes};

use super::run::{played, processes, routes, within_virtual_time};

/// Longer than anything takes in virtual time.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A driver that is called directly.
pub struct Bare {
    driver: sut::Driver,
    recorder: Recorder,
    routes: Routes,
}

/// Runs work against a driver that has one volume, which is published once.
pub fn with_a_volume(policy: &Policy, work: impl AsyncFnOnce(&Bare)) {
    within_virtual_time(async {
        let scene = played(Environment::default());
        let make = Arc::new(routes(&scene, policy, Environment::default()));
        let target = Target::Plugin(processes(make.clone()));
        let driver = sut::Driver::connect(target, &Profile::default(), PATIENCE).await;
        let driver = driver.expect("a driver of this process is there");
        let recorder = Recorder::new(Header { format: FORMAT, ..Header::default() }, None);
        let bare = Bare { driver, recorder, routes: make() };
        let capability = v1::VolumeCapability {
            access_mode: Some(v1::volume_capability::AccessMode { mode: 5 }),
            access_type: Some(v1::volume_capability::AccessType::Mount(v1::volume_capability::MountVolume::default())),
        };
        let create = v1::CreateVolumeRequest {
            name: "p-v0".into(),
            volume_capabilities: vec![capability.clone()],
            ..Default::default()
        };
        let publish = v1::NodePublishVolumeRequest {
            volume_id: "vol-000000".into(),
            target_path: "/t/v0/t0".into(),
            volume_capability: Some(capability),
            ..Default::default()
        };
        bare.call(&create.into()).await;
        bare.call(&publish.into()).await;
        work(&bare).await;
    });
}

impl Bare {
    /// Sends a request.
    pub async fn call(&self, request: &Request) -> Answer {
        self.driver.call(&self.recorder, "", request, PATIENCE).await
    }

    /// Sends a body; the number of the status that comes back.
    pub async fn send(&self, rpc: Rpc, body: Vec<u8>) -> Option<i32> {
        let mut request = http::Request::new(Body::new(Full::new(Bytes::from(body))));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = http::Uri::from_static(rpc.path());
        request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
        let response = self.routes.clone().call(request).await.ok()?;
        let (head, body) = response.into_parts();
        let status = |headers: &http::HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse().ok();
        if let Some(code) = status(&head.headers) {
            return Some(code);
        }
        status(body.collect().await.ok()?.trailers()?)
    }
}
