//! Versions of the CNI specification.

use crate::failure::{Code, Failure};
use std::fmt;

/// A version this plugin speaks; they are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V0_1_0,
    V0_2_0,
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

impl Version {
    pub(crate) const ALL: [Version; 7] = [
        Version::V0_1_0,
        Version::V0_2_0,
        Version::V0_3_0,
        Version::V0_3_1,
        Version::V0_4_0,
        Version::V1_0_0,
        Version::V1_1_0,
    ];
    /// What a configuration without `cniVersion` means.
    pub(crate) const OLDEST: Version = Version::V0_1_0;
    pub(crate) const NEWEST: Version = Version::V1_1_0;

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Version::V0_1_0 => "0.1.0",
            Version::V0_2_0 => "0.2.0",
            Version::V0_3_0 => "0.3.0",
            Version::V0_3_1 => "0.3.1",
            Version::V0_4_0 => "0.4.0",
            Version::V1_0_0 => "1.0.0",
            Version::V1_1_0 => "1.1.0",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        Version::ALL.into_iter().find(|version| version.text() == text).ok_or_else(|| {
            let known = Version::ALL.map(Version::text).join(", ");
            Failure::new(Code::IncompatibleVersion, format!("cniVersion \"{text}\" is not supported"))
                .with_details(format!("set cniVersion in the network configuration to one of {known}"))
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
