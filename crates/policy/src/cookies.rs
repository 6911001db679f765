use std::sync::Arc;
use types::PolicyOrigin;

/// One rule of one policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleRef {
    /// The policy.
    pub origin: Arc<PolicyOrigin>,
    /// The rule's place in it, from 0.
    pub index: u32,
}
/// x
#[derive(Debug)]
pub struct Cookies;
