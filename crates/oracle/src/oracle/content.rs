//! What is written through one path is read through another, before and after snapshots, clones and restores.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    operation::Operation,
    ruling::{Mark, Strike, advise, check},
};
use crate::{
    csi::v1::volume_content_source::Type as SourceType,
    history::{CallId, Observation, Reply, Request},
    rule,
    spec::RuleId,
};

type Files = BTreeMap<String, String>;

/// The content of one volume or snapshot, as far as known.
#[derive(Clone, Debug, Default)]
struct Content {
    files: Files,
    /// Files that were written to the source after the cut.
    later: BTreeSet<String>,
    origin: Origin,
}

/// Where a content comes from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Origin {
    #[default]
    Written,
    Clone,
    Restore,
}

/// A target at which a volume is published.
#[derive(Clone, Debug)]
struct Target {
    volume: String,
    read_only: bool,
    /// The volume is attached read-only.
    attached_read_only: bool,
    block: bool,
    /// It was published from a staging path, and not over an earlier publication, which may be what refuses writes.
    staged: bool,
    group: String,
    asked: i64,
}

/// Follows the contents of volumes and snapshots.
#[derive(Debug, Default)]
pub(super) struct Contents {
    volumes: HashMap<String, Content>,
    snapshots: HashMap<String, (String, Content)>,
    targets: BTreeMap<(String, String), Target>,
    /// What a source held when a call that copies it began.
    at_start: HashMap<(CallId, String), Files>,
    /// Snapshots that are members of groups.
    grouped: BTreeSet<String>,
    /// Snapshots whose source volume was deleted.
    orphaned: BTreeSet<String>,
    /// By volume: the size asked for beyond that of its source.
    larger: HashMap<String, i64>,
    /// By volume: the size after ControllerExpandVolume, and whether the node still has to act.
    expanded: HashMap<String, (i64, bool)>,
    /// By volume id: the snapshot that it was made from.
    restored_from: HashMap<String, String>,
    /// Volumes that are attached read-only.
    attached_read_only: BTreeSet<String>,
    /// Volumes that were unpublished somewhere.
    unpublished: BTreeSet<String>,
}

impl Contents {
    /// How much is remembered.
    pub(super) fn len(&self) -> usize {
        self.volumes.len() + self.snapshots.len() + self.targets.len() + self.at_start.len() + self.unpublished.len()
    }

    /// Forgets targets, volumes and snapshots that nothing mentions any more, and calls that are over.
    pub(super) fn forget_what_is_over(
        &mut self,
        is_mentioned: &dyn Fn(&str) -> bool,
        is_open: impl Fn(CallId) -> bool,
    ) {
        self.at_start.retain(|(call, _), _| is_open(*call));
        self.targets.retain(|(_, path), _| is_mentioned(path));
        // A volume is also seen through the targets at which it is published, and a snapshot through the volumes made from it.
        let published: BTreeSet<String> = self.targets.values().map(|target| target.volume.clone()).collect();
        let is_seen = |volume: &str| is_mentioned(volume) || published.contains(volume);
        self.volumes.retain(|volume, _| is_seen(volume));
        self.larger.retain(|volume, _| is_seen(volume));
        self.expanded.retain(|volume, _| is_seen(volume));
        self.restored_from.retain(|volume, _| is_seen(volume));
        self.attached_read_only.retain(|volume| is_seen(volume));
        self.unpublished.retain(|volume| is_seen(volume));
        let restored: BTreeSet<&String> = self.restored_from.values().collect();
        let is_seen = |snapshot: &String| is_mentioned(snapshot) || restored.contains(snapshot);
        self.snapshots.retain(|snapshot, _| is_seen(snapshot));
        self.grouped.retain(|snapshot| is_seen(snapshot));
        self.orphaned.retain(|snapshot| is_seen(snapshot));
    }

