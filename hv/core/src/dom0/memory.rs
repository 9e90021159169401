//! Dom0's memory: each of its frames is identity-mapped, except those of the first megabyte that the hypervisor needs
//! for itself.

use crate::components::device_space::DeviceSpace;
use crate::memory::frames::{ANYWHERE, FrameUse, Frames};
use crate::memory::physmap::{Editor, Memory};
use alloc::vec::Vec;
use core::ops::Range;
use xen_abi::memory_map::{E820_RAM, E820_UNUSABLE};
use xenolith_hal::{Gfn, Gpa, Machine, MapError, Mapping, Mfn, PAGE_SHIFT, PAGE_SIZE, PageKind, PageOrder, Rights};

/// The first megabyte, in frames.
const LOW_FRAMES: u64 = 256;
/// The frame with the firmware's vectors and data.
const FIRMWARE_DATA: Gfn = Gfn(0);

/// A range of the machine's memory map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostRegion {
    /// In bytes.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// An `E820_*`.
    pub kind: u32,
}

/// Dom0's memory map.
#[derive(Default)]
pub struct Layout {
    pub regions: Vec<HostRegion>,
    pub pages: u64,
    /// Frames of the first megabyte's RAM that are not dom0's: other frames are mapped in their place.
    replaced: Vec<Gfn>,
}

impl Layout {
    fn add(&mut self, start: u64, end: u64, kind: u32) {
        match self.regions.last_mut() {
            Some(last) if last.kind == kind && last.end == start => last.end = end,
            _ if start < end => self.regions.push(HostRegion { start, end, kind }),
            _ => {}
        }
    }

    /// Reserves whole pages for `bytes` of tables at the highest RAM of dom0 below `limit`, and marks them with `kind`.
    pub fn take_for_tables(&mut self, bytes: u64, limit: u64, kind: u32) -> Option<Gpa> {
        let page = PAGE_SIZE as u64;
        let bytes = bytes.checked_next_multiple_of(page)?;
        let place = |region: &HostRegion| {
            let start = (region.end.min(limit) & page.wrapping_neg()).checked_sub(bytes)?;
            (region.kind == E820_RAM && start >= region.start).then_some(start)
        };
        let (index, start) =
            self.regions.iter().enumerate().rev().find_map(|(index, region)| Some((index, place(region)?)))?;
        let end = start.checked_add(bytes)?;
        let old = self.regions.get_mut(index)?;
        let above = HostRegion { start: end, ..*old };
        old.end = start;
        let parts = [HostRegion { start, end, kind }, above].into_iter().filter(|part| part.start < part.end);
        let behind = index.saturating_add(1);
        self.regions.splice(behind..behind, parts);
        self.regions.retain(|region| region.start < region.end);
        Some(Gpa(start))
    }
}

/// Returns the machine addresses that dom0 sees identity-mapped.
pub fn device_space(host: &[HostRegion], hidden: &[Mfn]) -> DeviceSpace {
    let frames =
        |region: &HostRegion| -> Range<u64> { region.start >> PAGE_SHIFT..region.end.div_ceil(PAGE_SIZE as u64) };
    let (ram, firmware): (Vec<&HostRegion>, Vec<&HostRegion>) = host.iter().partition(|region| region.kind == E820_RAM);
    // A page that is partly RAM is no device's.
    DeviceSpace::new(ram.into_iter().map(frames).collect(), firmware.into_iter().map(frames).collect(), hidden.to_vec())
}

/// Gives dom0 up to `pages` frames of RAM, lowest first. RAM that it does not get is marked unusable, so that its
/// kernel puts no device there; what is not RAM stays as the firmware says.
///
/// The first megabyte has no holes where its RAM is the hypervisor's: another frame is mapped there, with a copy of
/// what the firmware left in the first one. A device would not find it at that address; but kernels keep devices away
/// from there.
///
/// The frames are not scrubbed: since the machine was switched on only firmware and boot loader wrote to them.
///
/// **Errors:** [`MapError`].
pub fn populate<M: Machine>(
    memory: &Memory<'_, M, M::Space>,
    host: &[HostRegion],
    pages: u64,
) -> Result<Layout, MapError> {
    let mut layout = Layout::default();
    for region in host {
        if region.kind != E820_RAM {
            layout.add(region.start, region.end, region.kind);
            continue;
        }
        memory.edit(|editor| fill(memory.frames, memory, editor, *region, pages, &mut layout))?;
    }
    // Afterwards, so that these frames are none that dom0 could have at their own numbers.
    for gfn in &layout.replaced {
        replace(memory, *gfn)?;
    }
    Ok(layout)
}

/// Maps another frame at `gfn`, as a copy of the machine's frame of that number as far as it can be read.
fn replace<M: Machine>(memory: &Memory<'_, M, M::Space>, gfn: Gfn) -> Result<(), MapError> {
    let (frames, pages, order) = (memory.frames, memory.pages, PageOrder::SIZE_4K);
    let owned = frames.allocate(pages, memory.owner, order, ANYWHERE).map_err(|_| MapError::NoMemory)?;
    let mfn = owned.into_mapping();
    if gfn == FIRMWARE_DATA
        && let (Some(from), Some(to)) = (pages.page(Mfn(gfn.0)), pages.page(mfn))
    {
        let mut bytes = [0; PAGE_SIZE];
        let _ = from.read_bytes(0, &mut bytes) && to.write_bytes(0, &bytes);
    }
    memory.edit(|editor| editor.map(gfn, Mapping { mfn, order, rights: Rights::ALL, kind: PageKind::Ram }))
}

