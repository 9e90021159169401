//! Instructions by which a guest accesses a device: random bytes, and forms of instructions with their parts changed.

use fastrand::Rng;
use xenolith_devices::mmio_decode::{CodeSize, DecodeError, MAX_LENGTH, MmioAccess, MmioInstruction, Place};
use xenolith_hal::{CpuState, Registers};

/// Opcodes whose operand may be in memory, without prefixes.
const OPCODES: &[&[u8]] = &[
    &[0x88],
    &[0x89],
    &[0x8a],
    &[0x8b],
    &[0xc6],
    &[0xc7],
    &[0x01],
    &[0x09],
    &[0x21],
    &[0x23],
    &[0x29],
    &[0x31],
    &[0x39],
    &[0x3b],
    &[0x80],
    &[0x81],
    &[0x83],
    &[0x84],
    &[0x85],
    &[0x86],
    &[0x87],
    &[0xa0],
    &[0xa1],
    &[0xa2],
    &[0xa3],
    &[0xa4],
    &[0xa5],
    &[0xaa],
    &[0xab],
    &[0xf6],
    &[0xf7],
    &[0xfe],
    &[0xff],
    &[0x0f, 0xa3],
    &[0x0f, 0xab],
    &[0x0f, 0xb0],
    &[0x0f, 0xb1],
    &[0x0f, 0xb3],
    &[0x0f, 0xb6],
    &[0x0f, 0xb7],
    &[0x0f, 0xba],
    &[0x0f, 0xbb],
    &[0x0f, 0xbe],
    &[0x0f, 0xbf],
    &[0x0f, 0xc0],
    &[0x0f, 0xc1],
    &[0x0f, 0xc3],
    &[0x11],
    &[0x19],
    &[0x69],
    &[0x6b],
    &[0x8c],
    &[0x8f],
    &[0xa6],
    &[0xa7],
    &[0xac],
    &[0xad],
    &[0xae],
    &[0xaf],
    &[0xc0],
    &[0xc1],
    &[0xd0],
    &[0xd1],
    &[0xd2],
    &[0xd3],
    &[0x0f, 0x10],
    &[0x0f, 0x11],
    &[0x0f, 0x12],
    &[0x0f, 0x16],
    &[0x0f, 0x28],
    &[0x0f, 0x29],
    &[0x0f, 0x44],
    &[0x0f, 0x6e],
    &[0x0f, 0x6f],
    &[0x0f, 0x7e],
    &[0x0f, 0x7f],
    &[0x0f, 0x94],
    &[0x0f, 0xa4],
    &[0x0f, 0xa5],
    &[0x0f, 0xac],
    &[0x0f, 0xad],
    &[0x0f, 0xaf],
    &[0x0f, 0xb8],
    &[0x0f, 0xbc],
    &[0x0f, 0xbd],
    &[0x0f, 0xc7],
    &[0x0f, 0xe7],
    &[0x0f, 0x38, 0xf0],
    &[0x0f, 0x38, 0xf1],
];
const PREFIXES: &[u8] = &[0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x64, 0x40, 0x41, 0x44, 0x48, 0x4c, 0x4f];

/// Decodes one input; panics where what was decoded is not sound.
pub fn run(dice: &mut Rng) {
    let mut code = Vec::new();
    if dice.u8(..4) != 0 {
        for _ in 0..dice.usize(..3) {
            code.extend(dice.choice(PREFIXES));
        }
        code.extend(dice.choice(OPCODES).copied().unwrap_or_default());
    }
    code.extend((0..dice.usize(..20)).map(|_| dice.u8(..)));
    let size = dice.choice([CodeSize::Bits16, CodeSize::Bits32, CodeSize::Bits64]).unwrap_or(CodeSize::Bits64);
    let before = registers(dice);
    let mut place = Place::NONE;
    match MmioInstruction::decode(&code, size, &before, true, &mut place) {
        Ok(instruction) => {
            in_parts(&instruction, place, before, dice);
            complete(&instruction, size, before, dice.u64(..));
        }
        Err(DecodeError::Invalid | DecodeError::Unsupported) => {}
    }
}

/// Does the instruction in parts, as one whose operands lie across pages.
fn in_parts(instruction: &MmioInstruction, place: Place, before: Registers, dice: &mut Rng) {
    if instruction.access() == MmioAccess::Nothing {
        return;
    }
    let state = CpuState { registers: before, ..CpuState::after_init() };
    let operands = instruction.operands(place, &state);
    let mut values = [0; 2];
    let (mut reads, mut writes) = (0, 0);
    for (operand, value) in operands.iter().zip(&mut values) {
        let Some(operand) = operand else { continue };
        assert!(matches!(operand.bytes(), 1 | 2 | 4 | 8 | 16));
        let _ = operand.linear(&state);
        if operand.reads {
            *value = dice.u128(..) >> (128 - operand.bytes() * 8);
        }
        reads += u32::from(operand.reads);
        writes += u32::from(operand.writes);
    }
    assert!(reads + writes >= 1 && writes <= 1, "no operand, or two that are written");
    let mut after = before;
    let outcome = instruction.outcome(values, dice.u128(..), &state, &mut after);
    assert!(writes == 1 || outcome.write.is_none(), "nothing is there to be written");
    assert!(outcome.vector.is_none() || instruction.vector_register().is_some(), "a vector of none");
    // The same again from the same state is the same: what is written in parts is computed for each.
    let mut again = before;
    let _ = instruction.outcome(values, 0, &state, &mut again);
    assert_eq!(after, again);
}

fn registers(dice: &mut Rng) -> Registers {
    let mut value = || if dice.bool() { dice.u64(..) } else { dice.u64(..4) };
    Registers {
        rax: value(),
        rbx: value(),
        rcx: value(),
        rdx: value(),
        rsi: value(),
        rdi: value(),
        rflags: value(),
        r8: value(),
        r15: value(),
        rip: 0x1000,
        ..Registers::default()
    }
}

fn complete(instruction: &MmioInstruction, size: CodeSize, before: Registers, value: u64) {
    let mut after = before;
    let (bytes, is_string) = match instruction.access() {
        MmioAccess::Read { bytes } => {
            instruction.finish_read(value, &mut after);
            // LODS and SCAS with turns left stay where they are, one turn further.
            (bytes, after.rip == before.rip && after.rcx != before.rcx)
        }
        MmioAccess::Write { bytes, value } => {
            assert!(bytes == 8 || value >> (bytes * 8) == 0, "a value wider than its access");
            instruction.finish_write(&mut after);
            (bytes, after.rip == before.rip)
        }
        MmioAccess::Modify { bytes } => {
            let new = instruction.modify(value, &mut after).unwrap_or(0);
            assert!(bytes == 8 || new >> (bytes * 8) == 0, "a value wider than its access");
            (bytes, false)
        }
        MmioAccess::Copy { bytes, .. } => {
            instruction.finish_copy(&mut after);
            (bytes, true)
        }
        MmioAccess::Parts => return,
        MmioAccess::Nothing => {
            instruction.finish_write(&mut after);
            (1, false)
        }
    };
    assert!(matches!(bytes, 1 | 2 | 4 | 8));
    let stepped = after.rip.wrapping_sub(before.rip);
    assert!((1..=MAX_LENGTH as u64).contains(&stepped) || (is_string && stepped == 0), "{size:?}: {stepped} bytes");
}