    /// A call starts.
    pub(super) fn start(&mut self, operation: &Operation) {
        let sources = match operation.request() {
            Request::CreateSnapshot(request) => std::slice::from_ref(&request.source_volume_id),
            Request::CreateVolumeGroupSnapshot(request) => &request.source_volume_ids,
            Request::CreateVolume(request) => match source(request) {
                Some(SourceType::Volume(volume)) => std::slice::from_ref(&volume.volume_id),
                Some(SourceType::Snapshot(snapshot)) => {
                    // It may be gone when the answer comes.
                    if let Some((_, content)) = self.snapshots.get(&snapshot.snapshot_id) {
                        let files = content.files.clone();
                        self.at_start.insert((operation.call.id, snapshot.snapshot_id.clone()), files);
                    }
                    &[]
                }
                _ => &[],
            },
            _ => &[],
        };
        for source in sources {
            if let Some(files) = self.files_of(source) {
                self.at_start.insert((operation.call.id, source.clone()), files);
            }
        }
    }

    /// A call was answered OK.
    pub(super) fn succeeded(&mut self, operation: &Operation, reply: &Reply) {
        let call = operation.call.id;
        match (operation.request(), reply) {
            (Request::CreateVolume(request), Reply::CreateVolume(reply)) => {
                let Some(volume) = &reply.volume else { return };
                let asked = request.capacity_range.as_ref().map_or(0, |range| range.required_bytes);
                let content = match source(request) {
                    None => Content::default(),
                    Some(SourceType::Volume(from)) => {
                        self.larger.insert(volume.volume_id.clone(), asked);
                        self.cut(&from.volume_id, call, Origin::Clone)
                    }
                    Some(SourceType::Snapshot(from)) => {
                        self.larger.insert(volume.volume_id.clone(), asked);
                        self.restored_from.insert(volume.volume_id.clone(), from.snapshot_id.clone());
                        let files = self.at_start.remove(&(call, from.snapshot_id.clone())).unwrap_or_default();
                        let known = self.snapshots.get(&from.snapshot_id).map(|(_, content)| content.clone());
                        let known = known.unwrap_or(Content { files, ..Content::default() });
                        Content { origin: Origin::Restore, ..known }
                    }
                };
                self.volumes.entry(volume.volume_id.clone()).or_insert(content);
            }
            (Request::CreateSnapshot(request), Reply::CreateSnapshot(reply)) => {
                let Some(snapshot) = &reply.snapshot else { return };
                if !self.snapshots.contains_key(&snapshot.snapshot_id) {
                    let content = self.cut(&request.source_volume_id, call, Origin::Restore);
                    self.snapshots.insert(snapshot.snapshot_id.clone(), (request.source_volume_id.clone(), content));
                }
            }
            (Request::CreateVolumeGroupSnapshot(_), Reply::CreateVolumeGroupSnapshot(reply)) => {
                for member in reply.group_snapshot.iter().flat_map(|group| &group.snapshots) {
                    if self.grouped.insert(member.snapshot_id.clone()) {
                        let content = self.cut(&member.source_volume_id, call, Origin::Restore);
                        self.snapshots.insert(member.snapshot_id.clone(), (member.source_volume_id.clone(), content));
                    }
                }
            }
            (Request::DeleteVolumeGroupSnapshot(request), _) => {
                request.snapshot_ids.iter().for_each(|member| drop(self.snapshots.remove(member)));
            }
            (Request::DeleteVolume(request), _) => {
                self.volumes.remove(&request.volume_id);
                let cut = self.snapshots.iter().filter(|(_, (source, _))| *source == request.volume_id);
                self.orphaned.extend(cut.map(|(id, _)| id.clone()));
            }
            (Request::DeleteSnapshot(request), _) => {
                self.snapshots.remove(&request.snapshot_id);
            }
            (Request::ControllerExpandVolume(request), Reply::ControllerExpandVolume(reply)) => {
                self.expanded.insert(request.volume_id.clone(), (reply.capacity_bytes, reply.node_expansion_required));
            }
            (Request::ControllerPublishVolume(request), _) => {
                if request.readonly {
                    self.attached_read_only.insert(request.volume_id.clone());
                } else {
                    self.attached_read_only.remove(&request.volume_id);
                }
            }
            (Request::NodePublishVolume(request), _) => {
                let capability = request.volume_capability.as_ref().map(super::capability::Capability::from);
                let Some(capability) = capability else { return };
                let place = (operation.call.node.clone(), request.target_path.clone());
                let target = Target {
                    volume: request.volume_id.clone(),
                    read_only: request.readonly || capability.is_reader_only(),
                    attached_read_only: self.attached_read_only.contains(&request.volume_id),
                    block: capability.access == super::capability::Access::Block,
                    staged: !request.staging_target_path.is_empty() && !self.targets.contains_key(&place),
                    group: capability.mount.2.clone(),
                    asked: self.larger.get(&request.volume_id).copied().unwrap_or(0),
                };
                self.targets.insert(place, target);
            }
            (Request::NodeUnpublishVolume(request), _) => {
                self.targets.remove(&(operation.call.node.clone(), request.target_path.clone()));
                self.unpublished.insert(request.volume_id.clone());
            }
            _ => {}
        }
    }

