//! The stacks of each CPU: the main one, and one each for the exceptions that can come at any instruction (IST).
//!
//! Each stack is at the top of a slot of its own; the rest of the slot is a guard that is never mapped, so a stack
//! overflow faults at once, and the double fault has a stack of its own to report it on.

use core::sync::atomic::{AtomicU64, Ordering};

use xenolith_bootinfo::MachineRange;
use xenolith_hal::CpuId;
use xenolith_sync::CpuIndex;

use crate::bare::base::{cpu_area, image};
use crate::plain::layout::{PAGE, STACKS};
use crate::plain::paging::{EntryFlags, PageTables, PagingError, TakeFrame};

/// What a stack is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StackUse {
    /// Everything else.
    Main = 0,
    /// Non-maskable interrupts.
    Nmi = 1,
    /// Double faults.
    DoubleFault = 2,
    /// Machine checks.
    MachineCheck = 3,
}

/// All of them.
pub const USES: [StackUse; 4] = [StackUse::Main, StackUse::Nmi, StackUse::DoubleFault, StackUse::MachineCheck];
/// The distance from one stack to the next.
const SLOT: u64 = 512 << 10;
const SLOTS: u64 = (xenolith_sync::MAX_CPUS * USES.len()) as u64;

impl StackUse {
    /// Returns its name for users.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Nmi => "NMI",
            Self::DoubleFault => "double fault",
            Self::MachineCheck => "machine check",
        }
    }

    /// Returns how large it is, on the CPU that boots the others and on the others.
    const fn bytes(self, boots: bool) -> u64 {
        // Unoptimised code keeps every temporary of a function apart.
        const UNOPTIMISED: bool = cfg!(debug_assertions);
        let kib = match self {
            Self::Main if UNOPTIMISED => 256,
            // At boot dom0's kernel is unpacked on it, by decoders that keep their tables on the stack.
            Self::Main if boots => 128,
            Self::Main => 64,
            Self::Nmi | Self::DoubleFault | Self::MachineCheck if UNOPTIMISED => 16,
            Self::Nmi | Self::DoubleFault | Self::MachineCheck => 8,
        };
        kib << 10
    }
}

/// Returns the top of a stack, below which its first value is pushed.
#[must_use]
pub fn top(cpu: CpuIndex, stack: StackUse) -> u64 {
    let slot = (cpu.as_usize() * USES.len()).wrapping_add(stack as usize) as u64;
    STACKS.wrapping_add(slot.wrapping_add(1).wrapping_mul(SLOT))
}

/// Maps all stacks of a CPU.
///
/// **Errors:** as [`PageTables::map`].
pub fn map(cpu: CpuIndex, tables: &mut PageTables, take: TakeFrame<'_>) -> Result<(), PagingError> {
    for stack in USES {
        let top = top(cpu, stack);
        let mut address = top.wrapping_sub(stack.bytes(cpu == CpuIndex::BOOT));
        while address < top {
            let frame = take().ok_or(PagingError::NoFrame)?;
            tables.map(
                address,
                MachineRange { start: frame, end: frame.wrapping_add(PAGE) },
                EntryFlags::DATA,
                take,
            )?;
            address = address.wrapping_add(PAGE);
        }
    }
    Ok(())
}

/// Returns the stack that contains `address`, from its lowest byte to its top; None if there is none.
#[must_use]
pub fn around(address: u64) -> Option<(u64, u64)> {
    let boot = image::boot_stack();
    if boot.holds(address) {
        return Some((boot.start, boot.end));
    }
    let slot = address.checked_sub(STACKS)? / SLOT;
    let stack = *USES.get((slot % USES.len() as u64) as usize)?;
    let top = STACKS.wrapping_add(slot.wrapping_add(1).wrapping_mul(SLOT));
    let bottom = top.wrapping_sub(stack.bytes(slot < USES.len() as u64));
    (slot < SLOTS && address >= bottom).then_some((bottom, top))
}

/// Returns the high-water mark of a stack of a running CPU, and its size, in bytes.
///
/// Stacks begin as zeros, so what was never reached is zero still.
#[must_use]
pub fn reached(cpu: CpuId, stack: StackUse) -> Option<(u64, u64)> {
    let index = CpuIndex::new(cpu.0).filter(|_| cpu.index() < cpu_area::count())?;
    let top = top(index, stack);
    let bytes = stack.bytes(index == CpuIndex::BOOT);
    let untouched = (top.wrapping_sub(bytes)..top).step_by(size_of::<u64>()).take_while(|address| {
        // SAFETY: the word lies in a stack that was mapped before its CPU was counted, and stays so; the CPU that works
        // on it writes whole words, which cannot be seen in part.
        let word = unsafe { AtomicU64::from_ptr(*address as *mut u64) };
        word.load(Ordering::Relaxed) == 0
    });
    let untouched = (untouched.count() as u64).wrapping_mul(size_of::<u64>() as u64);
    Some((bytes.wrapping_sub(untouched), bytes))
}

/// Returns true if `address` is in the guard of a stack's slot: a stack overflow.
#[must_use]
pub fn is_guard(address: u64) -> bool {
    let in_slots = address.checked_sub(STACKS).is_some_and(|offset| offset / SLOT < SLOTS);
    in_slots && around(address).is_none()
}
