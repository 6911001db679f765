//! A line a call in the file that the configuration names. A log that cannot be written stops no pod.

use crate::config::NetConf;
use crate::failure::Failure;
use crate::invocation::Command;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Writes the outcome of one call.
pub(crate) struct Log<'a> {
    config: &'a NetConf,
    command: Command,
    started: Instant,
}

impl<'a> Log<'a> {
    pub(crate) fn new(config: &'a NetConf, command: Command) -> Self {
        Log { config, command, started: Instant::now() }
    }

    /// Failures always; what went well with `enable-debug`.
    pub(crate) fn outcome(&self, result: &Result<Option<Value>, Failure>) {
        let Some(file) = &self.config.log_file else { return };
        let (level, message, details) = match result {
            Ok(_) if !self.config.debug => return,
            Ok(_) => ("debug", "done", ""),
            Err(failure) => ("error", failure.message.as_str(), failure.details.as_str()),
        };
        let variable = |name| std::env::var(name).unwrap_or_default();
        let line = json!({
            "time": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64()),
            "level": level,
            "msg": message,
            "details": details,
            "network": self.config.name,
            "command": self.command.text(),
            "containerID": variable("CNI_CONTAINERID"),
            "args": variable("CNI_ARGS"),
            "milliseconds": self.started.elapsed().as_secs_f64() * 1000.0,
        });
        if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(file) {
            // One write: lines of calls that run at the same time do not mix.
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }
}
