//! Device interrupts: allocation of vectors, and the ones that arrived at each CPU.
//!
//! A vector means the same on every CPU, so its number serves as the interrupt's. The handler notes the vector and
//! sends the EOI at once; a level-triggered line is masked before that.
//!
//! **Source:** AMD manual volume 2, 16.11.1 (message interrupts); the 82093AA data sheet.

use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use xenolith_hal::{CpuId, HostEvents, HostInterrupt, LineMode, MessageAddress};

use super::interrupt_controllers;
use crate::bare::base::cpu_area;

/// The vectors that devices get. Those below are exceptions and what silenced 8259s still send; those above are the
/// hypervisor's own.
pub const VECTORS: RangeInclusive<u8> = 0x30..=0xef;

/// Where messages go: the CPU's identifier stands in bits 12 to 19.
const MESSAGE_ADDRESS: u64 = 0xfee0_0000;
/// The highest CPU that a message or an I/O APIC can name.
const HIGHEST_TARGET: u32 = 0xfe;

/// In [`LINES`]: the vector belongs to a line, whose number stands in the low bits.
const IS_LINE: u32 = 1 << 31;
/// In [`LINES`]: the line is one that must be masked when it comes.
const IS_LEVEL: u32 = 1 << 30;
const LINE: u32 = IS_LEVEL - 1;

/// Vectors in use, one bit each.
static USED: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
/// For each vector the line that it belongs to; 0 for none.
static LINES: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];

const fn bit(vector: u8) -> u64 {
    1 << (vector % 64)
}

fn word(words: &[AtomicU64; 4], vector: u8) -> Option<&AtomicU64> {
    words.get(usize::from(vector / 64))
}

/// Notes that a device's interrupt arrived at this CPU. Called by the interrupt handler, which then sends the EOI.
pub fn note(vector: u8) {
    let line = LINES.get(usize::from(vector)).map_or(0, |line| line.load(Ordering::Acquire));
    if line & IS_LEVEL != 0 {
        interrupt_controllers::mask(line & LINE, true);
    }
    if let Some(word) = word(&cpu_area::this().device_vectors, vector) {
        word.fetch_or(bit(vector), Ordering::AcqRel);
    }
    cpu_area::note(HostEvents::DEVICE);
}

/// Calls `each` for every interrupt that arrived at this CPU since the last call.
pub fn take(each: &mut dyn FnMut(HostInterrupt)) {
    for (first, word) in (0_u16..).step_by(64).zip(&cpu_area::this().device_vectors) {
        let mut came = word.swap(0, Ordering::AcqRel);
        while came != 0 {
            let number = came.trailing_zeros() as u16;
            came &= came.wrapping_sub(1);
            each(HostInterrupt(first | number));
        }
    }
}

/// Allocates a free vector. Neighbours have the same priority, which does not matter: nothing is nested.
fn take_vector() -> Option<u8> {
    VECTORS.into_iter().find(|vector| {
        word(&USED, *vector).is_some_and(|word| word.fetch_or(bit(*vector), Ordering::AcqRel) & bit(*vector) == 0)
    })
}

fn give_vector_back(vector: u8) {
    if let Some(word) = word(&USED, vector) {
        word.fetch_and(!bit(vector), Ordering::AcqRel);
    }
}

/// Returns the local APIC identifier of a CPU, or of the boot CPU for one that cannot be addressed.
fn target(cpu: CpuId) -> Option<u32> {
    let id = |cpu| cpu_area::of(cpu).map(|area| area.apic_id.load(Ordering::Relaxed));
    id(cpu).filter(|id| *id <= HIGHEST_TARGET).or_else(|| id(CpuId(0))).filter(|id| *id <= HIGHEST_TARGET)
}

/// Implements [`xenolith_hal::Devices::bind_line`].
pub fn bind_line(line: u32, mode: LineMode, cpu: CpuId) -> Option<HostInterrupt> {
    let named = line | IS_LINE | if mode.level { IS_LEVEL } else { 0 };
    let is_bound = |there: &AtomicU32| {
        let there = there.load(Ordering::Acquire);
        there & IS_LINE != 0 && there & LINE == line
    };
    if line > LINE || LINES.iter().any(is_bound) {
        return None;
    }
    let target = target(cpu)?;
    let vector = take_vector()?;
    if let Some(there) = LINES.get(usize::from(vector)) {
        there.store(named, Ordering::Release);
    }
    let interrupt = HostInterrupt(vector.into());
    if interrupt_controllers::route(line, mode, target, vector) {
        return Some(interrupt);
    }
    unbind(interrupt);
    None
}

/// Implements [`xenolith_hal::Devices::bind_message`].
pub fn bind_message(cpu: CpuId) -> Option<(HostInterrupt, MessageAddress)> {
    let target = target(cpu)?;
    let vector = take_vector()?;
    let message = MessageAddress { address: MESSAGE_ADDRESS | u64::from(target) << 12, data: vector.into() };
    Some((HostInterrupt(vector.into()), message))
}

/// Logs which vector belongs to what, and the entries of the I/O APICs and of this CPU's local APIC.
pub fn show() {
    crate::print!("Vectors of devices:");
    let is_used =
        |vector: &u8| word(&USED, *vector).is_some_and(|word| word.load(Ordering::Acquire) & bit(*vector) != 0);
    for vector in VECTORS.filter(is_used) {
        let line = LINES.get(usize::from(vector)).map_or(0, |line| line.load(Ordering::Acquire));
        let noted = cpu_area::all().filter(|(_, area)| {
            word(&area.device_vectors, vector).is_some_and(|word| word.load(Ordering::Acquire) & bit(vector) != 0)
        });
        let noted = noted.count();
        match line & IS_LINE {
            0 => crate::print!("    vec:{vector:02x} message, noted on {noted} CPUs"),
            _ => {
                let kind = if line & IS_LEVEL != 0 { "level" } else { "edge" };
                crate::print!("    vec:{vector:02x} line {}, {kind}, noted on {noted} CPUs", line & LINE);
            }
        }
    }
    interrupt_controllers::show();
}

/// Implements [`xenolith_hal::Devices::unbind`].
pub fn unbind(interrupt: HostInterrupt) {
    let Some(vector) = u8::try_from(interrupt.0).ok().filter(|vector| VECTORS.contains(vector)) else { return };
    let line = LINES.get(usize::from(vector)).map_or(0, |line| line.swap(0, Ordering::AcqRel));
    if line & IS_LINE != 0 {
        interrupt_controllers::mask(line & LINE, true);
    }
    give_vector_back(vector);
}
