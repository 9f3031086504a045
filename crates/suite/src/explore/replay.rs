//! Programs as TOML files: steps and values, never seeds.

use std::{fs, io, path::Path};

use thiserror::Error;

use super::{Language, Program};

/// Why a program could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The file cannot be opened, read or written.
    #[error("cannot use {file}: {cause}; check the path")]
    File {
        /// The file.
        file: String,
        /// What the system said.
        cause: io::Error,
    },
    /// It is no program of this kind.
    #[error("{file} holds no program: {cause}")]
    NoProgram {
        /// The file.
        file: String,
        /// What is wrong.
        cause: String,
    },
    /// A step has no place where it stands.
    #[error("{file}: step {step} cannot come after the steps before it: correct or remove it")]
    OutOfPlace {
        /// The file.
        file: String,
        /// Counted from zero.
        step: usize,
    },
}

/// Reads a program from the text of a file.
///
/// # Errors
///
/// When the text is no program, or a step makes no sense where it stands.
pub fn read<L: Language>(file: &str, text: &str) -> Result<Program<L::Environment, L::Step>, ReplayError> {
    let program: Program<L::Environment, L::Step> = toml::from_str(text)
        .map_err(|error| ReplayError::NoProgram { file: file.to_owned(), cause: error.to_string() })?;
    for (step, found) in program.steps.iter().enumerate() {
        if !L::makes_sense(&program.environment, &program.steps[..step], found) {
            return Err(ReplayError::OutOfPlace { file: file.to_owned(), step });
        }
    }
    Ok(program)
}

/// Writes a program to a file, with a comment above it.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write<L: Language>(
    path: &Path,
    comment: &str,
    program: &Program<L::Environment, L::Step>,
) -> Result<(), ReplayError> {
    let file = path.display().to_string();
    let text = toml::to_string(program)
        .map_err(|error| ReplayError::NoProgram { file: file.clone(), cause: error.to_string() })?;
    let comment: String = comment.lines().map(|line| format!("# {line}\n")).collect();
    fs::write(path, comment + &text).map_err(|cause| ReplayError::File { file, cause })
}
