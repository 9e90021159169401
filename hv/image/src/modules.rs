//! What the boot loader brought along.

use alloc::vec::Vec;
use xenolith_bootinfo::{MachineRange, Module};
use xenolith_core::frames::{Frames, FreeFrame};
use xenolith_hal::{Mfn, PAGE_SHIFT, PAGE_SIZE, PageOrder};
use xenolith_x86::layout;

/// The frames of modules, kept from everybody else for as long as the modules are read.
pub struct Kept(Vec<FreeFrame>);

/// The frames that a module touches.
fn frames_of(range: MachineRange) -> core::ops::Range<u64> {
    range.start >> PAGE_SHIFT..range.end.div_ceil(PAGE_SIZE as u64)
}

/// The same as frame numbers.
pub fn frame_range(range: MachineRange) -> core::ops::Range<Mfn> {
    let frames = frames_of(range);
    Mfn(frames.start)..Mfn(frames.end)
}

impl Kept {
    /// Takes the frames of all modules out of what is free.
    pub fn take(frames: &Frames, modules: &[Module]) -> Self {
        let mut kept = Vec::new();
        for frame in modules.iter().flat_map(|module| frames_of(module.range)) {
            // Two modules may share the page in which one ends and the next begins.
            kept.extend(frames.take_block(Mfn(frame), PageOrder::SIZE_4K));
        }
        Self(kept)
    }

    /// The bytes of a module.
    pub fn bytes(&self, module: &Module) -> &[u8] {
        let length = module.range.end.saturating_sub(module.range.start) as usize;
        let start = layout::direct(module.range.start) as *const u8;
        // SAFETY: `validate` has refused modules outside of RAM, the direct map holds all RAM, and the frames are out
        // of the allocator for as long as `self` lives, so nobody writes to them.
        unsafe { core::slice::from_raw_parts(start, length) }
    }

    /// Gives the frames back: the modules have been read.
    pub fn release(self, frames: &Frames) {
        for frame in self.0 {
            frames.give_back(frame);
        }
    }
}
