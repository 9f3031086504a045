//! Why the driver refuses a request, and the gRPC status that says so.

use std::time::Duration;

use thiserror::Error;
use tonic::{Code, Status};

use crate::mountpod::{PublishError, UnpublishError, VolumeId};

/// A refusal: each variant stands for one row of the specification's error tables. The texts are for people and never
/// hold a secret, a mount flag or a parameter value.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// A required field is missing (specification line 506).
    #[error("{0} is required: set it")]
    Missing(&'static str),
    /// A field has a value that cannot be (specification line 507).
    #[error("{field} {problem}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The volume, snapshot, source or node does not exist.
    #[error("{kind} {id:?} does not exist: check the id")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// Its id.
        id: String,
    },
    /// The volume exists, but not at that path (specification line 2715).
    #[error("volume {volume} is not at {path:?}: give a path where it is staged or published")]
    NotAtPath {
        /// The volume.
        volume: VolumeId,
        /// The path of the request.
        path: String,
    },
    /// It exists already, but differs from what is asked for.
    #[error("{0}")]
    AlreadyExists(String),
    /// The state of the world forbids it for now.
    #[error("{0}")]
    FailedPrecondition(String),
    /// The size is not one that this driver makes.
    #[error("{0}")]
    OutOfRange(String),
    /// No room, no topology, no slot.
    #[error("{0}")]
    ResourceExhausted(String),
    /// Another request for the same object is under way (specification line 456).
    #[error("another request for {0} is in progress: retry when it has ended")]
    InProgress(String),
    /// The page token is none of ours, or belongs to another list.
    #[error("starting_token is not valid: start the list again without one")]
    BadToken,
    /// The RPC is not offered in this configuration (specification line 510).
    #[error("{0} is not offered by this driver as it is configured")]
    Unimplemented(&'static str),
    /// The driver is still recovering its state.
    #[error("the driver is still starting: retry when Probe answers ready")]
    Starting,
    /// Time ran out; a repeat resumes.
    #[error("not finished by the deadline ({0}): retry")]
    DeadlineExceeded(&'static str),
    /// The store, the content directory or the mount pods failed.
    #[error("{doing} failed: {why}")]
    Internal {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        why: String,
    },
}

impl Refusal {
    /// A field with a value that cannot be.
    pub fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid { field, problem: problem.into() }
    }

    /// A failure of the system below.
    pub fn internal(doing: &'static str, why: impl ToString) -> Self {
        Self::Internal { doing, why: why.to_string() }
    }

    /// A volume that does not exist.
    pub fn no_volume(id: impl ToString) -> Self {
        Self::NotFound { kind: "volume", id: id.to_string() }
    }

    /// A snapshot that does not exist.
    pub fn no_snapshot(id: impl ToString) -> Self {
        Self::NotFound { kind: "snapshot", id: id.to_string() }
    }

    /// A group snapshot that does not exist.
    pub fn no_group_snapshot(id: impl ToString) -> Self {
        Self::NotFound { kind: "group snapshot", id: id.to_string() }
    }

    /// The status code of the specification's tables.
    pub fn code(&self) -> Code {
        match self {
            Self::Missing(_) | Self::Invalid { .. } => Code::InvalidArgument,
            Self::NotFound { .. } | Self::NotAtPath { .. } => Code::NotFound,
            Self::AlreadyExists(_) => Code::AlreadyExists,
            Self::FailedPrecondition(_) => Code::FailedPrecondition,
            Self::OutOfRange(_) => Code::OutOfRange,
            Self::ResourceExhausted(_) => Code::ResourceExhausted,
            Self::InProgress(_) | Self::BadToken => Code::Aborted,
            Self::Unimplemented(_) => Code::Unimplemented,
            Self::Starting => Code::Unavailable,
            Self::DeadlineExceeded(_) => Code::DeadlineExceeded,
            Self::Internal { .. } => Code::Internal,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        // The details stay empty (specification line 516).
        Self::new(refusal.code(), shortened(refusal.to_string()))
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Incompatible { .. } => Self::AlreadyExists(error.to_string()),
            PublishError::Occupied { .. } | PublishError::SingleTarget { .. } => {
                Self::FailedPrecondition(error.to_string())
            }
            PublishError::InProgress(target) => Self::InProgress(target.to_string()),
            PublishError::DeadlineExceeded(step) => Self::DeadlineExceeded(step),
            PublishError::Failed(why) => Self::internal("publishing through the mount pods", why),
        }
    }
}

impl From<UnpublishError> for Refusal {
    fn from(error: UnpublishError) -> Self {
        match error {
            UnpublishError::InProgress(target) => Self::InProgress(target.to_string()),
            UnpublishError::DeadlineExceeded(step) => Self::DeadlineExceeded(step),
            UnpublishError::Failed(why) => Self::internal("asking the mount pods", why),
        }
    }
}

/// Cuts a text at a character boundary, so that it stays inside what middleware takes.
fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_MESSAGE {
        let mut end = LONGEST_MESSAGE - "…".len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

const LONGEST_MESSAGE: usize = 1024;

/// How long a request may take when it brings no deadline of its own.
pub(super) const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let status = Status::from(Refusal::FailedPrecondition("ü".repeat(2000)));
        assert!(status.message().len() <= LONGEST_MESSAGE);
        assert!(status.message().ends_with('…'));
        assert!(status.details().is_empty());
    }

    #[test]
    fn an_incompatible_publish_is_already_exists() {
        let refusal = Refusal::from(PublishError::Incompatible {
            volume: "v".parse().unwrap(),
            target: "/t".parse().unwrap(),
            difference: "read-only".into(),
        });
        assert_eq!(refusal.code(), Code::AlreadyExists);
    }
}
