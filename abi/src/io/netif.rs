//! Network devices: the entries of the two rings. "Transmit" is seen from the frontend.
//!
//! **Source:** `io/netif.h`.

use crate::GrantRef;
use crate::describe::{constants, flags, union_members, wire};
use crate::union::Union;

constants! {
    table CONSTANTS;
    /// The most bytes of a packet to transmit.
    pub const XEN_NETIF_MAX_TX_SIZE: usize = 0xffff;
    /// How many entries of a packet a backend takes at least.
    pub const XEN_NETIF_NR_SLOTS_MIN: u32 = 18;
    /// [`NetifExtraInfo::kind`]: segmentation; [`NetifGso`].
    pub const XEN_NETIF_EXTRA_TYPE_GSO: u8 = 1;
    /// [`NetifExtraInfo::kind`]: a multicast address to add.
    pub const XEN_NETIF_EXTRA_TYPE_MCAST_ADD: u8 = 2;
    /// [`NetifExtraInfo::kind`]: a multicast address to drop.
    pub const XEN_NETIF_EXTRA_TYPE_MCAST_DEL: u8 = 3;
    /// [`NetifExtraInfo::kind`]: a hash.
    pub const XEN_NETIF_EXTRA_TYPE_HASH: u8 = 4;
    /// [`NetifExtraInfo::flags`]: another one follows.
    pub const XEN_NETIF_EXTRA_FLAG_MORE: u8 = 1;
    /// [`NetifGso::kind`]: none.
    pub const XEN_NETIF_GSO_TYPE_NONE: u8 = 0;
    /// [`NetifGso::kind`]: TCP over IPv4.
    pub const XEN_NETIF_GSO_TYPE_TCPV4: u8 = 1;
    /// [`NetifGso::kind`]: TCP over IPv6.
    pub const XEN_NETIF_GSO_TYPE_TCPV6: u8 = 2;
    /// [`NetifTxResponse::status`]: dropped.
    pub const NETIF_RSP_DROPPED: i16 = -2;
    /// [`NetifTxResponse::status`]: failed.
    pub const NETIF_RSP_ERROR: i16 = -1;
    /// [`NetifTxResponse::status`]: sent.
    pub const NETIF_RSP_OKAY: i16 = 0;
    /// [`NetifTxResponse::status`]: the answer to an [`NetifExtraInfo`].
    pub const NETIF_RSP_NULL: i16 = 1;
    /// How many entries the transmit ring of one page has.
    pub const NETIF_TX_RING_ENTRIES: u32 = 256 => "__CONST_RING_SIZE(netif_tx, 4096)";
    /// How many entries the receive ring of one page has.
    pub const NETIF_RX_RING_ENTRIES: u32 = 256 => "__CONST_RING_SIZE(netif_rx, 4096)";
}

flags! {
    /// Flags of [`NetifTxRequest`].
    pub struct NetTxFlags("NETTXF_"): u16 {
        /// The checksum is still to be made.
        const CSUM_BLANK = 1 << 0;
        /// The data was checked.
        const DATA_VALIDATED = 1 << 1;
        /// The packet goes on in the next request.
        const MORE_DATA = 1 << 2;
        /// An [`NetifExtraInfo`] follows.
        const EXTRA_INFO = 1 << 3;
    }

    /// Flags of [`NetifRxResponse`].
    pub struct NetRxFlags("NETRXF_"): u16 {
        /// The data was checked.
        const DATA_VALIDATED = 1 << 0;
        /// The checksum is still to be made.
        const CSUM_BLANK = 1 << 1;
        /// The packet goes on in the next response.
        const MORE_DATA = 1 << 2;
        /// An [`NetifExtraInfo`] follows.
        const EXTRA_INFO = 1 << 3;
        /// Only segmentation is told here; the packet comes next.
        const GSO_PREFIX = 1 << 4;
    }
}

wire! {
    fixed;

    /// A part of a packet to transmit. In the first part `size` is that of the whole packet.
    pub struct NetifTxRequest: "struct netif_tx_request" {
        /// The page.
        pub gref: GrantRef,
        /// Offset in it, in bytes.
        pub offset: u16,
        /// Flags.
        pub flags: NetTxFlags,
        /// What the response repeats.
        pub id: u16,
        /// Length in bytes.
        pub size: u16,
    }

    /// More about a packet, in place of a part of it.
    pub struct NetifExtraInfo: "struct netif_extra_info" {
        /// An `XEN_NETIF_EXTRA_TYPE_*`.
        pub kind: u8 = "type",
        /// 0 or [`XEN_NETIF_EXTRA_FLAG_MORE`].
        pub flags: u8,
        /// By kind.
        pub u: Union<6>,
    }

    /// How a packet is to be cut up.
    pub struct NetifGso: "__typeof__(((struct netif_extra_info *)0)->u.gso)" {
        /// The most bytes of each piece.
        pub size: u16,
        /// An `XEN_NETIF_GSO_TYPE_*`.
        pub kind: u8 = "type",
        /// Padding.
        pub pad: u8,
        /// Zero.
        pub features: u16,
    }

    /// What became of a part of a packet to transmit.
    pub struct NetifTxResponse: "struct netif_tx_response" {
        /// The request's.
        pub id: u16,
        /// A `NETIF_RSP_*`.
        pub status: i16,
    }

    /// A page for a part of a packet to receive.
    pub struct NetifRxRequest: "struct netif_rx_request" {
        /// What the response repeats.
        pub id: u16,
        /// Padding.
        pub pad: u16,
        /// The page.
        pub gref: GrantRef,
    }

    /// A part of a packet that was received.
    pub struct NetifRxResponse: "struct netif_rx_response" {
        /// The request's.
        pub id: u16,
        /// Offset in the page, in bytes.
        pub offset: u16,
        /// Flags.
        pub flags: NetRxFlags,
        /// Length in bytes, or a negative `NETIF_RSP_*`.
        pub status: i16,
    }
}

union_members! {
    NetifExtraInfo, u:
    /// For [`XEN_NETIF_EXTRA_TYPE_GSO`].
    gso, set_gso: NetifGso;
    /// For multicast: the address.
    mcast, set_mcast: [u8; 6];
}
