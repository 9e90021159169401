use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;
use xenolith_hal::{IoSize, Registers};

use super::*;

/// Where a segment of real mode begins.
const REAL_BASE: u64 = 0x8000;

/// A 32-bit guest's state with flat segments.
fn flat() -> CpuState {
    let state = CpuState::at_pvh_entry(0x1000, 0);
    CpuState { registers: Registers { rcx: 5, rsi: 0x2000, rdi: 0x3000, ..state.registers }, ..state }
}

fn decode(code: &[u8], size: CodeSize) -> StringIo {
    StringIo::decode(code, size).unwrap()
}

/// What a processor would do next with an instruction: where, how many elements, and whether backwards.
fn plan(code: &[u8], size: CodeSize, state: &CpuState) -> Option<(u64, u32, bool)> {
    let batch = decode(code, size).plan(state).unwrap()?;
    Some((batch.start, batch.elements, batch.backwards))
}

fn refusal(code: &[u8], size: CodeSize, state: &CpuState) -> Exception {
    decode(code, size).plan(state).unwrap_err()
}

#[test]
fn a_batch_is_as_long_as_was_asked_for_and_no_longer_than_its_page() {
    let state = |rdi| CpuState { registers: Registers { rcx: 9000, rdi, ..flat().registers }, ..flat() };
    let batch = |at, most| {
        let batch = decode(&[0xf3, 0x6d], CodeSize::Bits32).plan_at_most(&state(at), most).unwrap().unwrap();
        (batch.start, batch.elements)
    };
    assert_eq!(batch(0x3000, 4096), (0x3000, 1024));
    assert_eq!(batch(0x3ff0, 4096), (0x3ff0, 4));
    assert_eq!(batch(0x3ffe, 4096), (0x3ffe, 1), "it crosses");
    assert_eq!(batch(0x3000, 1), (0x3000, 1), "one at least");
}

#[test]
fn the_instruction_is_known_by_direction_and_width() {
    let access = |size, write| IoAccess { port: 0xe9, size, write, string: true, repeat: false };
    for (code, size, write) in [
        (&[0x6c][..], IoSize::Byte, false),
        (&[0x66, 0x6d], IoSize::Word, false),
        (&[0x6d], IoSize::Dword, false),
        (&[0x6e], IoSize::Byte, true),
        (&[0x66, 0x6f], IoSize::Word, true),
        (&[0xf3, 0x6f], IoSize::Dword, true),
        (&[0x48, 0x6f], IoSize::Dword, true),
    ] {
        let instruction = decode(code, CodeSize::Bits64);
        assert!(instruction.is(access(size, write)), "{code:x?}");
        assert!(!instruction.is(access(size, !write)), "{code:x?}");
        assert!(!instruction.is(IoAccess { string: false, ..access(size, write) }), "{code:x?}");
    }
    assert!(!decode(&[0x6e], CodeSize::Bits32).is(access(IoSize::Word, true)));
    assert_eq!(StringIo::decode(&[0xee], CodeSize::Bits32), Err(DecodeError::Unsupported), "OUT");
    assert_eq!(StringIo::decode(&[0xa4], CodeSize::Bits32), Err(DecodeError::Unsupported), "MOVS");
    assert_eq!(StringIo::decode(&[0xf3], CodeSize::Bits32), Err(DecodeError::Invalid));
    assert_eq!(StringIo::decode(&[], CodeSize::Bits64), Err(DecodeError::Invalid));
}

#[test]
fn a_repetition_moves_what_lies_in_one_page() {
    assert_eq!(plan(&[0x6e], CodeSize::Bits32, &flat()), Some((0x2000, 1, false)));
    assert_eq!(plan(&[0xf3, 0x6e], CodeSize::Bits32, &flat()), Some((0x2000, 5, false)));
    let mut state = flat();
    state.registers.rsi = 0x2ffa;
    assert_eq!(plan(&[0xf3, 0x6f], CodeSize::Bits32, &state), Some((0x2ffa, 1, false)));
    state.registers.rsi = 0x2ffe;
    assert_eq!(plan(&[0xf3, 0x6f], CodeSize::Bits32, &state), Some((0x2ffe, 1, false)), "it crosses");
    state.registers.rcx = u64::from(u32::MAX);
    state.registers.rsi = 0x2000;
    assert_eq!(plan(&[0xf3, 0x6f], CodeSize::Bits32, &state), Some((0x2000, 256, false)), "no more than a KiB");
    state.registers.rcx = 0;
    assert_eq!(plan(&[0xf3, 0x6f], CodeSize::Bits32, &state), None);
}

