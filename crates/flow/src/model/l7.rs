//! Messages of layer 7.

/// A message of layer 7.
#[derive(Clone, Debug, PartialEq)]
pub struct L7 {
    /// Request or response.
    pub kind: L7Kind,
    /// From request to response, ns.
    pub latency: u64,
    /// What it says.
    pub record: L7Record,
}

/// Which half of an exchange a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum L7Kind {
    /// Nobody knows.
    #[default]
    Unknown,
    /// The request.
    Request,
    /// The response.
    Response,
    /// A sample.
    Sample,
}

/// What a message of layer 7 says.
#[derive(Clone, Debug, PartialEq)]
pub enum L7Record {
    /// Nothing that is known here.
    Other,
    /// HTTP, also gRPC.
    Http {
        /// Status, 0 in a request.
        code: u32,
        /// Method.
        method: String,
        /// URL.
        url: String,
        /// Version, such as `HTTP/1.1`.
        protocol: String,
        /// Headers, in order.
        headers: Vec<(String, String)>,
    },
    /// DNS.
    Dns {
        /// Name asked for, with the final dot.
        query: String,
        /// Addresses in the answer.
        ips: Vec<String>,
        /// Lifetime of the answer, seconds.
        ttl: u32,
        /// Aliases in the answer.
        cnames: Vec<String>,
        /// Who saw it, such as `proxy`.
        observed_by: String,
        /// Response code.
        rcode: u32,
        /// Types asked for.
        qtypes: Vec<String>,
        /// Types answered.
        rrtypes: Vec<String>,
    },
    /// Kafka.
    Kafka {
        /// Error of the response.
        error_code: i32,
        /// Version of the API.
        api_version: i32,
        /// Name of the API.
        api_key: String,
        /// Ties a response to its request.
        correlation_id: i32,
        /// Topic.
        topic: String,
    },
}
