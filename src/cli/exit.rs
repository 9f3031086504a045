//! How the program ends (a contract: scripts rely on it).

use std::process::ExitCode;

use crate::oracle::Verdict;

/// How the program ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// The driver keeps its contract, or the command did what it was asked.
    Conformant = 0,
    /// Violations were found.
    Violations = 1,
    /// The tool was used wrongly, or could not reach the driver.
    Usage = 2,
    /// Interrupted, after clean-up.
    Interrupted = 3,
    /// A fault of our own; it is never called the driver's.
    OurFault = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Conformant | Verdict::ConformantWithWarnings => Self::Conformant,
            Verdict::NonConformant => Self::Violations,
            Verdict::Incomplete => Self::Interrupted,
        }
    }
}

/// Why a command could not do what it was asked, and how the program ends for it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For people: what is wrong, and what to do.
    pub message: String,
    /// How the program ends.
    pub exit: Exit,
}

impl Failure {
    /// The tool was used wrongly, or the world is not as it has to be.
    pub fn usage(error: impl std::fmt::Display) -> Self {
        Self { message: error.to_string(), exit: Exit::Usage }
    }

    /// A fault of our own.
    pub fn ours(error: impl std::fmt::Display) -> Self {
        Self { message: format!("a fault of csi-certify itself: {error}"), exit: Exit::OurFault }
    }
}
