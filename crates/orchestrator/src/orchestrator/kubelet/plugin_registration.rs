//! The plugin manager of a kubelet: sockets in its registration directory become registered drivers, and vanish with them.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::{
    net::UnixStream,
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::{
    csi::{
        pluginregistration::{InfoRequest, PluginInfo, RegistrationStatus, registration_client::RegistrationClient},
        v1,
    },
    orchestrator::{
        csi_client::CsiClient,
        node_driver_registrar::CSI_PLUGIN,
        object::{Metadata, Node, Registration},
        timing::{Backoff, KUBELET_LIMIT, OPERATION_BACKOFF},
    },
};

/// How often the registration directory is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// How long a socket may take to be dialled, and to answer each of the two calls.
const DIAL_LIMIT: Duration = Duration::from_secs(10);
const GET_INFO_LIMIT: Duration = Duration::from_secs(1);
const NOTIFY_LIMIT: Duration = Duration::from_secs(5);

/// Registers the driver of one node.
pub(super) struct PluginManager {
    pub(super) client: CsiClient,
    pub(super) node: String,
    /// The registration directory.
    pub(super) registry: PathBuf,
    /// Tells whether the driver is registered.
    pub(super) registered: watch::Sender<bool>,
}

/// Tells one socket from another that has its path later.
type SocketIdentity = (u64, i64, i64);

/// What is known of a socket.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Known {
    /// Its plugin is registered.
    Registered(SocketIdentity),
    /// It was not, so many times in a row; not tried again before that moment.
    Refused(SocketIdentity, u32, Duration),
}

/// What is to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    Unregister(PathBuf),
    Register(PathBuf, SocketIdentity),
}

/// First what is gone or was made anew goes, then what is missing comes.
fn plan(seen: &BTreeMap<PathBuf, SocketIdentity>, known: &BTreeMap<PathBuf, Known>, now: Duration) -> Vec<Step> {
    let mut steps = Vec::new();
    for (path, known) in known {
        if let Known::Registered(identity) = known
            && seen.get(path) != Some(identity)
        {
            steps.push(Step::Unregister(path.clone()));
        }
    }
    for (path, identity) in seen {
        let waits = match known.get(path) {
            Some(Known::Registered(known)) => known == identity,
            Some(Known::Refused(known, _, not_before)) => known == identity && *not_before > now,
            None => false,
        };
        if !waits {
            steps.push(Step::Register(path.clone(), *identity));
        }
    }
    steps
}

impl PluginManager {
    /// Runs it.
    pub(super) async fn run(self) -> Infallible {
        let timing = self.client.context.timing;
        let backoff = timing.backoff(OPERATION_BACKOFF);
        let began = Instant::now();
        let mut known = BTreeMap::new();
        loop {
            for step in plan(&sockets(&self.registry), &known, began.elapsed()) {
                match step {
                    Step::Unregister(path) => {
                        self.unregister();
                        known.remove(&path);
                    }
                    Step::Register(path, identity) => {
                        let next = match self.register(&path).await {
                            Ok(()) => Known::Registered(identity),
                            Err(error) => {
                                tracing::debug!(node = self.node, error, "the driver is not registered");
                                refused(known.get(&path), identity, backoff, began.elapsed())
                            }
                        };
                        known.insert(path, next);
                    }
                }
            }
            sleep(timing.of(PERIOD)).await;
        }
    }

    async fn register(&self, path: &Path) -> Result<(), String> {
        let info = get_info(path).await?;
        let result = match self.validate(&info) {
            Ok(()) => self.node_get_info().await,
            Err(error) => Err(error),
        };
        let error = result.as_ref().err().cloned().unwrap_or_default();
        let told = notify(path, RegistrationStatus { plugin_registered: result.is_ok(), error }).await;
        let result = result.and(told);
        if result.is_err() {
            self.unregister();
        }
        result
    }

    fn validate(&self, info: &PluginInfo) -> Result<(), String> {
        if info.r#type != CSI_PLUGIN {
            return Err(format!("no handler for plugins of type {:?}", info.r#type));
        }
        if !info.supported_versions.iter().any(|version| version.starts_with("1.")) {
            return Err(format!("none of the versions {:?} is supported: 1.x is", info.supported_versions));
        }
        let driver = &self.client.context.csi_driver.name;
        match info.name == *driver {
            true => Ok(()),
            false => Err(format!("the driver behind the endpoint is {driver}, not {}", info.name)),
        }
    }

    /// NodeGetInfo, after which the node is known to have the driver.
    async fn node_get_info(&self) -> Result<(), String> {
        let store = &self.client.context.store;
        let subject = format!("registration on {}", self.node);
        let info = self.client.call(&subject, v1::NodeGetInfoRequest {}, KUBELET_LIMIT).await;
        let info = info.map_err(|error| error.to_string())?;
        let topology = info.accessible_topology.map(|topology| topology.segments).unwrap_or_default();
        let node = Node { metadata: Metadata::named(&self.node), ..Node::default() };
        // A node that was here before is taken up again.
        let _ = store.create(node);
        let labels = store.get::<Node>(&self.node).unwrap_or_default().metadata.labels;
        let differs = |(key, value): &(&String, &String)| labels.get(*key).is_some_and(|label| label != *value);
        if let Some((key, value)) = topology.iter().find(differs) {
            return Err(format!("topology {key}={value} differs from the node's label: {:?}", labels.get(key)));
        }
        let registration = Registration { node_id: info.node_id, topology, limit: info.max_volumes_per_node.max(0) };
        let register = |node: &mut Node| {
            node.metadata.labels.extend(registration.topology.clone());
            node.registration = Some(registration);
            node.is_ready = true;
        };
        store.modify(&self.node, register).map_err(|error| error.to_string())?;
        self.registered.send_replace(true);
        Ok(())
    }

    fn unregister(&self) {
        self.registered.send_replace(false);
        // A node that is gone has no entry.
        let _ = self.client.context.store.modify(&self.node, |node: &mut Node| node.registration = None);
    }
}

fn refused(before: Option<&Known>, identity: SocketIdentity, backoff: Backoff, now: Duration) -> Known {
    let failures = match before {
        Some(Known::Refused(known, failures, _)) if *known == identity => failures + 1,
        _ => 1,
    };
    Known::Refused(identity, failures, now + backoff.pause(failures))
}

/// All sockets in a directory and below, but for hidden ones.
fn sockets(directory: &Path) -> BTreeMap<PathBuf, SocketIdentity> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(directory) else { return found };
    for entry in entries.filter_map(Result::ok) {
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        // What vanishes meanwhile is not there.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() && !is_hidden {
            found.extend(sockets(&entry.path()));
        } else if metadata.file_type().is_socket() && !is_hidden {
            found.insert(entry.path(), (metadata.ino(), metadata.ctime(), metadata.ctime_nsec()));
        }
    }
    found
}

