//! Dry runs that are asked for by an annotation, on a policy or on the namespace of the pods.

use std::collections::BTreeMap;

/// On a policy: nothing is dropped, and nothing allowed, because of it. On a namespace: no policy drops packets of its
/// pods. What would have been dropped passes and is reported as `AUDIT`. It is part of the object, so it outlives the agent.
pub const AUDIT_MODE: &str = "policy.cilium.io/audit-mode";

/// The annotation says neither yes nor no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} says neither yes nor no: write \"enabled\" or \"disabled\", or remove the annotation")]
pub struct BadAudit {
    /// What was given.
    pub text: String,
}

/// Whether these annotations ask for a dry run. Upper and lower case are the same.
///
/// # Errors
/// [`BadAudit`]
pub fn audit_asked(annotations: Option<&BTreeMap<String, String>>) -> Result<bool, BadAudit> {
    let Some(text) = annotations.and_then(|all| all.get(AUDIT_MODE)) else { return Ok(false) };
    match text.to_ascii_lowercase().as_str() {
        "enabled" | "true" => Ok(true),
        "disabled" | "false" => Ok(false),
        _ => Err(BadAudit { text: text.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_no_and_neither() {
        let asked = |text: &str| audit_asked(Some(&[(AUDIT_MODE.to_owned(), text.to_owned())].into()));
        assert_eq!(
            (asked("Enabled"), asked("true"), asked("disabled"), audit_asked(None)),
            (Ok(true), Ok(true), Ok(false), Ok(false))
        );
        let bad = asked("on").unwrap_err().to_string();
        assert!(bad.contains("\"on\"") && bad.contains("\"enabled\""), "{bad}");
    }
}
