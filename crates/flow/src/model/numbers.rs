//! What the flow API numbers and names.

/// Defines an enum whose variants have the number and the name of the flow API.
macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant = $number,)* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The one with this number in the flow API.
            pub fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some($name::$variant),)* _ => None }
            }

            /// Its number in the flow API.
            pub const fn number(self) -> i32 {
                self as i32
            }

            /// How tools write it.
            pub const fn text(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

numbered! {
/// What became of a flow.
Verdict {
    /// Nobody knows.
    Unknown = 0 "VERDICT_UNKNOWN",
    /// It went on.
    Forwarded = 1 "FORWARDED",
    /// It was dropped.
    Dropped = 2 "DROPPED",
    /// Something failed.
    Error = 3 "ERROR",
    /// It went on although policy says no: audit mode.
    Audit = 4 "AUDIT",
    /// It went to the proxy.
    Redirected = 5 "REDIRECTED",
    /// It was seen before anything was decided.
    Traced = 6 "TRACED",
    /// An address was translated.
    Translated = 7 "TRANSLATED",
}
}

numbered! {
/// Where a packet was seen. The datapath counts to-endpoint as 0, the flow API as 101.
Point {
    /// On its way into a pod.
    ToEndpoint = 101 "to-endpoint",
    /// On its way to the proxy.
    ToProxy = 1 "to-proxy",
    /// On its way to the host.
    ToHost = 2 "to-host",
    /// On its way to the node's network stack.
    ToStack = 3 "to-stack",
    /// On its way into the tunnel.
    ToOverlay = 4 "to-overlay",
    /// Coming out of a pod.
    FromEndpoint = 5 "from-endpoint",
    /// Coming from the proxy.
    FromProxy = 6 "from-proxy",
    /// Coming from the host.
    FromHost = 7 "from-host",
    /// Coming from the node's network stack.
    FromStack = 8 "from-stack",
    /// Coming out of the tunnel.
    FromOverlay = 9 "from-overlay",
    /// Coming in through a native device.
    FromNetwork = 10 "from-network",
    /// Leaving through a native device.
    ToNetwork = 11 "to-network",
    /// Decrypted.
    FromCrypto = 12 "from-crypto",
    /// To be encrypted.
    ToCrypto = 13 "to-crypto",
}
}

impl Point {
    /// The point with this number in the datapath and in `event_type.sub_type`.
    pub fn from_subtype(number: i32) -> Option<Self> {
        if number == 0 {
            Some(Point::ToEndpoint)
        } else {
            Self::from_number(number).filter(|p| *p != Point::ToEndpoint)
        }
    }

    /// Its number in the datapath.
    pub const fn subtype(self) -> i32 {
        match self {
            Point::ToEndpoint => 0,
            other => other.number(),
        }
    }
}

numbered! {
/// How a traced packet stands to its connection.
Reason {
    /// First of its connection.
    New = 1 "new",
    /// Of a known connection.
    Established = 2 "established",
    /// Against the direction of its connection.
    Reply = 3 "reply",
    /// An ICMP error about a connection.
    Related = 4 "related",
    /// Wrapped for SRv6.
    Srv6Encap = 6 "srv6-encap",
    /// Unwrapped from SRv6.
    Srv6Decap = 7 "srv6-decap",
}
}

numbered! {
/// Side of a translation at a socket.
SocketPoint {
    /// The service that the program named.
    PreForward = 1 "pre-xlate-fwd",
    /// The backend in its place.
    PostForward = 2 "post-xlate-fwd",
    /// The backend that the kernel speaks to, or heard of.
    PreReverse = 3 "pre-xlate-rev",
    /// The service that the program is told of.
    PostReverse = 4 "post-xlate-rev",
}
}

impl SocketPoint {
    /// Whether the socket's own end is the destination.
    pub const fn reverse(self) -> bool {
        matches!(self, SocketPoint::PreReverse | SocketPoint::PostReverse)
    }

    /// What became of the address there.
    pub const fn verdict(self) -> Verdict {
        match self {
            SocketPoint::PreForward | SocketPoint::PreReverse => Verdict::Traced,
            SocketPoint::PostForward | SocketPoint::PostReverse => Verdict::Translated,
        }
    }
}

numbered! {
/// Where events are lost.
LostSource {
    /// Nobody knows.
    Unknown = 0 "UNKNOWN_LOST_EVENT_SOURCE",
    /// The kernel's ring had no room.
    KernelRing = 1 "PERF_EVENT_RING_BUFFER",
    /// The queue between reader and observer had no room.
    Queue = 2 "OBSERVER_EVENTS_QUEUE",
    /// The flow was overwritten before this client read it.
    FlowRing = 3 "HUBBLE_RING_BUFFER",
}
}

#[expect(clippy::derivable_impls, reason = "the macro cannot know which variant is the default")]
impl Default for Verdict {
    fn default() -> Self {
        Verdict::Unknown
    }
}
