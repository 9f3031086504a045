//! Histories as people read them: one line for a call, with names in place of ids and paths.

use std::{collections::BTreeMap, fmt::Write as _};

use csi_certify::{
    history::{CallId, Event, EventKind, Lost, Outcome, to_json},
    orchestrator::Tables,
};
use serde_json::Value;

/// Names for what differs from run to run.
pub(crate) struct Names {
    /// From text to name, the longest first.
    replacements: Vec<(String, String)>,
}

impl Names {
    /// Names after the objects of a store.
    pub(crate) fn of(tables: &Tables, also: &[(String, String)]) -> Self {
        let mut replacements: Vec<(String, String)> = also.to_vec();
        for claim in tables.claims.values() {
            replacements.push((claim.metadata.uid.clone(), format!("$UID({})", claim.metadata.name)));
            if let Some(volume) = tables.volumes.get(&claim.volume_name) {
                replacements.push((volume.handle.clone(), format!("$VOL({})", claim.metadata.name)));
            }
        }
        for pod in tables.pods.values() {
            replacements.push((pod.metadata.uid.clone(), format!("$UID({})", pod.metadata.name)));
        }
        for snapshot in tables.snapshots.values() {
            replacements.push((snapshot.metadata.uid.clone(), format!("$UID({})", snapshot.metadata.name)));
            if let Some(content) = tables.snapshot_contents.get(&snapshot.content)
                && !content.handle.is_empty()
            {
                replacements.push((content.handle.clone(), format!("$SNAP({})", snapshot.metadata.name)));
            }
        }
        for group in tables.group_snapshots.values() {
            replacements.push((group.metadata.uid.clone(), format!("$UID({})", group.metadata.name)));
            if let Some(content) = tables.group_snapshot_contents.get(&group.content) {
                replacements.push((content.handle.clone(), format!("$GROUP({})", group.metadata.name)));
            }
        }
        Self { replacements }
    }

    /// Takes in further names, as objects come and go.
    pub(crate) fn add(&mut self, other: Self) {
        self.replacements.extend(other.replacements);
    }

    pub(crate) fn apply(&mut self, text: &str) -> String {
        self.replacements.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        let named = self.replacements.iter().filter(|(from, _)| !from.is_empty());
        named.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }
}

/// The calls of a history: who, which RPC, what matters of the request, and the answer.
pub(crate) fn render(events: &[Event], names: &mut Names) -> String {
    let outcomes: BTreeMap<CallId, &Outcome> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Return { call, outcome } => Some((*call, outcome)),
            _ => None,
        })
        .collect();
    let mut lines: Vec<(String, usize)> = Vec::new();
    for event in events {
        let EventKind::Call(call) = &event.kind else { continue };
        let rpc = call.request.rpc();
        let mut line = format!("{} {rpc}", call.scenario);
        fields(&to_json(&call.request.to_dynamic()), &mut line);
        let _ = write!(line, " => {}", answer(outcomes.get(&call.id).copied()));
        let line = mask(&names.apply(&line));
        match lines.last_mut() {
            Some((last, times)) if *last == line => *times += 1,
            _ => lines.push((line, 1)),
        }
    }
    let mut text = String::new();
    for (line, times) in lines {
        let _ = match times {
            1 => writeln!(text, "{line}"),
            times => writeln!(text, "{line} ({times} times)"),
        };
    }
    text
}

/// As [`render`], with the lines of each component together.
pub(crate) fn by_component(events: &[Event], names: &mut Names) -> String {
    let of = |event: &Event| match &event.kind {
        EventKind::Call(call) => Some(call.scenario.clone()),
        _ => None,
    };
    let mut components: Vec<String> = events.iter().filter_map(of).collect();
    components.sort();
    components.dedup();
    let mut text = String::new();
    for component in components {
        let is_its = |event: &&Event| of(event).is_none_or(|other| other == component);
        let its: Vec<Event> = events.iter().filter(is_its).cloned().collect();
        text.push_str(&render(&its, names));
    }
    text
}

/// Ids of the driver that no object names any more are all alike.
fn mask(line: &str) -> String {
    let word = |word: &str| match word.split_once("_id=") {
        Some((key, id)) if id.starts_with("vol-") || id.starts_with("snap-") => format!("{key}_id=$ID"),
        _ => word.to_owned(),
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// The fields of a request that say what is done to what.
fn fields(request: &Value, line: &mut String) {
    let Some(request) = request.as_object() else { return };
    for (key, value) in request {
        let shown = match key.as_str() {
            "volume_context" | "secrets" | "parameters" => continue,
            "volume_capability" => capability(value),
            "volume_capabilities" => {
                value.as_array().into_iter().flatten().map(capability).collect::<Vec<_>>().join("+")
            }
            "accessibility_requirements" | "publish_context" => "there".to_owned(),
            "capacity_range" => value.pointer("/required_bytes").and_then(Value::as_str).unwrap_or("none").to_owned(),
            "staging_target_path" => staging(value.as_str().unwrap_or_default()),
            _ => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        };
        let _ = write!(line, " {key}={shown}");
    }
}

fn capability(value: &Value) -> String {
    let access_type = if value.get("block").is_some() { "block" } else { "mount" };
    let mode = value.pointer("/access_mode/mode").and_then(Value::as_str).unwrap_or("UNKNOWN");
    format!("{access_type}/{mode}")
}

/// A staging path, without the digest of the volume's id in it.
fn staging(path: &str) -> String {
    match path.strip_suffix("/globalmount").and_then(|path| path.rsplit_once('/')) {
        Some((parent, digest)) if digest.len() == 64 => format!("{parent}/$SHA256/globalmount"),
        _ => path.to_owned(),
    }
}

fn answer(outcome: Option<&Outcome>) -> String {
    match outcome {
        None => "under way".into(),
        Some(Outcome::Reply { .. }) => "OK".into(),
        Some(Outcome::Status(status)) => format!("{:?}", tonic::Code::from(status.code)),
        Some(Outcome::Lost(Lost::Deadline)) => "no answer in time".into(),
        Some(Outcome::Lost(Lost::Cancelled)) => "cut off".into(),
        Some(Outcome::Lost(lost)) => format!("{lost:?}"),
        Some(Outcome::Garbage { what }) => what.clone(),
    }
}

/// Compares a text with the reviewed one of this name.
pub(crate) fn with_golden(name: &str, text: &str) {
    insta::with_settings!(
        { snapshot_path => "../../golden/orchestrator", prepend_module_to_snapshot => false },
        { insta::assert_snapshot!(name, text) }
    );
}
