//! How far taking a domain apart has come.

use xenolith_hal::{Gfn, GrantHandle, Mfn};

/// What is to be done next, and where it was left off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// No vCPU runs any more.
    Stop,
    /// Event channels.
    Events,
    /// What it has mapped of others.
    Mappings(GrantHandle),
    /// Its memory, and pages of others.
    Memory(Gfn),
    /// Its page tables, its vCPUs and what it shared with the hypervisor.
    Bookkeeping,
    /// Memory that has no place in its translation.
    Strays(Mfn),
    /// All is done.
    Over,
}

impl Stage {
    /// Where every end begins.
    pub const FIRST: Self = Self::Stop;
}
