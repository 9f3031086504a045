//! Calls that overlapped others on the same object (specification lines 456–459, 509).

use tonic::Code;

use super::{
    operation::Operation,
    ruling::{Answer, Mark, advise, is_definite},
};
use crate::{history::Request, rule, spec::RuleId};

/// Judges an answer to a call during which others ran on the same object.
pub(super) fn marks(operation: &Operation, answer: Answer<'_>, marks: &mut Vec<Mark>) {
    let code = match answer {
        Answer::Ok(_) => Code::Ok,
        Answer::Status(status) => Code::from(status.code),
    };
    let graceful = matches!(code, Code::Ok | Code::Aborted | Code::Unavailable) || is_definite(code);
    let own: Option<RuleId> = match operation.request() {
        Request::CreateVolume(_) => Some(rule!("CTRL-CREATE-019")),
        Request::CreateSnapshot(_) => Some(rule!("CTRL-SNAPCREATE-051")),
        Request::DeleteSnapshot(_) => Some(rule!("CTRL-SNAPDELETE-017")),
        _ => None,
    };
    for rule in [Some(rule!("GEN-CONC-003")), Some(rule!("GEN-ERR-016")), own].into_iter().flatten() {
        advise(marks, rule, graceful, || {
            (
                "a call that overlapped another on the same object was not handled gracefully".into(),
                "OK, or ABORTED to be retried".into(),
                answer.describe(),
            )
        });
    }
}
