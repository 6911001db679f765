//! What can be wrong with an object, said so that its author can cure it.

use std::error::Error;
use std::fmt::Write as _;

/// A definition could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// A Rust type has a form that a CRD's schema cannot hold.
    #[error("write the schema of {kind}: the Rust type has a form that a custom resource cannot have")]
    Schema {
        /// The kind.
        kind: String,
        /// What the schema's reader said.
        #[source]
        source: serde_json::Error,
    },
}

/// An error with its causes in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
