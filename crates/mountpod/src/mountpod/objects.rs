//! What writes do to a pod object, by Kubernetes' rules; shared by every runtime that keeps its own records.

use super::{
    api::{ApiError, Preconditions, WriteMode},
    pod::{Pod, PodStatus, ResourceVersion, Uid},
};

/// The object that a creation leaves.
pub fn create(existing: Option<&Pod>, pod: Pod, uid: Uid, version: ResourceVersion) -> Result<Pod, ApiError> {
    match existing {
        Some(_) => Err(ApiError::AlreadyExists),
        None => Ok(Pod { uid, version, deleting: false, status: PodStatus::default(), ..pod }),
    }
}

/// The object that an update leaves; `None` when it vanishes with its last finalizer.
pub fn update(
    existing: Option<&Pod>,
    pod: Pod,
    mode: WriteMode,
    version: ResourceVersion,
) -> Result<Option<Pod>, ApiError> {
    let existing = existing.ok_or(ApiError::NotFound)?;
    if mode == WriteMode::CompareAndSwap && (pod.uid != existing.uid || pod.version != existing.version) {
        return Err(ApiError::Conflict);
    }
    let finalizers = match mode {
        WriteMode::CompareAndSwap | WriteMode::Unconditional => pod.finalizers,
        _ => existing.finalizers.clone(),
    };
    if existing.deleting && finalizers.is_empty() {
        return Ok(None);
    }
    let mut annotations = existing.annotations.clone();
    match mode {
        WriteMode::MergeAnnotations => {
            annotations.extend(pod.annotations.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        WriteMode::RemoveAnnotations => annotations.retain(|key, _| !pod.annotations.contains_key(key)),
        _ => annotations = pod.annotations,
    }
    if existing.annotations == annotations && existing.finalizers == finalizers {
        // A write that changes nothing gives no new version.
        return Ok(Some(existing.clone()));
    }
    Ok(Some(Pod { version, annotations, finalizers, ..existing.clone() }))
}

/// The object that an accepted deletion leaves; `None` when nothing holds it back.
pub fn delete(
    existing: Option<&Pod>,
    preconditions: &Preconditions,
    version: ResourceVersion,
) -> Result<Option<Pod>, ApiError> {
    let existing = existing.ok_or(ApiError::NotFound)?;
    let differs = preconditions.uid.as_ref().is_some_and(|uid| *uid != existing.uid)
        || preconditions.version.as_ref().is_some_and(|version| *version != existing.version);
    if differs {
        return Err(ApiError::Conflict);
    }
    if existing.deleting {
        return Ok(Some(existing.clone()));
    }
    if existing.finalizers.is_empty() {
        return Ok(None);
    }
    let status = PodStatus { ready: false, ..existing.status };
    Ok(Some(Pod { version, deleting: true, status, ..existing.clone() }))
}

/// The object after the kubelet wrote its status.
pub fn update_status(
    existing: Option<&Pod>,
    uid: &Uid,
    status: PodStatus,
    version: ResourceVersion,
) -> Result<Pod, ApiError> {
    let existing = existing.filter(|pod| pod.uid == *uid).ok_or(ApiError::NotFound)?;
    if existing.status == status {
        return Ok(existing.clone());
    }
    Ok(Pod { version, status, ..existing.clone() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::mountpod::{
        VolumeContent, annotations,
        pod::{ConfigurationHash, NodeId, PodKey},
    };

    fn version(number: u32) -> ResourceVersion {
        ResourceVersion::new(number.to_string())
    }

    fn created() -> Pod {
        let content = VolumeContent::Directory("/v".into());
        let configuration = ConfigurationHash::of(&BTreeMap::new(), &content);
        let key = PodKey { node: NodeId::new("n"), volume: "v".parse().unwrap(), configuration };
        create(None, Pod::new(key, 0, content), Uid::new("u1"), version(1)).unwrap()
    }

    #[test]
    fn a_write_on_an_old_version_conflicts_and_a_fresh_one_gives_a_new_version() {
        let pod = created();
        let mut changed = pod.clone();
        annotations::touch(&mut changed);
        let written =
            update(Some(&pod), changed.clone(), WriteMode::CompareAndSwap, version(2)).unwrap().expect("still there");
        assert_eq!(written.version, version(2));
        assert_eq!(update(Some(&written), changed, WriteMode::CompareAndSwap, version(3)), Err(ApiError::Conflict));
    }

    #[test]
    fn a_write_that_changes_nothing_gives_no_new_version() {
        let pod = created();
        let written = update(Some(&pod), pod.clone(), WriteMode::CompareAndSwap, version(2)).unwrap();
        assert_eq!(written, Some(pod));
    }

    #[test]
    fn a_patch_of_single_annotations_leaves_the_others_as_they_are() {
        let pod = created();
        let mut named = pod.clone();
        named.annotations = BTreeMap::from([("a".to_owned(), "1".to_owned())]).into();
        let merged = update(Some(&pod), named.clone(), WriteMode::MergeAnnotations, version(2)).unwrap().unwrap();
        assert_eq!(merged.annotations.len(), pod.annotations.len() + 1);
        named.version = version(9);
        let removed = update(Some(&merged), named, WriteMode::RemoveAnnotations, version(3)).unwrap().unwrap();
        assert_eq!(removed.annotations, pod.annotations);
        assert_eq!(removed.finalizers, pod.finalizers);
    }

    #[test]
    fn a_deletion_waits_for_the_finalizers_and_bumps_the_version() {
        let pod = created();
        let preconditions = Preconditions { uid: Some(pod.uid.clone()), version: Some(pod.version.clone()) };
        let deleting = delete(Some(&pod), &preconditions, version(2)).unwrap().expect("the finalizer holds it");
        assert!(deleting.deleting && deleting.version == version(2));
        let mut last = deleting.clone();
        last.finalizers.clear();
        assert_eq!(update(Some(&deleting), last, WriteMode::CompareAndSwap, version(3)), Ok(None));
    }

    #[test]
    fn a_deletion_of_another_version_or_identity_conflicts() {
        let pod = created();
        for preconditions in [
            Preconditions { uid: Some(Uid::new("u0")), version: None },
            Preconditions { uid: Some(pod.uid.clone()), version: Some(version(9)) },
        ] {
            assert_eq!(delete(Some(&pod), &preconditions, version(2)), Err(ApiError::Conflict));
        }
    }
}
