//! The transmit ring of a network card: packets, put together of the parts that a front end tells, and checked.

use std::fmt;

use xen_abi::io::netif::{
    NETIF_RSP_ERROR, NETIF_RSP_NULL, NetTxFlags, NetifExtraInfo, NetifTxRequest, NetifTxResponse,
    XEN_NETIF_EXTRA_FLAG_MORE, XEN_NETIF_EXTRA_TYPE_GSO, XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6,
    XEN_NETIF_NR_SLOTS_MIN,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::{BackRing, Broken, Shared};

/// Bytes of a page.
const PAGE: u16 = 4096;
/// The most parts of a packet.
const FRAGMENTS_MAX: usize = XEN_NETIF_NR_SLOTS_MIN as usize;
/// The most entries of more about a packet.
const EXTRAS_MAX: usize = 4;
/// Bytes of an Ethernet header: no packet is shorter.
const HEADER: u16 = 14;

/// A part of a packet in one granted page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What the response repeats.
    pub id: u16,
    /// The reference of the page's grant.
    pub grant: u32,
    /// Where it begins in the page, in bytes.
    pub offset: u16,
    /// Its length in bytes, at least 1; offset and length stay within the page.
    pub length: u16,
}

/// How a packet is to be cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// The most bytes of each piece, at least 1.
    pub size: u16,
    /// TCP over IPv6, and not over IPv4.
    pub is_v6: bool,
}

/// A packet to transmit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its parts, together as long as the front end said of the packet.
    pub fragments: Vec<Fragment>,
    pub segmentation: Option<Segmentation>,
    /// The checksum is still to be made.
    pub needs_checksum: bool,
    /// How many entries of the ring told more about it; each has a response of its own.
    extras: usize,
}

/// Why a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// More parts than a packet has, or more about it than there is to tell.
    TooManyParts,
    /// A part that does not lie in its page, or is empty.
    Part { offset: u16, length: u16 },
    /// A packet that is shorter than a header, or than its parts together.
    Length(u16),
    /// More about it that is not understood.
    Extra(u8),
    /// The front end has shown the beginning of a packet without its end.
    Unfinished,
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyParts => write!(f, "a packet of more than {FRAGMENTS_MAX} parts"),
            Self::Part { offset, length } => write!(f, "{length} bytes from {offset} on do not lie in a page"),
            Self::Length(length) => write!(f, "a packet of {length} bytes, which its parts are not"),
            Self::Extra(kind) => write!(f, "information of kind {kind}, which was not agreed on"),
            Self::Unfinished => f.write_str("a packet whose end is missing"),
        }
    }
}

/// The ring, on the back end's side.
#[derive(Debug)]
pub struct TransmitRing<M> {
    ring: BackRing<M, NetifTxRequest, NetifTxResponse>,
}

impl<M: Shared> TransmitRing<M> {
    /// Begins with a ring that a front end has set up.
    #[must_use]
    pub fn attach(memory: M) -> Self {
        Self { ring: BackRing::attach(memory) }
    }

    /// Takes the next packet; None if there is none. One that is refused is answered already.
    ///
    /// **Errors:** [`Broken`], now and from now on.
    pub fn take(&mut self) -> Result<Option<Result<Packet, PacketError>>, Broken> {
        let Some(first) = self.ring.take()? else { return Ok(None) };
        let mut taken = Taken { ids: vec![first.id], extras: 0 };
        let outcome = self.gather(first, &mut taken)?;
        if outcome.is_err() {
            self.answer(&taken.ids, NETIF_RSP_ERROR, taken.extras)?;
        }
        Ok(Some(outcome))
    }

    /// Answers a packet, by a `NETIF_RSP_*`; [`TransmitRing::publish`] shows it.
    ///
    /// **Errors:** [`Broken`].
    pub fn put(&mut self, packet: &Packet, status: i16) -> Result<(), Broken> {
        let ids: Vec<u16> = packet.fragments.iter().map(|fragment| fragment.id).collect();
        self.answer(&ids, status, packet.extras)
    }

    /// Shows the answers to the front end, and returns whether it is to be notified.
    pub fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// Asks to be notified of the next packet, and returns whether one came meanwhile.
    ///
    /// **Errors:** [`Broken`], now and from now on.
    pub fn rest(&mut self) -> Result<bool, Broken> {
        self.ring.rest()
    }

