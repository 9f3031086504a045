//! Path fields: at least 128 bytes have to be accepted, and as many as the system allows ought to be.

use tonic::Code;

use crate::{
    history::Request,
    oracle::ruling::{Answer, Mark, Strike},
    rule,
    spec::RuleId,
};

/// Bytes that every plugin accepts in a path.
const GUARANTEED: usize = 128;
/// A path that is long beyond doubt.
const LONG: usize = 900;
/// Near the kernel's limit a refusal proves nothing.
const EDGE: usize = 3500;

/// The path fields of a request, each with the rule that recommends and the one that demands.
fn fields(request: &Request) -> Vec<(&'static str, &str, RuleId, RuleId)> {
    match request {
        Request::NodeStageVolume(r) => {
            vec![("staging_target_path", &*r.staging_target_path, rule!("NODE-STAGE-022"), rule!("NODE-STAGE-023"))]
        }
        Request::NodeUnstageVolume(r) => {
            vec![("staging_target_path", &*r.staging_target_path, rule!("NODE-UNSTAGE-014"), rule!("NODE-UNSTAGE-015"))]
        }
        Request::NodePublishVolume(r) => vec![
            ("target_path", &*r.target_path, rule!("NODE-PUBLISH-054"), rule!("NODE-PUBLISH-055")),
            ("staging_target_path", &*r.staging_target_path, rule!("NODE-PUBLISH-044"), rule!("NODE-PUBLISH-045")),
        ],
        Request::NodeUnpublishVolume(r) => {
            vec![("target_path", &*r.target_path, rule!("NODE-UNPUBLISH-012"), rule!("NODE-UNPUBLISH-013"))]
        }
        Request::NodeGetVolumeStats(r) => vec![
            ("volume_path", &*r.volume_path, rule!("NODE-STATS-010"), rule!("NODE-STATS-011")),
            ("staging_target_path", &*r.staging_target_path, rule!("NODE-STATS-015"), rule!("NODE-STATS-016")),
        ],
        Request::NodeExpandVolume(r) => vec![
            ("volume_path", &*r.volume_path, rule!("NODE-EXPAND-012"), rule!("NODE-EXPAND-013")),
            ("staging_target_path", &*r.staging_target_path, rule!("NODE-EXPAND-020"), rule!("NODE-EXPAND-021")),
        ],
        _ => Vec::new(),
    }
}

/// Judges how long paths fared; `flawless` says that nothing else is wrong with the request in this state.
pub(super) fn marks(request: &Request, answer: Answer<'_>, flawless: bool, marks: &mut Vec<Mark>) {
    for (field, path, recommends, demands) in fields(request) {
        if path.len() < GUARANTEED {
            continue;
        }
        match answer {
            Answer::Ok(_) => {
                marks.push(Mark::Held(demands));
                if path.len() >= LONG {
                    marks.push(Mark::Held(recommends));
                }
            }
            Answer::Status(status) if flawless && status.code == Code::InvalidArgument as i32 && path.len() < EDGE => {
                let strike = |rule| {
                    Strike::new(
                        rule,
                        format!("a {field} of {} bytes was refused", path.len()),
                        "the answer that a short path gets",
                        answer.describe(),
                    )
                };
                if path.len() == GUARANTEED {
                    marks.push(Mark::Broken(strike(demands)));
                } else {
                    marks.push(Mark::Warned(strike(recommends)));
                }
            }
            Answer::Status(_) => {}
        }
    }
}
