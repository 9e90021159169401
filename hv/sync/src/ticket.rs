//! The ticket queue below both locks: first come, first served.

use crate::atomic::{AtomicU32, Ordering};
use crate::construct::const_unless_loom;
use crate::hint;

/// The next ticket and the one being served. Tickets wrap; 2^32 CPUs would have to wait at once for two to be equal.
pub(crate) struct TicketQueue {
    next: AtomicU32,
    serving: AtomicU32,
}

impl TicketQueue {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self { next: AtomicU32::new(0), serving: AtomicU32::new(0) }
        }
    }

    /// Waits for its turn (acquire ordering: everything before the previous holder's `release` is visible).
    #[inline]
    pub(crate) fn acquire(&self) {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        let mut turns = 0;
        while self.serving.load(Ordering::Acquire) != ticket {
            hint::spin(&mut turns);
        }
    }

    /// Takes the turn if no CPU has it or waits for it.
    #[inline]
    pub(crate) fn try_acquire(&self) -> bool {
        // The acquiring load pairs with the `release` that made this ticket the one to be served. While `next` still
        // equals it, nobody holds that ticket, so `serving` cannot have moved on in between.
        let serving = self.serving.load(Ordering::Acquire);
        self.next.compare_exchange(serving, serving.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Passes the turn on (release ordering). Only the CPU whose turn it is may call this.
    #[inline]
    pub(crate) fn release(&self) {
        // Nobody but the holder writes `serving`, so this is not a read-modify-write.
        let serving = self.serving.load(Ordering::Relaxed);
        self.serving.store(serving.wrapping_add(1), Ordering::Release);
    }

    /// Returns whether a CPU has the turn or waits for it; outdated by the time it is returned.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.next.load(Ordering::Relaxed) != self.serving.load(Ordering::Relaxed)
    }
}
