//! Waiting until no CPU can reach what was unmapped from a p2m, before something else is mapped (a TLB shoot-down that
//! rarely interrupts).
//!
//! Unmapping a page interrupts no CPU: a CPU inside the guest flushes its translations when it next enters. Until then
//! it would find the old page where a new one is mapped. So before mapping, the caller checks whether every CPU has
//! flushed what was unmapped before; mostly each has, long since. CPUs that have not are kicked once and the guest
//! makes its call again. A thousand pages that are unmapped, and then mapped anew, cost one kick.

use crate::components::grant::{Party, World};

/// Returns true if no CPU other than this one can reach, by the party's p2m, what was unmapped from it. Otherwise kicks
/// the CPUs that can, and the caller tries again a little later.
pub fn is_flushed<W: World>(world: &W, party: &W::Party) -> bool {
    let physmap = party.physmap();
    let Some((until, fresh)) = physmap.pending_flush() else { return true };
    world.frames().begin(until);
    let flushed = !world.in_reach(party, until, fresh);
    if flushed {
        physmap.note_flushed(until);
    }
    flushed
}
