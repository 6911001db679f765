//! `skb->mark` as peers and user rules see it: `[31:16]` low half of the identity, `[11:8]` magic.
//! Kubernetes uses 0x4000 (masquerade) and 0x8000 (drop), which these values leave alone.

/// Bits that hold the magic.
pub const MAGIC_MASK: u32 = 0x0f00;
/// The packet was translated already; do not masquerade again.
pub const SNAT_DONE: u32 = 0x0300;
/// The packet comes from this host.
pub const HOST: u32 = 0x0c00;
/// The mark carries the sender's identity, and its policy was enforced.
pub const IDENTITY: u32 = 0x0f00;

/// A mark that carries `identity` under [`IDENTITY`]: bits 0–15 go to `[31:16]`, bits 16–23 (cluster) to `[7:0]`.
#[inline(always)]
pub const fn with_identity(identity: u32) -> u32 {
    IDENTITY | (identity << 16) | ((identity >> 16) & 0xff)
}

/// The identity in a mark whose magic is [`IDENTITY`].
#[inline(always)]
pub const fn carried(mark: u32) -> u32 {
    (mark >> 16) | ((mark & 0xff) << 16)
}
