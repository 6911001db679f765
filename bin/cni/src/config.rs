//! The network configuration on standard input.

use crate::failure::{Code, Failure};
use crate::invocation::is_name;
use crate::pod::HOST_PREFIX;
use crate::version::Version;
use serde::Deserialize;
use serde_json::Value;

/// A network configuration that makes sense. Fields of the runtime and of other plugins are ignored, as the
/// specification asks; fields that *would* mean something to this plugin and cannot be honoured are refused.
#[derive(Clone, Debug)]
pub(crate) struct NetConf {
    pub(crate) version: Version,
    /// Name of the network.
    pub(crate) name: String,
    /// Where to log; none: nowhere.
    pub(crate) log_file: Option<String>,
    /// Whether to log what went well, too.
    pub(crate) debug: bool,
    /// Whether the configuration says that another plugin runs before this one.
    chained: bool,
    /// Result of the ADD, given to CHECK and DEL.
    pub(crate) previous: Option<Value>,
    /// GC: attachments that still exist.
    pub(crate) valid_attachments: Option<Vec<Attachment>>,
}

/// An attachment, as GC names it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Attachment {
    #[serde(rename = "containerID")]
    pub(crate) container_id: String,
    pub(crate) ifname: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Raw {
    #[serde(rename = "cniVersion")]
    cni_version: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(rename = "type", default)]
    _plugin: String,
    log_file: Option<String>,
    #[serde(default)]
    enable_debug: bool,
    chaining_mode: Option<String>,
    ipam: Option<Ipam>,
    #[serde(rename = "prevResult")]
    previous: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<Attachment>>,
}

#[derive(Deserialize)]
struct Ipam {
    #[serde(rename = "type", default)]
    kind: String,
}

impl NetConf {
    /// Parses and checks; `version` is set as soon as it is known.
    pub(crate) fn parse(text: &[u8], version: &mut Version) -> Result<Self, Failure> {
        let raw: Raw = serde_json::from_slice(text).map_err(not_json)?;
        *version = Version::parse(raw.cni_version.as_deref().unwrap_or(Version::OLDEST.text()))?;
        if !is_name(&raw.name) {
            let text = format!(
                "the network's name \"{}\" is not made of letters, digits, `_`, `.` and `-`",
                raw.name
            );
            return Err(
                Failure::new(Code::Config, text).with_details("set \"name\" in the network configuration")
            );
        }
        let mode = raw.chaining_mode.unwrap_or_default();
        let chained = match mode.as_str() {
            // Some leave it to the network's name.
            "" => BEHIND.contains(&raw.name.as_str()),
            "none" | "portmap" => false,
            mode if BEHIND.contains(&mode) => true,
            _ => {
                return Err(Failure::new(
                    Code::UnsupportedField,
                    format!("chaining-mode \"{mode}\" is not supported"),
                )
                .with_details("use none, portmap, flannel or generic-veth (Helm: cni.chainingMode)"));
            }
        };
        if let Some(ipam) = raw.ipam.filter(|ipam| !ipam.kind.is_empty()) {
            return Err(Failure::new(
                Code::UnsupportedField,
                format!("ipam.type \"{}\" is not supported", ipam.kind),
            )
            .with_details("remove ipam from the network configuration: the agent gives out addresses"));
        }
        Ok(NetConf {
            version: *version,
            name: raw.name,
            log_file: raw.log_file.filter(|file| !file.is_empty()),
            debug: raw.enable_debug,
            chained,
            previous: raw.previous,
            valid_attachments: raw.valid_attachments,
        })
    }
}

/// Modes in which another plugin runs before this one.
const BEHIND: [&str; 2] = ["flannel", "generic-veth"];

impl NetConf {
    /// Whether another plugin gives pods their links: the configuration says so, or the result of an ADD names links of
    /// the node of which none is ours.
    pub(crate) fn is_behind(&self) -> bool {
        let mut outside = self.previous.iter().flat_map(host_interfaces).peekable();
        self.chained || (outside.peek().is_some() && !outside.any(|name| name.starts_with(HOST_PREFIX)))
    }
}

/// The names of the node's links in the result of an ADD: interfaces outside a sandbox.
pub(crate) fn host_interfaces(previous: &Value) -> impl Iterator<Item = &str> {
    let interfaces = previous["interfaces"].as_array().map(Vec::as_slice).unwrap_or_default();
    let outside = |interface: &&Value| interface["sandbox"].as_str().is_none_or(str::is_empty);
    interfaces.iter().filter(outside).filter_map(|interface| interface["name"].as_str())
}

pub(crate) fn not_json(error: serde_json::Error) -> Failure {
    Failure::new(Code::Decode, "the network configuration on standard input is not the JSON that is expected")
        .because(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Result<NetConf, Code> {
        NetConf::parse(text.as_bytes(), &mut Version::V1_1_0).map_err(|failure| failure.code)
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let cases = [
            ("", Code::Decode),
            ("[]", Code::Decode),
            ("{\"cniVersion\": 1}", Code::Decode),
            ("{\"cniVersion\": \"1.0.0\"}", Code::Config),
            ("{\"cniVersion\": \"1.0.0\", \"name\": \"../x\"}", Code::Config),
            ("{\"cniVersion\": \"9.0.0\", \"name\": \"x\"}", Code::IncompatibleVersion),
            ("{\"name\": \"x\", \"chaining-mode\": \"aws-cni\"}", Code::UnsupportedField),
            ("{\"name\": \"x\", \"ipam\": {\"type\": \"host-local\"}}", Code::UnsupportedField),
            ("{\"name\": \"x\", \"enable-debug\": \"yes\"}", Code::Decode),
        ];
        for (text, expected) in cases {
            assert_eq!(code(text).expect_err(text), expected, "{text}");
        }
    }

    #[test]
    fn what_others_need_is_left_to_them() {
        let config = code(
            r#"{"cniVersion":"0.4.0","name":"cilium","type":"cilium-cni","enable-debug":true,"log-file":"/tmp/x",
                "chaining-mode":"none","ipam":{},"args":{"cni":{"labels":[]}},"runtimeConfig":{"dns":{}},
                "capabilities":{"portMappings":true},"prevResult":{"cniVersion":"0.4.0"}}"#,
        )
        .expect("a good configuration");
        assert_eq!(
            (config.version, config.debug, config.log_file.as_deref()),
            (Version::V0_4_0, true, Some("/tmp/x"))
        );
        assert!(config.previous.is_some());
        assert_eq!(code("{\"name\":\"x\"}").expect("no version").version, Version::V0_1_0);
    }

    #[test]
    fn who_made_the_link_is_known() {
        let behind = |rest: &str| {
            code(&format!("{{\"cniVersion\":\"1.0.0\",{rest}}}")).expect("a good configuration").is_behind()
        };
        let result = |name: &str| {
            format!(
                r#""name":"x","prevResult":{{"interfaces":[{{"name":"{name}"}},{{"name":"eth0","sandbox":"/netns"}}]}}"#
            )
        };
        assert!(behind(r#""name":"generic-veth""#) && behind(r#""name":"cbr0","chaining-mode":"flannel""#));
        assert!(behind(&result("veth12345678")) && !behind(&result("lxc0123456789ab")));
        assert!(!behind(r#""name":"x""#) && !behind(r#""name":"x","chaining-mode":"portmap""#));
        assert!(!behind(r#""name":"x","prevResult":{"ips":[]}"#));
    }
}
