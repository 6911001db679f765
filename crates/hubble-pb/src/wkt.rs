//! Google's well-known types, as far as Hubble uses them. In JSON they look as Go's `protojson` writes them: times end in
//! `Z` and have 0, 3, 6 or 9 digits after the dot.

use flow::format::{date, from_date};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

/// A moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Timestamp {
    /// Seconds since the Unix epoch.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds beyond, 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// Fields to fill.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct FieldMask {
    /// Their paths, `a.b`.
    #[prost(string, repeated, tag = "1")]
    pub paths: Vec<String>,
}

/// A message of any type.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Any {
    /// Which type.
    #[prost(string, tag = "1")]
    #[serde(rename = "@type")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// A truth value that may be absent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BoolValue {
    /// The value.
    #[prost(bool, tag = "1")]
    pub value: bool,
}

/// A number that may be absent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UInt32Value {
    /// The value.
    #[prost(uint32, tag = "1")]
    pub value: u32,
}

/// A number that may be absent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Int32Value {
    /// The value.
    #[prost(int32, tag = "1")]
    pub value: i32,
}

impl Timestamp {
    /// From ns since the Unix epoch.
    pub fn from_unix_nanos(time: u64) -> Self {
        // Both fit: u64::MAX ns are 1.8e10 s.
        Self { seconds: (time / 1_000_000_000) as i64, nanos: (time % 1_000_000_000) as i32 }
    }

    /// As ns since the Unix epoch; what lies before is 0, and what lies beyond the year 2554 the last moment that fits.
    pub fn unix_nanos(&self) -> u64 {
        let seconds = u64::try_from(self.seconds).unwrap_or_default();
        seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(self.nanos).unwrap_or_default())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = u64::try_from(self.seconds).map_err(|_| S::Error::custom("time before 1970"))?;
        let nanos = u32::try_from(self.nanos).map_err(|_| S::Error::custom("negative nanoseconds"))?;
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = date(days);
        let fraction = match nanos {
            0 => String::new(),
            n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
            n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
            n => format!(".{n:09}"),
        };
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        serializer.collect_str(&format_args!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}{fraction}Z"))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format!("time {text:?} is not RFC 3339, as in 2006-01-02T15:04:05.999Z"))
        })
    }
}

impl Timestamp {
    /// Reads RFC 3339 from 1970 on, with `Z` or an offset.
    pub fn parse(text: &str) -> Option<Self> {
        let (day, time) = text.split_once(['T', 't', ' '])?;
        let mut parts = day.splitn(3, '-').map(|part| part.parse::<u64>().ok());
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        let zone_at = time.find(['Z', 'z', '+', '-'])?;
        let (clock, zone) = time.split_at(zone_at);
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let mut parts = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
        let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
        let valid = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
        if !valid
            || fraction.is_empty()
            || fraction.len() > 9
            || !fraction.bytes().all(|b| b.is_ascii_digit())
        {
            return None;
        }
        let days = i64::try_from(from_date(year, month, day)?).ok()?;
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset(zone)?;
        let nanos = format!("{fraction:0<9}").parse().ok()?;
        (seconds >= 0).then_some(Self { seconds, nanos })
    }
}

/// Seconds east of Greenwich: `Z`, `+01:00`.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..24).contains(&hours) && (0..60).contains(&minutes)).then_some(sign * (hours * 3600 + minutes * 60))
}

/// In JSON a mask is one text, its paths in lowerCamelCase and joined by commas.
impl Serialize for FieldMask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::new();
        for (i, path) in self.paths.iter().enumerate() {
            if i > 0 {
                text.push(',');
            }
            let mut up = false;
            for c in path.chars() {
                match c {
                    '_' => up = true,
                    c if up => {
                        text.push(c.to_ascii_uppercase());
                        up = false;
                    }
                    c => text.push(c),
                }
            }
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for FieldMask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let paths = text.split(',').filter(|path| !path.is_empty()).map(|path| {
            path.chars().fold(String::new(), |mut out, c| {
                if c.is_ascii_uppercase() {
                    out.push('_');
                }
                out.push(c.to_ascii_lowercase());
                out
            })
        });
        Ok(Self { paths: paths.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        for (time, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_136_214_245_120_000_000, "2006-01-02T15:04:05.120Z"),
            (1_136_214_245_120_001_000, "2006-01-02T15:04:05.120001Z"),
            (1_136_214_245_120_001_002, "2006-01-02T15:04:05.120001002Z"),
        ] {
            let json = serde_json::to_string(&Timestamp::from_unix_nanos(time)).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap().unix_nanos(), time);
        }
        let east = Timestamp::parse("2006-01-02T16:04:05+01:00").unwrap();
        assert_eq!(east.unix_nanos(), 1_136_214_245_000_000_000);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2006-01-02",
            "2006-13-02T00:00:00Z",
            "2006-01-02T25:00:00Z",
            "2006-01-02T00:00:00",
            "2006-01-02T00:00:00+xx",
            "2006-01-02T00:00:00.Z",
            "1969-12-31T00:00:00Z",
            "2006-01-02T00:00:00é",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn masks_are_one_text() {
        let mask = FieldMask { paths: vec!["source.pod_name".into(), "l4".into()] };
        let json = serde_json::to_string(&mask).unwrap();
        assert_eq!(json, "\"source.podName,l4\"");
        assert_eq!(serde_json::from_str::<FieldMask>(&json).unwrap(), mask);
    }
}
