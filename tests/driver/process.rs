//! The driver behind a Unix socket, as a process runs it.

use std::{path::Path, sync::Arc, time::Duration};

use clap::Parser;
use csi_certify::{
    cli::driver::{DriverArguments, DriverFailure, run_until},
    csi::v1::{self, controller_client::ControllerClient, identity_client::IdentityClient},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::world::{RememberedPods, code, create_volume};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: DriverArguments,
}

pub(crate) fn arguments(socket: &Path, state: &Path) -> DriverArguments {
    let endpoint = format!("unix://{}", socket.display());
    let state = state.to_str().unwrap();
    Command::try_parse_from(["driver", "--endpoint", &endpoint, "--state-dir", state]).unwrap().arguments
}

/// Connects and waits for readiness, for at most ten seconds.
pub(crate) async fn connect(socket: &Path) -> Channel {
    let endpoint = Endpoint::try_from(format!("unix://{}", socket.display())).unwrap();
    for _ in 0..1000 {
        if let Ok(channel) = endpoint.connect().await
            && let Ok(probe) = IdentityClient::new(channel.clone()).probe(v1::ProbeRequest {}).await
            && probe.into_inner().ready == Some(true)
        {
            return channel;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the driver is not ready after ten seconds");
}

#[tokio::test]
async fn a_driver_keeps_its_volumes_over_restarts_and_leaves_only_its_socket() {
    let directory = tempfile::tempdir().unwrap();
    let sockets = directory.path().join("sockets");
    std::fs::create_dir(&sockets).unwrap();
    let (socket, state) = (sockets.join("csi.sock"), directory.path().join("state"));
    let pods = Arc::new(RememberedPods::default());
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let shutdown = CancellationToken::new();
        let without = vec!["Plugin.GROUP_CONTROLLER_SERVICE".parse().unwrap()];
        let alone = DriverArguments { without, ..arguments(&socket, &state) };
        let served = tokio::spawn(run_until(alone, pods.clone(), shutdown.clone()));
        let channel = connect(&socket).await;
        let mut controller = ControllerClient::new(channel.clone());
        let volume = controller.create_volume(create_volume("a")).await.unwrap().into_inner().volume.unwrap();
        ids.insert(volume.volume_id);
        assert_eq!(std::fs::read_dir(&sockets).unwrap().count(), 1);

        let second = run_until(arguments(&socket, &state), pods.clone(), CancellationToken::new()).await;
        let failure = second.unwrap_err();
        assert!(matches!(failure, DriverFailure::Store(_)), "{failure}");
        assert_eq!(failure.to_string().lines().count(), 1, "{failure}");
        let other_state = directory.path().join("other");
        let third = run_until(arguments(&socket, &other_state), pods.clone(), CancellationToken::new()).await;
        assert!(matches!(third.unwrap_err(), DriverFailure::Serve(_)));

        let mut group = v1::group_controller_client::GroupControllerClient::new(channel);
        let answer = group.group_controller_get_capabilities(v1::GroupControllerGetCapabilitiesRequest {}).await;
        assert_eq!(code(&answer), Code::Unimplemented);
        // Clients may stay connected: they are told to go away.
        shutdown.cancel();
        let served = tokio::time::timeout(Duration::from_secs(30), served).await;
        served.expect("idle clients keep nobody from stopping").unwrap().unwrap();
        drop((controller, group));
        assert!(!socket.exists());
    }
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_bad_endpoint_or_directory_fails_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let pods = Arc::new(RememberedPods::default());
    let nowhere = directory.path().join("missing/csi.sock");
    let failure = run_until(arguments(&nowhere, directory.path()), pods.clone(), CancellationToken::new()).await;
    assert!(matches!(failure, Err(DriverFailure::Serve(_))));
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let failure = run_until(arguments(&nowhere, &file), pods, CancellationToken::new()).await;
    assert!(matches!(failure, Err(DriverFailure::StateDirectory(..))));
}
