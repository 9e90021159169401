//! The rate limit of lines that guests can cause: ten at once, then one each half second.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::bare::base::clock;

const BURST: u64 = 10;
const NANOSECONDS_PER_LINE: u64 = 500_000_000;

/// The moment up to which the allowance is used up, in nanoseconds since boot.
static USED_UP_TO: AtomicU64 = AtomicU64::new(0);
static SUPPRESSED: AtomicU32 = AtomicU32::new(0);

/// Takes one line out of the allowance, and returns how many were suppressed since the last one shown.
pub(super) fn admits_one_more() -> bool {
    let now = clock::nanoseconds();
    let updated = USED_UP_TO.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
        // The allowance fills up to a burst and no further.
        let floor = now.saturating_sub(BURST * NANOSECONDS_PER_LINE);
        let next = used.max(floor).saturating_add(NANOSECONDS_PER_LINE);
        (next <= now.saturating_add(NANOSECONDS_PER_LINE)).then_some(next)
    });
    if updated.is_err() {
        SUPPRESSED.fetch_add(1, Ordering::Relaxed);
        return false;
    }
    let suppressed = SUPPRESSED.swap(0, Ordering::Relaxed);
    if suppressed > 0 {
        crate::print!("printk: {suppressed} messages suppressed.");
    }
    true
}
