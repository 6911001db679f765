//! Times as text, in UTC, without a time library: the calendar of the last and next centuries is all that is needed.

/// How to write a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// `Jan _2 15:04:05.000`.
    #[default]
    StampMilli,
    /// `2006-01-02`.
    YearMonthDay,
    /// `2006-01-02T15Z`.
    YearMonthDayHour,
    /// `2006-01-02T15:04Z`.
    YearMonthDayHourMinute,
    /// `2006-01-02T15:04:05Z`.
    Rfc3339,
    /// `2006-01-02T15:04:05.999Z`, without final zeros.
    Rfc3339Milli,
    /// `2006-01-02T15:04:05.999999Z`, without final zeros.
    Rfc3339Micro,
    /// `2006-01-02T15:04:05.999999999Z`, without final zeros.
    Rfc3339Nano,
    /// `Mon, 02 Jan 2006 15:04:05 +0000`.
    Rfc1123Z,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// 1 January 1970 was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

impl TimeFormat {
    /// Every format, with its name on the command line.
    pub const NAMES: [(&'static str, TimeFormat); 9] = [
        ("StampMilli", TimeFormat::StampMilli),
        ("YearMonthDay", TimeFormat::YearMonthDay),
        ("YearMonthDayHour", TimeFormat::YearMonthDayHour),
        ("YearMonthDayHourMinute", TimeFormat::YearMonthDayHourMinute),
        ("RFC3339", TimeFormat::Rfc3339),
        ("RFC3339Milli", TimeFormat::Rfc3339Milli),
        ("RFC3339Micro", TimeFormat::Rfc3339Micro),
        ("RFC3339Nano", TimeFormat::Rfc3339Nano),
        ("RFC1123Z", TimeFormat::Rfc1123Z),
    ];

    /// The format of this name, whatever its case.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, format)| *format)
    }

    /// Writes a time given in ns since the Unix epoch.
    pub fn write(self, time: u64) -> String {
        let (seconds, nanos) = (time / 1_000_000_000, time % 1_000_000_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let (year, month, day) = date(days);
        let name = MONTHS[month as usize - 1];
        let ymd = format!("{year:04}-{month:02}-{day:02}");
        let hms = format!("{hour:02}:{minute:02}:{second:02}");
        match self {
            Self::StampMilli => format!("{name} {day:>2} {hms}.{:03}", nanos / 1_000_000),
            Self::YearMonthDay => ymd,
            Self::YearMonthDayHour => format!("{ymd}T{hour:02}Z"),
            Self::YearMonthDayHourMinute => format!("{ymd}T{hour:02}:{minute:02}Z"),
            Self::Rfc3339 => format!("{ymd}T{hms}Z"),
            Self::Rfc3339Milli => format!("{ymd}T{hms}{}Z", fraction(nanos, 3)),
            Self::Rfc3339Micro => format!("{ymd}T{hms}{}Z", fraction(nanos, 6)),
            Self::Rfc3339Nano => format!("{ymd}T{hms}{}Z", fraction(nanos, 9)),
            Self::Rfc1123Z => {
                format!("{}, {day:02} {name} {year:04} {hms} +0000", WEEKDAYS[(days % 7) as usize])
            }
        }
    }
}

/// `.` and up to `digits` digits, without final zeros; empty if all are zero.
fn fraction(nanos: u64, digits: usize) -> String {
    let all = format!("{nanos:09}");
    let kept = all[..digits].trim_end_matches('0');
    if kept.is_empty() { String::new() } else { format!(".{kept}") }
}

/// The date of a day, counted from 1 January 1970: year, month 1–12, day 1–31. Counts in eras of 400 years that begin on
/// 1 March, so that the leap day comes last.
pub fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The day of a date, counted from 1 January 1970; `None` before that, or if there is no such day.
pub fn from_date(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(1970..=9999).contains(&year) {
        return None;
    }
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (shifted_year / 400, shifted_year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let days = (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).checked_sub(719_468)?;
    // 31 April and the like come out as another date.
    (date(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format() {
        // date -u -d @1136214245
        let time = 1_136_214_245_120_000_000;
        let texts: Vec<_> = TimeFormat::NAMES.iter().map(|(_, format)| format.write(time)).collect();
        assert_eq!(
            texts,
            [
                "Jan  2 15:04:05.120",
                "2006-01-02",
                "2006-01-02T15Z",
                "2006-01-02T15:04Z",
                "2006-01-02T15:04:05Z",
                "2006-01-02T15:04:05.12Z",
                "2006-01-02T15:04:05.12Z",
                "2006-01-02T15:04:05.12Z",
                "Mon, 02 Jan 2006 15:04:05 +0000",
            ]
        );
        assert_eq!(TimeFormat::Rfc3339Nano.write(0), "1970-01-01T00:00:00Z");
        assert_eq!(TimeFormat::Rfc3339Nano.write(u64::MAX), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn days_and_dates_agree_for_six_centuries() {
        let mut before = date(0);
        for day in 1..220_000 {
            let now = date(day);
            assert!(now > before, "day {day}");
            assert_eq!(from_date(now.0, now.1, now.2), Some(day));
            before = now;
        }
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(from_date(2023, 2, 29), None);
        assert_eq!(from_date(1969, 12, 31), None);
    }
}
