//! The stages of a domain's destruction.

use xenolith_hal::{Gfn, GrantHandle, Mfn};

/// The next stage, and where it continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Stops its vCPUs.
    Stop,
    /// Closes its event channels.
    Events,
    /// Unmaps the grants of others that it has mapped.
    Mappings(GrantHandle),
    /// Releases its memory, and pages of other domains.
    Memory(Gfn),
    /// Frees its page tables, its vCPUs and what it shared with the hypervisor.
    Bookkeeping,
    /// Releases its memory that is not in its p2m.
    Strays(Mfn),
    /// Nothing is left to do.
    Over,
}

impl Stage {
    /// The first stage.
    pub const FIRST: Self = Self::Stop;
}
