//! Why a packet was dropped: the numbers and texts of Cilium 1.19, which tools match on.

/// A drop reason.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// Invalid source mac.
    InvalidSourceMac = 130,
    /// Invalid destination mac.
    InvalidDestinationMac = 131,
    /// Invalid source ip.
    InvalidSourceIp = 132,
    /// Policy denied.
    PolicyDenied = 133,
    /// Invalid packet.
    InvalidPacket = 134,
    /// CT: Truncated or invalid header.
    CtInvalidHeader = 135,
    /// CT: Unknown L4 protocol.
    CtUnknownProtocol = 137,
    /// Unsupported L3 protocol.
    UnsupportedL3 = 139,
    /// Missed tail call.
    MissedTailCall = 140,
    /// Error writing to packet.
    WriteError = 141,
    /// Unknown L4 protocol.
    UnknownL4 = 142,
    /// Error retrieving tunnel key.
    NoTunnelKey = 147,
    /// Unknown L3 target address.
    UnknownTarget = 150,
    /// Stale or unroutable IP.
    Unroutable = 151,
    /// Error while correcting L3 checksum.
    L3Checksum = 153,
    /// Error while correcting L4 checksum.
    L4Checksum = 154,
    /// CT: Map insertion failed.
    CtInsertFailed = 155,
    /// Invalid IPv6 extension header.
    InvalidExtensionHeader = 156,
    /// IP fragmentation not supported.
    FragmentsUnsupported = 157,
    /// Service backend not found.
    NoBackend = 158,
    /// No tunnel/encapsulation endpoint (datapath BUG!).
    NoTunnelEndpoint = 160,
    /// Unsupported L2 protocol.
    UnsupportedL2 = 166,
    /// No mapping for NAT masquerade.
    NoNatMapping = 167,
    /// Unsupported protocol for NAT masquerade.
    NatUnsupportedProtocol = 168,
    /// FIB lookup failed.
    FibLookupFailed = 169,
    /// Encapsulation traffic is prohibited.
    EncapsulationProhibited = 170,
    /// Invalid identity.
    InvalidIdentity = 171,
    /// Unknown sender.
    UnknownSender = 172,
    /// IsClusterIP.
    IsClusterIp = 174,
    /// First logical datagram fragment not found.
    FirstFragmentMissing = 175,
    /// Forbidden ICMPv6 message.
    ForbiddenIcmp6 = 176,
    /// Denied by LB src range check.
    DeniedBySourceRange = 177,
    /// Policy denied by denylist.
    PolicyDeny = 181,
    /// TTL exceeded.
    TtlExceeded = 196,
    /// Endpoint not ready.
    EndpointNotReady = 203,
}

