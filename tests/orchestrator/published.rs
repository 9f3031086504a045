//! What the published mount-pod protocols do to pods when a kubelet drives them, told moment by moment.
//!
//! The driver stages nothing and its volumes are not attached, as with the driver that the protocols were published for.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use csi_certify::{
    history::Request,
    mountpod::{
        Protocol, annotations,
        memory::{MemoryOptions, PodApiRequest, PodApiWatcher, World},
        pod::{Pod, PodName},
        protocol::DaemonId,
    },
    orchestrator::{AccessMode, Fate, Nemesis, VolumeMode},
};
use tokio::time::{Instant, sleep};

use super::{
    stage::{Setup, Stage, play},
    trace::{Names, with_golden},
};

/// What happened, with the second in which it did.
#[derive(Clone, Default)]
struct Transcript(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    began: Option<Instant>,
    lines: Vec<String>,
    pods: BTreeMap<PodName, (usize, Vec<String>)>,
    /// How long the answers to the next reads of the pod API are on their way.
    slow_reads: VecDeque<Duration>,
}

impl Told {
    fn tell(&mut self, text: impl AsRef<str>) {
        let Some(began) = self.began else { return };
        self.lines.push(format!("{:>4} s  {}", began.elapsed().as_secs(), text.as_ref()));
    }

    fn number(&mut self, name: &PodName) -> usize {
        let next = self.pods.len() + 1;
        self.pods.entry(name.clone()).or_insert((next, Vec::new())).0
    }

    /// Tells which references a pod has now, if they are others than before.
    fn references(&mut self, pod: &Pod, how: &str) {
        let number = self.number(&pod.name);
        let now: Vec<String> = annotations::references(pod).iter().map(|one| one.target.to_string()).collect();
        let Some((_, before)) = self.pods.get_mut(&pod.name) else { return };
        if *before == now && how.is_empty() {
            return;
        }
        *before = now.clone();
        let now = if now.is_empty() { "nothing".to_owned() } else { now.join(" and ") };
        self.tell(format!("    mount pod {number} {how}is referred to by {now}"));
    }
}

impl Transcript {
    fn begin(&self) {
        self.0.lock().unwrap().began = Some(Instant::now());
    }

    fn tell(&self, text: impl AsRef<str>) {
        self.0.lock().unwrap().tell(text);
    }

    /// The answer to the reconciler's read of a pod is slow: its round lists all pods first.
    fn slow_down_the_next_read_of_a_pod(&self, by: Duration) {
        self.0.lock().unwrap().slow_reads = [Duration::ZERO, by].into();
    }

