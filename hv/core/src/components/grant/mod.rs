//! Grant tables: pages that domains share with each other.
//!
//! A domain writes into its grant table who may use which of its pages. Another maps or copies such a page; while it
//! does, the entry carries in-use flags and the page a reference. What an entry granted when its use began is kept
//! ([`active`]), so that changing it meanwhile has no effect.
//!
//! **Locks.** A table's own lock is held for reading while one of its grants is pinned or unpinned, and for writing to
//! change its size or version. Below it each grant in use has a lock, and the handles of a domain have one; no two of
//! these are ever held together. No operation holds the tables of two domains.

pub mod active;
mod copy;
pub mod entry;
mod map;
mod maptrack;
mod party;
mod pin;
mod status;
mod table;
mod version;

pub use copy::{End, Named, copy};
pub use map::{MapRequest, Unmapping, begin_unmap, finish_unmap, map, release_mappings};
pub use maptrack::FRAME_BYTES as MAPTRACK_FRAME_BYTES;
pub use party::{MemoryOf, Party, World};
pub use pin::{Pinned, Use, pin, unpin};
pub use status::{Failure, status_of};
pub use table::{
    CannotGrow, FRAME_BYTES, GrantTable, Limits, Part, Shape, Source, TableFrame, Version, status_frames_for,
};
pub use version::{set_version, swap};