    fn answer(&mut self, ids: &[u16], status: i16, extras: usize) -> Result<(), Broken> {
        let fragments = ids.iter().map(|&id| NetifTxResponse { id, status });
        let more = std::iter::repeat_n(NetifTxResponse { id: 0, status: NETIF_RSP_NULL }, extras);
        fragments.chain(more).try_for_each(|response| self.ring.put(&response))
    }

    /// Takes the entries of a packet to its last one, and checks them. All that were taken stand in `taken`.
    fn gather(&mut self, first: NetifTxRequest, taken: &mut Taken) -> Result<Result<Packet, PacketError>, Broken> {
        let mut fault = None;
        let segmentation = match self.extras(first, taken)? {
            Ok(segmentation) => segmentation,
            Err(error) => {
                fault = Some(error);
                None
            }
        };
        let mut parts = vec![first];
        // Also of a packet that is refused all entries are taken: the next one begins behind them.
        while parts.last().is_some_and(|last| last.flags.contains(NetTxFlags::MORE_DATA)) {
            let Some(part) = self.ring.take()? else {
                fault = fault.or(Some(PacketError::Unfinished));
                break;
            };
            taken.ids.push(part.id);
            parts.push(part);
        }
        Ok(match fault {
            Some(error) => Err(error),
            None => packet(&parts, segmentation, taken.extras),
        })
    }

    /// Takes what more is told about a packet.
    fn extras(
        &mut self,
        first: NetifTxRequest,
        taken: &mut Taken,
    ) -> Result<Result<Option<Segmentation>, PacketError>, Broken> {
        let mut outcome = Ok(None);
        let mut goes_on = first.flags.contains(NetTxFlags::EXTRA_INFO);
        while goes_on {
            let Some(entry) = self.ring.take()? else { return Ok(outcome.and(Err(PacketError::Unfinished))) };
            taken.extras = taken.extras.saturating_add(1);
            if taken.extras > EXTRAS_MAX {
                outcome = outcome.and(Err(PacketError::TooManyParts));
            }
            let Ok((extra, _)) = NetifExtraInfo::read_from_prefix(entry.as_bytes()) else { break };
            outcome = outcome.and_then(|found| segmentation(&extra).map(|new| new.or(found)));
            goes_on = extra.flags & XEN_NETIF_EXTRA_FLAG_MORE != 0;
        }
        Ok(outcome)
    }
}

/// The entries that were taken for a packet.
struct Taken {
    /// Identifiers of its parts.
    ids: Vec<u16>,
    extras: usize,
}

fn segmentation(extra: &NetifExtraInfo) -> Result<Option<Segmentation>, PacketError> {
    let gso = extra.gso();
    match (extra.kind, gso.kind) {
        (XEN_NETIF_EXTRA_TYPE_GSO, XEN_NETIF_GSO_TYPE_TCPV4 | XEN_NETIF_GSO_TYPE_TCPV6) if gso.size > 0 => {
            Ok(Some(Segmentation { size: gso.size, is_v6: gso.kind == XEN_NETIF_GSO_TYPE_TCPV6 }))
        }
        (kind, _) => Err(PacketError::Extra(kind)),
    }
}

/// Puts a packet together. In its first part stands how long all of it is.
fn packet(parts: &[NetifTxRequest], segmentation: Option<Segmentation>, extras: usize) -> Result<Packet, PacketError> {
    let (Some(first), true) = (parts.first(), parts.len() <= FRAGMENTS_MAX) else {
        return Err(PacketError::TooManyParts);
    };
    let others = parts.get(1..).unwrap_or_default();
    let of_others: u32 = others.iter().map(|part| u32::from(part.size)).sum();
    let of_first = u32::from(first.size).checked_sub(of_others).and_then(|length| u16::try_from(length).ok());
    let of_first = of_first.filter(|_| first.size >= HEADER).ok_or(PacketError::Length(first.size))?;
    let lengths = std::iter::once(of_first).chain(others.iter().map(|part| part.size));
    let fragments: Result<Vec<Fragment>, PacketError> =
        parts.iter().zip(lengths).map(|(part, length)| fragment(part, length)).collect();
    let needs_checksum = first.flags.contains(NetTxFlags::CSUM_BLANK);
    Ok(Packet { fragments: fragments?, segmentation, needs_checksum, extras })
}

fn fragment(part: &NetifTxRequest, length: u16) -> Result<Fragment, PacketError> {
    let (offset, grant) = (part.offset, part.gref.0);
    match offset.checked_add(length) {
        Some(end) if end <= PAGE && length > 0 => Ok(Fragment { id: part.id, grant, offset, length }),
        _ => Err(PacketError::Part { offset, length }),
    }
}
