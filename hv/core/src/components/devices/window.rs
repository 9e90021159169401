//! Device memory (MMIO) in a guest: identity-mapped on the first access.
//!
//! When a BAR has moved, the old mapping is removed at the guest's next access to the function's memory; when it is
//! disabled, the mapping stays: nothing responds there then.

use super::Owner;
use super::function::Function;
use super::pci::Pci;
use xenolith_devices::pci::{Ecam, MemoryRange};
use xenolith_hal::{Gfn, Machine, Mapping, Mfn, PAGE_SHIFT, PAGE_SIZE, PageKind, PageOrder, Rights};

const PAGE: u64 = PAGE_SIZE as u64;

/// A range of machine addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressRange {
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl AddressRange {
    /// Returns the page around an address.
    #[must_use]
    pub const fn page_of(address: u64) -> Self {
        let start = address & !(PAGE - 1);
        Self { start, end: start.saturating_add(PAGE) }
    }

    /// Returns the range that an ECAM area occupies.
    #[must_use]
    pub fn of_configuration(area: &Ecam) -> Self {
        let bus = |number: u64| area.base.0.saturating_add(number << 20);
        Self { start: bus(area.first_bus as u64), end: bus((area.last_bus as u64).saturating_add(1)) }
    }

    /// Returns the whole pages that a range touches.
    #[must_use]
    pub const fn pages_of(range: MemoryRange) -> Self {
        let end = range.start.0.saturating_add(range.bytes);
        Self { start: range.start.0 & !(PAGE - 1), end: end.saturating_add(PAGE - 1) & !(PAGE - 1) }
    }

    const fn meets(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    const fn holds(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// How many pages are unmapped under the p2m lock.
const PAGES_AT_ONCE: u64 = 512;

/// Unmaps the device pages of a range from a guest.
pub(super) fn hide<M: Machine>(owner: &Owner<'_, M>, range: AddressRange) {
    let (first, end) = (range.start >> PAGE_SHIFT, range.end >> PAGE_SHIFT);
    for start in (first..end).step_by(PAGES_AT_ONCE as usize) {
        owner.memory.edit(|editor| {
            for gfn in (start..start.saturating_add(PAGES_AT_ONCE).min(end)).map(Gfn) {
                if editor.lookup(gfn).is_some_and(|there| there.kind == PageKind::Mmio) {
                    // What cannot be taken away for want of a table stays; it is a device's page either way.
                    let _ = editor.unmap(gfn);
                }
            }
        });
    }
}

impl Pci {
    /// Maps device memory around a frame that is not mapped; returns false if no function has memory there, or if the
    /// hypervisor emulates it.
    pub(super) fn show<M: Machine>(&mut self, owner: &Owner<'_, M>, gfn: Gfn) -> bool {
        let Some(start) = gfn.0.checked_mul(PAGE) else { return false };
        let page = AddressRange::page_of(start);
        if self.is_withheld(&page) {
            return false;
        }
        let Some((function, window, range)) = self.window_at(&page) else { return false };
        let whole = AddressRange::pages_of(range);
        let before = self.function_mut(function).and_then(|function| function.note_shown(window, range));
        if let Some(before) = before {
            hide(owner, AddressRange::pages_of(before));
        }
        [PageOrder::SIZE_1G, PageOrder::SIZE_2M, PageOrder::SIZE_4K].into_iter().any(|order| {
            let bytes = order.pages() << PAGE_SHIFT;
            let start = start & bytes.wrapping_neg();
            let block = AddressRange { start, end: start.saturating_add(bytes) };
            let whole_block = whole.holds(&block) && !self.is_withheld(&block);
            whole_block && map(owner, Gfn(start >> PAGE_SHIFT), order)
        }) || owner.memory.lookup(gfn).is_some()
    }

    /// Returns whether part of a range must not be mapped in the guest.
    fn is_withheld(&self, range: &AddressRange) -> bool {
        self.kept.iter().any(|kept| kept.meets(range))
            || self.functions.iter().filter_map(Function::table_pages).any(|table| table.meets(range))
    }

    /// Returns the function that has memory in a page, the number of its BAR, and the whole window.
    fn window_at(&self, page: &AddressRange) -> Option<(usize, usize, MemoryRange)> {
        self.functions.iter().enumerate().find_map(|(index, function)| {
            let (number, range) = function.find_window(|range| AddressRange::pages_of(range).meets(page))?;
            Some((index, number, range))
        })
    }
}

fn map<M: Machine>(owner: &Owner<'_, M>, gfn: Gfn, order: PageOrder) -> bool {
    let mapping = Mapping { mfn: Mfn(gfn.0), order, rights: Rights::DATA, kind: PageKind::Mmio };
    owner.memory.edit(|editor| editor.map(gfn, mapping)).is_ok()
}
