//! Errors as the specification wants them: a number, a sentence, details.

use crate::version::Version;
use serde_json::{Value, json};
use std::error::Error;

/// Error numbers; below 100 they are the specification's (CNI 1.1.0, "Error").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    IncompatibleVersion = 1,
    UnsupportedField = 2,
    UnknownContainer = 3,
    Environment = 4,
    Io = 5,
    Decode = 6,
    Config = 7,
    TryAgainLater = 11,
    /// STATUS: no pod can be added now.
    NotAvailable = 50,
    /// Ours: the agent refused.
    Refused = 100,
    /// Ours: CHECK found something out of order.
    NotInOrder = 101,
}

/// Why the plugin failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) details: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Failure { code, message: message.into(), details: String::new() }
    }

    pub(crate) fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// Puts an error and its causes into the details.
    pub(crate) fn because(mut self, error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        self.details = text;
        self
    }

    pub(crate) fn to_json(&self, version: Version) -> Value {
        let mut value =
            json!({ "cniVersion": version.text(), "code": self.code as u32, "msg": self.message });
        if !self.details.is_empty() {
            value["details"] = self.details.clone().into();
        }
        value
    }
}