    /// Somebody looked at what is published.
    pub(super) fn observe(&mut self, observation: &Observation) -> Vec<Mark> {
        let mut marks = Vec::new();
        match observation {
            Observation::Write { node, path, name, content, error } => {
                self.written((node, path), name, content, error, &mut marks);
            }
            Observation::Read { node, path, name, content, error } => {
                self.read((node, path), name, content, error, &mut marks);
            }
            Observation::Size { node, path, bytes } => self.sized((node, path), *bytes, &mut marks),
            Observation::Group { node, path, gid } => {
                if let Some(target) = self.targets.get(&(node.clone(), path.clone()))
                    && let Ok(wanted) = target.group.parse::<u32>()
                {
                    for rule in [rule!("CTRL-CREATE-062"), rule!("NODE-CAPS-009"), rule!("CTRL-CREATE-063")] {
                        check(&mut marks, rule, *gid == wanted, || {
                            (
                                "files made on the volume do not have the group of volume_mount_group".into(),
                                format!("group {wanted}"),
                                format!("group {gid}"),
                            )
                        });
                    }
                }
            }
            _ => {}
        }
        marks
    }

    fn written(&mut self, place: (&String, &String), name: &str, content: &str, error: &str, marks: &mut Vec<Mark>) {
        let Some(target) = self.targets.get(&(place.0.clone(), place.1.clone())) else { return };
        let staging = target.staged.then_some(rule!("NODE-STAGE-024"));
        if target.read_only || target.attached_read_only {
            let rule = if target.read_only { rule!("NODE-PUBLISH-059") } else { rule!("CTRL-PUBLISH-014") };
            let refused = !error.is_empty();
            let broken = || ("a read-only target took a write".into(), "EROFS".into(), "the write went through".into());
            // A bind-mounted device node often ignores the flag, but the rule makes no exception.
            check(marks, rule, refused, broken);
            if refused {
                return;
            }
        } else if matches!(error, "EROFS" | "EACCES" | "EPERM") {
            let mut strike = Strike::new(
                rule!("NODE-PUBLISH-056"),
                "a target that is published for writing refuses writes",
                "the write goes through",
                error,
            );
            strike.also.extend(staging);
            marks.push(Mark::Broken(strike));
        } else if error.is_empty() {
            marks.extend([rule!("NODE-PUBLISH-056")].into_iter().chain(staging).map(Mark::Held));
        }
        if !error.is_empty() {
            return;
        }
        let volume = target.volume.clone();
        self.volumes.entry(volume.clone()).or_default().files.insert(name.to_owned(), content.to_owned());
        for (source, snapshot) in self.snapshots.values_mut() {
            if *source == volume && !snapshot.files.contains_key(name) {
                snapshot.later.insert(name.to_owned());
            }
        }
    }

    fn read(&self, place: (&String, &String), name: &str, content: &str, error: &str, marks: &mut Vec<Mark>) {
        let Some(target) = self.targets.get(&(place.0.clone(), place.1.clone())) else { return };
        let Some(known) = self.volumes.get(&target.volume) else { return };
        if !error.is_empty() && !matches!(error, "ENOENT" | "ENOTCONN" | "EIO" | "ESTALE") {
            return;
        }
        if let Some(wanted) = known.files.get(name) {
            let rules = self.rules_on_content(&target.volume, known.origin);
            let actual = if error.is_empty() { format!("{content:?}") } else { error.to_owned() };
            for rule in rules {
                let mut found = Vec::new();
                check(&mut found, rule, error.is_empty() && content == wanted, || {
                    (message_on_content(known.origin).into(), format!("{wanted:?}"), actual.clone())
                });
                marks.extend(found);
            }
        } else if known.later.contains(name) && !name.is_empty() {
            let rule =
                if known.origin == Origin::Restore { rule!("CTRL-SNAPCREATE-021") } else { rule!("CTRL-CREATE-040") };
            for rule in std::iter::once(rule).chain(self.rules_on_groups(&target.volume)) {
                check(marks, rule, error == "ENOENT", || {
                    ("the copy shows what was written after the cut".into(), "ENOENT".into(), format!("{content:?}"))
                });
            }
        }
    }

