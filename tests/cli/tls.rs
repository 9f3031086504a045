//! A driver behind TLS: trusted, distrusted, and one that wants to know who asks.

use std::{fs, path::Path, process::Output};

use csi_certify::csi::v1::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    ProbeRequest, ProbeResponse,
    identity_server::{Identity, IdentityServer},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::{
    Request, Response, Status,
    transport::{Certificate, Identity as TlsIdentity, Server, ServerTlsConfig, server::TcpIncoming},
};

use super::{certify, code, errors};

struct Plugin;

#[tonic::async_trait]
impl Identity for Plugin {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: "tls.example.org".into(),
            vendor_version: "1".into(),
            ..Default::default()
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(GetPluginCapabilitiesResponse::default()))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse::default()))
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for the name, and its key, both PEM.
fn certificate(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Serves the plugin as `driver.example.org`; returns its port. The runtime ends it.
fn serve(runtime: &tokio::runtime::Runtime, authority: &Authority, clients: Option<&Authority>) -> u16 {
    let (pem, key) = certificate(authority, "driver.example.org");
    let mut tls = ServerTlsConfig::new().identity(TlsIdentity::from_pem(pem, key));
    if let Some(clients) = clients {
        tls = tls.client_ca_root(Certificate::from_pem(clients.pem()));
    }
    runtime.block_on(async {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = incoming.local_addr().unwrap().port();
        let server = Server::builder().tls_config(tls).unwrap().add_service(IdentityServer::new(Plugin));
        tokio::spawn(server.serve_with_incoming(incoming));
        port
    })
}

fn run(port: u16, more: &[&str]) -> Output {
    let endpoint = format!("127.0.0.1:{port}");
    let mut arguments = vec!["run", "--endpoint", &endpoint, "--filter", "get_plugin_info*", "--connect-timeout", "5"];
    arguments.extend(more);
    certify(&arguments)
}

/// Whether the plugin got a certificate. It is none of a conformant one: it has no Node service.
fn judged(output: &Output) -> bool {
    code(output) == 1 && String::from_utf8_lossy(&output.stdout).contains("NON-CONFORMANT  tls.example.org")
}

fn written<'a>(directory: &'a Path, name: &str, text: &str) -> std::borrow::Cow<'a, str> {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned().into()
}

#[test]
fn a_driver_behind_tls_is_certified_when_its_authority_and_name_are_right_and_refused_otherwise() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (ours, strange) = (authority(), authority());
    let ca = written(directory.path(), "ca.pem", &ours.pem());
    let stranger = written(directory.path(), "stranger.pem", &strange.pem());
    let port = serve(&runtime, &ours, None);
    let name = ["--tls-server-name", "driver.example.org"];

    let trusted = run(port, &[&["--tls-ca", &ca], &name[..]].concat());
    assert!(judged(&trusted), "{trusted:?}");

    let profile = format!("[tls]\nca = \"{ca}\"\nserver_name = \"driver.example.org\"\n");
    let profile = written(directory.path(), "profile.toml", &profile);
    let profiled = run(port, &["--profile", &profile]);
    assert!(judged(&profiled), "{profiled:?}");

    for (more, reason) in [
        ([&["--tls-ca", &*stranger], &name[..]].concat(), "invalid peer certificate"),
        (vec!["--tls-ca", &*ca], "not valid for name"),
        (vec![], "cannot connect to"),
    ] {
        let refused = run(port, &more);
        assert_eq!(code(&refused), 2, "{more:?}: {}", errors(&refused));
        assert!(errors(&refused).contains(reason), "{more:?}: {}", errors(&refused));
        assert!(errors(&refused).contains(&format!("dns:///127.0.0.1:{port}")), "{more:?}: {}", errors(&refused));
    }
}

#[test]
fn a_driver_that_wants_to_know_who_asks_is_shown_our_certificate() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (ours, clients) = (authority(), authority());
    let port = serve(&runtime, &ours, Some(&clients));
    let ca = written(directory.path(), "ca.pem", &ours.pem());
    let (certificate, key) = certificate(&clients, "certifier");
    let (certificate, key) =
        (written(directory.path(), "c.pem", &certificate), written(directory.path(), "k.pem", &key));
    let trust = ["--tls-ca", &*ca, "--tls-server-name", "driver.example.org"];

    let known = run(port, &[&trust[..], &["--tls-cert", &certificate, "--tls-key", &key]].concat());
    assert!(judged(&known), "{known:?}");
    assert_eq!(code(&run(port, &trust)), 2, "without a certificate");

    let half = run(port, &[&trust[..], &["--tls-cert", &certificate]].concat());
    assert_eq!(code(&half), 2);
    assert!(errors(&half).contains("--tls-key"), "{}", errors(&half));
}

#[test]
fn files_that_are_no_pem_or_do_not_exist_are_said_before_anything_is_tried() {
    let directory = tempfile::tempdir().unwrap();
    let nonsense = written(directory.path(), "ca.pem", "no certificate");
    for (more, reason) in [
        (vec!["--tls-ca", &*nonsense], "TLS"),
        (vec!["--tls-ca", "/no/such/file"], "cannot read /no/such/file"),
        (vec!["--tls-server-name", "x"], "--tls-ca"),
    ] {
        let refused = run(1, &more);
        assert_eq!(code(&refused), 2, "{more:?}");
        assert!(errors(&refused).contains(reason), "{more:?}: {}", errors(&refused));
        assert_eq!(errors(&refused).lines().count(), 1, "{}", errors(&refused));
    }
}
