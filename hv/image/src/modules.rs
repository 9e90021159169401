//! Boot modules (dom0's kernel and initial RAM disk), moved out of the way and unpacked.
//!
//! Loaders put modules where they like, which is often where dom0's kernel wants to lie. So what dom0 needs is copied
//! to the highest memory there is, and the modules' own memory is free before dom0 gets any.

use alloc::vec::Vec;
use core::fmt;
use xenolith_bootinfo::kernel_file::{KernelFile, KernelFileError};
use xenolith_bootinfo::{MachineRange, Module};
use xenolith_core::memory::frames::{Frames, FreeFrame};
use xenolith_hal::{Mfn, PAGE_SHIFT, PAGE_SIZE, PageOrder};
use xenolith_x86::plain::layout;

/// Bytes of each block that a [`Room`] is made of.
const BLOCK: u64 = PAGE_SIZE as u64 * PageOrder::SIZE_2M.pages();

/// Why a module cannot be used.
#[derive(Debug)]
pub enum ModuleError {
    Kernel(KernelFileError),
    /// No free stretch of memory is as long as the module, unpacked.
    NoRoom {
        bytes: u64,
    },
}

impl fmt::Display for ModuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(error) => error.fmt(f),
            Self::NoRoom { bytes } => {
                write!(
                    f,
                    "no {} MiB of free memory in one piece for the boot modules; give the machine more",
                    bytes >> 20
                )
            }
        }
    }
}

/// Returns the numbers of the frames that a module touches.
fn frames_of(range: MachineRange) -> core::ops::Range<u64> {
    range.start >> PAGE_SHIFT..range.end.div_ceil(PAGE_SIZE as u64)
}

/// Returns the frames that a module touches.
pub fn frame_range(range: MachineRange) -> core::ops::Range<Mfn> {
    let frames = frames_of(range);
    Mfn(frames.start)..Mfn(frames.end)
}

/// The frames of modules, kept out of the allocator for as long as the modules are read.
pub struct Kept(Vec<FreeFrame>);

impl Kept {
    /// Takes the frames of all modules from the allocator.
    pub fn take(frames: &Frames, modules: &[Module]) -> Self {
        let mut kept = Vec::new();
        for frame in modules.iter().flat_map(|module| frames_of(module.range)) {
            // Two modules may share the page in which one ends and the next begins.
            kept.extend(frames.take_block(Mfn(frame), PageOrder::SIZE_4K));
        }
        Self(kept)
    }

    /// Returns the bytes of a module.
    fn bytes(&self, module: &Module) -> &[u8] {
        let length = module.range.end.saturating_sub(module.range.start) as usize;
        let start = layout::direct(module.range.start) as *const u8;
        // SAFETY: `validate` has refused modules outside of RAM, the direct map holds all RAM, and the frames are out
        // of the allocator for as long as `self` lives, so nobody writes to them.
        unsafe { core::slice::from_raw_parts(start, length) }
    }

    /// Copies a module to high memory.
    ///
    /// **Errors:** `NoRoom`.
    pub fn copied(&self, frames: &Frames, free: &[MachineRange], module: &Module) -> Result<Room, ModuleError> {
        let bytes = self.bytes(module);
        let mut room = Room::take(frames, free, bytes.len())?;
        room.bytes_mut().copy_from_slice(bytes);
        Ok(room)
    }

    /// Unpacks the kernel that a module holds to an ELF file in high memory. Uses up to `heap_bytes` of the heap.
    ///
    /// **Errors:** [`ModuleError`].
    pub fn kernel(
        &self,
        frames: &Frames,
        free: &[MachineRange],
        module: &Module,
        heap_bytes: usize,
    ) -> Result<Room, ModuleError> {
        let file = KernelFile::open(self.bytes(module)).map_err(ModuleError::Kernel)?;
        let mut room = Room::take(frames, free, file.unpacked_bytes())?;
        file.unpack(room.bytes_mut(), heap_bytes).map_err(ModuleError::Kernel)?;
        Ok(room)
    }

    /// Gives the frames back: the modules have been read.
    pub fn release(self, frames: &Frames) {
        for frame in self.0 {
            frames.give_back(frame);
        }
    }
}

/// A stretch of contiguous frames, taken from the allocator and owned by this value.
pub struct Room {
    blocks: Vec<FreeFrame>,
    /// The machine address of the first byte.
    start: u64,
    length: usize,
}

impl Room {
    /// Takes the highest free stretch of `length` bytes.
    ///
    /// **Errors:** `NoRoom`.
    fn take(frames: &Frames, free: &[MachineRange], length: usize) -> Result<Self, ModuleError> {
        let bytes = length as u64;
        let count = bytes.div_ceil(BLOCK);
        for range in free.iter().rev().filter_map(|range| range.shrink_to(BLOCK)) {
            let mut blocks = Vec::new();
            let mut at = range.end;
            while blocks.len() as u64 != count && at.saturating_sub(range.start) >= BLOCK {
                at -= BLOCK;
                match frames.take_block(Mfn(at >> PAGE_SHIFT), PageOrder::SIZE_2M) {
                    Some(block) => blocks.push(block),
                    // A stretch must be of one piece: begin again below what is in use.
                    None => blocks.drain(..).for_each(|block| frames.give_back(block)),
                }
            }
            if blocks.len() as u64 == count {
                return Ok(Self { blocks, start: at, length });
            }
            blocks.into_iter().for_each(|block| frames.give_back(block));
        }
        Err(ModuleError::NoRoom { bytes })
    }

    /// Returns its bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the blocks were taken one after the other downwards, so they are one stretch of at least `length`
        // bytes from `start` on; they are RAM, which the direct map holds, and out of the allocator for as long as
        // `self` lives.
        unsafe { core::slice::from_raw_parts(layout::direct(self.start) as *const u8, self.length) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and nobody else has it while `self` is borrowed for this.
        unsafe { core::slice::from_raw_parts_mut(layout::direct(self.start) as *mut u8, self.length) }
    }

    /// Gives the memory back.
    pub fn release(self, frames: &Frames) {
        for block in self.blocks {
            frames.give_back(block);
        }
    }
}
