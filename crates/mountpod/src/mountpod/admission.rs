//! Whether a publication may join those that the node already has (specification lines 2465–2483).

use super::{
    AccessMode, Fingerprint, Role, TargetPath, VolumeId,
    annotations::{Reference, references},
    pod::Pod,
};

/// What SINGLE_NODE_WRITER and SINGLE_NODE_READER_ONLY mean for a second target on the node.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, clap::ValueEnum)]
pub enum SecondTarget {
    /// It is refused, as the specification's table recommends (line 2474).
    #[default]
    Refuse,
    /// It is allowed, as several orchestrators expect.
    Allow,
}

/// The answer to a publication.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Admission {
    /// It may be added.
    Admitted,
    /// The target holds the volume already, in the same way.
    AlreadyThere,
    /// The target holds the volume in another way.
    Incompatible {
        /// What differs.
        difference: &'static str,
    },
    /// The target belongs to another volume.
    Occupied {
        /// That volume.
        holder: VolumeId,
    },
    /// Another target holds the volume, and the access mode allows only one.
    SingleTarget {
        /// That target.
        at: TargetPath,
    },
}

/// Judges a publication against every pod of the node, terminating ones included: their references live on.
pub fn admit<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    volume: &VolumeId,
    target: &TargetPath,
    role: Role,
    fingerprint: &Fingerprint,
    single_node_writer: SecondTarget,
) -> Admission {
    let mut elsewhere = None;
    let mut already_there = false;
    for pod in pods {
        for reference in references(pod) {
            if pod.spec.key.volume != *volume {
                if reference.target == *target {
                    return Admission::Occupied { holder: pod.spec.key.volume.clone() };
                }
            } else if reference.target == *target {
                match compare(&reference, role, fingerprint) {
                    Some(difference) => return Admission::Incompatible { difference },
                    None => already_there = true,
                }
            } else if role == Role::Target && reference.role() == Role::Target {
                elsewhere.get_or_insert(reference);
            }
        }
    }
    match elsewhere {
        _ if already_there => Admission::AlreadyThere,
        Some(other) if !may_share(fingerprint.access_mode, &other, single_node_writer) => {
            Admission::SingleTarget { at: other.target }
        }
        _ => Admission::Admitted,
    }
}

/// Whether a second target may stand beside the first; both requests have a say.
fn may_share(mode: AccessMode, other: &Reference, single_node_writer: SecondTarget) -> bool {
    let theirs = other.detail.as_ref().map(|detail| detail.fingerprint.access_mode);
    [Some(mode), theirs].into_iter().flatten().all(|mode| match mode {
        AccessMode::MultiNodeReaderOnly
        | AccessMode::MultiNodeSingleWriter
        | AccessMode::MultiNodeMultiWriter
        | AccessMode::SingleNodeMultiWriter => true,
        AccessMode::SingleNodeSingleWriter => false,
        AccessMode::SingleNodeWriter | AccessMode::SingleNodeReaderOnly => single_node_writer == SecondTarget::Allow,
    })
}

