//! Topologies: parsing and checking them, and choosing where a volume goes.

use std::{collections::BTreeMap, fmt, str::FromStr};

use thiserror::Error;

use super::Refusal;
use crate::csi::v1;

/// A place: segments such as `csi-certify.reference/zone=zone-a` (specification lines 1226–1246).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Topology(BTreeMap<String, String>);

/// The text is no topology.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0:?} is no topology: write key=value, several joined by commas; keys may have a domain prefix and a slash")]
pub struct NotATopology(String);

impl FromStr for Topology {
    type Err = NotATopology;

    fn from_str(text: &str) -> Result<Self, NotATopology> {
        let wrong = || NotATopology(text.to_owned());
        let mut segments = BTreeMap::new();
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(wrong)?;
            // Keys that differ only in case may not both exist.
            let is_new = !segments.keys().any(|other: &String| other.eq_ignore_ascii_case(key));
            if !is_key(key) || !is_label(value) || !is_new {
                return Err(wrong());
            }
            segments.insert(key.to_owned(), value.to_owned());
        }
        Ok(Self(segments))
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

impl From<&Topology> for v1::Topology {
    fn from(topology: &Topology) -> Self {
        Self { segments: topology.0.clone() }
    }
}

impl Topology {
    /// Whether everything that is asked for holds here; keys compare without regard to case (specification line 1243).
    pub fn satisfies(&self, asked: &v1::Topology) -> bool {
        asked.segments.iter().all(|(key, value)| {
            self.0.iter().any(|(own_key, own_value)| own_key.eq_ignore_ascii_case(key) && own_value == value)
        })
    }
}

/// Where a volume may and should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requirement {
    requisite: Vec<v1::Topology>,
    preferred: Vec<v1::Topology>,
}

impl Requirement {
    /// Reads the requirement of a request.
    pub fn parse(requirement: &v1::TopologyRequirement) -> Result<Self, Refusal> {
        let v1::TopologyRequirement { requisite, preferred } = requirement.clone();
        if requisite.is_empty() && preferred.is_empty() {
            return Err(Refusal::invalid("accessibility_requirements", "is empty: set requisite or preferred"));
        }
        if !requisite.is_empty() && preferred.iter().any(|topology| !requisite.contains(topology)) {
            let problem = "has an element that is not in requisite: add it there";
            return Err(Refusal::invalid("accessibility_requirements.preferred", problem));
        }
        Ok(Self { requisite, preferred })
    }

    /// Whether a volume at this place meets it; a preference binds nobody.
    pub fn is_met_by(&self, place: &Topology) -> bool {
        self.requisite.is_empty() || self.requisite.iter().any(|asked| place.satisfies(asked))
    }

    /// The places that come into question, best first: preferred ones in their order, then those of requisite, then,
    /// without a requisite, all others (specification lines 1154–1190).
    pub fn candidates<'a>(&self, places: &'a [Topology]) -> Vec<&'a Topology> {
        let mut candidates: Vec<&Topology> = Vec::new();
        let asked = self.preferred.iter().chain(&self.requisite);
        let in_order = asked.flat_map(|asked| places.iter().filter(move |place| place.satisfies(asked)));
        let others = places.iter().filter(|place| self.is_met_by(place));
        for place in in_order.chain(others) {
            if !candidates.contains(&place) {
                candidates.push(place);
            }
        }
        candidates
    }
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_domain(prefix) && is_label(name),
        None => is_label(key),
    }
}

fn is_domain(prefix: &str) -> bool {
    let is_part = |part: &str| {
        let ends = part.bytes().next().into_iter().chain(part.bytes().next_back());
        !part.is_empty()
            && ends.clone().all(|byte| byte != b'-')
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    prefix.len() <= 63 && prefix.split('.').all(is_part)
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            bytes.len() <= 63
                && first.is_ascii_alphanumeric()
                && last.is_ascii_alphanumeric()
                && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Topology {
        format!("example.com/zone={name}").parse().unwrap()
    }

    fn requirement(requisite: &[&Topology], preferred: &[&Topology]) -> Result<Requirement, Refusal> {
        let asked = |places: &[&Topology]| places.iter().map(|&place| place.into()).collect();
        Requirement::parse(&v1::TopologyRequirement { requisite: asked(requisite), preferred: asked(preferred) })
    }

    #[test]
    fn preferred_places_come_first_in_their_order() {
        let (a, b, c) = (zone("a"), zone("b"), zone("c"));
        let places = [a.clone(), b.clone(), c.clone()];
        let requirement = requirement(&[&a, &b, &c], &[&c, &a]).unwrap();
        assert_eq!(requirement.candidates(&places), [&c, &a, &b]);
    }

    #[test]
    fn a_requisite_place_that_does_not_exist_leaves_no_candidate() {
        let places = [zone("a")];
        let nowhere = zone("nowhere");
        assert!(requirement(&[&nowhere], &[]).unwrap().candidates(&places).is_empty());
        assert_eq!(requirement(&[], &[&nowhere]).unwrap().candidates(&places), [&places[0]]);
    }

    #[test]
    fn an_empty_requirement_or_a_stray_preference_is_invalid() {
        assert!(requirement(&[], &[]).is_err());
        assert!(requirement(&[&zone("a")], &[&zone("b")]).is_err());
    }

    #[test]
    fn keys_compare_without_regard_to_case() {
        let asked = v1::Topology { segments: [("Example.com/ZONE".to_owned(), "a".to_owned())].into() };
        assert!(zone("a").satisfies(&asked));
        assert!(!zone("b").satisfies(&asked));
    }

    #[test]
    fn texts_that_are_no_topologies_are_refused() {
        for bad in ["", "zone", "=a", "zone=", "UP.com/zone=a", "a/b/c=d", "zone=-a", "zone=a,ZONE=b", "-x.com/z=a"] {
            assert!(bad.parse::<Topology>().is_err(), "{bad}");
        }
    }
}
