//! Rules, their ids and their attributes.

use std::fmt;

use super::Rpc;

/// How strongly a rule binds; REQUIRED and SHALL are `Must`, RECOMMENDED is `Should`, OPTIONAL is `May`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Level {
    /// A breach is a violation.
    Must,
    /// A breach is a violation.
    MustNot,
    /// A breach is a warning.
    Should,
    /// A breach is a warning.
    ShouldNot,
    /// A permission; it cannot be broken.
    May,
}

impl Level {
    /// Whether a breach is a violation, and not merely a warning.
    pub const fn is_must(self) -> bool {
        matches!(self, Self::Must | Self::MustNot)
    }

    /// The keyword as RFC 2119 spells it.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::May => "MAY",
        }
    }
}

/// Whom a rule binds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Binds {
    /// The driver.
    Plugin,
    /// The container orchestrator, its operator or the supervisor of plugins.
    Co,
    /// Both sides.
    Both,
}

/// What an observer needs in order to decide a rule.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Observe {
    /// The reply to one call.
    Rpc,
    /// Several calls.
    Sequence,
    /// Overlapping calls.
    Concurrent,
    /// A restart of the plugin.
    Restart,
    /// The node's file system.
    Mount,
    /// The plugin's process: environment, logs, sockets, exit.
    Process,
    /// It cannot be decided from outside.
    None,
}

/// One normative statement of the specification.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Unique, `AREA-TOPIC-NNN`.
    pub id: &'static str,
    /// The section of the specification.
    pub section: &'static str,
    /// The first line of the statement in `spec.md` at tag v1.12.0.
    pub line: u32,
    /// How strongly it binds.
    pub level: Level,
    /// Whom it binds.
    pub binds: Binds,
    /// The name of the RPC that it is about, or empty.
    pub rpc: &'static str,
    /// Capabilities that must all hold; see [`super::Gate`].
    pub gate: &'static [&'static str],
    /// The rule in our own words.
    pub text: &'static str,
    /// The code that it demands or permits, or empty.
    pub code: &'static str,
    /// What decides it.
    pub observe: Observe,
    /// Test idea, verdict and tolerances.
    pub note: &'static str,
    /// Why csi-certify cannot judge the rule or bring it about, although it can be observed in principle; mostly empty.
    pub beyond_reach: &'static str,
}

impl Rule {
    /// The RPC that the rule is about, if it is about one.
    pub fn rpc(&self) -> Option<Rpc> {
        Rpc::from_name(self.rpc)
    }

    /// Whether the rule counts towards coverage: it binds the plugin at MUST or SHOULD level and can be observed.
    pub fn is_observable(&self) -> bool {
        self.binds != Binds::Co && self.level != Level::May && self.observe != Observe::None
    }
}

/// Names a rule of the catalogue; cheap to copy and compare, ordered as ids are.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RuleId(u16);

impl RuleId {
    /// The rule of that id.
    ///
    /// # Panics
    ///
    /// When there is none; in a `const` context, where [`crate::rule!`] puts it, that is a compile error.
    #[allow(clippy::panic, reason = "evaluated by the compiler only, through rule!")]
    pub const fn named(id: &str) -> Self {
        match Self::position(id.as_bytes()) {
            Some(index) => Self(index),
            None => panic!("no rule of this id in the catalogue"),
        }
    }

    /// Looks a rule up by its id.
    pub fn parse(id: &str) -> Option<Self> {
        Self::position(id.as_bytes()).map(Self)
    }

    /// All rules, in the order of their ids.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        (0..RULES.len() as u16).map(Self)
    }

    /// The row of the catalogue.
    pub fn rule(self) -> &'static Rule {
        &RULES[usize::from(self.0)]
    }

    /// The id as text.
    pub fn as_str(self) -> &'static str {
        self.rule().id
    }

    const fn position(id: &[u8]) -> Option<u16> {
        let (mut low, mut high) = (0, RULES.len());
        while low < high {
            let middle = low.midpoint(high);
            match compare(RULES[middle].id.as_bytes(), id) {
                0 => return Some(middle as u16),
                order if order < 0 => low = middle + 1,
                _ => high = middle,
            }
        }
        None
    }
}

impl fmt::Debug for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl serde::Serialize for RuleId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for RuleId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        Self::parse(&id).ok_or_else(|| serde::de::Error::custom(format!("no rule {id:?} in the catalogue")))
    }
}

/// The order of two byte strings, usable at compile time: negative, zero or positive.
const fn compare(a: &[u8], b: &[u8]) -> i32 {
    let mut index = 0;
    while index < a.len() && index < b.len() {
        if a[index] != b[index] {
            return a[index] as i32 - b[index] as i32;
        }
        index += 1;
    }
    a.len() as i32 - b.len() as i32
}

include!(concat!(env!("OUT_DIR"), "/rules.rs"));

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn every_id_is_unique_and_finds_its_row() {
        let ids: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), 1154);
        for id in RuleId::all() {
            assert_eq!(RuleId::parse(id.as_str()), Some(id));
        }
        assert_eq!(RuleId::parse("CTRL-CREATE-9999"), None);
        assert_eq!(RuleId::parse(""), None);
    }

    #[test]
    fn lines_ascend_within_a_topic_of_a_section() {
        // The number of a rule follows the text: within one section and topic, later numbers stand on later lines.
        let mut last: BTreeMap<(&str, &str), (u32, &str)> = BTreeMap::new();
        let mut broken = Vec::new();
        for rule in RULES {
            let topic = rule.id.rsplit_once('-').map_or(rule.id, |(topic, _)| topic);
            if let Some((line, id)) = last.insert((rule.section, topic), (rule.line, rule.id))
                && line > rule.line
            {
                broken.push(format!("{id} (line {line}) stands before {} (line {})", rule.id, rule.line));
            }
        }
        assert!(broken.is_empty(), "{broken:#?}");
    }

    #[test]
    fn six_hundred_and_sixteen_rules_are_observable() {
        assert_eq!(RULES.iter().filter(|rule| rule.is_observable()).count(), 616);
    }

    #[test]
    fn a_rule_about_an_rpc_names_one_that_exists() {
        for rule in RULES {
            assert!(rule.rpc.is_empty() || rule.rpc().is_some(), "{}: {}", rule.id, rule.rpc);
        }
    }
}
