//! The executor over a pod API that fails, hangs and loses replies at a chosen request.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    super::{
        AccessMode, AccessType, Fingerprint, MountPods as _, Publication, PublishError, Role, TargetPath,
        VolumeContent, VolumeId,
        api::{ApiError, PodApi, Preconditions, Selector, WriteMode},
        instant::Timestamp,
        memory::{SharedWorld, World},
        pod::{NodeId, Pod, PodName, PodStatus, Uid},
        protocol::Policy,
    },
    Clock, Engine, NoWorkloads, Running,
};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Trouble {
    /// No answer ever comes, and nothing happens.
    Hangs,
    /// It happens, and no answer ever comes.
    HangsAfter,
    /// It happens, and the connection is lost.
    LosesReply,
    Fails,
}

/// A pod API that is in trouble at one request and, when it hangs, ever after.
struct Troubled {
    world: SharedWorld,
    trouble: Trouble,
    at: usize,
    requests: AtomicUsize,
}

impl Troubled {
    async fn around<T>(&self, request: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let hangs = matches!(self.trouble, Trouble::Hangs | Trouble::HangsAfter);
        match self.trouble {
            _ if number < self.at || (number > self.at && !hangs) => request.await,
            Trouble::HangsAfter if number == self.at => {
                let _ = request.await;
                pending().await
            }
            Trouble::Hangs | Trouble::HangsAfter => pending().await,
            Trouble::LosesReply => {
                let _ = request.await;
                Err(ApiError::Unknown("connection reset".to_owned()))
            }
            Trouble::Fails => Err(ApiError::Failed("too many requests".to_owned())),
        }
    }
}

#[async_trait]
impl PodApi for Troubled {
    async fn get(&self, name: &PodName) -> Result<Pod, ApiError> {
        self.around(self.world.get(name)).await
    }

    async fn list(&self, selector: &Selector) -> Result<Vec<Pod>, ApiError> {
        self.around(self.world.list(selector)).await
    }

    async fn create(&self, pod: Pod) -> Result<Pod, ApiError> {
        self.around(self.world.create(pod)).await
    }

    async fn update(&self, pod: Pod, mode: WriteMode) -> Result<Option<Pod>, ApiError> {
        self.around(self.world.update(pod, mode)).await
    }

    async fn delete(&self, name: &PodName, preconditions: Preconditions) -> Result<Option<Pod>, ApiError> {
        self.around(self.world.delete(name, preconditions)).await
    }

    async fn update_status(&self, name: &PodName, uid: &Uid, status: PodStatus) -> Result<(), ApiError> {
        self.around(self.world.update_status(name, uid, status)).await
    }
}

struct Fixture {
    dir: tempfile::TempDir,
    world: SharedWorld,
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_769_860_800_000)
    }
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("volume")).unwrap();
        Self { dir, world: SharedWorld::new(World::default(), Duration::ZERO) }
    }

    /// A driver whose housekeeping does not come in between.
    fn driver(&self, trouble: Trouble, at: usize) -> Running {
        let api = Troubled { world: self.world.clone(), trouble, at: at + 1, requests: AtomicUsize::new(0) };
        let (node, workloads) = (Arc::new(self.world.clone()), Arc::new(NoWorkloads));
        let engine = Engine::new(NodeId::new("n"), Arc::new(api), node, Arc::new(Still), workloads, Policy::default());
        Running::start(engine, Duration::from_secs(3600))
    }

    fn target(&self) -> TargetPath {
        self.dir.path().join("t").to_str().unwrap().parse().unwrap()
    }

    fn publication(&self) -> Publication {
        Publication {
            volume: volume(),
            content: VolumeContent::Directory(self.dir.path().join("volume")),
            target: self.target(),
            role: Role::Target,
            fingerprint: Fingerprint {
                access_type: AccessType::Mount,
                access_mode: AccessMode::SingleNodeWriter,
                read_only: false,
                fs_type: String::new(),
                mount_flags: String::new(),
                mount_group: String::new(),
            },
            mount_group: None,
            configuration: BTreeMap::new(),
        }
    }

    async fn unpublish(&self, driver: &Running) -> Result<(), super::super::UnpublishError> {
        driver.unpublish(&volume(), &self.target(), Role::Target, soon()).await
    }

    fn assert_published_once(&self, context: &str) {
        let world = self.world.lock();
        assert_eq!(world.layers.get(&self.target()).map(Vec::len), Some(1), "{context}");
        assert_eq!(world.pods.len(), 1, "{context}");
        assert!(self.target().as_path().is_dir(), "{context}");
    }

    fn assert_empty(&self, context: &str) {
        let world = self.world.lock();
        assert!(world.pods.is_empty() && world.layers.is_empty() && world.daemons.is_empty(), "{context}: {world:#?}");
        assert!(!self.target().as_path().exists(), "{context}");
    }
}

fn volume() -> VolumeId {
    "v".parse().unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// More than any of the requests below makes.
const NEVER: usize = 10_000;
const POINTS: usize = 12;

#[tokio::test(start_paused = true)]
async fn a_pod_api_that_hangs_ends_at_the_deadline_and_a_repeat_succeeds() {
    for trouble in [Trouble::Hangs, Trouble::HangsAfter] {
        let mut cut_off = 0;
        for at in 0..POINTS {
            let context = format!("{trouble:?} at request {at}");
            let fixture = Fixture::new();
            let began = Instant::now();
            let first = fixture.driver(trouble, at).publish(fixture.publication(), soon()).await;
            cut_off += usize::from(matches!(first, Err(PublishError::DeadlineExceeded(_))));
            assert!(began.elapsed() <= Duration::from_secs(30), "{context}");
            let healthy = fixture.driver(Trouble::Hangs, NEVER);
            healthy.publish(fixture.publication(), soon()).await.unwrap();
            fixture.assert_published_once(&context);

            let _ = fixture.unpublish(&fixture.driver(trouble, at)).await;
            fixture.unpublish(&healthy).await.unwrap();
            fixture.assert_empty(&context);
        }
        assert!(cut_off >= 3, "{trouble:?}: only {cut_off} publishes were cut off");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_or_a_failure_is_hidden_from_the_caller() {
    for trouble in [Trouble::LosesReply, Trouble::Fails] {
        for at in 0..POINTS {
            let context = format!("{trouble:?} at request {at}");
            let fixture = Fixture::new();
            fixture.driver(trouble, at).publish(fixture.publication(), soon()).await.unwrap();
            fixture.assert_published_once(&context);
            fixture.unpublish(&fixture.driver(trouble, at)).await.unwrap();
            fixture.driver(Trouble::Fails, NEVER).engine().sweep().await;
            fixture.assert_empty(&context);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_does_not_cut_the_request_in_two() {
    let fixture = Fixture::new();
    let driver = fixture.driver(Trouble::Fails, NEVER);
    {
        let request = driver.publish(fixture.publication(), soon());
        tokio::pin!(request);
        // The request is polled once, which starts it, and then dropped.
        assert!(futures_util::poll!(&mut request).is_pending());
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    fixture.assert_published_once("after the caller left");
}

#[tokio::test(start_paused = true)]
async fn a_request_after_its_deadline_changes_nothing() {
    let fixture = Fixture::new();
    let driver = fixture.driver(Trouble::Fails, NEVER);
    let late = driver.publish(fixture.publication(), Instant::now()).await;
    assert!(matches!(late, Err(PublishError::DeadlineExceeded(_))), "{late:?}");
    fixture.assert_empty("after the late request");
}
