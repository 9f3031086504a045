//! The catalogue of faults: what each is, where it was seen, which rules it breaks.

use std::sync::LazyLock;

use serde::Deserialize;

/// A fault of the catalogue.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// What the driver does wrong.
    pub title: String,
    /// The shortest history that shows it.
    pub exposed_by: String,
    /// Public threads in which it was seen; none for one that is only plausible.
    pub links: Vec<String>,
    /// The specification does not forbid it outright: it draws a warning at most.
    #[serde(default)]
    pub advisory: bool,
    /// Rules of which at least one has to be broken by it.
    pub rules: Vec<String>,
    /// Where it shows.
    #[serde(default)]
    pub lane: Lane,
    /// Why it is not found, for one that is known to be missed.
    #[serde(default)]
    pub missed: String,
    /// The class: the name of the file.
    #[serde(skip)]
    pub class: &'static str,
}

/// Where a fault shows.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// In the answers alone.
    #[default]
    Memory,
    /// On real mounts.
    Mounts,
    /// In what outlives a process of its own, or is seen of it: its log, its children.
    Process,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Class {
    fault: Vec<Entry>,
}

macro_rules! classes {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("catalogue/", $name, ".toml")))),+]
    };
}

/// Every fault of the catalogue, by class.
pub fn entries() -> &'static [Entry] {
    static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
        let read = |&(class, text): &(&'static str, &str)| {
            let entries = toml::from_str::<Class>(text).expect("a test reads every file of the catalogue").fault;
            entries.into_iter().map(move |entry| Entry { class, ..entry })
        };
        CLASSES.iter().flat_map(read).collect()
    });
    &ENTRIES
}

/// A fault by its id.
pub fn entry(id: &str) -> Option<&'static Entry> {
    entries().iter().find(|entry| entry.id == id)
}

const CLASSES: &[(&str, &str)] = classes![
    "access-mode",
    "block",
    "capability",
    "capacity",
    "crash-recovery",
    "data-loss",
    "error-code",
    "expand",
    "group",
    "hang",
    "idempotency",
    "leak",
    "metadata",
    "other",
    "pagination",
    "protocol",
    "race",
    "refcount",
    "security",
    "snapshot",
    "stats",
    "topology",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{faults, spec::RuleId};

    #[test]
    fn every_fault_has_an_id_of_its_own_and_names_rules_that_exist() {
        let mut ids = BTreeSet::new();
        for entry in entries() {
            assert!(ids.insert(&entry.id), "{} is there twice", entry.id);
            for rule in &entry.rules {
                assert!(RuleId::parse(rule).is_some(), "{}: {rule}", entry.id);
            }
        }
        assert!(ids.len() >= 145, "{} faults", ids.len());
    }

    #[test]
    fn every_fault_is_seeded_and_names_the_rules_that_it_breaks_or_why_it_is_missed() {
        let seeded: BTreeSet<&str> = faults::seeded().iter().map(|one| one.id).collect();
        for entry in entries() {
            assert!(seeded.contains(entry.id.as_str()), "{} is not seeded", entry.id);
            assert_ne!(entry.rules.is_empty(), entry.missed.is_empty(), "{} needs rules, or a reason", entry.id);
        }
    }

    #[test]
    fn every_seeded_fault_is_in_the_catalogue_and_every_id_is_seeded_once() {
        let mut ids = BTreeSet::new();
        for seeded in faults::seeded() {
            assert!(entry(seeded.id).is_some(), "{} is not in the catalogue", seeded.id);
            assert!(ids.insert(seeded.id), "{} is seeded twice", seeded.id);
        }
        for variant in faults::variants() {
            assert!(ids.insert(variant.id), "{} is there twice", variant.id);
            assert!(!variant.what.is_empty(), "{}", variant.id);
        }
    }
}
