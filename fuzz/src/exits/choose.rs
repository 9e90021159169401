//! The exits that a guest chooses, with the registers that they take their operands from.

use fastrand::Rng;
use xenolith_hal::{Access, CpuState, Exit, Gpa, IoAccess, IoSize};

use super::machine::{CARD, CODE, CONFIGURATION, IO_APIC, LOCAL_APIC, REGISTERS, SLOT, SLOTS, TABLE, string_slot};
use crate::hypercalls;
use crate::mutation;

/// MSRs that the hypervisor knows something of.
pub const MSRS: &[u32] = &[
    0x0,
    0x1,
    0x10,
    0x1b,
    0x2c,
    0x3b,
    0x8b,
    0xce,
    0xfe,
    0x10a,
    0x140,
    0x174,
    0x175,
    0x176,
    0x179,
    0x17a,
    0x17b,
    0x1a0,
    0x1d9,
    0x1db,
    0x1de,
    0x200,
    0x201,
    0x20f,
    0x210,
    0x250,
    0x258,
    0x259,
    0x268,
    0x26f,
    0x277,
    0x280,
    0x29f,
    0x2ff,
    0x400,
    0x401,
    0x413,
    0x47f,
    0x6e0,
    0x4000_0000,
    0x4000_0001,
    0x4000_0002,
    0x4000_0020,
    0x4000_0021,
    0x4000_0023,
    0x4000_0070,
    0x4000_0071,
    0x4000_0072,
    0x4000_0073,
    0x4000_0080,
    0x4000_0082,
    0x4000_0083,
    0x4000_0084,
    0x4000_0092,
    0x4000_009f,
    0x4000_00b0,
    0x4000_00b1,
    0x4000_00b6,
    0x4000_00b7,
    0x4000_0104,
    0x4000_0105,
    0x4000_0200,
    0xc000_0080,
    0xc000_0081,
    0xc000_0082,
    0xc000_0100,
    0xc000_0101,
    0xc000_0102,
    0xc000_0103,
    0xc000_0104,
    0xc000_0408,
    0xc001_0000,
    0xc001_0007,
    0xc001_0010,
    0xc001_0015,
    0xc001_0016,
    0xc001_0019,
    0xc001_001a,
    0xc001_001d,
    0xc001_001f,
    0xc001_0020,
    0xc001_0055,
    0xc001_0112,
    0xc001_0114,
    0xc001_0117,
    0xc001_0200,
    0xc001_1023,
    0xc001_102c,
];
const PORTS: &[u16] = &[
    0x20, 0x21, 0x40, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0xa0, 0xe9, 0x3f8, 0x3fd, 0x608, 0xcf8, 0xcf9, 0xcfc,
    0xcfe, 0xb004,
];

/// Chooses an exit, and sets the registers.
pub fn choose(dice: &mut Rng, state: &mut CpuState) -> Exit {
    match dice.u8(..128) {
        0..=31 => hypercall(dice, state),
        32..=45 => cpuid(dice, state),
        46..=57 => read_msr(dice, state),
        58..=71 => write_msr(dice, state),
        72..=87 => port(dice, state),
        88..=93 => string(dice, state),
        94..=113 => fault(dice, state),
        114..=116 => Exit::Halt { interrupts_enabled: true },
        117 => Exit::CacheFlush,
        118 => Exit::UndefinedInstruction,
        119 => Exit::SetXcr0 { value: dice.u64(..8) },
        120..=126 => Exit::Interrupted,
        _ => rare(dice),
    }
}

/// What ends a guest, or takes a vCPU down.
fn rare(dice: &mut Rng) -> Exit {
    match dice.u16(..256) {
        0 => Exit::Shutdown,
        1 => Exit::InvalidState,
        2 => Exit::StateLost,
        3 => Exit::Unknown { code: dice.u64(..) },
        4..=7 => Exit::Halt { interrupts_enabled: false },
        _ => Exit::Interrupted,
    }
}

/// Calls of Microsoft's interface that exist.
const CALLS: [u64; 7] = [2, 3, 8, 0xb, 0x13, 0x14, 0x15];

/// A hypercall of Microsoft's interface: 64-bit code passes all in these registers, 32-bit code in some of them.
fn viridian(dice: &mut Rng, state: &mut CpuState) -> Exit {
    let code = if dice.u8(..8) == 0 { dice.u64(..0x10000) } else { CALLS[dice.usize(..CALLS.len())] };
    let registers = &mut state.registers;
    registers.rax = 1 << 31 | code;
    registers.rcx = code | dice.u64(..8) << 16 | dice.u64(..8) << 32 | dice.u64(..4) << 48;
    let mut word = || match dice.u8(..4) {
        0 => mutation::number(dice),
        1 => dice.u64(..0x100),
        _ => dice.u64(..40 << 12),
    };
    (registers.rdx, registers.r8, registers.rbx) = (word(), word(), 0);
    Exit::Hypercall
}

