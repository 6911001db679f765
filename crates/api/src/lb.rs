//! The kernel's tables of services, as the agent decodes them.

model! {
    /// Frontends, backends and source ranges.
    pub struct Tables in "camelCase" {
        /// All frontends, sorted by address, port, protocol.
        pub frontends: Vec<Frontend>,
        /// The slots that frontends name, sorted.
        pub backends: Vec<Backend>,
        /// All source ranges, sorted by service and range.
        pub source_ranges: Vec<SourceRange>,
    }

    /// A frontend.
    pub struct Frontend in "camelCase" {
        /// Its address; unspecified for all addresses of nodes.
        pub address: String,
        /// Its port; 0 with protocol 0 stands for all that have no entry of their own.
        pub port: u16,
        /// IP protocol number.
        pub protocol: u8,
        /// Number of the service port; all its frontends share it.
        pub service: u32,
        /// Raw flags.
        pub flags: u32,
        /// Their names, in Cilium's order.
        pub flag_names: Vec<String>,
        /// Seconds for which a client keeps its backend; 0 = no affinity.
        pub affinity: u32,
        /// Backends, by who asks: one for all, or one for clients outside and one for clients inside.
        pub scopes: Vec<Scope>,
    }

    /// Backends that may be chosen.
    pub struct Scope in "camelCase" {
        /// Whether this is for clients inside, there being another for those outside.
        pub internal: bool,
        /// First slot.
        pub start: u32,
        /// How many.
        pub count: u32,
    }

    /// A slot.
    pub struct Backend in "camelCase" {
        /// Its number.
        pub slot: u32,
        /// Address of the backend.
        pub address: String,
        /// Its port.
        pub port: u16,
    }

    /// A range of clients that a service lets in, or keeps out.
    pub struct SourceRange in "camelCase" {
        /// The range.
        pub prefix: String,
        /// Number of the service port.
        pub service: u32,
    }

    /// A service port that chooses by hash.
    pub struct Maglev in "camelCase" {
        /// Number of the service port.
        pub service: u32,
        /// `v4` or `v6`.
        pub family: String,
        /// Slot of the table; services with equal backends share one.
        pub table: u32,
        /// The slot of backends that the table's 0 stands for.
        pub start: u32,
    }

    /// One direction of a translated connection.
    pub struct NatEntry in "camelCase" {
        /// IP protocol number.
        pub protocol: u8,
        /// `OUT` for what the client sends, `IN` for what the server answers.
        pub direction: String,
        /// `address:port` from which a packet comes, IPv6 in brackets.
        pub source: String,
        /// `address:port` to which it goes.
        pub destination: String,
        /// The source with which it leaves.
        pub new_source: String,
        /// The destination with which it leaves.
        pub new_destination: String,
        /// Seconds until the entry may go.
        pub expires_in: u64,
        /// Raw flags.
        pub flags: u32,
        /// Their names.
        pub flag_names: Vec<String>,
        /// Number of the service port; 0 = plain masquerading.
        pub service: u32,
        /// Whether nobody answered yet.
        pub half_open: bool,
    }

    /// A socket that speaks with a backend and believes to speak with a service.
    pub struct SocketEntry in "camelCase" {
        /// The kernel's number for the socket.
        pub cookie: u64,
        /// `address:port` of the backend.
        pub backend: String,
        /// `address:port` that the socket asked for.
        pub frontend: String,
        /// Number of the service port.
        pub service: u32,
    }
}
