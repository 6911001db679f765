//! What can go wrong on the socket.

use serde::{Deserialize, Serialize};
use std::{fmt, io, path::PathBuf};

/// Body of every answer that is not a 2xx.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorBody {
    /// What is wrong.
    pub message: String,
    /// Which object (pod, endpoint, policy), if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Which field of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.cure {
            Some(cure) => write!(f, " ({cure})"),
            None => Ok(()),
        }
    }
}

/// A call to the agent failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens.
    #[error("the agent cannot be reached at {}: is the cilium-agent container of this node running?", socket.display())]
    Connect {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke, or the agent was silent for too long.
    #[error("the agent did not answer {path}: look at the log of cilium-agent")]
    Exchange {
        /// What was asked.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// What came back is not HTTP.
    #[error(
        "the answer to {path} is not HTTP/1.1 ({what}): does something else listen on the agent's socket?"
    )]
    Protocol {
        /// What was asked.
        path: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The body is not the JSON that was expected.
    #[error("the answer to {path} is not understood: are the agent and this program of the same version?")]
    Decode {
        /// What was asked.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The request could not be written as JSON.
    #[error("the request to {path} cannot be written as JSON")]
    Encode {
        /// What was asked.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The agent said no.
    #[error("{body}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Why.
        body: ErrorBody,
    },
}

impl ClientError {
    /// Whether the agent is away or not ready yet, so that asking again later may help.
    pub fn is_unavailable(&self) -> bool {
        match self {
            ClientError::Connect { .. } | ClientError::Exchange { .. } => true,
            ClientError::Refused { status, .. } => *status == 503,
            _ => false,
        }
    }

    /// The HTTP status, if the agent answered with an error.
    pub fn status(&self) -> Option<u16> {
        match self {
            ClientError::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}
