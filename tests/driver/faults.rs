//! The driver behind a conduct: an honest one changes nothing, a seeded one shows exactly its fault.

use std::sync::Arc;

use csi_certify::{
    csi::v1::{
        self, controller_client::ControllerClient, node_client::NodeClient,
        snapshot_metadata_client::SnapshotMetadataClient,
    },
    driver::{Configuration, Parts, clock::SystemClock, identifier::OrderedIdentifiers},
    faults::{self, Assembled, Conduct, Lifetimes, layered},
};
use tokio_stream::StreamExt as _;
use tonic::{Code, service::Routes};

use crate::world::{Ground, World, create_volume, refused};

fn parts(ground: &Ground) -> Parts {
    Parts {
        configuration: Configuration::default(),
        store: ground.store.clone(),
        content: ground.content.clone(),
        mount_pods: ground.pods.clone(),
        clock: Arc::new(SystemClock),
        identifiers: Arc::new(OrderedIdentifiers::default()),
    }
}

fn with(fault: &str, ground: &Ground) -> Routes {
    let seeded = faults::find(fault).unwrap();
    let Assembled { driver, routes } = Assembled::new(&parts(ground), Some(&seeded)).unwrap();
    driver.recover().unwrap();
    routes
}

#[tokio::test]
async fn an_honest_conduct_passes_on_replies_refusals_and_streams() {
    let mut world = World::new();
    let routes = layered(world.driver.routes(), Conduct::default());
    let mut controller = ControllerClient::new(routes.clone());
    let volume = controller.create_volume(create_volume("a")).await.unwrap().into_inner().volume.unwrap();
    assert_eq!(world.create("a").await, volume);
    let refusal = controller.create_volume(v1::CreateVolumeRequest::default()).await.unwrap_err();
    assert_eq!(refused(&refusal), Code::InvalidArgument);
    let direct = world.create_as(v1::CreateVolumeRequest::default()).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (direct.code(), direct.message()));
    let snapshot_id = world.snapshot("s", &volume.volume_id).await.unwrap().snapshot_id;
    let ask = v1::GetMetadataAllocatedRequest { snapshot_id, ..Default::default() };
    let mut stream = SnapshotMetadataClient::new(routes).get_metadata_allocated(ask).await.unwrap().into_inner();
    assert_eq!(stream.next().await.unwrap().unwrap().volume_capacity_bytes, volume.capacity_bytes);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_fault_is_there_until_the_driver_is_put_together_without_it() {
    let ground = Ground::new();
    let repeat = v1::NodeUnpublishVolumeRequest { volume_id: "vol-1".into(), target_path: "/t".into() };
    let faulty = NodeClient::new(with("B001", &ground)).node_unpublish_volume(repeat.clone()).await;
    assert_eq!(faulty.unwrap_err().code(), Code::Internal);
    let Assembled { driver, routes } = Assembled::new(&parts(&ground), None).unwrap();
    driver.recover().unwrap();
    NodeClient::new(routes).node_unpublish_volume(repeat).await.unwrap();
    assert!(faults::find("B999").is_err());
}

#[tokio::test]
async fn what_a_process_remembers_is_gone_with_it() {
    let ground = Ground::new();
    // The fault lies in what the process remembers of the first call.
    for _ in 0..2 {
        let mut controller = ControllerClient::new(with("B173", &ground));
        let first = controller.create_volume(create_volume("a")).await.unwrap().into_inner();
        assert_eq!(controller.create_volume(create_volume("a")).await.unwrap().into_inner(), first);
    }
}

#[tokio::test]
async fn a_process_that_has_ended_changes_nothing_any_more() {
    let ground = Ground::new();
    let lifetimes = Lifetimes::default();
    let old = Assembled::new(&lifetimes.next(parts(&ground)), None).unwrap();
    old.driver.recover().unwrap();
    let mut old = ControllerClient::new(old.routes);
    old.create_volume(create_volume("a")).await.unwrap();
    let new = Assembled::new(&lifetimes.next(parts(&ground)), None).unwrap();
    new.driver.recover().unwrap();
    assert_eq!(old.create_volume(create_volume("b")).await.unwrap_err().code(), Code::Internal);
    ControllerClient::new(new.routes).create_volume(create_volume("b")).await.unwrap();
    assert_eq!(ground.contents(), (2, 0, 0));
}