fn hypercall(dice: &mut Rng, state: &mut CpuState) -> Exit {
    if dice.u8(..8) == 0 {
        return viridian(dice, state);
    }
    let (number, args) = hypercalls::call(dice);
    let registers = &mut state.registers;
    registers.rax = number;
    [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = args;
    Exit::Hypercall
}

fn cpuid(dice: &mut Rng, state: &mut CpuState) -> Exit {
    let base = [0, 0, 0x4000_0000, 0x8000_0000, 0x4000_0100][dice.usize(..5)];
    let leaf = if dice.u8(..16) == 0 { dice.u32(..) } else { base + dice.u32(..0x22) };
    let subleaf = dice.u32(..8);
    (state.registers.rax, state.registers.rcx) = (leaf.into(), subleaf.into());
    Exit::Cpuid { leaf, subleaf }
}

fn msr(dice: &mut Rng) -> u32 {
    match dice.u8(..8) {
        0 => mutation::number(dice) as u32,
        1..=3 => 0x800 + dice.u32(..0x40),
        _ => MSRS[dice.usize(..MSRS.len())],
    }
}

fn read_msr(dice: &mut Rng, state: &mut CpuState) -> Exit {
    let msr = msr(dice);
    state.registers.rcx = msr.into();
    Exit::ReadMsr { msr }
}

/// A value that might be meant for an MSR.
pub fn value(dice: &mut Rng, msr: u32) -> u64 {
    let fitting = match msr {
        0x1b => 0xfee0_0000 | dice.u64(..16) << 8,
        0x277 => 0x0007_0406_0007_0406,
        0x2ff => dice.u64(..8) | dice.u64(..4) << 10,
        0x6e0 => dice.u64(..1 << 32),
        0x830 => dice.u64(..4) << 32 | dice.u64(..0x1000) << 8 | dice.u64(..256),
        0x4000_0000 | 0x4000_0200 => dice.u64(..40) << 12,
        0x4000_0001 | 0x4000_0021 | 0x4000_0073 | 0x4000_0083 => dice.u64(..40) << 12 | dice.u64(..2),
        0x4000_0071 => dice.u64(..4) << 56 | dice.u64(..0x1000) << 8 | dice.u64(..256),
        0x4000_0090..=0x4000_009f => dice.u64(..8) << 16 | dice.u64(..256),
        0x4000_00b0 | 0x4000_00b6 => dice.u64(..4) << 16 | dice.u64(..16),
        0x4000_0105 => dice.u64(..2) << 63,
        0xc000_0080 => 0x501 | dice.u64(..2) << 11,
        _ => dice.u64(..0x100),
    };
    if dice.u8(..3) == 0 { mutation::number(dice) } else { fitting }
}

fn write_msr(dice: &mut Rng, state: &mut CpuState) -> Exit {
    let msr = msr(dice);
    let value = value(dice, msr);
    (state.registers.rcx, state.registers.rax, state.registers.rdx) = (msr.into(), value & 0xffff_ffff, value >> 32);
    Exit::WriteMsr { msr, value }
}

fn port_number(dice: &mut Rng) -> u16 {
    if dice.u8(..8) == 0 { dice.u16(..) } else { PORTS[dice.usize(..PORTS.len())] }
}

fn port(dice: &mut Rng, state: &mut CpuState) -> Exit {
    let port = port_number(dice);
    let size = [IoSize::Byte, IoSize::Word, IoSize::Dword][dice.usize(..3)];
    let address = 0x8000_0000 | u64::from(CARD) << 8 | dice.u64(..64) << 2;
    state.registers.rax = if port == 0xcf8 { address } else { dice.u64(..) };
    Exit::Io(IoAccess { port, size, write: dice.bool(), string: false, repeat: false })
}

/// An address in memory, or where none is.
fn memory(dice: &mut Rng) -> u64 {
    match dice.u8(..8) {
        0 => mutation::number(dice),
        1 => (dice.u64(..40) << 12) + 0xff8 + dice.u64(..16),
        _ => dice.u64(..40 << 12),
    }
}

fn string(dice: &mut Rng, state: &mut CpuState) -> Exit {
    let (slot, write, repeat, bytes) = string_slot(dice);
    let size = match bytes {
        1 => IoSize::Byte,
        2 => IoSize::Word,
        _ => IoSize::Dword,
    };
    let registers = &mut state.registers;
    registers.rip = (CODE << 12) + (slot * SLOT) as u64;
    (registers.rsi, registers.rdi) = (memory(dice), memory(dice));
    registers.rcx = if dice.u8(..8) == 0 { dice.u64(..) } else { dice.u64(..200) };
    registers.rflags = registers.rflags & !(1 << 10) | dice.u64(..2) << 10;
    let port = port_number(dice);
    // Now and then what exited is not what lies there.
    let write = write ^ (dice.u8(..32) == 0);
    Exit::Io(IoAccess { port, size, write, string: true, repeat })
}

fn fault(dice: &mut Rng, state: &mut CpuState) -> Exit {
    let at = match dice.u8(..16) {
        0..=4 => LOCAL_APIC + dice.u64(..0x40) * 16 + if dice.u8(..8) == 0 { dice.u64(..16) } else { 0 },
        5 | 6 => IO_APIC + [0, 0x10, 0x40, 0x20][dice.usize(..4)],
        7 | 8 => TABLE + dice.u64(..0x60) * 4,
        9 => REGISTERS + dice.u64(..0x2_0000),
        10 | 11 => CONFIGURATION + (u64::from(CARD) << 12) + dice.u64(..0x100) * 4,
        12 => mutation::number(dice),
        _ => memory(dice),
    };
    let registers = &mut state.registers;
    let slot = dice.usize(..SLOTS);
    registers.rip = (CODE << 12) + (slot * SLOT) as u64;
    (registers.rsi, registers.rdi) = (at, if dice.bool() { at } else { memory(dice) });
    (registers.rax, registers.rcx, registers.rbx) = (dice.u64(..0x40), dice.u64(..64), dice.u64(..));
    let hostile = dice.u16(..256) == 0;
    let access = Access {
        write: dice.bool(),
        present: dice.u8(..8) == 0,
        execute: hostile && dice.bool(),
        page_walk: hostile && dice.bool(),
    };
    Exit::NestedFault { gpa: Gpa(at), access }
}
