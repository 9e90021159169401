//! The hypervisor's own heap: one fixed region of RAM behind the global allocator.
//!
//! The region is given once, at boot, and never grows: what guests make the hypervisor allocate is charged to their
//! own pools, so a heap that is too small shows at once instead of eating the machine's memory bit by bit.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use talc::TalcLock;
use talc::source::Manual;

/// A spin lock for the allocator. It is held for a few hundred instructions at most, and never in a handler of
/// interrupts: those do not allocate.
pub struct HeapLock(AtomicBool);

// SAFETY: `lock` returns only once it has itself changed the flag from free to taken, with acquire order, and
// `unlock` gives it back with release order: at most one holder, who sees what the last one wrote.
unsafe impl talc::lock_api::RawMutex for HeapLock {
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = talc::lock_api::GuardSend;

    fn lock(&self) {
        while !self.try_lock() {
            core::hint::spin_loop();
        }
    }

    fn try_lock(&self) -> bool {
        self.0.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}

#[global_allocator]
static HEAP: TalcLock<HeapLock, Manual> = TalcLock::new(Manual);

/// What the heap has given out, and what it holds in all.
#[derive(Debug, Clone, Copy)]
pub struct HeapUse {
    /// Bytes in live allocations, overhead included.
    pub used_bytes: usize,
    /// Bytes that can still be given out, in pieces that may be small.
    pub free_bytes: usize,
}

/// Gives `region` to the allocator. False when it is too small to hold the allocator's own records.
///
/// # Safety
/// The memory is mapped, writable, used by nothing else, and stays so for ever.
pub unsafe fn give(region: NonNull<[u8]>) -> bool {
    // SAFETY: the caller promises what `claim` asks for: exclusive, writable memory without an end to its life.
    unsafe { HEAP.lock().claim(region.as_ptr().cast(), region.len()) }.is_some()
}

/// How full the heap is now.
#[must_use]
pub fn usage() -> HeapUse {
    let heap = HEAP.lock();
    let counters = heap.counters();
    HeapUse {
        used_bytes: counters.claimed_bytes.saturating_sub(counters.available_bytes),
        free_bytes: counters.available_bytes,
    }
}
