//! A driver behind its socket as the scene of programs: it can be killed and watched, not paused.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use tokio::{task::JoinHandle, time::timeout};

use super::{
    super::schedule::{Fate, Trouble},
    Lane, Scene, SceneError, Surroundings,
};
use crate::{
    history::{Lost, Recorder, Request},
    suite::remove_empty,
    sut::{Answer, Driver, NodeFs, Profile, Signal, blocking},
};

/// How much later the next step comes for each effect of a pause.
const GRAIN: Duration = Duration::from_micros(200);

/// A path, and the volume that a call was to bring there or take away.
type Place = (String, String);

/// A driver that is reached over its socket.
#[derive(Debug)]
pub struct OverSocket {
    node_fs: Option<NodeFs>,
    /// Where the program's paths lie, on a driver of this machine.
    directory: Option<PathBuf>,
    /// Paths of calls that have not ended. What is seen at one of them would be entered only after it was seen, and the end
    /// of such a call may come between.
    under_way: Vec<String>,
    /// Where a call goes on whose caller gave up: that may change at any moment.
    restless: BTreeSet<Place>,
    /// Where a call was cut off by the end of the process: whatever is half done there is right, until another call for the
    /// same volume has come to its end.
    half_done: BTreeSet<Place>,
}

impl OverSocket {
    /// The scene for one program.
    pub fn new(driver: &Driver, profile: &Profile, directory: PathBuf) -> Self {
        let (under_way, restless, half_done) = Default::default();
        let directory = driver.is_local().then_some(directory);
        Self { node_fs: NodeFs::of(driver, profile), directory, under_way, restless, half_done }
    }

    /// Whether what is seen at the path is the work of calls that have ended.
    fn is_at_rest(&self, path: &str) -> bool {
        let is_busy = self.under_way.iter().any(|other| other == path);
        let is_open = self.restless.iter().chain(&self.half_done).any(|(other, _)| other == path);
        !(path.is_empty() || is_busy || is_open)
    }

    /// What the orchestrator owes the plugin before it publishes (specification lines 2353 and 2519).
    fn make_room(&self, request: &Request) {
        let path = match request {
            Request::NodeStageVolume(request) => Some(PathBuf::from(&request.staging_target_path)),
            Request::NodePublishVolume(request) => PathBuf::from(&request.target_path).parent().map(PathBuf::from),
            _ => None,
        };
        if let (Some(path), Some(directory)) = (path, &self.directory)
            && path.starts_with(directory)
        {
            // The driver says what is missing, if it is.
            let _ = fs::create_dir_all(path);
        }
    }
}

impl Scene for OverSocket {
    const ENDS_IN_A_CRASH: bool = false;

    fn began(&mut self, request: &Request) {
        self.make_room(request);
        self.under_way.extend(path_of(request).map(str::to_owned));
    }

    fn ended(&mut self, request: &Request, answer: &Answer) -> Result<(), String> {
        let Some((path, volume)) = place_of(request) else { return Ok(()) };
        if let Some(at) = self.under_way.iter().position(|other| other == path) {
            self.under_way.swap_remove(at);
        }
        let place = (path.to_owned(), volume.to_owned());
        match answer {
            Answer::Lost(Lost::Cancelled | Lost::Deadline) => {
                self.restless.insert(place);
            }
            Answer::Lost(Lost::Connection) => {
                self.half_done.insert(place);
            }
            Answer::Reply(_) => {
                self.half_done.remove(&place);
            }
            Answer::Lost(Lost::Dropped) | Answer::Status { .. } | Answer::Garbage(_) => {}
        }
        Ok(())
    }

    async fn go_on(&mut self, _: Lane, pause: Option<u8>, call: &mut JoinHandle<Answer>) -> Option<Answer> {
        let joined = match pause {
            None => call.await,
            Some(effects) => timeout(GRAIN * u32::from(effects), call).await.ok()?,
        };
        Some(joined.unwrap_or(Answer::Lost(Lost::Connection)))
    }

    async fn abandoned(&mut self, _: Lane) {}

    async fn housekeeping(&mut self, _: Option<u8>) {}

    async fn crash(&mut self, driver: &Driver, recorder: &Recorder) -> Result<(), SceneError> {
        for instance in driver.instances() {
            instance.restart(recorder, Signal::Kill).await.map_err(|error| SceneError::Restart(error.to_string()))?;
        }
        // Nothing goes on behind anybody's back any more.
        self.half_done.append(&mut self.restless);
        Ok(())
    }

    fn trouble(&mut self, _: u8, _: Trouble, _: &Surroundings) -> bool {
        false
    }

    fn fault(&mut self, _: u8, _: Fate) {}

    async fn pass(&mut self, _: u16) {}

