//! Times and durations on the command line.

use anyhow::{Context, bail};
use hubble_pb::wkt::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Units of a duration, longest spelling first where one begins like another.
const UNITS: [(&str, f64); 8] = [
    ("ms", 1e-3),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ns", 1e-9),
    ("h", 3600.0),
    ("m", 60.0),
    ("s", 1.0),
];

/// Reads `1h30m`, `1.5s`, `300ms`.
pub(crate) fn duration(text: &str) -> anyhow::Result<Duration> {
    let bad = || format!("{text:?} is no duration: write one like 300ms, 3s, 4m or 1h30m");
    let mut rest = text;
    let mut seconds = 0.0;
    if rest.is_empty() {
        bail!(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').with_context(bad)?;
        let number: f64 = rest[..digits].parse().ok().with_context(bad)?;
        let (unit, factor) =
            UNITS.iter().find(|(unit, _)| rest[digits..].starts_with(unit)).with_context(bad)?;
        seconds += number * factor;
        rest = &rest[digits + unit.len()..];
    }
    Duration::try_from_secs_f64(seconds).ok().with_context(bad)
}

/// Reads a while before `now`, or a date: `2006-01-02`, with hour, minute, second and zone, or RFC 1123.
pub(crate) fn moment(text: &str, now: SystemTime) -> anyhow::Result<Timestamp> {
    if let Ok(ago) = duration(text) {
        let then = now.checked_sub(ago).unwrap_or(UNIX_EPOCH);
        let since = then.duration_since(UNIX_EPOCH).unwrap_or_default();
        return Ok(Timestamp::from_unix_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)));
    }
    date(text).with_context(|| {
        format!("{text:?} is no time: write a while ago (3s, 4m, 1h30m) or a date (2006-01-02, 2006-01-02T15:04:05Z)")
    })
}

fn date(text: &str) -> Option<Timestamp> {
    if let Some(time) = Timestamp::parse(text) {
        return Some(time);
    }
    if text.contains(',') {
        return rfc1123(text);
    }
    let Some((day, time)) = text.split_once('T') else {
        return Timestamp::parse(&format!("{text}T00:00:00Z"));
    };
    // Minutes and seconds may be left out.
    let zone = time.find(['Z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone);
    let missing = match clock.len() {
        2 => ":00:00",
        5 => ":00",
        _ => return None,
    };
    Timestamp::parse(&format!("{day}T{clock}{missing}{zone}"))
}

/// `Mon, 02 Jan 2006 15:04:05 -0700`.
fn rfc1123(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let [day, month, year, clock, zone] = rest.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let (hours, minutes) = zone.split_at_checked(3)?;
    Timestamp::parse(&format!("{year}-{month:02}-{day}T{clock}{hours}:{minutes}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [("300ms", 300), ("3s", 3000), ("1h30m", 5_400_000), ("1.5s", 1500), ("0s", 0)] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for text in ["", "3", "s", "-3s", "3x", "1h3", "é", "99999999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments() {
        let now = UNIX_EPOCH + Duration::from_secs(1_136_214_245);
        let at = |text: &str| moment(text, now).unwrap().unix_nanos() / 1_000_000_000;
        assert_eq!(at("5s"), 1_136_214_240);
        assert_eq!(at("2006-01-02"), 1_136_160_000);
        assert_eq!(at("2006-01-02T15Z"), 1_136_214_000);
        assert_eq!(at("2006-01-02T15:04+01:00"), 1_136_210_640);
        assert_eq!(at("2006-01-02T15:04:05.5Z"), 1_136_214_245);
        assert_eq!(at("Mon, 02 Jan 2006 15:04:05 +0000"), 1_136_214_245);
        for text in ["yesterday", "2006-13-01", "2006-01-02T1:2Z"] {
            assert!(moment(text, now).is_err(), "{text}");
        }
    }
}
