//! `identity list` and `identity get`.

model! {
    /// A security identity.
    pub struct Identity in "camelCase" {
        /// The number.
        pub id: u32,
        /// Labels, sorted, each `source:key=value` (`source:key` without a value).
        pub labels: Vec<String>,
        /// SHA-256 of the labels, hex.
        #[serde(rename = "labelsSHA256")]
        pub labels_sha256: String,
    }

    /// An identity and how many endpoints of this node have it.
    pub struct IdentityUse in "camelCase" {
        /// The identity.
        pub identity: Identity,
        /// How many endpoints.
        pub ref_count: u32,
    }
}
