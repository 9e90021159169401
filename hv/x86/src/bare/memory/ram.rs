//! The RAM that guests and their bookkeeping may use, and access to its contents.
//!
//! The hypervisor's own frames (image, heap, page tables, stacks) and devices are never reached through here, whatever
//! frame number is given: that is what makes [`page`] a safe function. Only the heap changes what is usable after boot,
//! by frames that nothing uses.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use xenolith_bootinfo::{BootInfo, MachineRange, MemoryPlan};
use xenolith_hal::{Mfn, PageWords};
use xenolith_sync::Once;

use crate::guest::frame_access::FrameAccess;
use crate::plain::layout::{self, DIRECT_MAP_BYTES, PAGE};

const WORD_BITS: u64 = 64;

/// A bit for each frame of RAM: set if it is usable.
struct UsableFrames {
    bits: Box<[AtomicU64]>,
    /// One past the highest frame of RAM.
    limit: u64,
}

static USABLE: Once<UsableFrames> = Once::new();

impl UsableFrames {
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    fn new(limit: u64) -> Option<Self> {
        let words = usize::try_from(limit.div_ceil(WORD_BITS)).ok()?;
        let mut bits = Vec::new();
        bits.try_reserve_exact(words).ok()?;
        bits.extend((0..words).map(|_| AtomicU64::new(0)));
        Some(Self { bits: bits.into_boxed_slice(), limit })
    }

    fn word(&self, frame: u64) -> Option<&AtomicU64> {
        self.bits.get(usize::try_from(frame / WORD_BITS).ok()?)
    }

    fn mark(&self, range: MachineRange) {
        for frame in range.start / PAGE..range.end / PAGE {
            if let Some(word) = self.word(frame) {
                word.fetch_or(1 << (frame % WORD_BITS), Ordering::Relaxed);
            }
        }
    }

    fn unmark(&self, range: MachineRange) {
        for frame in range.start / PAGE..range.end / PAGE {
            if let Some(word) = self.word(frame) {
                word.fetch_and(!(1 << (frame % WORD_BITS)), Ordering::Relaxed);
            }
        }
    }

    #[inline]
    fn holds(&self, frame: u64) -> bool {
        self.word(frame).is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (frame % WORD_BITS)) != 0)
    }
}

/// Returns the frames of RAM below 1 MiB, except page 0, to which no pointer leads; the page where CPUs start is free
/// again once all have started.
fn low_memory(info: &BootInfo) -> impl Iterator<Item = MachineRange> {
    let low = MachineRange { start: PAGE, end: 1 << 20 };
    info.memory.ram().filter_map(move |range| range.intersection(low)?.shrink_to(PAGE))
}

/// Sets which frames are usable: what `plan` has left over, the modules, and RAM below 1 MiB. Called once, before the
/// first guest is created.
///
/// Returns false if the heap is too small for it.
pub fn set_up(info: &BootInfo, plan: &MemoryPlan) -> bool {
    let reach = MachineRange { start: 0, end: DIRECT_MAP_BYTES };
    let modules = info.modules().iter().filter_map(|module| {
        // The direct map holds RAM alone; `validate` has refused modules outside of it.
        module.range.grow_to(PAGE).intersection(reach)
    });
    let ranges = || plan.free.iter().copied().chain(modules.clone()).chain(low_memory(info));
    let ram = info.memory.ram().filter_map(|range| range.intersection(reach));
    let limit = ram.map(|range| range.end / PAGE).max().unwrap_or(0);
    let Some(usable) = UsableFrames::new(limit) else { return false };
    for range in ranges() {
        usable.mark(range);
    }
    USABLE.set(usable).is_ok()
}

/// Makes RAM usable that the hypervisor kept to itself until now.
pub(crate) fn open(range: MachineRange) {
    if let Some(usable) = USABLE.get() {
        usable.mark(range);
    }
}

/// Makes usable RAM the hypervisor's own from now on.
pub(crate) fn close(range: MachineRange) {
    if let Some(usable) = USABLE.get() {
        usable.unmark(range);
    }
}

/// Returns the frame number one past the highest frame of RAM, usable or the hypervisor's own.
#[must_use]
pub fn limit() -> Mfn {
    Mfn(USABLE.get().map_or(0, |usable| usable.limit))
}

/// Returns the contents of a frame; None for one that is not usable.
#[inline]
#[must_use]
pub fn page(mfn: Mfn) -> Option<&'static PageWords> {
    if !USABLE.get()?.holds(mfn.0) {
        return None;
    }
    let address = layout::direct(mfn.0 << 12) as *const PageWords;
    // SAFETY: the frame is RAM in the direct map, which maps it writable and for ever; nothing of the hypervisor's
    // own lies there (see `set_up`), so all who reach it do so as atomics.
    Some(unsafe { &*address })
}

/// The direct map: access to frames for nested page tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectMap;

impl FrameAccess for DirectMap {
    #[inline]
    fn frame(&self, mfn: Mfn) -> Option<&PageWords> {
        page(mfn)
    }
}
