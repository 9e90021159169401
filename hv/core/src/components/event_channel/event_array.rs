//! The event array of the FIFO ABI: guest pages that hold an event word for each port.

use super::domain::EventDomain;
use super::guest_words::Word32;
use xen_abi::event_fifo::{EVENT_ARRAY_MAX_PAGES, EVENT_WORDS_PER_PAGE};
use xen_abi::{Errno, Mfn, Port};
use xenolith_sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

const MAX_PAGES: usize = if cfg!(loom) { 1 } else { EVENT_ARRAY_MAX_PAGES as usize };

/// Whether a domain uses the FIFO ABI, and the pages of its event array.
///
/// Read without a lock by a CPU that holds a bound port (or the port at its other end). Pages are removed only when no
/// port is bound, so none can be in use then.
pub(super) struct EventArray {
    active: AtomicBool,
    pages: [AtomicU64; MAX_PAGES],
    count: AtomicU32,
}

impl EventArray {
    pub(super) fn new() -> Self {
        Self {
            active: AtomicBool::new(false),
            pages: core::array::from_fn(|_| AtomicU64::new(0)),
            count: AtomicU32::new(0),
        }
    }

    /// Returns true if the domain uses the FIFO ABI.
    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Switches to the FIFO ABI. Only with the domain's lock.
    pub(super) fn activate(&self) {
        self.active.store(true, Ordering::Release);
    }

    /// Returns how many ports have an event word: those below this number.
    pub(super) fn words(&self) -> u32 {
        self.count.load(Ordering::Acquire).saturating_mul(EVENT_WORDS_PER_PAGE)
    }

    fn frame(&self, slot: u32) -> Option<Mfn> {
        if slot >= self.count.load(Ordering::SeqCst) {
            return None;
        }
        Some(Mfn(self.pages.get(slot as usize)?.load(Ordering::Acquire)))
    }

    /// Checks that there is room for one more page.
    ///
    /// **Errors:** `ENOSPC` if there is none.
    pub(super) fn check_room(&self) -> Result<(), Errno> {
        if (self.count.load(Ordering::Acquire) as usize) < MAX_PAGES { Ok(()) } else { Err(Errno::ENOSPC) }
    }

    /// Adds a page. Only with the domain's lock, and with room for it.
    pub(super) fn push(&self, frame: Mfn) {
        let count = self.count.load(Ordering::Acquire);
        if let Some(slot) = self.pages.get(count as usize) {
            slot.store(frame.0, Ordering::Release);
            self.count.store(count.saturating_add(1), Ordering::SeqCst);
        }
    }

    /// Leaves the FIFO ABI and releases every page. Only with the domain's lock and with no port bound.
    pub(super) fn release(&self, mut unpin: impl FnMut(Mfn)) {
        self.active.store(false, Ordering::Release);
        let count = self.count.swap(0, Ordering::AcqRel);
        for page in self.pages.iter().take(count as usize) {
            unpin(Mfn(page.load(Ordering::Acquire)));
        }
    }
}

/// Returns the event word of a port; None while its page is missing.
#[inline]
pub(super) fn event_word<D: EventDomain>(domain: &D, port: Port) -> Option<Word32<'_>> {
    let frame = domain.events().array().frame(port.0 / EVENT_WORDS_PER_PAGE)?;
    Word32::at(domain.event_page(frame)?, ((port.0 % EVENT_WORDS_PER_PAGE) as usize) << 2)
}
