//! `lrp list`, with Cilium's JSON keys.

use crate::service::{BackendAddress, FrontendAddress};

model! {
    /// A local redirect policy.
    pub struct LocalRedirectPolicy in "kebab-case" {
        /// The object's `metadata.uid`.
        pub uid: String,
        /// Its name.
        pub name: String,
        /// Its namespace.
        pub namespace: String,
        /// `clusterIP + all svc ports`, `clusterIP + port`, `clusterIP + named ports`, `IP + port`, `IP + named ports`.
        pub frontend_type: String,
        /// `svc` or `addr`.
        pub lrp_type: String,
        /// `namespace/name` of the service that it redirects, if it names one.
        pub service_id: String,
        /// What it redirects, and where to.
        pub frontend_mappings: Vec<FrontendMapping>,
    }

    /// An address that is redirected.
    pub struct FrontendMapping in "kebab-case" {
        /// The address.
        pub frontend_address: FrontendAddress,
        /// Pods of this node. Without any, it is not redirected.
        pub backends: Vec<LocalBackend>,
    }

    /// A pod of this node.
    pub struct LocalBackend in "kebab-case" {
        /// `namespace/name`.
        pub pod_id: String,
        /// Its address.
        pub backend_address: BackendAddress,
    }
}