#[test]
fn the_direction_flag_turns_a_repetition_round() {
    let mut state = flat();
    state.registers.rflags |= FLAG_DIRECTION;
    state.registers.rdi = 0x3004;
    let instruction = decode(&[0xf3, 0x66, 0x6d], CodeSize::Bits32);
    let batch = instruction.plan(&state).unwrap().unwrap();
    assert_eq!((batch.start, batch.elements, batch.backwards), (0x3000, 3, true), "the fourth lies in the page before");
    assert_eq!([batch.offset(0), batch.offset(1), batch.offset(2)], [4, 2, 0]);
    assert!(!instruction.finish(&batch, &mut state.registers));
    assert_eq!((state.registers.rdi, state.registers.rcx), (0x2ffe, 2));
    let rest = instruction.plan(&state).unwrap().unwrap();
    assert_eq!((rest.start, rest.elements), (0x2ffc, 2));
    assert!(instruction.finish(&rest, &mut state.registers));
    assert_eq!((state.registers.rdi, state.registers.rcx), (0x2ffa, 0));
}

#[test]
fn registers_advance_by_the_width_of_the_address() {
    let mut state = flat();
    state.registers = Registers { rcx: 0xaaaa_0001_0002, rsi: 0xbbbb_cccc_fffe, ..state.registers };
    let instruction = decode(&[0xf3, 0x67, 0x6e], CodeSize::Bits32);
    let batch = instruction.plan(&state).unwrap().unwrap();
    assert_eq!((batch.start, batch.elements), (0xfffe, 2), "by CX and SI");
    assert!(instruction.finish(&batch, &mut state.registers));
    assert_eq!((state.registers.rcx, state.registers.rsi), (0xaaaa_0001_0000, 0xbbbb_cccc_0000), "SI wraps");
    // ESI in 64-bit code: the upper half goes.
    state.registers = Registers { rcx: 3, rsi: 0xffff_8000_0000_1000, ..state.registers };
    let instruction = decode(&[0xf3, 0x67, 0x6e], CodeSize::Bits64);
    let batch = instruction.plan(&state).unwrap().unwrap();
    assert_eq!((batch.start, batch.elements), (0x1000, 3));
    assert!(instruction.finish(&batch, &mut state.registers));
    assert_eq!((state.registers.rcx, state.registers.rsi), (0, 0x1003));
}

#[test]
fn an_offset_that_wraps_ends_a_batch() {
    let mut state = flat();
    state.registers.rsi = 0xfffe;
    let instruction = decode(&[0xf3, 0x67, 0x6e], CodeSize::Bits32);
    state.registers.rcx = 4;
    let batch = instruction.plan(&state).unwrap().unwrap();
    assert_eq!((batch.start, batch.elements), (0xfffe, 2));
    assert!(!instruction.finish(&batch, &mut state.registers));
    let batch = instruction.plan(&state).unwrap().unwrap();
    assert_eq!((batch.start, batch.elements), (0, 2));
}

#[test]
fn outs_may_use_another_segment_and_ins_may_not() {
    let mut state = flat();
    state.fs.base = 0x10_0000;
    state.es.base = 0x20_0000;
    assert_eq!(plan(&[0x64, 0x6e], CodeSize::Bits32, &state), Some((0x10_2000, 1, false)));
    assert_eq!(plan(&[0x64, 0x6c], CodeSize::Bits32, &state), Some((0x20_3000, 1, false)));
    assert_eq!(plan(&[0x64, 0x6e], CodeSize::Bits64, &state), Some((0x10_2000, 1, false)));
    assert_eq!(plan(&[0x26, 0x6e], CodeSize::Bits64, &state), Some((0x2000, 1, false)), "ES has no base there");
    state.fs.base = u64::from(u32::MAX);
    assert_eq!(plan(&[0x64, 0x6e], CodeSize::Bits32, &state), Some((0x1fff, 1, false)), "sums wrap at 4 GiB");
}

#[test]
fn a_segment_that_does_not_allow_it_is_a_fault() {
    let refused = |change: fn(&mut CpuState), code: &[u8]| {
        let mut state = flat();
        change(&mut state);
        refusal(code, CodeSize::Bits32, &state)
    };
    let ins = &[0x6c][..];
    let outs = &[0x6e][..];
    assert_eq!(refused(|s| s.ds.limit = 0x1fff, outs), Exception::GENERAL_PROTECTION);
    assert_eq!(refused(|s| s.ss.limit = 0x1fff, &[0x36, 0x6e]), Exception::STACK_FAULT);
    assert_eq!(refused(|s| s.ds.attributes.remove(SegmentAttributes::PRESENT), outs), Exception::GENERAL_PROTECTION);
    assert_eq!(
        refused(|s| s.es.attributes.remove(SegmentAttributes::WRITABLE_OR_READABLE), ins),
        Exception::GENERAL_PROTECTION
    );
    assert_eq!(refused(|s| s.es.attributes.insert(SegmentAttributes::CODE), ins), Exception::GENERAL_PROTECTION);
    let down = |s: &mut CpuState| {
        s.ds.attributes.insert(SegmentAttributes::DOWN_OR_CONFORMING);
        s.ds.limit = 0x2000;
    };
    assert_eq!(refused(down, outs), Exception::GENERAL_PROTECTION, "what grows down ends at its limit");
    let mut state = flat();
    down(&mut state);
    state.registers.rsi = 0x2001;
    assert_eq!(plan(outs, CodeSize::Bits32, &state), Some((0x2001, 1, false)));
}