async fn get_info(path: &Path) -> Result<PluginInfo, String> {
    over_the_socket(path, GET_INFO_LIMIT, |mut client| async move { client.get_info(InfoRequest {}).await }).await
}

async fn notify(path: &Path, status: RegistrationStatus) -> Result<(), String> {
    let call = |mut client: Client| async move { client.notify_registration_status(status).await };
    over_the_socket(path, NOTIFY_LIMIT, call).await.map(|_| ())
}

type Client = RegistrationClient<Channel>;

/// One call over a connection of its own. It runs beside the cluster's clock, which stands still meanwhile.
async fn over_the_socket<F, R>(
    path: &Path,
    limit: Duration,
    call: impl FnOnce(Client) -> F + Send + 'static,
) -> Result<R, String>
where
    F: Future<Output = Result<tonic::Response<R>, tonic::Status>>,
    R: Send + 'static,
{
    let path = path.to_owned();
    let exchange = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error: io::Error| error.to_string())?;
        runtime.block_on(async move {
            let connector = service_fn(move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            let endpoint = Endpoint::from_static("http://localhost");
            let dialled = timeout(DIAL_LIMIT, endpoint.connect_with_connector(connector)).await;
            let channel = dialled.map_err(|_| "the socket does not answer".to_owned())?;
            let channel = channel.map_err(|error| format!("the socket cannot be dialled: {error}"))?;
            let answer = timeout(limit, call(RegistrationClient::new(channel))).await;
            let answer = answer.map_err(|_| format!("no answer within {limit:?}"))?;
            answer.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned())
        })
    };
    spawn_blocking(exchange).await.unwrap_or_else(|error| Err(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: SocketIdentity = (1, 0, 0);
    const SECOND: SocketIdentity = (2, 0, 0);

    fn seen(identity: SocketIdentity) -> BTreeMap<PathBuf, SocketIdentity> {
        [("d-reg.sock".into(), identity)].into()
    }

    fn known(known: Known) -> BTreeMap<PathBuf, Known> {
        [("d-reg.sock".into(), known)].into()
    }

    #[test]
    fn a_socket_is_registered_once_and_again_when_it_was_made_anew() {
        let now = Duration::ZERO;
        let register = |identity| Step::Register("d-reg.sock".into(), identity);
        let unregister = Step::Unregister("d-reg.sock".into());
        assert_eq!(plan(&seen(FIRST), &BTreeMap::new(), now), [register(FIRST)]);
        assert_eq!(plan(&seen(FIRST), &known(Known::Registered(FIRST)), now), []);
        let anew = plan(&seen(SECOND), &known(Known::Registered(FIRST)), now);
        assert_eq!(anew, [unregister.clone(), register(SECOND)]);
        assert_eq!(plan(&BTreeMap::new(), &known(Known::Registered(FIRST)), now), [unregister]);
    }

    #[test]
    fn a_refused_socket_waits_for_its_back_off_unless_it_was_made_anew() {
        let now = Duration::from_secs(1);
        let refused = refused(None, FIRST, OPERATION_BACKOFF, now);
        assert_eq!(refused, Known::Refused(FIRST, 1, Duration::from_millis(1500)));
        assert_eq!(plan(&seen(FIRST), &known(refused.clone()), now), []);
        assert_eq!(plan(&seen(SECOND), &known(refused.clone()), now).len(), 1);
        assert_eq!(plan(&seen(FIRST), &known(refused), Duration::from_secs(2)).len(), 1);
    }

    #[test]
    fn hidden_sockets_and_plain_files_are_no_plugins() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("below")).unwrap();
        fs::write(directory.path().join("file.sock"), "").unwrap();
        let names = [".hidden.sock", "below/d-reg.sock"];
        let _listeners = names.map(|name| std::os::unix::net::UnixListener::bind(directory.path().join(name)).unwrap());
        let found: Vec<PathBuf> = sockets(directory.path()).into_keys().collect();
        assert_eq!(found, [directory.path().join("below/d-reg.sock")]);
    }
}