#[expect(clippy::arithmetic_side_effects, reason = "frames of a region, up to its end")]
fn fill<M: Machine>(
    frames: &Frames,
    memory: &Memory<'_, M, M::Space>,
    editor: &mut Editor<'_, '_, M, M::Space>,
    region: HostRegion,
    pages: u64,
    layout: &mut Layout,
) -> Result<(), MapError> {
    let mut at = region.start.div_ceil(PAGE_SIZE as u64);
    let end = region.end >> PAGE_SHIFT;
    while at < end {
        let left = (end - at).min(pages.saturating_sub(layout.pages));
        if left == 0 {
            layout.add(at << PAGE_SHIFT, end << PAGE_SHIFT, E820_UNUSABLE);
            break;
        }
        let taken = [PageOrder::SIZE_1G, PageOrder::SIZE_2M, PageOrder::SIZE_4K]
            .into_iter()
            .filter(|order| order.aligned(at) && order.pages() <= left)
            .find_map(|order| frames.take_block(Mfn(at), order));
        let Some(block) = taken else {
            if at < LOW_FRAMES {
                layout.replaced.push(Gfn(at));
                layout.add(at << PAGE_SHIFT, (at + 1) << PAGE_SHIFT, E820_RAM);
                layout.pages += 1;
                at += 1;
                continue;
            }
            layout.add(at << PAGE_SHIFT, (at + 1) << PAGE_SHIFT, E820_UNUSABLE);
            at += 1;
            continue;
        };
        let order = block.order();
        let owned = match frames.assign(block, memory.owner) {
            Ok(owned) => owned,
            Err((block, _)) => {
                frames.give_back(block);
                return Err(MapError::NoMemory);
            }
        };
        let mfn = owned.into_mapping();
        editor.map(Gfn(at), Mapping { mfn, order, rights: Rights::ALL, kind: PageKind::Ram })?;
        layout.add(at << PAGE_SHIFT, (at + order.pages()) << PAGE_SHIFT, E820_RAM);
        layout.pages += order.pages();
        at += order.pages();
    }
    Ok(())
}

/// Maps for dom0 what of the first megabyte is no RAM of its own: firmware, its data and the screen, identity-mapped.
///
/// **Errors:** [`MapError`].
pub fn show_first_megabyte<M: Machine>(memory: &Memory<'_, M, M::Space>) -> Result<(), MapError> {
    memory.edit(|editor| {
        for frame in 0..LOW_FRAMES {
            let used = memory.frames.state(Mfn(frame)).is_some_and(|state| state.used_as != FrameUse::Reserved);
            if editor.lookup(Gfn(frame)).is_none() && !used {
                let order = PageOrder::SIZE_4K;
                editor
                    .map(Gfn(frame), Mapping { mfn: Mfn(frame), order, rights: Rights::ALL, kind: PageKind::Mmio })?;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use xen_abi::memory_map::E820_ACPI;

    const fn region(start: u64, end: u64, kind: u32) -> HostRegion {
        HostRegion { start, end, kind }
    }

    fn layout() -> Layout {
        let regions = alloc::vec![
            region(0x1000, 0x9_f000, E820_RAM),
            region(0x10_0000, 0x4000_0000, E820_RAM),
            region(0x4000_0000, 0x7ffd_f000, E820_UNUSABLE),
            region(0x1_0000_0000, 0x1_4000_0000, E820_RAM),
        ];
        Layout { regions, ..Layout::default() }
    }

    #[test]
    fn tables_lie_at_the_end_of_the_highest_ram_with_a_short_address() {
        let mut layout = layout();
        assert_eq!(layout.take_for_tables(0x1800, 1 << 32, E820_ACPI), Some(Gpa(0x3fff_e000)));
        assert_eq!(layout.regions[1], region(0x10_0000, 0x3fff_e000, E820_RAM));
        assert_eq!(layout.regions[2], region(0x3fff_e000, 0x4000_0000, E820_ACPI));
        assert_eq!(layout.regions.len(), 5);
    }

    #[test]
    fn tables_split_the_ram_that_they_lie_in() {
        let mut layout = layout();
        assert_eq!(layout.take_for_tables(1, 0x20_0000, E820_ACPI), Some(Gpa(0x1f_f000)));
        assert_eq!(layout.regions[3], region(0x20_0000, 0x4000_0000, E820_RAM));
        assert_eq!(layout.take_for_tables(0x9_e000, 0x10_0000, E820_ACPI), Some(Gpa(0x1000)));
        assert_eq!(layout.regions[0], region(0x1000, 0x9_f000, E820_ACPI));
        assert_eq!(layout.take_for_tables(0x1000, 0x10_0000, E820_ACPI), None);
    }
}
