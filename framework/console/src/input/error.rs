//! The error of a question without an answer.

use std::io;

/// The error of a question without an answer.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// Ctrl-C or Escape was pressed.
    #[error("interrupted")]
    Interrupted,
    /// There is nobody to ask, and no default.
    #[error("\"{question}\" needs an answer, and there is nobody to ask")]
    NoAnswer { question: String },
    /// Standard input cannot be read, or the terminal cannot be used.
    #[error("reading the answer: {0}")]
    Unreadable(#[from] io::Error),
}

impl InputError {
    pub(super) fn no_answer(question: &str) -> Self {
        Self::NoAnswer { question: question.to_owned() }
    }
}
