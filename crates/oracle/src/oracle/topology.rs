//! Keys and values of topologies (specification lines 1226–1246).

use std::collections::BTreeMap;

use super::{
    ruling::{Mark, Strike, advise, check},
    world::World,
};
use crate::{rule, spec::RuleId};

const LONGEST: usize = 63;

/// Judges the segments of one topology.
pub(super) fn marks(world: &World, segments: &BTreeMap<String, String>, marks: &mut Vec<Mark>) {
    for (key, value) in segments {
        let mut parts = key.rsplitn(2, '/');
        let name = parts.next().unwrap_or_default();
        let prefix = parts.next();
        let shown = || format!("key {key:?}");
        check(marks, rule!("CTRL-CREATE-128"), key.matches('/').count() <= 1, || {
            ("a topology key has more than one slash".into(), "prefix/name or name".into(), shown())
        });
        check(marks, rule!("CTRL-CREATE-129"), !name.is_empty(), || {
            ("a topology key has no name".into(), "prefix/name or name".into(), shown())
        });
        check(marks, rule!("CTRL-CREATE-131"), name.chars().count() <= LONGEST, || {
            ("the name of a topology key is too long".into(), "at most 63 characters".into(), shown())
        });
        check(marks, rule!("CTRL-CREATE-132"), name.is_empty() || is_label(name), || {
            (
                "the name of a topology key has characters that it may not have".into(),
                "letters and digits at both ends, with '-', '_' and '.' between".into(),
                shown(),
            )
        });
        if let Some(prefix) = prefix {
            check(marks, rule!("CTRL-CREATE-133"), prefix.chars().count() <= LONGEST, || {
                ("the prefix of a topology key is too long".into(), "at most 63 characters".into(), shown())
            });
            check(marks, rule!("CTRL-CREATE-134"), is_domain(prefix), || {
                (
                    "the prefix of a topology key is no lower-case domain name".into(),
                    "lower-case labels of letters, digits and inner dashes, joined by dots".into(),
                    shown(),
                )
            });
            advise_prefix(world, prefix, marks);
        }
        let actual = || format!("value {value:?}");
        check(marks, rule!("CTRL-CREATE-139"), !value.is_empty(), || {
            ("a topology value is empty".into(), "a non-empty string".into(), shown())
        });
        check(marks, rule!("CTRL-CREATE-140"), value.chars().count() <= LONGEST, || {
            ("a topology value is too long".into(), "at most 63 characters".into(), actual())
        });
        check(marks, rule!("CTRL-CREATE-141"), value.is_empty() || is_label(value), || {
            (
                "a topology value has characters that it may not have".into(),
                "letters and digits at both ends, with '-', '_' and '.' between".into(),
                actual(),
            )
        });
    }
}

/// The prefix ought to speak of the provider; well-known keys of orchestrators are common, so this is quiet on them.
fn advise_prefix(world: &World, prefix: &str, marks: &mut Vec<Mark>) {
    let name = world.knowledge.driver.name.to_lowercase();
    let shares = name.split('.').filter(|label| label.len() > 3).any(|label| prefix.contains(label));
    if shares {
        marks.push(Mark::Held(rule!("CTRL-CREATE-135")));
    } else if !prefix.ends_with("kubernetes.io") && !name.is_empty() {
        advise(marks, rule!("CTRL-CREATE-135"), false, || {
            (
                "the prefix of a topology key names neither the provider nor the plugin".into(),
                format!("a prefix with a part of {name:?}"),
                format!("prefix {prefix:?}"),
            )
        });
    }
}

/// All topology keys of a run.
#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<String, ()>);

impl Keys {
    /// Remembers the keys of a topology.
    pub(super) fn learn(&mut self, segments: &BTreeMap<String, String>) {
        self.0.extend(segments.keys().map(|key| (key.clone(), ())));
    }

    /// Judges them together: one prefix, and no two keys that differ in case only.
    pub(super) fn marks(&self) -> Vec<Mark> {
        let mut marks = Vec::new();
        if self.0.is_empty() {
            return marks;
        }
        let prefix = |key: &str| key.rsplit_once('/').map(|(prefix, _)| prefix.to_owned());
        let mut prefixes: Vec<Option<String>> = self.0.keys().map(|key| prefix(key)).collect();
        prefixes.sort();
        prefixes.dedup();
        if prefixes.iter().any(Option::is_some) {
            together(&mut marks, rule!("CTRL-CREATE-136"), prefixes.len() == 1, || {
                ("topology keys have different prefixes".into(), format!("{prefixes:?}"))
            });
        }
        let mut lower: Vec<String> = self.0.keys().map(|key| key.to_lowercase()).collect();
        lower.sort();
        let count = lower.len();
        lower.dedup();
        together(&mut marks, rule!("CTRL-CREATE-138"), lower.len() == count, || {
            ("two topology keys differ in case only".into(), format!("{:?}", self.0.keys().collect::<Vec<_>>()))
        });
        marks
    }
}

fn together(marks: &mut Vec<Mark>, rule: RuleId, kept: bool, broken: impl FnOnce() -> (String, String)) {
    marks.push(if kept {
        Mark::Held(rule)
    } else {
        let (message, actual) = broken();
        Mark::Broken(Strike::new(rule, message, "one spelling and one prefix in all replies", actual))
    });
}

fn is_label(text: &str) -> bool {
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    alphanumeric(text.chars().next())
        && alphanumeric(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn is_domain(prefix: &str) -> bool {
    prefix.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_domains_are_told_from_other_text() {
        for good in ["zone", "rack.1_a", "A-b"] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "ä"] {
            assert!(!is_label(bad), "{bad}");
        }
        assert!(is_domain("topology.example.com"));
        for bad in ["", "a..b", "-a.b", "A.b", "a_b"] {
            assert!(!is_domain(bad), "{bad}");
        }
    }
}