#[test]
fn the_elements_before_the_end_of_a_segment_are_moved_first() {
    let mut state = flat();
    state.ds.limit = 0x2002;
    let instruction = decode(&[0xf3, 0x6e], CodeSize::Bits32);
    let batch = instruction.plan(&state).unwrap().unwrap();
    assert_eq!((batch.start, batch.elements), (0x2000, 3));
    assert!(!instruction.finish(&batch, &mut state.registers));
    assert_eq!(instruction.plan(&state), Err(Exception::GENERAL_PROTECTION));
}

#[test]
fn real_mode_knows_limits_and_no_types() {
    let mut state = CpuState { cr0: 0x10, ..flat() };
    state.ds = Segment { limit: 0xffff, base: REAL_BASE, ..Segment::default() };
    assert_eq!(plan(&[0x6e], CodeSize::Bits16, &state), Some((0xa000, 1, false)));
    state.registers.rsi = 0xffff;
    assert_eq!(refusal(&[0x6f], CodeSize::Bits16, &state), Exception::GENERAL_PROTECTION);
}

#[test]
fn long_mode_knows_no_limits_and_canonical_addresses() {
    let mut state = flat();
    state.ds.limit = 0;
    assert_eq!(plan(&[0x6e], CodeSize::Bits64, &state), Some((0x2000, 1, false)));
    state.registers.rsi = 0x8000_0000_0000;
    assert_eq!(refusal(&[0x6e], CodeSize::Bits64, &state), Exception::GENERAL_PROTECTION);
    state.registers.rsi = 0x7fff_ffff_fffe;
    assert_eq!(refusal(&[0x6f], CodeSize::Bits64, &state), Exception::GENERAL_PROTECTION, "its last byte is not");
    state.cr4 |= CR4_LA57;
    assert_eq!(plan(&[0x6f], CodeSize::Bits64, &state), Some((0x7fff_ffff_fffe, 1, false)));
    state.registers.rsi = 0xffff_ffff_ffff_fffe;
    assert_eq!(refusal(&[0x6f], CodeSize::Bits64, &state), Exception::GENERAL_PROTECTION, "past the end");
}

#[test]
fn an_element_across_pages_has_two_parts() {
    let mut state = flat();
    state.registers.rsi = 0x2ffe;
    let batch = decode(&[0x6f], CodeSize::Bits32).plan(&state).unwrap().unwrap();
    assert_eq!(batch.parts(), [(0x2ffe, 2), (0x3000, 2)]);
    state.registers.rsi = 0xffff_e000;
    state.ds.base = 0x1fff;
    let batch = decode(&[0x66, 0x6f], CodeSize::Bits32).plan(&state).unwrap().unwrap();
    assert_eq!(batch.parts(), [(0xffff_ffff, 1), (0, 1)], "the address space is a ring");
}

/// One element after the other, as the manual has it: where each lies, and what is left in index and count.
fn one_by_one(start: u64, count: u64, size: u64, backwards: bool) -> (Vec<u64>, u64) {
    let mut index = start;
    let places = (0..count).map(|_| {
        let here = index;
        index = if backwards { index.wrapping_sub(size) } else { index.wrapping_add(size) } & u64::from(u32::MAX);
        here
    });
    (places.collect(), index)
}

proptest! {
    #[test]
    fn batches_move_what_single_elements_would(
        start in 0x1000_u64..0x1_0000, count in 0_u64..3000, width in 0_usize..3, backwards: bool, writes: bool,
    ) {
        // Far from either end, so that no segment limit matters.
        let start = start + 0x10_0000;
        let (size, opcode) = [(1, [0x6c, 0x6e]), (2, [0x6d, 0x6f]), (4, [0x6d, 0x6f])][width];
        let opcode = opcode[usize::from(writes)];
        let code = if size == 2 { vec![0xf3, 0x66, opcode] } else { vec![0xf3, opcode] };
        let mut state = flat();
        state.registers.rcx = count;
        state.registers.rsi = start;
        state.registers.rdi = start;
        if backwards {
            state.registers.rflags |= FLAG_DIRECTION;
        }
        let instruction = decode(&code, CodeSize::Bits32);
        let mut places = Vec::new();
        let mut done = count == 0;
        while let Some(batch) = instruction.plan(&state).unwrap() {
            prop_assert!(!done, "a batch after the end");
            prop_assert!(batch.length() <= MOST_BYTES);
            prop_assert_eq!(batch.parts().iter().map(|part| part.1).sum::<usize>(), batch.length());
            places.extend((0..batch.elements).map(|index| batch.start + batch.offset(index) as u64));
            done = instruction.finish(&batch, &mut state.registers);
        }
        prop_assert!(done);
        let (wanted, index) = one_by_one(start, count, size, backwards);
        prop_assert_eq!(places, wanted);
        prop_assert_eq!(if writes { state.registers.rsi } else { state.registers.rdi }, index);
        prop_assert_eq!(if writes { state.registers.rdi } else { state.registers.rsi }, start);
    }
}
