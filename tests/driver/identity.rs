//! Identity.

use csi_certify::{csi::v1, driver::Configuration};
use tonic::Code;

use crate::world::{Ground, World, code, create_volume};

#[tokio::test]
async fn the_plugin_has_a_name_and_a_version() {
    let mut world = World::new();
    let info = world.identity.get_plugin_info(v1::GetPluginInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.name, "csi-certify.reference");
    assert_eq!(info.vendor_version, env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn probe_is_not_ready_until_recovery_has_ended_and_other_calls_wait() {
    let mut world = World::on(Ground::new(), Configuration::default());
    let probe = world.identity.probe(v1::ProbeRequest {}).await.unwrap().into_inner();
    assert_eq!(probe.ready, Some(false));
    assert_eq!(code(&world.controller.create_volume(create_volume("a")).await), Code::Unavailable);
    world.driver.recover().unwrap();
    let probe = world.identity.probe(v1::ProbeRequest {}).await.unwrap().into_inner();
    assert_eq!(probe.ready, Some(true));
    assert_eq!(code(&world.controller.create_volume(create_volume("a")).await), Code::Ok);
}

#[tokio::test]
async fn probe_names_what_is_missing() {
    let mut world = World::new();
    *world.ground.pods.ailment.lock().unwrap() = Some("/dev/fuse is missing".into());
    let refused = world.identity.probe(v1::ProbeRequest {}).await;
    assert_eq!(code(&refused), Code::FailedPrecondition);
    assert!(refused.unwrap_err().message().contains("/dev/fuse"));
    *world.ground.pods.ailment.lock().unwrap() = None;
    std::fs::remove_dir_all(world.ground.directory.path().join("unfinished")).unwrap();
    let refused = world.identity.probe(v1::ProbeRequest {}).await;
    assert_eq!(code(&refused), Code::FailedPrecondition);
    assert!(refused.unwrap_err().message().contains("content directory"));
}
