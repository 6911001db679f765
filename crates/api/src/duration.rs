use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::time::Duration;
use std::{fmt, str::FromStr};

/// A span of time in the text form of Cilium's API, that of the Go language: `1h2m3.5s`, `250ms`, `0s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub Duration);

/// A text is not a span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration: write numbers with units, such as 1h2m3.5s or 250ms")]
pub struct DurationError {
    /// What was given.
    pub text: String,
}

/// Units with their nanoseconds; longer names before those they begin with.
const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if self.0 < Duration::from_secs(1) {
            let (unit, size) = match nanos {
                0..1_000 => ("ns", 1),
                1_000..1_000_000 => ("µs", 1_000),
                _ => ("ms", 1_000_000),
            };
            return write!(f, "{}{unit}", fraction(nanos, size));
        }
        let seconds = self.0.as_secs();
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", fraction(nanos % 60_000_000_000, 1_000_000_000))
    }
}

/// `value / size` without trailing zeros; `size` is a power of ten.
fn fraction(value: u128, size: u128) -> String {
    let digits = size.ilog10() as usize;
    let text = format!("{}.{:0digits$}", value / size, value % size);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let bad = || DurationError { text: text.to_owned() };
        let (mut rest, mut nanos) = (text, 0.0);
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
            let number: f64 = rest[..end].parse().map_err(|_| bad())?;
            rest = &rest[end..];
            let unit = |(name, size): &(&str, f64)| rest.strip_prefix(name).map(|left| (left, *size));
            let (left, size) = UNITS.iter().find_map(unit).ok_or_else(bad)?;
            rest = left;
            nanos += number * size;
        }
        if text.is_empty() {
            return Err(bad());
        }
        Duration::try_from_secs_f64(nanos / 1e9).map(GoDuration).map_err(|_| bad())
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_go() {
        let cases = [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (1_000_000_000, "1s"),
            (61_500_000_000, "1m1.5s"),
            (3_600_000_000_000, "1h0m0s"),
            (90_061_000_000_000, "25h1m1s"),
        ];
        for (nanos, text) in cases {
            let duration = GoDuration(Duration::from_nanos(nanos));
            assert_eq!(duration.to_string(), text);
            assert_eq!(text.parse::<GoDuration>().expect(text), duration);
        }
        for bad in ["", "5", "s", "1x", "-1s", "1.2.3s", "1h-2m"] {
            assert!(bad.parse::<GoDuration>().is_err(), "{bad} was taken for a duration");
        }
    }
}
