//! The start of all components, and the registration of the driver over the kubelet's socket.

use csi_certify::{
    csi::pluginregistration::{InfoRequest, RegistrationStatus, registration_client::RegistrationClient},
    driver::PLUGIN_NAME,
    orchestrator::Watching,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tower::service_fn;

use super::{
    stage::{Setup, Stage, play},
    traces::Recorded,
};

#[test]
fn t01_all_components_start_and_the_driver_is_registered() {
    play(async {
        let stage = Stage::with_settings(Setup::new(1), |settings| settings.watching = Watching::ALL).await;
        let recorded = Recorded::of(stage);
        recorded.check_by_component("t01");
    });
}

/// The service on the socket is the one that a kubelet of Kubernetes calls: this dials it as that one does.
#[test]
fn the_registration_socket_answers_a_foreign_kubelet() {
    play(async {
        let stage = Stage::with(Setup::new(1)).await;
        let (root, _) = stage.roots().remove(0);
        let socket = format!("{root}/plugins_registry/{PLUGIN_NAME}-reg.sock");
        // On a clock of its own: that of the cluster jumps while a socket is waited for.
        let asked = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let connector = service_fn(move |_: http::Uri| {
                    let socket = socket.clone();
                    async move { UnixStream::connect(socket).await.map(TokioIo::new) }
                });
                let endpoint = tonic::transport::Endpoint::from_static("http://localhost");
                let channel = endpoint.connect_with_connector(connector).await.unwrap();
                let mut client = RegistrationClient::new(channel);
                let info = client.get_info(InfoRequest {}).await.unwrap().into_inner();
                let refused = RegistrationStatus { plugin_registered: false, error: "no".to_owned() };
                client.notify_registration_status(refused).await.unwrap();
                info
            })
        });
        let info = asked.await.unwrap();
        assert_eq!((info.r#type.as_str(), info.name.as_str()), ("CSIPlugin", PLUGIN_NAME));
        assert_eq!(info.supported_versions, ["1.0.0"]);
        assert_eq!(info.endpoint, format!("{root}/plugins/{PLUGIN_NAME}/csi.sock"));
        // Told that it is not registered, the registrar ends, and its container is started again: a new socket, which
        // the kubelet registers anew.
        stage.until("the entry goes", |tables| tables.nodes["n1"].registration.is_none()).await;
        stage.until("the entry is back", |tables| tables.nodes["n1"].registration.is_some()).await;
    });
}
