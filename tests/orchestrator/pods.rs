//! Canonical traces of what a kubelet does for a pod beside the everyday: inline volumes, fresh tokens, groups, labels,
//! reboots, drivers that die, and two volumes with one handle.

use std::time::Duration;

use csi_certify::{
    history::{EventKind, Request},
    orchestrator::{
        AccessMode, FsGroupPolicy, InlineVolume, Metadata, PersistentVolume, PersistentVolumeClaim, Pod, PodVolume,
        VolumeMode, VolumeSource,
    },
};
use tokio::time::sleep;

use super::{
    interposer::Act,
    stage::{MIB, Setup, Stage, play, twin},
    trace::Names,
    traces::Recorded,
};

#[test]
fn t35_a_node_reboots_and_its_pod_starts_in_place() {
    play(async {
        // The second node: with the first the controller would go down too, and all sidecars would start again.
        let mut recorded = Recorded::begin(2).await;
        recorded.stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
        recorded.stage.bound("c1").await;
        recorded.stage.pod("p1", "c1", "n2");
        recorded.stage.running("p1").await;
        recorded.name();
        recorded.begin_here();
        recorded.stage.cluster.reboot_node("n2").await.unwrap();
        recorded.stage.cluster.start_kubelet("n2").unwrap();
        recorded.stage.until("the pod waits", |tables| !tables.pods["p1"].containers_run).await;
        recorded.stage.running("p1").await;
        recorded.end().await;
        recorded.check("t35");
    });
}

#[test]
fn t36_an_inline_volume() {
    play(async {
        let stage = Stage::with_settings(Setup::new(1), |settings| {
            settings.csi_driver.is_ephemeral = true;
            settings.csi_driver.pod_info_on_mount = true;
        })
        .await;
        let mut recorded = Recorded::of(stage);
        recorded.begin_here();
        // The built-in driver makes up no volumes: it is answered for here.
        for rpc in ["NodePublishVolume", "NodeUnpublishVolume"] {
            recorded.stage.script.next(rpc, &[Act::Accept]);
        }
        let inline = InlineVolume {
            driver: csi_certify::driver::PLUGIN_NAME.into(),
            attributes: [("size".to_owned(), "1Gi".to_owned())].into(),
            ..InlineVolume::default()
        };
        let source = VolumeSource::Inline(inline);
        let volume = PodVolume { name: "scratch".into(), source, read_only: false };
        let pod = Pod { metadata: Metadata::named("p1"), volumes: vec![volume], ..Pod::default() };
        recorded.stage.cluster.create_pod(pod).unwrap();
        recorded.name();
        recorded.stage.running("p1").await;
        let context = recorded.events().iter().find_map(|event| match &event.kind {
            EventKind::Call(call) => match &call.request {
                Request::NodePublishVolume(request) => Some(request.volume_context.clone()),
                _ => None,
            },
            _ => None,
        });
        let context = context.unwrap();
        assert_eq!(context["csi.storage.k8s.io/ephemeral"], "true");
        assert_eq!((context["csi.storage.k8s.io/pod.name"].as_str(), context["size"].as_str()), ("p1", "1Gi"));
        recorded.stage.cluster.delete_pod("p1");
        recorded.stage.pod_gone("p1").await;
        recorded.stage.vacated().await;
        recorded.check("t36");
    });
}

#[test]
fn an_inline_volume_is_not_asked_of_a_driver_that_has_no_such_mode() {
    play(async {
        let stage = Stage::with(Setup::new(1)).await;
        let from = stage.mark();
        let inline = InlineVolume { driver: csi_certify::driver::PLUGIN_NAME.into(), ..InlineVolume::default() };
        let volume = PodVolume { name: "scratch".into(), source: VolumeSource::Inline(inline), read_only: false };
        let pod = Pod { metadata: Metadata::named("p1"), volumes: vec![volume], ..Pod::default() };
        stage.cluster.create_pod(pod).unwrap();
        sleep(Duration::from_secs(60)).await;
        assert!(!stage.cluster.store().read(|tables| tables.pods["p1"].containers_run));
        let publishes = stage.recorder.since(from).iter().any(|event| {
            matches!(&event.kind, EventKind::Call(call) if matches!(call.request, Request::NodePublishVolume(_)))
        });
        assert!(!publishes);
    });
}

/// The tokens of all publications since the beginning.
fn tokens(recorded: &Recorded) -> Vec<String> {
    let of = |request: &Request| match request {
        Request::NodePublishVolume(request) => {
            request.volume_context.get("csi.storage.k8s.io/serviceAccount.tokens").cloned()
        }
        _ => None,
    };
    let events = recorded.events();
    let calls = events.iter().filter_map(|event| match &event.kind {
        EventKind::Call(call) => of(&call.request),
        _ => None,
    });
    calls.collect()
}

#[test]
fn t37_a_driver_that_wants_fresh_tokens() {
    play(async {
        let stage = Stage::with_settings(Setup::new(1), |settings| {
            settings.csi_driver.requires_republish = true;
            settings.csi_driver.token_requests = vec!["vault".into()];
        })
        .await;
        let mut recorded = Recorded::of(stage);
        recorded.begin_here();
        recorded.mounted(VolumeMode::Filesystem).await;
        sleep(Duration::from_secs(100)).await;
        let tokens = tokens(&recorded);
        assert_eq!(tokens.len(), 2, "{tokens:?}");
        assert_ne!(tokens[0], tokens[1], "a fresh one each time");
        let token: serde_json::Value = serde_json::from_str(&tokens[0]).unwrap();
        assert!(token["vault"]["token"].is_string() && token["vault"]["expirationTimestamp"].is_string(), "{token}");
        recorded.end().await;
        recorded.check("t37");
    });
}

