//! Waiting until no CPU reaches what was taken out of a translation, before something else is put in.
//!
//! Taking a page away interrupts nobody: a CPU inside the guest drops its translations when it next enters. Until then
//! it would find the old page where a new one is mapped. So whoever maps something first looks whether every CPU has
//! dropped what was taken away before; mostly each has, long since. If not, those that have not are kicked once and
//! the guest makes its call again. A thousand pages that are taken away, and then mapped anew, cost one kick.

use crate::components::grant::{Party, World};

/// True when no CPU other than this one reaches, by the party's translation, what was taken out of it. Otherwise those
/// that do are made to drop it soon, and the caller tries again a little later.
pub fn is_settled<W: World>(world: &W, party: &W::Party) -> bool {
    let physmap = party.physmap();
    let Some((until, fresh)) = physmap.unsettled() else { return true };
    world.frames().begin(until);
    let settled = !world.in_reach(party, until, fresh);
    if settled {
        physmap.note_settled(until);
    }
    settled
}