    async fn until_the_slow_read(&self) {
        while !self.0.lock().unwrap().slow_reads.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Nemesis for Transcript {
    fn fate(&self, request: &Request) -> Fate {
        match request {
            Request::NodePublishVolume(request) => self.tell(format!("NodePublishVolume at {}", request.target_path)),
            Request::NodeUnpublishVolume(request) => {
                self.tell(format!("NodeUnpublishVolume at {}", request.target_path));
            }
            Request::DeleteVolume(_) => self.tell("DeleteVolume"),
            _ => {}
        }
        Fate::Calm
    }
}

impl PodApiWatcher for Transcript {
    fn took_effect(&self, request: PodApiRequest<'_>) -> Duration {
        let mut told = self.0.lock().unwrap();
        match request {
            PodApiRequest::Read => {
                let slow = told.slow_reads.pop_front().unwrap_or_default();
                if !slow.is_zero() {
                    told.tell(format!("    the reconciler reads its pods; the answer takes {} s", slow.as_secs()));
                }
                return slow;
            }
            PodApiRequest::Create(pod) => told.references(pod, "is created and "),
            PodApiRequest::Update(_, Some(pod)) => told.references(pod, ""),
            PodApiRequest::Delete(name, _) => {
                let number = told.number(name);
                let references = told.pods[name].1.len();
                told.tell(format!("    mount pod {number} is deleted, with {references} references: its daemon ends"));
            }
            PodApiRequest::Update(name, None) => {
                let number = told.number(name);
                told.tell(format!("    mount pod {number} is gone"));
                told.pods.insert(name.clone(), (number, Vec::new()));
            }
            PodApiRequest::Refused => {}
        }
        Duration::ZERO
    }
}

struct Story {
    stage: Stage,
    transcript: Transcript,
    names: Names,
}

impl Story {
    async fn begin(protocol: Protocol, change: impl Fn(&mut MemoryOptions) + 'static) -> Self {
        let transcript = Transcript::default();
        let mut setup = Setup::new(1);
        setup.attach_required = false;
        let without = ["Controller.PUBLISH_UNPUBLISH_VOLUME", "Node.STAGE_UNSTAGE_VOLUME"];
        setup.configuration.without = without.iter().map(|name| name.parse().unwrap()).collect();
        let watcher = transcript.clone();
        setup.mount_pods = Box::new(move |node: &str| {
            let mut options =
                MemoryOptions { protocol, watcher: Some(Arc::new(watcher.clone())), ..MemoryOptions::new(node) };
            change(&mut options);
            options
        });
        let nemesis = transcript.clone();
        let stage = Stage::with_settings(setup, |settings| settings.nemesis = Arc::new(nemesis)).await;
        let answers = transcript.clone();
        stage.script.watch(move |rpc, code| {
            if ["NodePublishVolume", "NodeUnpublishVolume", "DeleteVolume"].contains(&rpc) {
                answers.tell(format!("{rpc} answers {code:?}"));
            }
        });
        stage.claim("c1", AccessMode::ReadWriteMany, VolumeMode::Filesystem);
        stage.bound("c1").await;
        transcript.begin();
        let names = Names::of(&Default::default(), &stage.roots());
        Self { stage, transcript, names }
    }

    fn create(&mut self, pod: &str) {
        self.transcript.tell(format!("pod {pod} is created"));
        self.stage.pod(pod, "c1", "n1");
        let names = self.stage.cluster.store().read(|tables| Names::of(tables, &[]));
        self.names.add(names);
    }

    async fn runs(&self, pod: &str) {
        self.stage.running(pod).await;
        self.transcript.tell(format!("pod {pod} runs"));
    }

    fn delete(&self, pod: &str) {
        self.transcript.tell(format!("pod {pod} is deleted"));
        self.stage.cluster.delete_pod(pod);
    }

    async fn gone(&self, pod: &str) {
        self.stage.pod_gone(pod).await;
        self.transcript.tell(format!("pod {pod} is gone"));
    }

    fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.stage.worlds[0].lock())
    }

    /// The daemon whose mount a pod's containers have in their mount namespace: what is mounted on the host after they
    /// have started does not reach them.
    fn daemon(&self, pod: &str) -> DaemonId {
        let uid = self.stage.cluster.store().read(|tables| tables.pods[pod].metadata.uid.clone());
        let daemons = self.world(|world| {
            let here = world.layers.iter().filter(|(target, _)| target.as_str().contains(&uid));
            here.filter_map(|(_, layers)| layers.last()?.daemon.clone()).collect::<Vec<_>>()
        });
        assert_eq!(daemons.len(), 1, "{daemons:?}");
        daemons[0].clone()
    }

    /// What is left when nobody uses the volume, nor has it.
    async fn end(&mut self) -> usize {
        self.stage.cluster.delete_claim("c1");
        self.stage.until("the claim is gone", |tables| tables.claims.is_empty() && tables.volumes.is_empty()).await;
        sleep(Duration::from_secs(3600)).await;
        let left: Vec<Pod> = self.world(|world| world.pods.values().cloned().collect());
        for pod in &left {
            let serves = self.world(|world| world.daemons.get(&pod.uid).is_some_and(|(_, alive)| *alive));
            let references: Vec<String> =
                annotations::references(pod).iter().map(|one| one.target.to_string()).collect();
            let daemon = if serves { "its daemon runs" } else { "its daemon does not run" };
            let mut told = self.transcript.0.lock().unwrap();
            let number = told.number(&pod.name);
            told.tell(format!("mount pod {number} is left: {daemon}, referred to by {}", references.join(" and ")));
        }
        if left.is_empty() {
            self.transcript.tell("no mount pod is left");
        }
        left.len()
    }

