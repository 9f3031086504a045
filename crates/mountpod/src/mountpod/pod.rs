//! The record of a mount pod: who it serves, who refers to it, and where it is in its life.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Shared, VolumeContent, VolumeId, annotations};

/// The finalizer that keeps a pod's record until its references have a successor and its mounts are gone.
pub const FINALIZER: &str = "juicefs.com/finalizer";

// The text is shared: whoever explores what can happen to a pod copies its record at every turn.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                (*id.0).to_owned()
            }
        }

        impl $name {
            /// The id that an authority gave out as this text.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

text_id! {
    /// The node that this driver instance works for.
    NodeId
}
text_id! {
    /// The name of a pod, unique among the pods that exist.
    PodName
}
text_id! {
    /// Identifies one pod object for ever, also when its name is used again.
    Uid
}
text_id! {
    /// An opaque version of an object; every write gives a new one.
    ResourceVersion
}
text_id! {
    /// The hash of the settings and the content that a pod serves.
    ConfigurationHash
}

impl ConfigurationHash {
    /// Hashes the settings together with the place of the content; secrets enter as their hash only.
    pub fn of(configuration: &BTreeMap<String, String>, content: &VolumeContent) -> Self {
        let (kind, path) = match content {
            VolumeContent::Directory(path) => ("directory", path),
            VolumeContent::BlockFile(path) => ("block", path),
        };
        let path = path.to_string_lossy();
        let mut parts = vec![kind, &*path];
        for (key, value) in configuration {
            parts.extend([key.as_str(), value.as_str()]);
        }
        Self(hash_of_parts(&parts).into())
    }
}

/// What a pod is for: at most one live pod exists for a key.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct PodKey {
    /// The node.
    pub node: NodeId,
    /// The volume.
    pub volume: VolumeId,
    /// The settings.
    pub configuration: ConfigurationHash,
}

impl PodKey {
    /// The name of the pod of this key in its n-th generation.
    ///
    /// The parts enter the hash with their lengths, so that no two keys can be spelled alike (node `a-b` with volume `c`,
    /// node `a` with volume `b-c`), and no part can be too long or hold a letter that a name may not.
    pub fn pod_name(&self, generation: u32) -> PodName {
        let hash = hash_of_parts(&[self.node.as_str(), self.volume.as_str(), self.configuration.as_str()]);
        PodName(format!("juicefs-{}-{generation}", &hash[..40]).into())
    }
}

/// One mount pod, as the pod API keeps it.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pod {
    /// Its name.
    pub name: PodName,
    /// Its identity; given by the API.
    pub uid: Uid,
    /// The version of this copy; given by the API.
    pub version: ResourceVersion,
    /// What it is for.
    pub spec: Shared<PodSpec>,
    /// References and delays; see [`annotations`].
    pub annotations: Shared<BTreeMap<String, String>>,
    /// Who has to agree before the record vanishes.
    pub finalizers: Shared<BTreeSet<String>>,
    /// Whether its deletion was accepted (`deletionTimestamp`). Its daemon is being killed then; the record stays
    /// until its last finalizer is gone.
    pub deleting: bool,
    /// What the kubelet says of it.
    pub status: PodStatus,
}

/// The part of a pod that never changes.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodSpec {
    /// Whom it serves.
    pub key: PodKey,
    /// Sets the pod's name apart from that of a predecessor that is still terminating.
    pub generation: u32,
    /// What it serves.
    pub content: VolumeContent,
}

/// What the kubelet last wrote about a pod. It can be stale: nothing is mounted on its word alone.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodStatus {
    /// The phase.
    pub phase: Phase,
    /// Whether the daemon was seen serving.
    pub ready: bool,
}

/// The phase of a pod.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Its daemon does not run yet.
    #[default]
    Pending,
    /// Its daemon was started.
    Running,
    /// Its daemon cannot run.
    Failed,
}

impl Pod {
    /// A pod to create, unconfirmed and without references.
    pub fn new(key: PodKey, generation: u32, content: VolumeContent) -> Self {
        let mut pod = Self {
            name: key.pod_name(generation),
            uid: Uid::default(),
            version: ResourceVersion::default(),
            spec: PodSpec { key, generation, content }.into(),
            annotations: Shared::default(),
            finalizers: BTreeSet::from([FINALIZER.to_owned()]).into(),
            deleting: false,
            status: PodStatus::default(),
        };
        annotations::set_unconfirmed(&mut pod);
        pod
    }

    /// Whether no deletion of the pod was accepted.
    pub const fn is_live(&self) -> bool {
        !self.deleting
    }

    /// What is left when everything that changes is taken away: enough to say which pod is meant and what it serves.
    ///
    /// A machine that keeps more than it needs makes states of a search differ that behave alike.
    #[must_use]
    pub fn identity(&self) -> Self {
        let (name, uid, spec) = (self.name.clone(), self.uid.clone(), self.spec.clone());
        let (version, status) = (ResourceVersion::default(), PodStatus::default());
        let (annotations, finalizers) = (Shared::default(), Shared::default());
        Self { name, uid, version, spec, annotations, finalizers, deleting: self.deleting, status }
    }

    /// The labels by which the pod is found.
    pub fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("app.kubernetes.io/name".to_owned(), "juicefs-mount".to_owned()),
            ("volume-id".to_owned(), self.spec.key.volume.to_string()),
            ("juicefs-hash".to_owned(), self.spec.key.configuration.as_str().chars().take(63).collect()),
        ])
    }
}

/// SHA-256 in hexadecimal over the parts, each preceded by its length.
fn hash_of_parts(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hexadecimal(&hash.finalize())
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for &byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(node: &str, volume: &str) -> PodKey {
        PodKey {
            node: NodeId::new(node),
            volume: volume.parse().unwrap(),
            configuration: ConfigurationHash::of(&BTreeMap::new(), &VolumeContent::Directory("/v".into())),
        }
    }

    #[test]
    fn keys_that_read_alike_when_joined_have_different_names() {
        assert_ne!(key("a-b", "c").pod_name(0), key("a", "b-c").pod_name(0));
        assert_eq!(key("a", "b").pod_name(0), key("a", "b").pod_name(0));
        assert_ne!(key("a", "b").pod_name(0), key("a", "b").pod_name(1));
    }

    #[test]
    fn a_name_is_a_valid_pod_name_whatever_the_node_is_called() {
        let name = key(&"NODE.".repeat(100), "v").pod_name(u32::MAX);
        assert!(name.as_str().len() <= 63);
        assert!(name.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
    }

    #[test]
    fn settings_are_hashed_with_their_boundaries() {
        let content = VolumeContent::Directory("/v".into());
        let of = |key: &str, value: &str| {
            ConfigurationHash::of(&BTreeMap::from([(key.to_owned(), value.to_owned())]), &content)
        };
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_ne!(of("a", "b"), ConfigurationHash::of(&BTreeMap::new(), &content));
    }
}
