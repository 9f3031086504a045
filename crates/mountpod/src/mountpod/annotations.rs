//! The annotations of a mount pod: its references, its deletion delay and its hand-over marks.
//!
//! A reference is two annotations that are written together: `juicefs-<hash of the target>` holds the target path, and a
//! second one beside it holds role and fingerprint, so that a repeat can be judged after a restart of the driver.

use std::{cell::RefCell, collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    Fingerprint, Role, TargetPath,
    instant::{NotADuration, NotATimestamp, Timestamp, parse_duration},
    pod::{Pod, ResourceVersion, Uid, hexadecimal},
};

/// How long the pod stays after its last reference went.
pub const DELETE_DELAY: &str = "juicefs-delete-delay";
/// When the pod is to be deleted unless it is referred to again.
pub const DELETE_AT: &str = "juicefs-delete-at";
/// The pod was created, and nobody has checked yet that it is the only one of its key.
const UNCONFIRMED: &str = "csi-certify.io/unconfirmed";
/// Which version of which predecessor the references were taken over from.
const HANDED_OVER: &str = "csi-certify.io/handed-over";
/// Which version an otherwise empty write replaced: the API gives no new version to a write that changes nothing.
const TOUCHED: &str = "csi-certify.io/touched";
const DETAIL: &str = "csi-certify.io/reference-";
const UNMOUNTED_SINCE: &str = "csi-certify.io/unmounted-since-";
const KEY_LENGTH: usize = 63;
const PREFIX: &str = "juicefs-";

/// One path that needs the pod.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Reference {
    /// The target path, as it was published.
    pub target: TargetPath,
    /// What the publish request said; absent when another program wrote the reference.
    pub detail: Option<Detail>,
}

/// What a publish request said about its target.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detail {
    /// Staging or target.
    pub role: Role,
    /// What was asked for.
    pub fingerprint: Fingerprint,
}

impl Reference {
    /// The role; a reference without detail counts as a workload's target, which is the careful reading.
    pub fn role(&self) -> Role {
        self.detail.as_ref().map_or(Role::Target, |detail| detail.role)
    }
}

/// The annotation key that records a target.
pub fn reference_key(target: &TargetPath) -> String {
    reference_key_of(target.as_str())
}

/// The references of a pod, in the order of their keys.
pub fn references(pod: &Pod) -> Vec<Reference> {
    targets(pod).map(|(key, target)| Reference { detail: detail(pod, key), target }).collect()
}

/// Whether anything refers to the pod.
pub fn is_referenced(pod: &Pod) -> bool {
    targets(pod).next().is_some()
}

/// The pod's reference to the target.
pub fn reference(pod: &Pod, target: &TargetPath) -> Option<Reference> {
    let key = key_of(pod, target)?;
    Some(Reference { detail: detail(pod, key), target: target.clone() })
}

/// Whether the target needs the pod.
pub fn refers_to(pod: &Pod, target: &TargetPath) -> bool {
    key_of(pod, target).is_some()
}

/// The annotations that may be references, key and value.
fn candidates(pod: &Pod) -> impl Iterator<Item = (&str, &str)> {
    let all = pod.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    all.filter(|(key, _)| key.starts_with(PREFIX) && key.len() == KEY_LENGTH)
}

/// The targets that refer to the pod, with the keys of their annotations.
fn targets(pod: &Pod) -> impl Iterator<Item = (&str, TargetPath)> {
    candidates(pod).filter_map(|(key, value)| {
        let target: TargetPath = value.parse().ok()?;
        proves(key, value, &target).then_some((key, target))
    })
}

/// The key of the annotation by which the target refers to the pod. Hashes nothing unless the target is there.
fn key_of<'a>(pod: &'a Pod, target: &TargetPath) -> Option<&'a str> {
    let means = |value: &str| value == target.as_str() || value.parse().as_ref() == Ok(target);
    candidates(pod).find(|(key, value)| means(value) && proves(key, value, target)).map(|(key, _)| key)
}

/// The key proves the value: other annotations of this prefix are not ours to count.
fn proves(key: &str, value: &str, target: &TargetPath) -> bool {
    is_key_of(key, target.as_str()) || (value != target.as_str() && is_key_of(key, value))
}

/// Whether this is the reference key of the text.
fn is_key_of(key: &str, text: &str) -> bool {
    with_key_of(text, |right| right == key)
}

fn detail(pod: &Pod, key: &str) -> Option<Detail> {
    pod.annotations.get(&detail_key(key)).and_then(|text| serde_json::from_str(text).ok())
}

/// Records that the target needs the pod; cancels a pending deletion and the suspicion that the target is dead.
pub fn add_reference(pod: &mut Pod, target: &TargetPath, detail: Option<&Detail>) {
    let key = reference_key(target);
    if let Some(text) = detail.and_then(|detail| serde_json::to_string(detail).ok()) {
        set(pod, detail_key(&key), &text);
    }
    remove(pod, &unmounted_key(&key));
    set(pod, key, target.as_str());
    remove(pod, DELETE_AT);
}

