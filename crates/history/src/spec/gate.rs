//! Capability gates: which rules apply to a driver, by what it advertises.

use std::collections::BTreeSet;

use thiserror::Error;

use super::Rule;

/// What a driver advertises, as `Service.NAME`: `Plugin.CONTROLLER_SERVICE`, `Node.EXPAND_VOLUME`,
/// `VolumeExpansion.ONLINE`.
///
/// Values that CSI v1.12.0 does not know stand in as their number and gate nothing.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Capabilities(BTreeSet<String>);

impl Capabilities {
    /// Whether the capability is advertised, e.g. `has("Node.EXPAND_VOLUME")`.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Adds a capability.
    pub fn insert(&mut self, name: impl Into<String>) {
        self.0.insert(name.into());
    }

    /// All of them, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Those of one service or kind, without its prefix.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter_map(move |name| name.strip_prefix(kind)?.strip_prefix('.'))
    }

    /// The first gate of the rule that is shut, or `None` where the rule applies.
    ///
    /// Gates on the access mode or type speak of a request, not of the driver: they are open here.
    pub fn shut_gate(&self, rule: &Rule) -> Option<&'static str> {
        rule.gate.iter().copied().find(|text| !Gate::parse(text).is_ok_and(|gate| gate.is_open(self)))
    }
}

impl<S: Into<String>> Extend<S> for Capabilities {
    fn extend<I: IntoIterator<Item = S>>(&mut self, names: I) {
        self.0.extend(names.into_iter().map(Into::into));
    }
}

impl<S: Into<String>> FromIterator<S> for Capabilities {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

/// One entry of a rule's gate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gate {
    negated: bool,
    alternatives: Vec<String>,
}

/// Why the text is no gate.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum GateError {
    /// An alternative lacks its kind.
    #[error("gate {0:?} has no kind: write e.g. Node.{0}")]
    NoKind(String),
}

impl Gate {
    /// Reads an entry: `Node.X`, `!Node.X`, `Node.X|Node.Y`, `AccessMode.MULTI_NODE_*`.
    ///
    /// # Errors
    ///
    /// When an alternative has no kind before a dot.
    pub fn parse(text: &str) -> Result<Self, GateError> {
        let (negated, names) = match text.strip_prefix('!') {
            Some(names) => (true, names),
            None => (false, text),
        };
        let alternatives: Vec<String> = names.split('|').map(str::to_owned).collect();
        match alternatives.iter().find(|name| !name.contains('.')) {
            Some(name) => Err(GateError::NoKind(name.clone())),
            None => Ok(Self { negated, alternatives }),
        }
    }

    /// The names that it speaks of, a trailing `*` included.
    pub fn names(&self) -> &[String] {
        &self.alternatives
    }

    /// Whether the gate lets the rule apply to a driver with these capabilities.
    pub fn is_open(&self, capabilities: &Capabilities) -> bool {
        if self.alternatives.iter().any(|name| name.starts_with("AccessMode.") || name.starts_with("AccessType.")) {
            return true;
        }
        let any = self.alternatives.iter().any(|name| match name.strip_suffix('*') {
            Some(prefix) => capabilities.iter().any(|have| have.starts_with(prefix)),
            None => capabilities.has(name),
        });
        any != self.negated
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::spec::RuleId;

    #[test]
    fn gates_read_as_their_rules_mean_them() {
        let have: Capabilities = ["Node.EXPAND_VOLUME", "Controller.LIST_VOLUMES"].into_iter().collect();
        let open = |text: &str| Gate::parse(text).unwrap().is_open(&have);
        assert!(open("Node.EXPAND_VOLUME"));
        assert!(!open("!Node.EXPAND_VOLUME"));
        assert!(open("Node.GET_VOLUME_STATS|Node.EXPAND_VOLUME"));
        assert!(!open("Node.GET_VOLUME_STATS|Node.VOLUME_CONDITION"));
        assert!(open("Controller.LIST_*"));
        assert!(open("!AccessMode.MULTI_NODE_*"));
        assert_eq!(Gate::parse("EXPAND"), Err(GateError::NoKind("EXPAND".into())));
    }

    #[test]
    fn every_gate_resolves_against_the_descriptor() {
        let pool = DescriptorPool::decode(crate::csi::DESCRIPTOR_SET).unwrap();
        let values = |name: &str| -> Vec<String> {
            pool.get_enum_by_name(name).unwrap().values().map(|value| value.name().to_owned()).collect()
        };
        let names = |kind: &str| match kind {
            "Plugin" => values("csi.v1.PluginCapability.Service.Type"),
            "VolumeExpansion" => values("csi.v1.PluginCapability.VolumeExpansion.Type"),
            "Controller" => values("csi.v1.ControllerServiceCapability.RPC.Type"),
            "GroupController" => values("csi.v1.GroupControllerServiceCapability.RPC.Type"),
            "Node" => values("csi.v1.NodeServiceCapability.RPC.Type"),
            "AccessMode" => values("csi.v1.VolumeCapability.AccessMode.Mode"),
            "AccessType" => ["mount", "block"].map(str::to_owned).to_vec(),
            other => panic!("no capability kind {other}"),
        };
        for id in RuleId::all() {
            for text in id.rule().gate {
                for name in Gate::parse(text).unwrap().names() {
                    let (kind, value) = name.split_once('.').unwrap();
                    let known = names(kind);
                    let found = match value.strip_suffix('*') {
                        Some(prefix) => known.iter().any(|name| name.starts_with(prefix)),
                        None => known.iter().any(|name| name == value),
                    };
                    assert!(found, "{id}: gate {text:?} names nothing in the interface");
                }
            }
        }
    }
}