    fn rules_on_content(&self, volume: &str, origin: Origin) -> Vec<RuleId> {
        match origin {
            Origin::Written => {
                let mut rules = vec![rule!("NODE-PUBLISH-056")];
                if self.unpublished.contains(volume) {
                    rules.push(rule!("NODE-UNPUBLISH-002"));
                }
                rules
            }
            Origin::Clone | Origin::Restore => {
                let mut rules = vec![rule!("CTRL-CREATE-016"), rule!("CTRL-CREATE-040")];
                if origin == Origin::Restore {
                    rules.push(rule!("CTRL-SNAPCREATE-021"));
                }
                rules.extend(self.rules_on_groups(volume));
                if self.restored_from.get(volume).is_some_and(|snapshot| self.orphaned.contains(snapshot)) {
                    rules.push(rule!("CTRL-DELETE-007"));
                }
                rules
            }
        }
    }

    /// What a member of a group shows, the others have to show as well.
    fn rules_on_groups(&self, volume: &str) -> Vec<RuleId> {
        match self.restored_from.get(volume) {
            Some(snapshot) if self.grouped.contains(snapshot) => {
                vec![rule!("GROUP-CREATE-002"), rule!("GROUP-CREATE-003")]
            }
            _ => Vec::new(),
        }
    }

    fn sized(&self, place: (&String, &String), bytes: u64, marks: &mut Vec<Mark>) {
        let Some(target) = self.targets.get(&(place.0.clone(), place.1.clone())) else { return };
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        // A file system needs some of the space for itself.
        let enough = |wanted: i64| if target.block { bytes >= wanted } else { bytes >= wanted - wanted / 10 };
        if target.asked > 0 {
            let own = (!target.block).then_some(rule!("CTRL-CREATE-017"));
            for rule in [Some(rule!("CTRL-CREATE-015")), own].into_iter().flatten() {
                check(marks, rule, enough(target.asked), || {
                    (
                        "the copy does not have the size that was asked for".into(),
                        format!("{} bytes", target.asked),
                        format!("{bytes} bytes"),
                    )
                });
            }
        }
        if let Some(&(wanted, node_expansion)) = self.expanded.get(&target.volume)
            && !node_expansion
        {
            advise(marks, rule!("CTRL-EXPAND-018"), enough(wanted), || {
                (
                    "no node expansion is required, and the published volume does not show the new size".into(),
                    format!("{wanted} bytes"),
                    format!("{bytes} bytes"),
                )
            });
        }
    }

    fn files_of(&self, volume: &str) -> Option<Files> {
        self.volumes.get(volume).map(|content| content.files.clone())
    }

    /// The content that a copy has: what the source held all the time while the call ran.
    fn cut(&mut self, volume: &str, call: CallId, origin: Origin) -> Content {
        let now = self.files_of(volume).unwrap_or_default();
        let before = self.at_start.remove(&(call, volume.to_owned())).unwrap_or_default();
        let files = now.into_iter().filter(|(name, content)| before.get(name) == Some(content)).collect();
        Content { files, later: BTreeSet::new(), origin }
    }
}

fn source(request: &crate::csi::v1::CreateVolumeRequest) -> Option<&SourceType> {
    request.volume_content_source.as_ref()?.r#type.as_ref()
}

fn message_on_content(origin: Origin) -> &'static str {
    match origin {
        Origin::Written => "what was written to the volume is not there",
        Origin::Clone => "the clone does not hold the content of its source",
        Origin::Restore => "the restored volume does not hold the content of the snapshot",
    }
}