/// Sets an annotation; one that says the same already is left alone, and the record stays shared.
fn set(pod: &mut Pod, key: String, value: &str) {
    if pod.annotations.get(&key).is_none_or(|there| there != value) {
        pod.annotations.insert(key, value.to_owned());
    }
}

/// Removes an annotation; where there is none, the record stays shared.
fn remove(pod: &mut Pod, key: &str) {
    if pod.annotations.contains_key(key) {
        pod.annotations.remove(key);
    }
}

/// Records that the target no longer needs the pod.
pub fn drop_reference(pod: &mut Pod, target: &TargetPath) {
    let key = reference_key(target);
    for key in [&detail_key(&key), &unmounted_key(&key), &key] {
        remove(pod, key);
    }
    // A path that another program wrote in another spelling has its own key.
    let others = candidates(pod).filter(|(_, value)| value.parse().as_ref() == Ok(target));
    let others: Vec<String> = others.map(|(key, _)| key.to_owned()).collect();
    for key in others {
        remove(pod, &key);
    }
}

/// Since when the target was seen without a mount; `None` when it was not.
pub fn unmounted_since(pod: &Pod, target: &TargetPath) -> Option<Timestamp> {
    pod.annotations.get(&unmounted_key(&reference_key(target)))?.parse().ok()
}

/// Marks the target as seen without a mount.
pub fn suspect(pod: &mut Pod, target: &TargetPath, since: Timestamp) {
    pod.annotations.insert(unmounted_key(&reference_key(target)), since.to_string());
}

/// Takes the mark back.
pub fn acquit(pod: &mut Pod, target: &TargetPath) {
    remove(pod, &unmounted_key(&reference_key(target)));
}

/// The delay before deletion, when the pod has one.
pub fn delete_delay(pod: &Pod) -> Result<Option<Duration>, NotADuration> {
    pod.annotations.get(DELETE_DELAY).map(|text| parse_duration(text)).transpose()
}

/// When the pod is due for deletion, when that was recorded.
pub fn delete_at(pod: &Pod) -> Result<Option<Timestamp>, NotATimestamp> {
    pod.annotations.get(DELETE_AT).map(|text| text.parse()).transpose()
}

/// Whether nobody has checked yet that the pod is the only one of its key; no daemon runs for it until then.
pub fn is_unconfirmed(pod: &Pod) -> bool {
    pod.annotations.contains_key(UNCONFIRMED)
}

/// Marks a new pod as not yet known to be the only one.
pub(super) fn set_unconfirmed(pod: &mut Pod) {
    pod.annotations.insert(UNCONFIRMED.to_owned(), "true".to_owned());
}

/// Records that a list showed the pod as the only one of its key.
pub fn confirm(pod: &mut Pod) {
    remove(pod, UNCONFIRMED);
}

/// Whether the references of exactly this version of the predecessor were taken over.
pub fn took_over(pod: &Pod, predecessor: &Pod) -> bool {
    pod.annotations.get(HANDED_OVER) == Some(&hand_over_mark(&predecessor.uid, &predecessor.version))
}

/// Copies the references of the predecessor and records the version that they were read at.
pub fn take_over(pod: &mut Pod, predecessor: &Pod) {
    for inherited in references(predecessor) {
        if !refers_to(pod, &inherited.target) {
            add_reference(pod, &inherited.target, inherited.detail.as_ref());
        }
    }
    pod.annotations.insert(HANDED_OVER.to_owned(), hand_over_mark(&predecessor.uid, &predecessor.version));
}

/// Changes nothing that means anything, so that every write decided on the old version fails.
pub fn touch(pod: &mut Pod) {
    pod.annotations.insert(TOUCHED.to_owned(), pod.version.as_str().to_owned());
}

/// Whether the pod waits for a moment, or remembers one.
pub fn names_a_moment(pod: &Pod) -> bool {
    pod.annotations.keys().any(|key| key == DELETE_AT || key.starts_with(UNMOUNTED_SINCE))
}

/// Takes away what no step reads any more: the trace of a touch, the hand-over from a version that is gone, and what was to
/// become of a pod that is being deleted. Only a search of states needs this, to see that two records mean the same.
pub fn forget_marks<'a>(pod: &mut Pod, pods: impl IntoIterator<Item = &'a Pod>) {
    remove(pod, TOUCHED);
    if pod.deleting || !pods.into_iter().any(|predecessor| took_over(pod, predecessor)) {
        remove(pod, HANDED_OVER);
    }
    if pod.deleting {
        remove(pod, UNCONFIRMED);
        remove(pod, DELETE_AT);
    }
}

fn hand_over_mark(uid: &Uid, version: &ResourceVersion) -> String {
    format!("{uid}@{version}")
}

fn reference_key_of(text: &str) -> String {
    with_key_of(text, str::to_owned)
}

