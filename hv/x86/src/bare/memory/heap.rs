//! The hypervisor's heap, behind the global allocator.
//!
//! At boot it has a large region, since tables are made and the kernel of dom0 is unpacked; [`cut`] returns what is not
//! needed once dom0 is there. Later it grows by a block when little of it is free ([`grow`]), never in the middle of an
//! allocation: an allocating caller may hold any lock. What guests make the hypervisor allocate is charged to their own
//! pools, so they cannot exhaust the machine's memory.

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use talc::TalcLock;
use talc::source::Manual;
use xenolith_bootinfo::MachineRange;
use xenolith_hal::{Mfn, PAGE_SHIFT, PageOrder};

use super::ram;
use crate::plain::layout::{self, PAGE, PAGE_2M};

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

/// Where the region ends that was given at boot; null before, and once it was cut.
static BOOT_END: AtomicPtr<u8> = AtomicPtr::new(null_mut());

/// Gives the allocator its first region. False when it is too small to hold the allocator's own records.
///
/// # Safety
/// The memory is mapped, writable, used by nothing else, and stays so until [`cut`] gives a part of it back.
pub unsafe fn give(region: NonNull<[u8]>) -> bool {
    // SAFETY: the caller promises what `claim` asks for: exclusive, writable memory.
    let end = unsafe { HEAP.lock().claim(region.as_ptr().cast(), region.len()) };
    BOOT_END.store(end.map_or(null_mut(), NonNull::as_ptr), Ordering::Release);
    end.is_some()
}

/// Shrinks the first region: takes out the unused memory at its end, except `keep` bytes rounded up to 2 MiB. It is
/// ordinary RAM from then on. None if there is nothing, and the second time.
pub fn cut(keep: u64) -> Option<MachineRange> {
    let mut heap = HEAP.lock();
    let end = NonNull::new(BOOT_END.swap(null_mut(), Ordering::AcqRel))?;
    // SAFETY: this is the end that `claim` gave. Only this function moves it, and only once, since nobody else finds
    // the pointer now.
    let used_up_to = unsafe { heap.reserved(end) }.up_to;
    let wanted = (used_up_to.as_ptr() as u64).checked_add(keep)?.checked_next_multiple_of(PAGE_2M)?;
    if wanted >= end.as_ptr() as u64 {
        return None;
    }
    // SAFETY: as above. The allocator itself keeps all that is in use.
    let left = unsafe { heap.truncate(end, wanted as *mut u8) }?;
    drop(heap);
    let (start, end) = (layout::machine_address(left.as_ptr() as u64)?, layout::machine_address(end.as_ptr() as u64)?);
    let unused = MachineRange::between(start, end)?.shrink_to(PAGE)?;
    ram::open(unused);
    Some(unused)
}

/// Returns whether the heap must grow.
#[must_use]
pub fn is_low() -> bool {
    usage().free_bytes < LOW
}

/// Below this much free memory the heap grows: many times what one operation allocates at most.
const LOW: usize = 3 << 20;

/// Adds a block of RAM to the heap, for ever.
///
/// # Safety
///
/// The block was free, and nothing else gets it.
pub unsafe fn grow(block: Mfn, order: PageOrder) {
    let start = block.0 << PAGE_SHIFT;
    let Some(range) = MachineRange::new(start, order.pages() << PAGE_SHIFT) else { return };
    ram::close(range);
    // SAFETY: all RAM is in the direct map, writable, and nobody else has these frames (promised). From now on they are
    // not reached as a guest's memory either.
    let _ = unsafe { HEAP.lock().claim(layout::direct(start) as *mut u8, range.length() as usize) };
}

/// Returns the current use of the heap.
#[must_use]
pub fn usage() -> HeapUse {
    let heap = HEAP.lock();
    let counters = heap.counters();
    HeapUse {
        used_bytes: counters.claimed_bytes.saturating_sub(counters.available_bytes),
        free_bytes: counters.available_bytes,
    }
}
