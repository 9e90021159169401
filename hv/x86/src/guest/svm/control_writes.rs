//! Writes to CR0, CR4 and CR8, on emulated CPUs alone.
//!
//! A real CPU needs no help: it refuses bad values by itself. QEMU 7.2 does not notice some of them while a guest runs
//! (PAE cleared in long mode, paging without protection), and goes on in a mode that does not exist. And it ends with an
//! assertion of its own, with the whole machine, when a guest writes CR8 while a virtual interrupt waits: it raises the
//! interrupt anew without the lock that this takes.
//!
//! **Source:** AMD manual volume 2, 3.1 (control registers), 14.6 (entering and leaving long mode); volume 3, MOV CRn.

use super::features::Features;
use super::state::{cr0, efer};
use xenolith_hal::{PagingRegisters, Registers};

const CR4_PAE: u64 = 1 << 5;
const CR4_PCIDE: u64 = 1 << 17;
/// The process identifier's bits in CR3.
const CR3_PCID: u64 = 0xfff;
const REX_B: u8 = 1;
const REX_R: u8 = 1 << 2;

/// What is to be written. General registers are named by the number that encodes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Write {
    /// MOV to CR0.
    Cr0(u8),
    /// MOV to CR4.
    Cr4(u8),
    /// MOV to CR8, the task priority.
    Cr8(u8),
    /// CLTS.
    ClearTaskSwitched,
    /// LMSW: the four lowest bits of CR0, of which PE can be set and not cleared.
    MachineStatus(u8),
}

const MACHINE_STATUS: u64 = 0xf;

/// Decodes the instruction, and returns its length in bytes too. None for another one, and for LMSW from memory, which
/// nothing has used since there are 32-bit systems.
pub(super) fn decode(bytes: &[u8], long_code: bool) -> Option<(Write, u64)> {
    const PREFIXES: [u8; 11] = [LOCK, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf2, 0xf3];
    // With it CR0's number means CR8, so that 32-bit code reaches that as well.
    const LOCK: u8 = 0xf0;
    let prefixes = bytes.iter().take_while(|byte| PREFIXES.contains(byte)).count();
    let (before, rest) = bytes.split_at_checked(prefixes)?;
    let locked = before.contains(&LOCK);
    let (rex, rest, length) = match rest {
        [rex @ 0x40..=0x4f, rest @ ..] if long_code => (*rex, rest, 1),
        _ => (0, rest, 0),
    };
    let fields = |operands: u8| {
        let register = ((operands >> 3) & 7) | if rex & REX_R != 0 { 8 } else { 0 };
        (register, (operands & 7) | if rex & REX_B != 0 { 8 } else { 0 })
    };
    let (write, code) = match *rest {
        [0x0f, 0x06, ..] => (Write::ClearTaskSwitched, 2),
        [0x0f, 0x01, operands @ 0xf0..=0xf7, ..] => (Write::MachineStatus(fields(operands).1), 3),
        [0x0f, 0x22, operands, ..] => match fields(operands) {
            (0, source) if locked => (Write::Cr8(source), 3),
            (0, source) => (Write::Cr0(source), 3),
            (4, source) => (Write::Cr4(source), 3),
            (8, source) => (Write::Cr8(source), 3),
            _ => return None,
        },
        _ => return None,
    };
    Some((write, length + code + prefixes as u64))
}

impl Write {
    /// Returns the new value of the register, which holds `now`. `wide` is true in 64-bit code.
    pub(super) const fn value(self, now: u64, registers: &Registers, wide: bool) -> u64 {
        let mask = if wide { u64::MAX } else { 0xffff_ffff };
        match self {
            Self::Cr0(source) | Self::Cr4(source) | Self::Cr8(source) => general(registers, source) & mask,
            Self::ClearTaskSwitched => now & !cr0::TS,
            Self::MachineStatus(source) => {
                (now & !MACHINE_STATUS) | (general(registers, source) & MACHINE_STATUS) | (now & cr0::PE)
            }
        }
    }
}

/// Returns the value of a general register by its encoding.
const fn general(registers: &Registers, number: u8) -> u64 {
    match number & 15 {
        0 => registers.rax,
        1 => registers.rcx,
        2 => registers.rdx,
        3 => registers.rbx,
        4 => registers.rsp,
        5 => registers.rbp,
        6 => registers.rsi,
        7 => registers.rdi,
        8 => registers.r8,
        9 => registers.r9,
        10 => registers.r10,
        11 => registers.r11,
        12 => registers.r12,
        13 => registers.r13,
        14 => registers.r14,
        _ => registers.r15,
    }
}

/// Returns what CR0 and EFER become when CR0 is written; None for #GP.
pub(super) fn cr0_after(value: u64, now: &PagingRegisters) -> Option<(u64, u64)> {
    let paging = value & cr0::PG != 0;
    let started = paging && now.cr0 & cr0::PG == 0;
    let stopped = !paging && now.cr0 & cr0::PG != 0;
    let bad = value >> 32 != 0
        || (paging && value & cr0::PE == 0)
        || (value & cr0::NW != 0 && value & cr0::CD == 0)
        || (started && now.efer & efer::LME != 0 && (now.cr4 & CR4_PAE == 0 || now.long_code))
        || (stopped && ((now.efer & efer::LMA != 0 && now.long_code) || now.cr4 & CR4_PCIDE != 0));
    if bad {
        return None;
    }
    let active = if paging && now.efer & efer::LME != 0 { efer::LMA } else { 0 };
    Some(((value & cr0::KNOWN) | cr0::ET, (now.efer & !efer::LMA) | active))
}

