//! Which of the machine's memory dom0 gets: each frame at its own number.

use crate::frames::{FrameUse, Frames};
use crate::physmap::{Editor, Memory};
use alloc::vec::Vec;
use xen_abi::memory_map::{E820_RAM, E820_UNUSABLE};
use xenolith_hal::{Gfn, Machine, MapError, Mapping, Mfn, PAGE_SHIFT, PAGE_SIZE, PageKind, PageOrder, Rights};

/// The first megabyte, in frames.
const LOW_FRAMES: u64 = 256;

/// A stretch of the machine's address space, as its firmware describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostRegion {
    /// In bytes.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// An `E820_*`.
    pub kind: u32,
}

/// What dom0 got, and what it is told of the rest.
#[derive(Default)]
pub struct Layout {
    pub regions: Vec<HostRegion>,
    pub pages: u64,
}

impl Layout {
    fn add(&mut self, start: u64, end: u64, kind: u32) {
        match self.regions.last_mut() {
            Some(last) if last.kind == kind && last.end == start => last.end = end,
            _ if start < end => self.regions.push(HostRegion { start, end, kind }),
            _ => {}
        }
    }
}

/// Gives dom0 up to `pages` frames of RAM, lowest first. RAM that it does not get is named unusable, so that its
/// kernel puts no device there; what is not RAM stays as the firmware says.
///
/// The frames are not cleared: since the machine was switched on nobody but firmware and boot loader wrote to them.
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
    Ok(layout)
}

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
        let taken = [PageOrder::SIZE_1G, PageOrder::SIZE_2M, PageOrder::SIZE_4K]
            .into_iter()
            .filter(|order| order.aligned(at) && order.pages() <= left)
            .find_map(|order| frames.take_block(Mfn(at), order));
        let Some(block) = taken else {
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

/// Shows dom0 what of the first megabyte is no RAM of its own: firmware, its data and the screen, where they are.
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
