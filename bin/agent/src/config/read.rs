//! How values of options are read. Each refusal names the option, what it was given, and what to write instead.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use api::GoDuration;
use ipnet::{Ipv4Net, Ipv6Net};

use super::Options;
use super::keys;

/// A kind of value that is written as one word.
pub(super) trait Kind: FromStr {
    /// What to write.
    const FORM: &'static str;
}

impl Kind for u16 {
    const FORM: &'static str = "a number from 0 to 65535";
}
impl Kind for u32 {
    const FORM: &'static str = "a number from 0 to 4294967295";
}
impl Kind for u64 {
    const FORM: &'static str = "a number from 0 on";
}
impl Kind for usize {
    const FORM: &'static str = "a number from 0 on";
}
impl Kind for GoDuration {
    const FORM: &'static str = "numbers with units, such as 90s or 1h30m";
}
impl Kind for Ipv4Net {
    const FORM: &'static str = "a range such as 10.0.0.0/8";
}
impl Kind for Ipv6Net {
    const FORM: &'static str = "a range such as fd00::/48";
}

/// The text of an option; `None` if it is empty.
pub(super) fn text(options: &Options, name: &str) -> Option<String> {
    Some(options.get(name)).filter(|v| !v.is_empty()).map(str::to_owned)
}

/// A value that must be there.
pub(super) fn value<T: Kind>(options: &Options, name: &str) -> Result<T> {
    let raw = options.get(name).trim();
    raw.parse().ok().with_context(|| format!("option --{name}={raw} cannot be read: write {}", T::FORM))
}

/// A value, or nothing.
pub(super) fn optional<T: Kind>(options: &Options, name: &str) -> Result<Option<T>> {
    if options.get(name).trim().is_empty() { Ok(None) } else { value(options, name).map(Some) }
}

/// A number within bounds.
pub(super) fn number<T: Kind + PartialOrd + Display>(
    options: &Options,
    name: &str,
    bounds: RangeInclusive<T>,
) -> Result<T> {
    let number = value(options, name)?;
    let (least, most) = (bounds.start(), bounds.end());
    ensure!(
        bounds.contains(&number),
        "option --{name}={number} is outside {least}..{most}: write a number from {least} to {most}"
    );
    Ok(number)
}

/// A TCP or UDP port of our own.
pub(super) fn port(options: &Options, name: &str) -> Result<u16> {
    number(options, name, 1..=u16::MAX)
}

/// A path that must be there.
pub(super) fn path(options: &Options, name: &str) -> Result<PathBuf> {
    optional_path(options, name)?.with_context(|| {
        format!(
            "option --{name}= is empty: give a path, normally {}",
            keys::find(name).map_or("/", |k| k.default)
        )
    })
}

/// A path, or nothing.
pub(super) fn optional_path(options: &Options, name: &str) -> Result<Option<PathBuf>> {
    let Some(path) = text(options, name).map(PathBuf::from) else { return Ok(None) };
    // The agent's working folder is nobody's business.
    ensure!(path.is_absolute(), "option --{name}={} is no absolute path: begin it with a /", path.display());
    Ok(Some(path))
}

/// An address and port; Cilium's form ":4244" means every address, empty none.
pub(super) fn address(options: &Options, name: &str) -> Result<Option<SocketAddr>> {
    let raw = options.get(name).trim();
    let text = match raw {
        "" => return Ok(None),
        raw if raw.starts_with(':') => format!("[::]{raw}"),
        raw => raw.to_owned(),
    };
    let address = text.parse().ok();
    address.map(Some).with_context(|| {
        format!("option --{name}={raw} is not an address and port: write one such as :4244, 127.0.0.1:4244 or [::1]:4244")
    })
}

/// A switch.
pub(super) fn flag(options: &Options, name: &str) -> Result<bool> {
    match options.get(name).trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "t" => Ok(true),
        "false" | "0" | "f" | "" => Ok(false),
        _ => {
            bail!("option --{name}={} is neither true nor false: write one of them", options.get(name).trim())
        }
    }
}

/// The words of a list.
pub(super) fn list(raw: &str) -> Vec<String> {
    raw.split([',', ' ', '\n']).filter(|s| !s.is_empty()).map(str::to_owned).collect()
}