/// Returns the task priority that a write of CR8 sets; None for #GP.
pub(super) fn task_priority(value: u64) -> Option<u8> {
    u8::try_from(value).ok().filter(|priority| *priority < 16)
}

/// Returns true if CR4 may be set to this value.
pub(super) fn cr4_fits(value: u64, now: &PagingRegisters, features: &Features) -> bool {
    let long = now.efer & efer::LMA != 0;
    let new_identifiers = value & CR4_PCIDE != 0 && now.cr4 & CR4_PCIDE == 0;
    value & !features.cr4 == 0
        && (!long || value & CR4_PAE != 0)
        && (!new_identifiers || (long && now.cr3 & CR3_PCID == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_to_control_registers_are_understood() {
        assert_eq!(decode(&[0x0f, 0x22, 0xe1, 0x90], true), Some((Write::Cr4(1), 3)));
        assert_eq!(decode(&[0x0f, 0x22, 0xc0], false), Some((Write::Cr0(0), 3)));
        assert_eq!(decode(&[0x41, 0x0f, 0x22, 0xe7], true), Some((Write::Cr4(15), 4)));
        assert_eq!(decode(&[0x66, 0x0f, 0x22, 0xe6], false), Some((Write::Cr4(6), 4)));
        assert_eq!(decode(&[0x44, 0x0f, 0x22, 0xc0], true), Some((Write::Cr8(0), 4)));
        assert_eq!(decode(&[0x45, 0x0f, 0x22, 0xc1], true), Some((Write::Cr8(9), 4)));
        assert_eq!(decode(&[0xf0, 0x0f, 0x22, 0xc2], false), Some((Write::Cr8(2), 4)));
        assert_eq!(decode(&[0x0f, 0x06], false), Some((Write::ClearTaskSwitched, 2)));
        assert_eq!(decode(&[0x0f, 0x01, 0xf3], false), Some((Write::MachineStatus(3), 3)));
    }

    #[test]
    fn protection_is_switched_on_by_lmsw_and_never_off() {
        let registers = Registers { rbx: 0xffff_fff0, rcx: 0xf, ..Registers::default() };
        assert_eq!(Write::MachineStatus(3).value(0x1f, &registers, false), 0x11);
        assert_eq!(Write::MachineStatus(1).value(0x10, &registers, false), 0x1f);
        assert_eq!(Write::ClearTaskSwitched.value(0x19, &registers, false), 0x11);
    }

    #[test]
    fn the_upper_half_counts_in_64_bit_code_alone() {
        let registers = Registers { rax: 1 << 32 | 5, ..Registers::default() };
        assert_eq!(Write::Cr0(0).value(0, &registers, true), 1 << 32 | 5);
        assert_eq!(Write::Cr0(0).value(0, &registers, false), 5);
    }

    #[test]
    fn other_instructions_are_not_taken_for_them() {
        for bytes in [
            &[0x0f, 0x22, 0xd8][..],
            &[0x0f, 0x20, 0xe0],
            &[0x44, 0x0f, 0x22, 0xd8],
            &[0x0f, 0x22],
            &[0x0f, 1, 0x30],
            &[],
        ] {
            assert_eq!(decode(bytes, true), None);
        }
        assert_eq!(decode(&[0x41, 0x0f, 0x22, 0xe7], false), None);
    }

    #[test]
    fn a_task_priority_has_four_bits() {
        assert_eq!((task_priority(0), task_priority(15)), (Some(0), Some(15)));
        assert_eq!((task_priority(16), task_priority(1 << 32)), (None, None));
    }

    const LONG: PagingRegisters = PagingRegisters {
        cr0: 0x8000_0011,
        cr3: 0,
        cr4: CR4_PAE,
        efer: efer::LME | efer::LMA,
        rflags: 2,
        cpl: 0,
        long_code: true,
    };

    #[test]
    fn long_mode_is_entered_and_left_with_paging() {
        let before = PagingRegisters { cr0: 0x11, efer: efer::LME, long_code: false, ..LONG };
        assert_eq!(cr0_after(0x8000_0001, &before), Some((0x8000_0011, LONG.efer)));
        let compatible = PagingRegisters { long_code: false, ..LONG };
        assert_eq!(cr0_after(0x11, &compatible), Some((0x11, efer::LME)));
        assert_eq!(cr0_after(0x11, &LONG), None, "not from 64-bit code");
        assert_eq!(cr0_after(0x8000_0001, &PagingRegisters { cr4: 0, ..before }), None, "not without PAE");
    }

    #[test]
    fn bad_values_are_refused() {
        for value in [1 << 32 | 0x8000_0011, 0x8000_0010, 0xa000_0011] {
            assert_eq!(cr0_after(value, &LONG), None);
        }
        let features = Features { cr4: 0x7ff | CR4_PCIDE, ..Features::default() };
        assert!(cr4_fits(CR4_PAE | 0x80, &LONG, &features));
        assert!(cr4_fits(CR4_PAE | CR4_PCIDE, &LONG, &features));
        assert!(!cr4_fits(0x80, &LONG, &features), "PAE stays in long mode");
        assert!(!cr4_fits(CR4_PAE | 1 << 20, &LONG, &features));
        assert!(!cr4_fits(CR4_PAE | CR4_PCIDE, &PagingRegisters { cr3: 1, ..LONG }, &features));
    }
}
