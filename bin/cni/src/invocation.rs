//! What the runtime says in the environment.

use crate::failure::{Code, Failure};
use crate::version::Version;
use std::env;

/// `CNI_COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Add,
    Del,
    Check,
    Status,
    Gc,
    Version,
}

impl Command {
    pub(crate) fn from_env() -> Result<Self, Failure> {
        match variable("CNI_COMMAND")?.as_str() {
            "ADD" => Ok(Command::Add),
            "DEL" => Ok(Command::Del),
            "CHECK" => Ok(Command::Check),
            "STATUS" => Ok(Command::Status),
            "GC" => Ok(Command::Gc),
            "VERSION" => Ok(Command::Version),
            "" => Err(environment(
                "CNI_COMMAND is not set: this program is run by a container runtime, see the CNI specification",
            )),
            other => Err(environment(format!(
                "CNI_COMMAND \"{other}\" is not one of ADD, DEL, CHECK, GC, STATUS, VERSION"
            ))),
        }
    }

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Command::Add => "ADD",
            Command::Del => "DEL",
            Command::Check => "CHECK",
            Command::Status => "STATUS",
            Command::Gc => "GC",
            Command::Version => "VERSION",
        }
    }

    /// Refuses commands that the version of the configuration does not have.
    pub(crate) fn check_version(self, version: Version) -> Result<(), Failure> {
        let since = match self {
            Command::Check => Version::V0_4_0,
            Command::Status | Command::Gc => Version::V1_1_0,
            Command::Add | Command::Del | Command::Version => return Ok(()),
        };
        if version >= since {
            return Ok(());
        }
        let text =
            format!("{} needs cniVersion {since} or newer, the configuration says {version}", self.text());
        Err(Failure::new(Code::IncompatibleVersion, text))
    }
}

/// The attachment a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invocation {
    pub(crate) container_id: String,
    pub(crate) ifname: String,
    /// Empty for a DEL whose namespace is gone.
    pub(crate) netns: String,
    pub(crate) namespace: String,
    pub(crate) pod_name: String,
    pub(crate) pod_uid: String,
}

impl Invocation {
    /// Reads and checks the variables; a DEL does not need a namespace.
    pub(crate) fn from_env(needs_netns: bool) -> Result<Self, Failure> {
        let mut invocation = Invocation {
            container_id: variable("CNI_CONTAINERID")?,
            ifname: variable("CNI_IFNAME")?,
            netns: variable("CNI_NETNS")?,
            namespace: String::new(),
            pod_name: String::new(),
            pod_uid: String::new(),
        };
        let missing: Vec<&str> = [
            ("CNI_CONTAINERID", invocation.container_id.is_empty()),
            ("CNI_IFNAME", invocation.ifname.is_empty()),
            ("CNI_NETNS", needs_netns && invocation.netns.is_empty()),
        ]
        .into_iter()
        .filter_map(|(name, missing)| missing.then_some(name))
        .collect();
        if !missing.is_empty() {
            return Err(environment(format!("required variables are not set: {}", missing.join(", "))));
        }
        if !is_name(&invocation.container_id) {
            let id = &invocation.container_id;
            return Err(environment(format!(
                "CNI_CONTAINERID \"{id}\" is not made of letters, digits, `_`, `.` and `-`"
            )));
        }
        check_ifname(&invocation.ifname)?;
        invocation.read_args(&variable("CNI_ARGS")?)?;
        Ok(invocation)
    }

    /// `KEY=VALUE;KEY=VALUE`; keys that mean nothing here are for others.
    fn read_args(&mut self, args: &str) -> Result<(), Failure> {
        for pair in args.split(';').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(environment(format!("CNI_ARGS holds \"{pair}\", which is no KEY=VALUE")));
            };
            match key {
                "K8S_POD_NAMESPACE" => value.clone_into(&mut self.namespace),
                "K8S_POD_NAME" => value.clone_into(&mut self.pod_name),
                "K8S_POD_UID" => value.clone_into(&mut self.pod_uid),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The specification's form of container ids and network names: a letter or digit, then also `_`, `.`, `-`.
pub(crate) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn check_ifname(name: &str) -> Result<(), Failure> {
    let why = if name.len() > 15 {
        "is longer than 15 bytes"
    } else if name == "." || name == ".." {
        "is a folder"
    } else if name.bytes().any(|b| b == b'/' || b == b':' || b.is_ascii_whitespace()) {
        "holds `/`, `:` or a space"
    } else {
        return Ok(());
    };
    Err(environment(format!("CNI_IFNAME \"{name}\" {why}")))
}

fn environment(message: impl Into<String>) -> Failure {
    Failure::new(Code::Environment, message)
}

/// A variable; empty if it is not set.
fn variable(name: &str) -> Result<String, Failure> {
    match env::var(name) {
        Ok(value) => Ok(value),
        Err(env::VarError::NotPresent) => Ok(String::new()),
        Err(env::VarError::NotUnicode(_)) => Err(environment(format!("{name} is not UTF-8"))),
    }
}
