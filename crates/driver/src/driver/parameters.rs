//! The parameters that the driver understands.
//!
//! | key | where | values |
//! |---|---|---|
//! | `directoryMode` | parameters | octal mode of the volume's root directory, `0000` to `7777`; default `0777` |
//! | `tier` | parameters, mutable parameters | `standard` (default) or `fast` |
//! | `iops` | parameters, mutable parameters | 100 to 1000000; default 3000 |
//!
//! Keys that the sidecars add (`csi.storage.k8s.io/…`) are accepted and ignored; every other key is refused.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::{Refusal, page::hexadecimal};
use crate::mountpod::VolumeId;

/// What the parameters of a volume come to, defaults included.
#[derive(Clone, Debug, Eq, Hash, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Properties {
    /// The mode of the root directory.
    pub directory_mode: u32,
    /// The class of service.
    pub tier: Tier,
    /// Operations in a second.
    pub iops: u32,
}

/// A class of service.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// The usual one.
    Standard,
    /// The quicker one.
    Fast,
}

impl Default for Properties {
    fn default() -> Self {
        Self { directory_mode: 0o777, tier: Tier::Standard, iops: 3000 }
    }
}

impl Properties {
    /// Reads both maps of a CreateVolume request; the mutable ones win (specification line 882).
    pub fn parse(parameters: &BTreeMap<String, String>, mutable: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        let mut properties = Self::default();
        for (key, value) in parameters.iter().filter(|(key, _)| !is_of_a_sidecar(key)) {
            match key.as_str() {
                DIRECTORY_MODE => properties.directory_mode = directory_mode(value)?,
                _ => properties.set("parameters", key, value)?,
            }
        }
        properties.modified(mutable)
    }

    /// These properties with the mutable parameters applied; all of them or, on a refusal, none.
    pub fn modified(mut self, mutable: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        for (key, value) in mutable {
            self.set("mutable_parameters", key, value)?;
        }
        Ok(self)
    }

    fn set(&mut self, field: &'static str, key: &str, value: &str) -> Result<(), Refusal> {
        match key {
            TIER => {
                self.tier = match value {
                    "standard" => Tier::Standard,
                    "fast" => Tier::Fast,
                    _ => return Err(Refusal::invalid(field, "has a bad `tier`: choose standard or fast")),
                }
            }
            IOPS => {
                self.iops = plain_number(value)
                    .filter(|iops| (100..=1_000_000).contains(iops))
                    .ok_or_else(|| Refusal::invalid(field, "has a bad `iops`: choose 100 to 1000000"))?;
            }
            _ => return Err(Refusal::invalid(field, format!("has an unknown key: known are {}", known(field)))),
        }
        Ok(())
    }
}

/// Refuses snapshot parameters: there are none but those of the sidecars.
pub fn snapshot_parameters(parameters: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if parameters.keys().all(|key| is_of_a_sidecar(key)) {
        return Ok(());
    }
    Err(Refusal::invalid("parameters", "has an unknown key: snapshots take no parameters"))
}

/// What selects the mount pod that serves a volume: one tier does not share a pod with another.
pub fn pod_settings(properties: &Properties) -> BTreeMap<String, String> {
    let tier = match properties.tier {
        Tier::Standard => "standard",
        Tier::Fast => "fast",
    };
    BTreeMap::from([(TIER.to_owned(), tier.to_owned())])
}

/// The volume context of a volume; it never changes (specification line 1043), so only what is fixed is in it.
pub fn volume_context(properties: &Properties) -> BTreeMap<String, String> {
    BTreeMap::from([(DIRECTORY_MODE.to_owned(), format!("{:04o}", properties.directory_mode))])
}

/// Whether a context that came with a request is the volume's own. An absent one is; additions of the orchestrator
/// (pod info, identity of the provisioner) are its own business.
pub fn is_own_context(given: &BTreeMap<String, String>, properties: &Properties) -> bool {
    let own: BTreeMap<String, String> = given
        .iter()
        .filter(|(key, _)| !is_of_a_sidecar(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    own.is_empty() || own == volume_context(properties)
}

/// What the node is told of an attachment: the same for as long as it lasts (specification line 1364).
pub fn publish_context(volume: &VolumeId, node: &str, readonly: bool) -> BTreeMap<String, String> {
    let digest = Sha256::digest(format!("{volume}/{node}"));
    BTreeMap::from([(ATTACHMENT.to_owned(), hexadecimal(&digest[..8])), (READ_ONLY.to_owned(), readonly.to_string())])
}

/// Whether the controller attached the volume read-only.
pub fn is_read_only(publish_context: &BTreeMap<String, String>) -> bool {
    publish_context.get(READ_ONLY).is_some_and(|value| value == "true")
}

fn is_of_a_sidecar(key: &str) -> bool {
    ["csi.storage.k8s.io/", "storage.kubernetes.io/"].iter().any(|prefix| key.starts_with(prefix))
}

fn directory_mode(value: &str) -> Result<u32, Refusal> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    u32::from_str_radix(value, 8)
        .ok()
        .filter(|&mode| digits && mode <= 0o7777)
        .ok_or_else(|| Refusal::invalid("parameters", "has a bad `directoryMode`: give octal digits such as 0755"))
}

fn plain_number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn known(field: &str) -> &'static str {
    if field == "parameters" { "directoryMode, tier and iops" } else { "tier and iops" }
}

const DIRECTORY_MODE: &str = "directoryMode";
const TIER: &str = "tier";
const IOPS: &str = "iops";
const ATTACHMENT: &str = "attachment";
const READ_ONLY: &str = "readOnly";

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn mutable_parameters_win_over_parameters() {
        let properties = Properties::parse(&map(&[("tier", "standard")]), &map(&[("tier", "fast")])).unwrap();
        assert_eq!(properties.tier, Tier::Fast);
    }

    #[test]
    fn unknown_keys_and_senseless_values_are_refused_without_naming_them() {
        for bad in [("bogus-secret", "x"), ("tier", "x"), ("iops", "+200"), ("iops", "1"), ("directoryMode", "99")] {
            let refusal = Properties::parse(&map(&[bad]), &map(&[])).unwrap_err();
            assert!(!refusal.to_string().contains("bogus-secret"));
        }
        assert!(Properties::parse(&map(&[]), &map(&[("directoryMode", "0755")])).is_err());
    }

    #[test]
    fn what_sidecars_add_is_ignored() {
        let added = map(&[("csi.storage.k8s.io/pvc/name", "x")]);
        assert_eq!(Properties::parse(&added, &map(&[])), Ok(Properties::default()));
        assert!(is_own_context(&added, &Properties::default()));
        assert!(!is_own_context(&map(&[("other", "x")]), &Properties::default()));
        assert!(is_own_context(&volume_context(&Properties::default()), &Properties::default()));
    }
}
