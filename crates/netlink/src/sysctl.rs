//! Settings under `/proc/sys`, of the calling thread's namespace.
//!
//! In a container that is not privileged `/proc/sys` is read-only; the chart then mounts the node's below
//! `/host/proc/sys`. For `net` that is the same thing, as the kernel answers for the caller's namespace there too.

use crate::error::NetlinkError;
use std::path::PathBuf;
use std::{fs, io};

/// Writes a setting unless it has the value already; says whether it was changed. `key` is a list because names of
/// interfaces may contain dots: `["net", "ipv4", "conf", "eth0.5", "rp_filter"]`.
pub fn set(key: &[&str], value: &str) -> Result<bool, NetlinkError> {
    if get(key)? == value {
        return Ok(false);
    }
    let path = path(key);
    let written = match fs::write(&path, value) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            fs::write(below(MOUNTED, key), value).map_err(|_| error)
        }
        result => result,
    };
    written.map_err(|source| NetlinkError::Sysctl { what: "write", path, source })?;
    Ok(true)
}

/// Like [`set`], where the kernel may lack the setting (IPv6 switched off): then `None`.
pub fn set_if_present(key: &[&str], value: &str) -> Result<Option<bool>, NetlinkError> {
    match set(key, value) {
        Err(NetlinkError::Sysctl { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Reads a setting, without the line end.
pub fn get(key: &[&str]) -> Result<String, NetlinkError> {
    let path = path(key);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(source) => Err(NetlinkError::Sysctl { what: "read", path, source }),
    }
}

/// Sets one value of `net.ipv4.conf.DEVICE`.
pub fn set_ipv4(device: &str, name: &str, value: &str) -> Result<bool, NetlinkError> {
    set(&["net", "ipv4", "conf", device, name], value)
}

/// Sets one value of `net.ipv6.conf.DEVICE`; `None` where the kernel runs without IPv6.
pub fn set_ipv6(device: &str, name: &str, value: &str) -> Result<Option<bool>, NetlinkError> {
    set_if_present(&["net", "ipv6", "conf", device, name], value)
}

/// Lets this namespace forward packets of both families.
pub fn set_forwarding() -> Result<(), NetlinkError> {
    set(&["net", "ipv4", "ip_forward"], "1")?;
    set_ipv6("all", "forwarding", "1")?;
    Ok(())
}

/// Where the chart mounts the node's settings.
const MOUNTED: &str = "/host/proc/sys";

fn path(key: &[&str]) -> PathBuf {
    below("/proc/sys", key)
}

fn below(root: &str, key: &[&str]) -> PathBuf {
    let mut path = PathBuf::from(root);
    path.extend(key);
    path
}
