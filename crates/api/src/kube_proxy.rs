//! What kube-proxy has left on a node (not in Cilium).

model! {
    /// All of it.
    pub struct Leftovers in "camelCase" {
        /// In the packet filters.
        pub tables: Vec<Table>,
        /// Network devices.
        pub devices: Vec<String>,
    }

    /// In one table of one packet filter.
    pub struct Table in "camelCase" {
        /// `iptables-nft`, `iptables-legacy` or `nftables`.
        pub kind: String,
        /// `IPv4` or `IPv6`.
        pub family: String,
        /// `nat`, `filter`, …
        pub name: String,
        /// All of the table is kube-proxy's.
        pub whole: bool,
        /// Its chains.
        pub chains: Vec<String>,
        /// Rules of others' chains that lead to them.
        pub rules: Vec<Jump>,
        /// Its chains that stay, since somebody else uses them.
        pub kept: Vec<Kept>,
    }

    /// A rule that leads from chain to chain.
    pub struct Jump in "camelCase" {
        /// Where it stands.
        pub from: String,
        /// Where it leads.
        pub to: String,
    }

    /// A chain that somebody else uses.
    pub struct Kept in "camelCase" {
        /// The chain.
        pub chain: String,
        /// The chain that leads to it, or the program.
        pub user: String,
    }
}