    fn text(mut self) -> String {
        let mut text = String::new();
        let told = self.transcript.0.lock().unwrap();
        for line in &told.lines {
            let _ = writeln!(text, "{}", self.names.apply(line));
        }
        text
    }
}

/// The delay of a pod's deletion passes while the next pod comes: the reconciler has seen the mount pod without
/// references, and deletes it when the next pod runs on it. Whether that pod loses its mount.
async fn the_delay_passes_while_the_next_pod_comes(protocol: Protocol) -> (bool, usize, String) {
    let delay = Duration::from_secs(30);
    let mut story = Story::begin(protocol, move |options| options.policy.delete_delay = Some(delay)).await;
    story.create("p1");
    story.runs("p1").await;
    story.delete("p1");
    story.gone("p1").await;
    sleep(delay).await;
    story.transcript.tell("the mount pod's delay has passed");
    story.transcript.slow_down_the_next_read_of_a_pod(Duration::from_secs(3));
    story.transcript.until_the_slow_read().await;
    story.create("p2");
    story.runs("p2").await;
    let daemon = story.daemon("p2");
    sleep(Duration::from_secs(60)).await;
    let is_lost = !story.world(|world| world.is_alive(&daemon));
    let fate = if is_lost { "transport endpoint is not connected" } else { "all is well" };
    story.transcript.tell(format!("pod p2 runs, and reads its volume: {fate}"));
    story.delete("p2");
    story.gone("p2").await;
    let left = story.end().await;
    (is_lost, left, story.text())
}

/// A daemon starts too late for its publish, and the pod is deleted before the kubelet asks again. How many mount pods are
/// left for ever; the reconciler cannot list the pods of the node here.
async fn a_daemon_starts_late_and_the_pod_is_deleted(protocol: Protocol) -> (usize, String) {
    let mut story = Story::begin(protocol, |options| options.daemon_start = Duration::from_secs(90)).await;
    story.create("p1");
    sleep(Duration::from_secs(10)).await;
    story.delete("p1");
    story.gone("p1").await;
    let left = story.end().await;
    (left, story.text())
}

#[test]
fn the_protocol_of_2022_takes_the_mount_from_under_a_running_pod() {
    play(async {
        let (is_lost, left, text) = the_delay_passes_while_the_next_pod_comes(Protocol::Published2022).await;
        assert!(is_lost, "{text}");
        assert_eq!(left, 0, "{text}");
        with_golden("published_2022_lost_mount", &text);
    });
}

#[test]
fn the_protocol_of_2026_takes_the_mount_from_under_a_running_pod() {
    play(async {
        let (is_lost, left, text) = the_delay_passes_while_the_next_pod_comes(Protocol::Published2026).await;
        assert!(is_lost, "{text}");
        assert_eq!(left, 0, "{text}");
        with_golden("published_2026_lost_mount", &text);
    });
}

#[test]
fn the_protocol_of_2022_leaks_a_mount_pod() {
    play(async {
        let (left, text) = a_daemon_starts_late_and_the_pod_is_deleted(Protocol::Published2022).await;
        assert_eq!(left, 1, "{text}");
        with_golden("published_2022_leaked_mount_pod", &text);
    });
}

#[test]
fn the_protocol_of_2026_leaks_a_mount_pod() {
    play(async {
        let (left, text) = a_daemon_starts_late_and_the_pod_is_deleted(Protocol::Published2026).await;
        assert_eq!(left, 1, "{text}");
        with_golden("published_2026_leaked_mount_pod", &text);
    });
}

#[test]
fn the_drivers_own_protocol_does_neither() {
    play(async {
        let (is_lost, left, text) = the_delay_passes_while_the_next_pod_comes(Protocol::Current).await;
        assert!(!is_lost && left == 0, "{text}");
        let (left, text) = a_daemon_starts_late_and_the_pod_is_deleted(Protocol::Current).await;
        assert_eq!(left, 0, "{text}");
    });
}