/// The first difference between what is recorded and what is asked for. A reference without detail was written by
/// another program and is taken to be compatible: this request completes its record.
fn compare(reference: &Reference, role: Role, asked: &Fingerprint) -> Option<&'static str> {
    let detail = reference.detail.as_ref()?;
    let there = &detail.fingerprint;
    [
        (detail.role != role, "staging path or target"),
        (there.access_type != asked.access_type, "access type"),
        (there.access_mode != asked.access_mode, "access mode"),
        (there.read_only != asked.read_only, "read-only flag"),
        (there.fs_type != asked.fs_type, "file-system type"),
        (there.mount_flags != asked.mount_flags, "mount flags"),
        (there.mount_group != asked.mount_group, "mount group"),
    ]
    .into_iter()
    .find_map(|(differs, what)| differs.then_some(what))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::mountpod::{
        AccessType, VolumeContent,
        annotations::{Detail, add_reference},
        pod::{ConfigurationHash, NodeId, PodKey},
    };

    fn fingerprint(access_mode: AccessMode) -> Fingerprint {
        Fingerprint {
            access_type: AccessType::Mount,
            access_mode,
            read_only: false,
            fs_type: String::new(),
            mount_flags: String::new(),
            mount_group: String::new(),
        }
    }

    fn pod(volume: &str, target: &str, role: Role, mode: AccessMode) -> Pod {
        let content = VolumeContent::Directory("/v".into());
        let configuration = ConfigurationHash::of(&BTreeMap::new(), &content);
        let key = PodKey { node: NodeId::new("n"), volume: volume.parse().unwrap(), configuration };
        let mut pod = Pod::new(key, 0, content);
        let detail = Detail { role, fingerprint: fingerprint(mode) };
        add_reference(&mut pod, &target.parse().unwrap(), Some(&detail));
        pod
    }

    fn ask(pods: &[Pod], target: &str, role: Role, asked: &Fingerprint, switch: SecondTarget) -> Admission {
        admit(pods, &"v".parse().unwrap(), &target.parse().unwrap(), role, asked, switch)
    }

    #[test]
    fn a_second_target_follows_the_table_of_the_access_modes() {
        use AccessMode::*;
        let refused = Admission::SingleTarget { at: "/a".parse().unwrap() };
        for (mode, by_default, with_allow) in [
            (MultiNodeReaderOnly, true, true),
            (MultiNodeSingleWriter, true, true),
            (MultiNodeMultiWriter, true, true),
            (SingleNodeMultiWriter, true, true),
            (SingleNodeSingleWriter, false, false),
            (SingleNodeWriter, false, true),
            (SingleNodeReaderOnly, false, true),
        ] {
            let pods = [pod("v", "/a", Role::Target, mode)];
            for (switch, allowed) in [(SecondTarget::Refuse, by_default), (SecondTarget::Allow, with_allow)] {
                let expected = if allowed { Admission::Admitted } else { refused.clone() };
                assert_eq!(ask(&pods, "/b", Role::Target, &fingerprint(mode), switch), expected, "{mode:?} {switch:?}");
            }
        }
    }

    #[test]
    fn the_same_request_again_is_already_there_whatever_the_mode() {
        let mode = AccessMode::SingleNodeSingleWriter;
        let pods = [pod("v", "/a", Role::Target, mode)];
        let answer = ask(&pods, "/a", Role::Target, &fingerprint(mode), SecondTarget::Refuse);
        assert_eq!(answer, Admission::AlreadyThere);
    }

    #[test]
    fn a_different_request_for_the_same_target_names_the_difference() {
        let pods = [pod("v", "/a", Role::Target, AccessMode::MultiNodeMultiWriter)];
        let read_only = Fingerprint { read_only: true, ..fingerprint(AccessMode::MultiNodeMultiWriter) };
        let answer = ask(&pods, "/a", Role::Target, &read_only, SecondTarget::Refuse);
        assert_eq!(answer, Admission::Incompatible { difference: "read-only flag" });
    }

    #[test]
    fn a_staging_reference_never_stands_in_the_way_of_a_target() {
        let mode = AccessMode::SingleNodeSingleWriter;
        let pods = [pod("v", "/stage", Role::Staging, mode)];
        assert_eq!(ask(&pods, "/a", Role::Target, &fingerprint(mode), SecondTarget::Refuse), Admission::Admitted);
        let pods = [pod("v", "/a", Role::Target, mode)];
        assert_eq!(ask(&pods, "/stage", Role::Staging, &fingerprint(mode), SecondTarget::Refuse), Admission::Admitted);
    }

    #[test]
    fn a_target_of_another_volume_is_occupied() {
        let mode = AccessMode::MultiNodeMultiWriter;
        let pods = [pod("other", "/a", Role::Target, mode), pod("other", "/b", Role::Target, mode)];
        let occupied = Admission::Occupied { holder: "other".parse().unwrap() };
        assert_eq!(ask(&pods, "/a", Role::Target, &fingerprint(mode), SecondTarget::Refuse), occupied);
        assert_eq!(ask(&pods, "/c", Role::Target, &fingerprint(mode), SecondTarget::Refuse), Admission::Admitted);
    }
}