    async fn look(&mut self, request: Option<&Request>, recorder: &Recorder) -> Result<(), String> {
        let Some(path) = request.and_then(path_of) else { return Ok(()) };
        if let Some(node_fs) = self.node_fs.as_ref().filter(|_| self.is_at_rest(path)) {
            recorder.observed(node_fs.look(path).await);
        }
        Ok(())
    }

    fn portrait(&self) -> Option<u64> {
        None
    }

    async fn settle(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn owes(&self, _: &Request) -> bool {
        true
    }

    async fn vacated(&mut self) -> Result<(), String> {
        let Some(directory) = self.directory.clone() else { return Ok(()) };
        let watches = self.node_fs.is_some();
        let left = blocking(move || {
            let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            let text = directory.display().to_string();
            let left = table.lines().find(|line| line.contains(&text)).map(str::to_owned);
            remove_empty(&directory);
            left
        });
        match left.await.flatten() {
            Some(line) if watches => Err(format!("I5: a mount is left when everything was unpublished: {line}")),
            _ => Ok(()),
        }
    }
}

/// The path of the node at which the request mounts or unmounts something.
fn path_of(request: &Request) -> Option<&str> {
    place_of(request).map(|(path, _)| path)
}

/// The path of the node at which the request mounts or unmounts something, and the volume.
const fn place_of(request: &Request) -> Option<(&str, &str)> {
    Some(match request {
        Request::NodeStageVolume(request) => (request.staging_target_path.as_str(), request.volume_id.as_str()),
        Request::NodeUnstageVolume(request) => (request.staging_target_path.as_str(), request.volume_id.as_str()),
        Request::NodePublishVolume(request) => (request.target_path.as_str(), request.volume_id.as_str()),
        Request::NodeUnpublishVolume(request) => (request.target_path.as_str(), request.volume_id.as_str()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{csi::v1, history::Reply};

    const TARGET: &str = "/target";

    fn nowhere() -> OverSocket {
        let (under_way, restless, half_done) = Default::default();
        OverSocket { node_fs: None, directory: None, under_way, restless, half_done }
    }

    fn publish() -> Request {
        v1::NodePublishVolumeRequest { target_path: TARGET.into(), ..Default::default() }.into()
    }

    fn unpublish() -> Request {
        v1::NodeUnpublishVolumeRequest { target_path: TARGET.into(), ..Default::default() }.into()
    }

    fn unpublished() -> Answer {
        Answer::Reply(Reply::from(v1::NodeUnpublishVolumeResponse {}))
    }

    /// A publish that was refused because of an unpublish was followed by a look at the target. The unpublish ended after the
    /// look and before that was written down: the mount that was seen was held against it.
    #[test]
    fn nobody_looks_at_a_path_at_which_another_call_is_under_way() {
        let mut scene = nowhere();
        scene.began(&unpublish());
        scene.began(&publish());
        scene.ended(&publish(), &Answer::Status { code: 10, message: "busy".into(), details: 0 }).unwrap();
        assert!(!scene.is_at_rest(TARGET));
        assert!(scene.is_at_rest("/elsewhere") && !scene.is_at_rest(""));
        scene.ended(&unpublish(), &unpublished()).unwrap();
        assert!(scene.is_at_rest(TARGET));
    }

    #[test]
    fn what_a_lost_call_leaves_is_looked_at_once_another_has_succeeded_there() {
        for (lost, is_at_rest) in [(Lost::Connection, true), (Lost::Cancelled, false), (Lost::Deadline, false)] {
            let mut scene = nowhere();
            scene.began(&publish());
            scene.ended(&publish(), &Answer::Lost(lost)).unwrap();
            assert!(!scene.is_at_rest(TARGET), "{lost:?}");
            scene.began(&unpublish());
            scene.ended(&unpublish(), &unpublished()).unwrap();
            // A call whose caller gave up goes on.
            assert_eq!(scene.is_at_rest(TARGET), is_at_rest, "{lost:?}");
        }
    }

    /// An unpublish was cut off when it had unmounted and not yet removed the directory; that of a volume which does not exist
    /// was then answered OK, and the directory held against it.
    #[test]
    fn what_a_lost_call_leaves_is_not_looked_at_because_one_for_another_volume_has_succeeded() {
        let mut scene = nowhere();
        scene.began(&unpublish());
        scene.ended(&unpublish(), &Answer::Lost(Lost::Connection)).unwrap();
        let other = v1::NodeUnpublishVolumeRequest { target_path: TARGET.into(), volume_id: "other".into() };
        scene.began(&other.clone().into());
        scene.ended(&other.into(), &unpublished()).unwrap();
        assert!(!scene.is_at_rest(TARGET));
    }
}
