//! Writes to CR0 and CR4, on emulated CPUs alone.
//!
//! A real CPU needs no help: it refuses bad values by itself. QEMU 7.2 does not notice some of them while a guest runs
//! (PAE cleared in long mode, paging without protection), and goes on in a mode that does not exist.
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

/// MOV to a control register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MoveTo {
    /// 0 or 4.
    pub register: u8,
    /// The general register with the value, as encoded.
    pub source: u8,
    /// Bytes of the instruction.
    pub length: u64,
}

/// Reads the instruction; none for another one than MOV to CR0 or CR4.
pub(super) fn decode(bytes: &[u8], long_code: bool) -> Option<MoveTo> {
    const PREFIXES: [u8; 10] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf2, 0xf3];
    let prefixes = bytes.iter().take_while(|byte| PREFIXES.contains(byte)).count();
    let rest = bytes.get(prefixes..)?;
    let (rex, rest, length) = match rest {
        [rex @ 0x40..=0x4f, rest @ ..] if long_code => (*rex, rest, 4),
        _ => (0, rest, 3),
    };
    let [0x0f, 0x22, operands, ..] = rest else { return None };
    let register = ((operands >> 3) & 7) | if rex & REX_R != 0 { 8 } else { 0 };
    let source = (operands & 7) | if rex & REX_B != 0 { 8 } else { 0 };
    matches!(register, 0 | 4).then_some(MoveTo { register, source, length: length + prefixes as u64 })
}

/// The value of a general register as it is encoded.
pub(super) const fn general(registers: &Registers, number: u8) -> u64 {
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

/// What CR0 and EFER become when CR0 is written; none for #GP.
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

/// True when CR4 may become this.
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
    fn moves_to_cr0_and_cr4_are_understood() {
        let mov = |register, source, length| Some(MoveTo { register, source, length });
        assert_eq!(decode(&[0x0f, 0x22, 0xe1, 0x90], true), mov(4, 1, 3));
        assert_eq!(decode(&[0x0f, 0x22, 0xc0], false), mov(0, 0, 3));
        assert_eq!(decode(&[0x41, 0x0f, 0x22, 0xe7], true), mov(4, 15, 4));
        assert_eq!(decode(&[0x66, 0x0f, 0x22, 0xe6], false), mov(4, 6, 4));
    }

    #[test]
    fn other_instructions_are_not_taken_for_them() {
        for bytes in [&[0x0f, 0x22, 0xd8][..], &[0x0f, 0x20, 0xe0], &[0x44, 0x0f, 0x22, 0xc0], &[0x0f, 0x22], &[]] {
            assert_eq!(decode(bytes, true), None);
        }
        assert_eq!(decode(&[0x41, 0x0f, 0x22, 0xe7], false), None);
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