impl DropReason {
    /// Every reason this datapath gives.
    pub const ALL: &'static [DropReason] = &[
        DropReason::InvalidSourceMac,
        DropReason::InvalidDestinationMac,
        DropReason::InvalidSourceIp,
        DropReason::PolicyDenied,
        DropReason::InvalidPacket,
        DropReason::CtInvalidHeader,
        DropReason::CtUnknownProtocol,
        DropReason::UnsupportedL3,
        DropReason::MissedTailCall,
        DropReason::WriteError,
        DropReason::UnknownL4,
        DropReason::NoTunnelKey,
        DropReason::UnknownTarget,
        DropReason::Unroutable,
        DropReason::L3Checksum,
        DropReason::L4Checksum,
        DropReason::CtInsertFailed,
        DropReason::InvalidExtensionHeader,
        DropReason::FragmentsUnsupported,
        DropReason::NoBackend,
        DropReason::NoTunnelEndpoint,
        DropReason::UnsupportedL2,
        DropReason::NoNatMapping,
        DropReason::NatUnsupportedProtocol,
        DropReason::FibLookupFailed,
        DropReason::EncapsulationProhibited,
        DropReason::InvalidIdentity,
        DropReason::UnknownSender,
        DropReason::IsClusterIp,
        DropReason::FirstFragmentMissing,
        DropReason::ForbiddenIcmp6,
        DropReason::DeniedBySourceRange,
        DropReason::PolicyDeny,
        DropReason::TtlExceeded,
        DropReason::EndpointNotReady,
    ];

    /// The reason with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|r| *r as u8 == code)
    }

    /// The text that `cilium-dbg monitor`, `hubble observe` and the metrics print.
    pub const fn text(self) -> &'static str {
        match self {
            DropReason::InvalidSourceMac => "Invalid source mac",
            DropReason::InvalidDestinationMac => "Invalid destination mac",
            DropReason::InvalidSourceIp => "Invalid source ip",
            DropReason::PolicyDenied => "Policy denied",
            DropReason::InvalidPacket => "Invalid packet",
            DropReason::CtInvalidHeader => "CT: Truncated or invalid header",
            DropReason::CtUnknownProtocol => "CT: Unknown L4 protocol",
            DropReason::UnsupportedL3 => "Unsupported L3 protocol",
            DropReason::MissedTailCall => "Missed tail call",
            DropReason::WriteError => "Error writing to packet",
            DropReason::UnknownL4 => "Unknown L4 protocol",
            DropReason::NoTunnelKey => "Error retrieving tunnel key",
            DropReason::UnknownTarget => "Unknown L3 target address",
            DropReason::Unroutable => "Stale or unroutable IP",
            DropReason::L3Checksum => "Error while correcting L3 checksum",
            DropReason::L4Checksum => "Error while correcting L4 checksum",
            DropReason::CtInsertFailed => "CT: Map insertion failed",
            DropReason::InvalidExtensionHeader => "Invalid IPv6 extension header",
            DropReason::FragmentsUnsupported => "IP fragmentation not supported",
            DropReason::NoBackend => "Service backend not found",
            DropReason::NoTunnelEndpoint => "No tunnel/encapsulation endpoint (datapath BUG!)",
            DropReason::UnsupportedL2 => "Unsupported L2 protocol",
            DropReason::NoNatMapping => "No mapping for NAT masquerade",
            DropReason::NatUnsupportedProtocol => "Unsupported protocol for NAT masquerade",
            DropReason::FibLookupFailed => "FIB lookup failed",
            DropReason::EncapsulationProhibited => "Encapsulation traffic is prohibited",
            DropReason::InvalidIdentity => "Invalid identity",
            DropReason::UnknownSender => "Unknown sender",
            DropReason::IsClusterIp => "IsClusterIP",
            DropReason::FirstFragmentMissing => "First logical datagram fragment not found",
            DropReason::ForbiddenIcmp6 => "Forbidden ICMPv6 message",
            DropReason::DeniedBySourceRange => "Denied by LB src range check",
            DropReason::PolicyDeny => "Policy denied by denylist",
            DropReason::TtlExceeded => "TTL exceeded",
            DropReason::EndpointNotReady => "Endpoint not ready",
        }
    }

    /// The name in the flow API (`flow.DropReason`).
    pub const fn api_name(self) -> &'static str {
        match self {
            DropReason::InvalidSourceMac => "INVALID_SOURCE_MAC",
            DropReason::InvalidDestinationMac => "INVALID_DESTINATION_MAC",
            DropReason::InvalidSourceIp => "INVALID_SOURCE_IP",
            DropReason::PolicyDenied => "POLICY_DENIED",
            DropReason::InvalidPacket => "INVALID_PACKET_DROPPED",
            DropReason::CtInvalidHeader => "CT_TRUNCATED_OR_INVALID_HEADER",
            DropReason::CtUnknownProtocol => "CT_UNKNOWN_L4_PROTOCOL",
            DropReason::UnsupportedL3 => "UNSUPPORTED_L3_PROTOCOL",
            DropReason::MissedTailCall => "MISSED_TAIL_CALL",
            DropReason::WriteError => "ERROR_WRITING_TO_PACKET",
            DropReason::UnknownL4 => "UNKNOWN_L4_PROTOCOL",
            DropReason::NoTunnelKey => "ERROR_RETRIEVING_TUNNEL_KEY",
            DropReason::UnknownTarget => "UNKNOWN_L3_TARGET_ADDRESS",
            DropReason::Unroutable => "STALE_OR_UNROUTABLE_IP",
            DropReason::L3Checksum => "ERROR_WHILE_CORRECTING_L3_CHECKSUM",
            DropReason::L4Checksum => "ERROR_WHILE_CORRECTING_L4_CHECKSUM",
            DropReason::CtInsertFailed => "CT_MAP_INSERTION_FAILED",
            DropReason::InvalidExtensionHeader => "INVALID_IPV6_EXTENSION_HEADER",
            DropReason::FragmentsUnsupported => "IP_FRAGMENTATION_NOT_SUPPORTED",
            DropReason::NoBackend => "SERVICE_BACKEND_NOT_FOUND",
            DropReason::NoTunnelEndpoint => "NO_TUNNEL_OR_ENCAPSULATION_ENDPOINT",
            DropReason::UnsupportedL2 => "UNSUPPORTED_L2_PROTOCOL",
            DropReason::NoNatMapping => "NO_MAPPING_FOR_NAT_MASQUERADE",
            DropReason::NatUnsupportedProtocol => "UNSUPPORTED_PROTOCOL_FOR_NAT_MASQUERADE",
            DropReason::FibLookupFailed => "FIB_LOOKUP_FAILED",
            DropReason::EncapsulationProhibited => "ENCAPSULATION_TRAFFIC_IS_PROHIBITED",
            DropReason::InvalidIdentity => "INVALID_IDENTITY",
            DropReason::UnknownSender => "UNKNOWN_SENDER",
            DropReason::IsClusterIp => "IS_A_CLUSTERIP",
            DropReason::FirstFragmentMissing => "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND",
            DropReason::ForbiddenIcmp6 => "FORBIDDEN_ICMPV6_MESSAGE",
            DropReason::DeniedBySourceRange => "DENIED_BY_LB_SRC_RANGE_CHECK",
            DropReason::PolicyDeny => "POLICY_DENY",
            DropReason::TtlExceeded => "TTL_EXCEEDED",
            DropReason::EndpointNotReady => "DROP_EP_NOT_READY",
        }
    }
}
