//! Wall clock texts, and how the wall clock stands to the kernel's.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Now, to the second, as Kubernetes writes times.
pub(crate) fn rfc3339_seconds() -> String {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default()
}

/// A time in ns since the Unix epoch as RFC 3339.
pub(crate) fn rfc3339(ns: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns))
        .ok()
        .and_then(|t| t.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// What to add to the kernel's monotonic clock to get ns since the Unix epoch.
pub(crate) fn wall_offset() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    u64::try_from(wall).unwrap_or(u64::MAX).saturating_sub(loader::monotonic_ns())
}
