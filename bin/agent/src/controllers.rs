//! Jobs that the agent does again and again, by name: how often each went well, and why it last did not.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use api::status::{Controller, ControllerStatus};

use crate::clock;

/// The register of jobs. Cheap to clone: all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Controllers(Arc<Mutex<BTreeMap<String, ControllerStatus>>>);

impl Controllers {
    /// Notes how a job went.
    pub(crate) fn ran<T, E: Display>(&self, name: &str, outcome: &Result<T, E>) {
        // A poisoned lock guards counts only, which are whole at any time.
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = jobs.entry(name.to_owned()).or_default();
        match outcome {
            Ok(_) => {
                status.success_count += 1;
                status.consecutive_failure_count = 0;
                status.last_success_timestamp = clock::rfc3339_seconds();
            }
            Err(error) => {
                status.failure_count += 1;
                status.consecutive_failure_count += 1;
                status.last_failure_timestamp = clock::rfc3339_seconds();
                status.last_failure_msg = format!("{error:#}");
            }
        }
    }

    /// All jobs, by name.
    pub(crate) fn list(&self) -> Vec<Controller> {
        let jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.iter().map(|(name, status)| Controller { name: name.clone(), status: status.clone() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Controllers;

    #[test]
    fn failures_in_a_row_are_counted() {
        let controllers = Controllers::default();
        controllers.ran("b", &Ok::<(), String>(()));
        controllers.ran("a", &Err::<(), _>("away"));
        controllers.ran("a", &Err::<(), _>("still away"));
        let list = controllers.list();
        assert_eq!(list.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let status = &list[0].status;
        assert_eq!((status.consecutive_failure_count, status.failure_count), (2, 2));
        assert_eq!(
            (status.last_failure_msg.as_str(), status.last_success_timestamp.as_str()),
            ("still away", "")
        );
        controllers.clone().ran("a", &Ok::<(), String>(()));
        let status = &controllers.list()[0].status;
        assert_eq!((status.consecutive_failure_count, status.failure_count, status.success_count), (0, 2, 1));
        assert_eq!(status.last_failure_msg, "still away", "the last failure is kept after it is over");
    }
}
