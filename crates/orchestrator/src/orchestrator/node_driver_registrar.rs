//! node-driver-registrar: tells the kubelet of a node about the driver, over a socket in its registration directory.
//!
//! The socket is a real one, served by a thread with a clock of its own: what goes over it takes no time of the cluster.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use super::{
    capabilities::{self, Exit},
    csi_client::CsiClient,
};
use crate::csi::pluginregistration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
    registration_server::{Registration, RegistrationServer},
};

/// A GetPluginInfo of the registrar.
pub(super) const LIMIT: Duration = Duration::from_secs(1);

/// The type of a plugin that is a CSI driver.
pub(super) const CSI_PLUGIN: &str = "CSIPlugin";

/// The version of the registration contract of CSI 1.x.
const REGISTRATION_VERSION: &str = "1.0.0";

/// The longest path that a Unix socket can have.
const LONGEST_SOCKET_PATH: usize = 107;

/// The name of a node's registrar in histories.
pub(super) fn component(node: &str) -> String {
    format!("node-driver-registrar@{node}")
}

/// The registration directory of a kubelet.
pub(super) fn registry(root: &Path) -> PathBuf {
    root.join("plugins_registry")
}

/// The socket of a driver's registrar; `None` where its path is too long for a socket.
pub(super) fn socket(root: &Path, driver: &str) -> Option<PathBuf> {
    let path = registry(root).join(format!("{driver}-reg.sock"));
    (path.as_os_str().len() <= LONGEST_SOCKET_PATH).then_some(path)
}

/// What a registrar is given.
#[derive(Clone)]
pub(super) struct Registrar {
    pub(super) client: CsiClient,
    /// The directory of the kubelet.
    pub(super) root: PathBuf,
    /// The driver's name, as far as this registrar has asked for it already.
    pub(super) name: Arc<Mutex<Option<String>>>,
}

/// Runs it until its process would end.
pub(super) async fn run(registrar: Registrar) -> Exit {
    let asked = registrar.name.lock().unwrap_or_else(PoisonError::into_inner).take();
    let name = match asked {
        Some(name) => name,
        None => match capabilities::driver_name(&registrar.client, LIMIT).await {
            Ok(name) => name,
            Err(exit) => return exit,
        },
    };
    let Some(socket) = socket(&registrar.root, &name) else {
        return format!("the path of the registration socket is longer than {LONGEST_SOCKET_PATH} bytes");
    };
    let endpoint = registrar.root.join("plugins").join(&name).join("csi.sock");
    let info = PluginInfo {
        r#type: CSI_PLUGIN.to_owned(),
        name,
        endpoint: endpoint.to_string_lossy().into_owned(),
        supported_versions: vec![REGISTRATION_VERSION.to_owned()],
    };
    let (told, mut statuses) = mpsc::unbounded_channel();
    let _served = match Served::start(socket, Answers { info, told }) {
        Ok(served) => served,
        Err(error) => return format!("the registration socket cannot be served: {error}"),
    };
    while let Some(status) = statuses.recv().await {
        if !status.plugin_registered {
            return format!("registration failed: {}", status.error);
        }
    }
    "the registration socket is not served any more".to_owned()
}

/// What the registrar answers.
struct Answers {
    info: PluginInfo,
    told: mpsc::UnboundedSender<RegistrationStatus>,
}

#[tonic::async_trait]
impl Registration for Answers {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(self.info.clone()))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        // A registrar that has ended is told nothing.
        let _ = self.told.send(request.into_inner());
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

/// The socket, as long as this lives.
struct Served {
    socket: PathBuf,
    _stop: oneshot::Sender<()>,
}

impl Served {
    /// A socket that an earlier registrar left is removed first.
    fn start(socket: PathBuf, answers: Answers) -> io::Result<Self> {
        if let Some(registry) = socket.parent() {
            fs::create_dir_all(registry)?;
        }
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o700))?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            let Ok(listener) = tokio::net::UnixListener::from_std(listener) else { return };
            let incoming = UnixListenerStream::new(listener);
            let server = Server::builder().add_service(RegistrationServer::new(answers));
            let ended = async {
                // Dropped is as good as sent.
                let _ = stopped.await;
            };
            // Whoever dials a socket that is not served any more is told so by the system.
            let _ = server.serve_with_incoming_shutdown(incoming, ended).await;
        };
        thread::Builder::new().name("registrar".to_owned()).spawn(move || runtime.block_on(serve))?;
        Ok(Self { socket, _stop: stop })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that stays is removed by the next registrar.
        let _ = fs::remove_file(&self.socket);
    }
}
