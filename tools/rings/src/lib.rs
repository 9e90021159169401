//! The rings of paravirtual devices: console, block, network, 9pfs and PV Calls.
//!
//! A ring lies in pages that a domain shares with another. The other side may write any value to any byte at any moment,
//! also between two reads. So an index of its is read once and checked, an entry is copied out before anything of it is
//! looked at, and what this side has written is never read back. A ring whose indexes make no sense is
//! [broken](Broken), and stays so: its owner closes the device.
//!
//! ```
//! use rings::{BackRing, FrontRing, Shared};
//! use xen_abi::io::blkif::{BlkifRequest, BlkifResponse};
//!
//! # fn both<M: Shared>(front: M, back: M) -> Result<(), rings::Broken> {
//! let mut front: FrontRing<_, BlkifRequest, BlkifResponse> = FrontRing::start(front);
//! let mut back: BackRing<_, BlkifRequest, BlkifResponse> = BackRing::attach(back);
//! front.put(&BlkifRequest { id: 7, ..BlkifRequest::default() })?;
//! let must_notify = front.publish();
//! while let Some(request) = back.take()? {
//!     back.put(&BlkifResponse { id: request.id, ..BlkifResponse::default() })?;
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod block;
mod bytes;
mod entries;
mod network;
mod ninepfs;
mod paired;
mod pvcalls;
mod shared;

pub use block::{BlockError, BlockRequest, Disk, IndirectRequest, Segment};
pub use bytes::{ByteReader, ByteRing, ByteWriter};
pub use entries::{BackRing, FrontRing};
pub use network::{Fragment, Packet, PacketError, Segmentation, TransmitRing};
pub use ninepfs::{MessageReader, MessageWriter};
pub use paired::{Announced, Joined, Order, OrderError, OwnedPair, Pair, PairedRings};
pub use pvcalls::{Command, CommandError, DataRings, SocketId, answer};
pub use shared::{Broken, Shared};
