//! TLB shoot-down of the hypervisor's own translations: one IPI to each CPU for a whole batch, however many pages are
//! in it.

use arrayvec::ArrayVec;

use super::calls::{self, PAGES_PER_BATCH, Work};
use crate::bare::memory::address_space;
use crate::plain::paging;

/// Pages that were unmapped and that CPUs may still reach through their TLBs.
#[derive(Default)]
#[must_use = "until it is finished, CPUs may still reach the pages"]
pub struct Batch {
    addresses: ArrayVec<u64, PAGES_PER_BATCH>,
    /// There were more than fit.
    overflowed: bool,
}

impl Batch {
    /// Creates an empty batch.
    pub const fn new() -> Self {
        Self { addresses: ArrayVec::new_const(), overflowed: false }
    }

    /// Unmaps the page of 4 KiB at `address`.
    pub fn unmap_page(&mut self, address: u64) {
        address_space::unmap_page(address);
        self.overflowed |= self.addresses.try_push(address).is_err();
    }

    /// Flushes the pages from every CPU's TLB. Afterwards no CPU can reach them.
    ///
    /// # Panics
    ///
    /// As [`calls::on_all_others`].
    #[inline]
    pub fn finish(self) {
        if self.overflowed {
            paging::forget_all();
            calls::on_all_others(Work::ForgetAll);
        } else if !self.addresses.is_empty() {
            self.addresses.iter().copied().for_each(paging::forget);
            calls::on_all_others(Work::Forget(self.addresses));
        }
    }
}