/// Every reading of a record asks for the keys of the same few paths: they are remembered.
fn with_key_of<T>(text: &str, look: impl FnOnce(&str) -> T) -> T {
    const MOST: usize = 1024;
    thread_local! {
        static KEYS: RefCell<HashMap<Box<str>, Box<str>>> = RefCell::default();
    }
    KEYS.with_borrow_mut(|keys| {
        if let Some(key) = keys.get(text) {
            return look(key);
        }
        let mut key = format!("{PREFIX}{}", hexadecimal(&Sha256::digest(text)));
        key.truncate(KEY_LENGTH);
        if keys.len() >= MOST {
            keys.clear();
        }
        look(keys.entry(text.into()).or_insert(key.into()))
    })
}

fn detail_key(key: &str) -> String {
    format!("{DETAIL}{}", &key[PREFIX.len()..PREFIX.len() + 40])
}

fn unmounted_key(key: &str) -> String {
    format!("{UNMOUNTED_SINCE}{}", &key[PREFIX.len()..PREFIX.len() + 40])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::mountpod::{
        AccessMode, AccessType, VolumeContent,
        pod::{ConfigurationHash, NodeId, PodKey},
    };

    fn pod() -> Pod {
        let content = VolumeContent::Directory("/v".into());
        let configuration = ConfigurationHash::of(&BTreeMap::new(), &content);
        let key = PodKey { node: NodeId::new("n"), volume: "v".parse().unwrap(), configuration };
        Pod::new(key, 0, content)
    }

    fn detail() -> Detail {
        Detail {
            role: Role::Staging,
            fingerprint: Fingerprint {
                access_type: AccessType::Mount,
                access_mode: AccessMode::MultiNodeMultiWriter,
                read_only: true,
                fs_type: String::new(),
                mount_flags: String::new(),
                mount_group: String::new(),
            },
        }
    }

    #[test]
    fn the_key_of_a_target_is_the_published_one() {
        let key = reference_key(&"/var/lib/kubelet/pods/1/volumes/x/mount".parse().unwrap());
        assert_eq!(key.len(), 63);
        assert!(key.starts_with("juicefs-"));
        // The first 55 digits of the SHA-256 of the path.
        let digest = hexadecimal(&Sha256::digest("/var/lib/kubelet/pods/1/volumes/x/mount"));
        assert_eq!(key["juicefs-".len()..], digest[..55]);
    }

    #[test]
    fn a_reference_survives_with_its_detail() {
        let target: TargetPath = "/t/a".parse().unwrap();
        let mut pod = pod();
        add_reference(&mut pod, &target, Some(&detail()));
        assert_eq!(references(&pod), [Reference { target: target.clone(), detail: Some(detail()) }]);
        drop_reference(&mut pod, &target);
        assert!(!is_referenced(&pod));
        assert_eq!(pod.annotations.len(), 1, "only the mark of a new pod is left");
    }

    #[test]
    fn annotation_keys_are_short_enough_for_kubernetes() {
        let key = reference_key(&"/t".parse().unwrap());
        for key in [detail_key(&key), unmounted_key(&key)] {
            assert!(key.split_once('/').unwrap().1.len() <= 63, "{key}");
        }
    }

    #[test]
    fn an_annotation_whose_key_does_not_prove_its_value_is_no_reference() {
        let mut pod = pod();
        pod.annotations.insert(DELETE_DELAY.to_owned(), "1m".to_owned());
        pod.annotations.insert(reference_key(&"/t/a".parse().unwrap()), "/t/b".to_owned());
        assert!(!is_referenced(&pod));
    }

    #[test]
    fn a_reference_in_another_spelling_counts_and_can_be_dropped() {
        let mut pod = pod();
        pod.annotations.insert(reference_key_of("/t//a/"), "/t//a/".to_owned());
        let target: TargetPath = "/t/a".parse().unwrap();
        assert_eq!(reference(&pod, &target).map(|found| found.role()), Some(Role::Target));
        drop_reference(&mut pod, &target);
        assert!(!is_referenced(&pod));
    }

    #[test]
    fn adding_a_reference_again_cancels_the_deletion() {
        let mut pod = pod();
        pod.annotations.insert(DELETE_AT.to_owned(), Timestamp(1000).to_string());
        add_reference(&mut pod, &"/t".parse().unwrap(), None);
        assert_eq!(delete_at(&pod), Ok(None));
    }

    #[test]
    fn taking_over_is_bound_to_the_version_that_was_read() {
        let mut predecessor = pod();
        predecessor.version = ResourceVersion::new("4");
        add_reference(&mut predecessor, &"/t".parse().unwrap(), Some(&detail()));
        let mut successor = pod();
        take_over(&mut successor, &predecessor);
        assert_eq!(references(&successor), references(&predecessor));
        assert!(took_over(&successor, &predecessor));
        predecessor.version = ResourceVersion::new("5");
        assert!(!took_over(&successor, &predecessor));
    }
}
