//! Canonical traces of provisioning where places run out and answers are too small.

use std::collections::BTreeSet;

use csi_certify::{
    driver::topology::Topology,
    history::{EventKind, Request},
    orchestrator::{AccessMode, BindingMode, Metadata, Pod, PodVolume, StorageClass, VolumeMode},
};
use tonic::Code;

use super::{
    interposer::Act,
    stage::{Setup, play},
    traces::Recorded,
};

#[test]
fn t23_a_place_has_no_room_and_another_node_is_chosen() {
    play(async {
        let mut setup = Setup::new(2);
        setup.configuration.topologies = ["zone=a", "zone=b"].map(|text| text.parse::<Topology>().unwrap()).into();
        let mut recorded = Recorded::with(setup).await;
        let late =
            StorageClass { binding_mode: BindingMode::WaitForFirstConsumer, ..recorded.stage.cluster.class("late") };
        recorded.stage.cluster.create_class(late).unwrap();
        recorded.begin_here();
        recorded.stage.script.next("CreateVolume", &[Act::Refuse(Code::ResourceExhausted)]);
        recorded.stage.claim_of_class("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem, "late");
        let anywhere = Pod {
            metadata: Metadata::named("p1"),
            volumes: vec![PodVolume::of_claim("data", "c1")],
            allowed_nodes: BTreeSet::new(),
            ..Pod::default()
        };
        recorded.stage.cluster.create_pod(anywhere).unwrap();
        recorded.stage.running("p1").await;
        recorded.name();
        // The preferred place follows the node that was chosen, each time anew; requisite are both.
        let asked: Vec<(usize, String)> = recorded
            .events()
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Call(call) => match &call.request {
                    Request::CreateVolume(request) => request.accessibility_requirements.clone(),
                    _ => None,
                },
                _ => None,
            })
            .map(|one| (one.requisite.len(), format!("{:?}", one.preferred[0].segments)))
            .collect();
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert!(asked.iter().all(|(requisite, _)| *requisite == 2), "{asked:?}");
        let node = recorded.stage.cluster.store().read(|tables| tables.pods["p1"].node_name.clone());
        let there = recorded.stage.cluster.store().read(|tables| tables.nodes[&node].registration.clone().unwrap());
        assert_eq!(asked[1].1, format!("{:?}", there.topology));
        recorded.end().await;
        recorded.check("t23");
    });
}

#[test]
fn t24_an_answer_is_smaller_than_the_request() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.stage.script.next("CreateVolume", &[Act::Shrink, Act::Shrink]);
        recorded.stage.script.next("DeleteVolume", &[Act::Refuse(Code::Internal)]);
        recorded.stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
        recorded.stage.bound("c1").await;
        recorded.name();
        recorded.stage.clean(&["c1"]).await;
        recorded.check("t24");
    });
}