#[test]
fn t40_a_driver_dies_while_it_stages() {
    play(async {
        let mut recorded = Recorded::begin(2).await;
        recorded.stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
        recorded.stage.bound("c1").await;
        recorded.begin_here();
        // The driver of the second node alone: that of the first is the controller too.
        recorded.stage.script.next("NodeStageVolume", &[Act::Break]);
        recorded.stage.script.next("NodeGetCapabilities", &[Act::Pass, Act::Pass, Act::Pass, Act::Break, Act::Break]);
        recorded.stage.pod("p1", "c1", "n2");
        recorded.name();
        let has_failed = |recorded: &Recorded| {
            recorded.stage.cluster.context().troubles.list().iter().any(|one| one.component == "kubelet@n2")
        };
        while !has_failed(&recorded) {
            sleep(Duration::from_millis(10)).await;
        }
        sleep(Duration::from_secs(2)).await;
        recorded.stage.cluster.restart_driver("n2").await.unwrap();
        recorded.stage.running("p1").await;
        recorded.end().await;
        recorded.check("t40");
    });
}

#[test]
fn t42_two_volumes_with_one_handle() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.stage.claim("c0", AccessMode::ReadWriteMany, VolumeMode::Filesystem);
        recorded.stage.bound("c0").await;
        let store = recorded.stage.cluster.store();
        let made = store.list::<PersistentVolume>().remove(0);
        recorded.names.add(Names::of(&Default::default(), &[(made.handle.clone(), "$VOL".into())]));
        recorded.begin_here();
        for (volume, claim) in [("pv-a", "c1"), ("pv-b", "c2")] {
            let twin = twin(&made, volume);
            let store = recorded.stage.cluster.store();
            store.create(twin).unwrap();
            let wanted = PersistentVolumeClaim {
                metadata: Metadata::named(claim),
                access_modes: vec![AccessMode::ReadWriteMany],
                request: 4 * MIB,
                storage_class: volume.into(),
                ..PersistentVolumeClaim::default()
            };
            recorded.stage.cluster.create_claim(wanted).unwrap();
            recorded.stage.bound(claim).await;
        }
        for (pod, claim) in [("p1", "c1"), ("p2", "c2")] {
            recorded.stage.pod(pod, claim, "n1");
            recorded.stage.running(pod).await;
        }
        recorded.name();
        for pod in ["p1", "p2"] {
            recorded.stage.cluster.delete_pod(pod);
            recorded.stage.pod_gone(pod).await;
        }
        recorded.stage.detached().await;
        for claim in ["c1", "c2"] {
            recorded.stage.cluster.delete_claim(claim);
        }
        recorded.stage.until("the claims are gone", |tables| tables.claims.len() == 1).await;
        for volume in ["pv-a", "pv-b"] {
            recorded.stage.cluster.store().delete::<PersistentVolume>(volume);
        }
        recorded.stage.clean(&["c0"]).await;
        recorded.check("t42");
    });
}

#[test]
fn the_group_of_a_pod_goes_to_a_driver_that_can_mount_in_it() {
    play(async {
        let stage = Stage::with_settings(Setup::new(1), |settings| {
            settings.csi_driver.fs_group_policy = FsGroupPolicy::File;
        })
        .await;
        stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
        stage.bound("c1").await;
        let pod = Pod {
            metadata: Metadata::named("p1"),
            volumes: vec![PodVolume::of_claim("data", "c1")],
            fs_group: Some(4242),
            ..Pod::default()
        };
        stage.cluster.create_pod(pod).unwrap();
        stage.running("p1").await;
        let history = stage.recorder.history();
        let groups = history.events.iter().filter_map(|event| match &event.kind {
            EventKind::Call(call) => match &call.request {
                Request::NodeStageVolume(request) => request.volume_capability.clone(),
                Request::NodePublishVolume(request) => request.volume_capability.clone(),
                _ => None,
            },
            _ => None,
        });
        use csi_certify::csi::v1::volume_capability::AccessType;
        let groups: Vec<String> = groups
            .map(|capability| match capability.access_type {
                Some(AccessType::Mount(mount)) => mount.volume_mount_group,
                _ => String::new(),
            })
            .collect();
        assert_eq!(groups, ["4242", "4242"]);
    });
}

#[test]
fn a_label_is_a_mount_option_where_the_driver_wants_it() {
    play(async {
        let stage = Stage::with_settings(Setup::new(1), |settings| settings.csi_driver.selinux_mount = true).await;
        stage.claim("c1", AccessMode::ReadWriteOncePod, VolumeMode::Filesystem);
        stage.bound("c1").await;
        // The built-in driver knows no such option: it is answered for here.
        for rpc in ["NodeStageVolume", "NodePublishVolume"] {
            stage.script.next(rpc, &[Act::Accept]);
        }
        let pod = Pod {
            metadata: Metadata::named("p1"),
            volumes: vec![PodVolume::of_claim("data", "c1")],
            selinux_label: Some("system_u:object_r:container_file_t:s0:c1,c2".into()),
            ..Pod::default()
        };
        stage.cluster.create_pod(pod).unwrap();
        stage.running("p1").await;
        let calls = stage
            .recorder
            .history()
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Call(call) => match &call.request {
                    Request::NodeStageVolume(request) => request.volume_capability.clone(),
                    Request::NodePublishVolume(request) => request.volume_capability.clone(),
                    _ => None,
                },
                _ => None,
            })
            .collect::<Vec<_>>();
        assert_eq!(calls.len(), 2);
        let option = "context=\"system_u:object_r:container_file_t:s0:c1,c2\"";
        assert!(calls.iter().all(|capability| format!("{capability:?}").contains(&format!("{option:?}"))), "{calls:?}");
    });
}
