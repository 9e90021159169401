//! The form of the page that a domain shares with the hypervisor: that of 32-bit guests or that of 64-bit ones.

use crate::memory::guest_memory::Layout;
use core::sync::atomic::{AtomicBool, Ordering};
use xen_abi::shared_info_compat::SharedLayout;

/// The form, latched from the mode in which the guest makes one of its first calls.
///
/// Nothing moves when it changes: the page is read in the other form from then on, as in real Xen. A guest that changes it
/// later loses events, its own alone.
#[derive(Default)]
pub struct SharedForm {
    compat: AtomicBool,
}

impl SharedForm {
    /// Latches the form of the guest that calls now.
    pub fn latch(&self, layout: Layout) {
        self.compat.store(layout == Layout::Compat, Ordering::SeqCst);
    }

    /// Returns the layout of what the hypervisor keeps writing in the guest's memory.
    pub fn layout(&self) -> Layout {
        if self.compat.load(Ordering::Relaxed) { Layout::Compat } else { Layout::Native }
    }

    /// Returns the offsets in the page.
    pub fn places(&self) -> &'static SharedLayout {
        if self.compat.load(Ordering::Relaxed) { &SharedLayout::COMPAT } else { &SharedLayout::NATIVE }
    }
}
