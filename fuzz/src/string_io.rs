//! INS and OUTS: random instructions in random states of a guest, batch after batch.

use fastrand::Rng;
use xenolith_devices::mmio_decode::CodeSize;
use xenolith_devices::string_io::{MOST_BYTES, StringIo};
use xenolith_hal::{CpuState, Registers, Segment, SegmentAttributes};

const PREFIXES: &[u8] = &[0x66, 0x67, 0xf2, 0xf3, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x48];
/// The most batches of one input.
const BATCHES: usize = 8;

/// One input.
pub fn run(dice: &mut Rng) {
    let mut code: Vec<u8> = (0..dice.usize(..4)).filter_map(|_| dice.choice(PREFIXES).copied()).collect();
    code.push(if dice.u8(..8) == 0 { dice.u8(..) } else { dice.u8(0x6c..0x70) });
    let size = dice.choice([CodeSize::Bits16, CodeSize::Bits32, CodeSize::Bits64]).unwrap_or(CodeSize::Bits64);
    let Ok(instruction) = StringIo::decode(&code, size) else { return };
    let mut state = state(dice);
    for _ in 0..BATCHES {
        let Ok(Some(batch)) = instruction.plan(&state) else { return };
        assert!(batch.elements >= 1 && batch.length() <= MOST_BYTES, "{batch:x?}");
        let [(start, here), (next, there)] = batch.parts();
        assert_eq!(here + there, batch.length());
        assert!(here as u64 <= 0x1000 - start % 0x1000, "a part across pages");
        assert!(there == 0 || (next % 0x1000 == 0 && batch.elements == 1), "a batch across pages: {batch:x?}");
        assert!(size == CodeSize::Bits64 || start >> 32 == 0, "an address past 4 GiB");
        for index in 0..batch.elements {
            assert!(batch.offset(index) + batch.bytes as usize <= batch.length(), "an element outside its batch");
        }
        let before = state.registers;
        let done = instruction.finish(&batch, &mut state.registers);
        assert_eq!(state.registers.rip, before.rip, "the caller steps over the instruction");
        if done {
            return;
        }
        assert_ne!(state.registers.rcx, before.rcx, "no progress");
    }
}

fn number(dice: &mut Rng) -> u64 {
    match dice.u8(..6) {
        0 => dice.u64(..),
        1 => dice.u64(..16),
        2 => dice.u64(..16).wrapping_neg(),
        3 => (dice.u64(..4) << 12).wrapping_sub(dice.u64(..8)),
        4 => 0xffff_fff0 + dice.u64(..32),
        _ => 0x7fff_ffff_fff0 + dice.u64(..32),
    }
}

fn segment(dice: &mut Rng) -> Segment {
    let attributes = SegmentAttributes::from_bits_truncate(dice.u16(..));
    let usual = dice.bool();
    Segment {
        selector: 0,
        attributes: if usual { SegmentAttributes::from_bits_truncate(0xc93) } else { attributes },
        limit: if usual { u32::MAX } else { number(dice) as u32 },
        base: if usual { 0 } else { number(dice) },
    }
}

fn state(dice: &mut Rng) -> CpuState {
    CpuState {
        registers: Registers {
            rcx: number(dice),
            rsi: number(dice),
            rdi: number(dice),
            rip: 0x1000,
            rflags: dice.u64(..),
            ..Registers::default()
        },
        cr0: dice.u64(..2),
        cr4: dice.u64(..2) << 12,
        cs: segment(dice),
        ss: segment(dice),
        ds: segment(dice),
        es: segment(dice),
        fs: segment(dice),
        gs: segment(dice),
        ..CpuState::default()
    }
}
