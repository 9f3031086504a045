//! What the mount table of a node shows of a volume.

use super::state::{Place, Publication, Volume};
use crate::{
    history::{Mount, PathKind},
    oracle::{
        capability::Access,
        configurations::{Applied, Branch},
        ruling::{Mark, Strike, advise, check},
    },
    rule,
    spec::RuleId,
};

/// Holds a look at a path against the state: is the volume there exactly when it was published there?
pub(crate) fn look(state: &Volume, place: &Place, kind: PathKind, mounts: &[Mount]) -> Applied<Volume> {
    let mut state = state.clone();
    let marks = if let Some(publication) = state.publications.get(place) {
        let attached = state.attachments.values().any(|held| held.capability == publication.capability);
        published(publication, attached, kind, mounts)?
    } else if state.stagings.contains_key(place) {
        let marks = staged(state.mounted.contains(place), kind, mounts)?;
        if !mounts.is_empty() {
            state.mounted.insert(place.clone());
        }
        marks
    } else if state.withdrawn.contains(place) {
        unpublished(kind, mounts)?
    } else if state.unstaged.contains(place) {
        unstaged(kind, mounts)?
    } else {
        Vec::new()
    };
    Ok(vec![Branch { state, marks }])
}

/// `attached` says whether the volume was attached for this use.
fn published(held: &Publication, attached: bool, kind: PathKind, mounts: &[Mount]) -> Result<Vec<Mark>, Strike> {
    let (access, read_only) = (held.capability.access, held.read_only);
    let attachment = attached.then_some(rule!("CTRL-PUBLISH-011"));
    let wrong = |rule: RuleId, expected: &str| {
        let mut strike = Strike::new(
            rule,
            "NodePublishVolume answered OK and the volume is not at the target",
            expected,
            describe(kind, mounts),
        );
        strike.also = vec![rule!("NODE-PUBLISH-064"), rule!("NODE-PUBLISH-056"), rule!("NODE-PUBLISH-052")];
        strike.also.extend(attachment);
        // A plugin that is on this node leaves a trace at least (line 269).
        strike.also.extend((kind == PathKind::Absent).then_some(rule!("GEN-RPC-003")));
        strike
    };
    let mut marks = vec![];
    match access {
        Access::Block => match kind {
            PathKind::BlockDevice => marks.push(Mark::Held(rule!("NODE-PUBLISH-050"))),
            PathKind::Symlink => advise(&mut marks, rule!("NODE-PUBLISH-050"), false, || {
                ("target_path is a symbolic link to a device".into(), "a block device".into(), "a link".into())
            }),
            _ => return Err(wrong(rule!("NODE-PUBLISH-050"), "a block device at target_path")),
        },
        _ => match kind {
            PathKind::Directory if !mounts.is_empty() => marks.push(Mark::Held(rule!("NODE-PUBLISH-051"))),
            PathKind::Symlink => advise(&mut marks, rule!("NODE-PUBLISH-051"), false, || {
                ("target_path is a symbolic link".into(), "a mounted directory".into(), "a link".into())
            }),
            _ => return Err(wrong(rule!("NODE-PUBLISH-051"), "a directory with a mount on it")),
        },
    }
    marks.extend(
        [
            rule!("NODE-PUBLISH-052"),
            rule!("NODE-PUBLISH-056"),
            rule!("NODE-PUBLISH-064"),
            rule!("GEN-RPC-003"),
            rule!("CTRL-CREATE-030"),
        ]
        .into_iter()
        .chain(attachment)
        .map(Mark::Held),
    );
    check(&mut marks, rule!("NODE-PUBLISH-003"), mounts.len() <= 1, || {
        (
            "mounts are stacked on the target: one unpublish leaves others behind".into(),
            "one mount on target_path".into(),
            format!("{} mounts", mounts.len()),
        )
    });
    if read_only
        && access == Access::Mount
        && let Some(top) = mounts.last()
    {
        advise(&mut marks, rule!("NODE-PUBLISH-059"), top.read_only, || {
            ("the mount of a read-only target is not read-only in the mount table".into(), "ro".into(), "rw".into())
        });
    }
    Ok(marks)
}

/// What a plugin mounts on a staging path is its own affair; what it has mounted there stays until the volume is unstaged,
/// however often it is staged again (line 2324).
fn staged(was_mounted: bool, kind: PathKind, mounts: &[Mount]) -> Result<Vec<Mark>, Strike> {
    if was_mounted && mounts.is_empty() {
        let mut strike = Strike::new(
            rule!("NODE-STAGE-006"),
            "NodeStageVolume was answered OK again and what was mounted on the staging path is gone",
            "the mount of before on staging_target_path",
            describe(kind, mounts),
        );
        strike.also = vec![rule!("NODE-STAGE-007"), rule!("NODE-STAGE-030")];
        return Err(strike);
    }
    let mut marks = vec![Mark::Held(rule!("NODE-STAGE-030"))];
    check(&mut marks, rule!("NODE-STAGE-007"), mounts.len() <= 1, || {
        (
            "mounts are stacked on the staging path".into(),
            "at most one mount on staging_target_path".into(),
            format!("{} mounts", mounts.len()),
        )
    });
    Ok(marks)
}

/// After an unpublish nothing is left at the target, neither a mount nor what the plugin had made (line 2594).
fn unpublished(kind: PathKind, mounts: &[Mount]) -> Result<Vec<Mark>, Strike> {
    if !mounts.is_empty() {
        let mut strike = Strike::new(
            rule!("NODE-UNPUBLISH-002"),
            "NodeUnpublishVolume answered OK and the volume is still mounted at the target",
            "no mount on target_path",
            describe(kind, mounts),
        );
        strike.also = vec![rule!("NODE-UNPUBLISH-014")];
        return Err(strike);
    }
    let mut marks = vec![Mark::Held(rule!("NODE-UNPUBLISH-002")), Mark::Held(rule!("NODE-UNPUBLISH-014"))];
    check(&mut marks, rule!("NODE-UNPUBLISH-010"), kind == PathKind::Absent, || {
        (
            "the file or directory at target_path is left behind".into(),
            "nothing at target_path".into(),
            describe(kind, mounts),
        )
    });
    Ok(marks)
}

/// After an unstage nothing is mounted on the path; the directory is the orchestrator's (line 2396).
fn unstaged(kind: PathKind, mounts: &[Mount]) -> Result<Vec<Mark>, Strike> {
    if mounts.is_empty() {
        return Ok(vec![Mark::Held(rule!("NODE-UNSTAGE-002")), Mark::Held(rule!("NODE-UNSTAGE-016"))]);
    }
    let mut strike = Strike::new(
        rule!("NODE-UNSTAGE-002"),
        "NodeUnstageVolume answered OK and a mount is left on the staging path",
        "no mount on staging_target_path",
        describe(kind, mounts),
    );
    strike.also = vec![rule!("NODE-UNSTAGE-016")];
    Err(strike)
}

fn describe(kind: PathKind, mounts: &[Mount]) -> String {
    let what = match kind {
        PathKind::Absent => "nothing",
        PathKind::Directory => "a directory",
        PathKind::File => "a regular file",
        PathKind::BlockDevice => "a block device",
        PathKind::Symlink => "a symbolic link",
        PathKind::Other => "something unreadable",
    };
    let types: Vec<&str> = mounts.iter().map(|mount| mount.fs_type.as_str()).collect();
    if types.is_empty() { format!("{what}, no mount") } else { format!("{what} with mounts {types:?}") }
}
