//! How often one and the same action is tried.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// After a success the watch needs a moment to show it; until then the planner goes on wanting it.
const SETTLE: Duration = Duration::from_secs(3);
/// Waits after failures double from the first to the last.
const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(60);

/// Remembers for each action, by its text, when it may be tried again.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    not_before: Timestamp,
    failures: u32,
}

impl Pace {
    /// Whether an action may be tried now.
    pub(crate) fn allows(&self, action: &str, now: Timestamp) -> bool {
        self.entries.get(action).is_none_or(|entry| entry.not_before <= now)
    }

    /// The action succeeded.
    pub(crate) fn succeeded(&mut self, action: String, now: Timestamp) {
        self.entries.insert(action, Entry { not_before: now + SETTLE, failures: 0 });
    }

    /// Somebody else changed the object first: worth another try with the news of it, which is on its way.
    pub(crate) fn conflicted(&mut self, action: &str) {
        self.entries.remove(action);
    }

    /// The action failed. Returns how often it has, without a success between.
    pub(crate) fn failed(&mut self, action: String, now: Timestamp) -> u32 {
        let entry = self.entries.entry(action).or_insert(Entry { not_before: now, failures: 0 });
        let wait = FIRST.saturating_mul(1 << entry.failures.min(10)).min(LAST);
        entry.not_before = now + wait;
        entry.failures += 1;
        entry.failures
    }

    /// Forgets what is long over.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        self.entries.retain(|_, entry| entry.not_before + LAST * 2 > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_tried_less_and_less_often() {
        let start = Timestamp::UNIX_EPOCH;
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pace = Pace::default();
        assert!(pace.allows("a", start));
        assert_eq!(pace.failed("a".into(), start), 1);
        assert!(!pace.allows("a", start));
        assert!(pace.allows("b", start), "others go on");
        assert!(pace.allows("a", at(1)));
        assert_eq!(pace.failed("a".into(), at(1)), 2);
        assert!(!pace.allows("a", at(2)) && pace.allows("a", at(3)));
        for _ in 0..40 {
            pace.failed("a".into(), at(3));
        }
        assert!(!pace.allows("a", at(62)) && pace.allows("a", at(63)));
        pace.succeeded("a".into(), at(63));
        assert!(!pace.allows("a", at(65)) && pace.allows("a", at(66)));
        assert_eq!(pace.failed("a".into(), at(66)), 1, "a success starts the count anew");
        pace.conflicted("a");
        assert!(pace.allows("a", at(66)));
        pace.failed("a".into(), at(66));
        pace.forget(at(1000));
        assert!(pace.entries.is_empty());
    }
}
