//! Options of Hubble that are read in one piece.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flow::redact::{Headers, Redaction};

use super::{Options, flag, list, number, optional_path};
use crate::tasks::drop_events::Wanted;

/// Where flows are kept beyond memory, and in how many bytes.
pub(super) fn history(options: &Options) -> Result<Option<(PathBuf, u64)>> {
    let Some(path) = optional_path(options, "hubble-history-path")? else { return Ok(None) };
    let megabytes: u64 = number(options, "hubble-history-max-size-mb", 1..=1 << 20)?;
    Ok(Some((path, megabytes << 20)))
}

/// What flows must not say.
pub(super) fn redaction(options: &Options) -> Result<Option<Redaction>> {
    if !flag(options, "hubble-redact-enabled")? {
        return Ok(None);
    }
    let names = |name: &str| list(options.get(name)).iter().map(|word| word.to_ascii_lowercase()).collect();
    let (allow, deny) = ("hubble-redact-http-headers-allow", "hubble-redact-http-headers-deny");
    let headers = match (options.get(allow), options.get(deny)) {
        ("", "") => Headers::Keep,
        (_, "") => Headers::AllBut(names(allow)),
        ("", _) => Headers::These(names(deny)),
        _ => bail!(
            "--{allow} cannot be used with --{deny}: a header is hidden by one list or the other; set one of them"
        ),
    };
    Ok(Some(Redaction {
        url_query: flag(options, "hubble-redact-http-urlquery")?,
        user_info: flag(options, "hubble-redact-http-userinfo")?,
        kafka_api_key: flag(options, "hubble-redact-kafka-apikey")?,
        headers,
    }))
}

/// Which drops become Events.
pub(super) fn drop_events(options: &Options) -> Result<Option<Wanted>> {
    if !flag(options, "hubble-drop-events")? {
        return Ok(None);
    }
    let text = options.get("hubble-drop-events-interval");
    let interval = duration(text).with_context(|| {
        format!("option --hubble-drop-events-interval={text} is no duration: write one such as 2m or 1h30m")
    })?;
    let names = list(options.get("hubble-drop-events-reasons"));
    let reasons = names.iter().map(|name| {
        Wanted::reason(name)
            .with_context(|| format!("option --hubble-drop-events-reasons: {name} is no drop reason: use names of the flow API such as policy_denied"))
    });
    Ok(Some(Wanted { interval, reasons: reasons.collect::<Result<_>>()? }))
}

/// `90s`, `2m`, `1h30m`.
fn duration(text: &str) -> Option<Duration> {
    let (mut sum, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let seconds = match &rest[digits..unit] {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        sum = sum.checked_add(Duration::from_secs(number.checked_mul(seconds)?))?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        for (text, seconds) in
            [("2m", Some(120)), ("1h30m5s", Some(5405)), ("", None), ("2", None), ("m", None), ("2ms", None)]
        {
            assert_eq!(duration(text).map(|d| d.as_secs()), seconds, "{text}");
        }
    }
}
