use alloc::vec::Vec;

use proptest::prelude::*;
use xenolith_hal::{CpuState, Exception, Registers, Segment};

use super::*;

const CARRY: u64 = 1;
const ZERO: u64 = 1 << 6;

fn registers() -> Registers {
    Registers {
        rax: 0x1111_2222_3333_4444,
        rbx: 0x5555_6666_7777_8888,
        rcx: 3,
        rdi: 0xffff_8000_0000_1000,
        rsi: 0x2000,
        rip: 0x10_0000,
        rflags: 2,
        ..Registers::default()
    }
}

fn decode_in(code: &[u8], size: CodeSize, registers: &Registers) -> Result<MmioInstruction, DecodeError> {
    MmioInstruction::decode(code, size, registers, false, &mut Place { ..Place::NONE })
}

fn operands(code: &[u8], size: CodeSize, state: &CpuState) -> [Option<Operand>; 2] {
    let mut place = Place::NONE;
    let instruction = MmioInstruction::decode(code, size, &state.registers, true, &mut place).unwrap();
    instruction.operands(place, state)
}

fn decode(code: &[u8]) -> MmioInstruction {
    decode_in(code, CodeSize::Bits64, &registers()).unwrap()
}

fn write(bytes: u32, value: u64) -> MmioAccess {
    MmioAccess::Write { bytes, value }
}

#[test]
fn linux_writes_and_reads_an_apic_register() {
    // mov %eax, (%rdi)
    let instruction = decode(&[0x89, 0x07]);
    assert_eq!(instruction.access(), write(4, 0x3333_4444));
    let mut after = registers();
    instruction.finish_write(&mut after);
    assert_eq!(after, Registers { rip: 0x10_0002, ..registers() });
    // mov 0xffffffffff5fb020, %eax
    let instruction = decode(&[0x8b, 0x04, 0x25, 0x20, 0xb0, 0x5f, 0xff]);
    assert_eq!(instruction.access(), MmioAccess::Read { bytes: 4 });
    let mut after = registers();
    instruction.finish_read(0xffff_ffff_8765_4321, &mut after);
    assert_eq!((after.rax, after.rip), (0x8765_4321, 0x10_0007));
}

#[test]
fn constants_are_written_as_wide_as_the_access() {
    assert_eq!(decode(&[0xc7, 0x07, 0x78, 0x56, 0x34, 0x12]).access(), write(4, 0x1234_5678));
    assert_eq!(decode(&[0x48, 0xc7, 0x07, 0xff, 0xff, 0xff, 0xff]).access(), write(8, u64::MAX));
    assert_eq!(decode(&[0xc6, 0x07, 0xfe]).access(), write(1, 0xfe));
    assert_eq!(decode(&[0x66, 0x89, 0x07]).access(), write(2, 0x4444));
    assert_eq!(decode(&[0x88, 0x27]).access(), write(1, 0x44), "AH is the second byte");
    assert_eq!(decode(&[0x0f, 0xc3, 0x07]).access(), write(4, 0x3333_4444), "MOVNTI");
}

#[test]
fn narrow_reads_keep_or_fill_the_rest_of_the_register() {
    for (code, value, rax) in [
        (&[0x8a, 0x07][..], 0x80, 0x1111_2222_3333_4480u64),
        (&[0x8a, 0x27], 0x80, 0x1111_2222_3333_8044),
        (&[0x66, 0x8b, 0x07], 0x8000, 0x1111_2222_3333_8000),
        (&[0x0f, 0xb6, 0x07], 0x80, 0x80),
        (&[0x0f, 0xbe, 0x07], 0x80, 0xffff_ff80),
        (&[0x48, 0x0f, 0xbf, 0x07], 0x8000, 0xffff_ffff_ffff_8000),
        (&[0x48, 0x63, 0x07], 0x8000_0000, 0xffff_ffff_8000_0000),
        (&[0x48, 0x8b, 0x07], 5, 5),
    ] {
        let mut after = registers();
        decode(code).finish_read(value, &mut after);
        assert_eq!(after.rax, rax, "{code:x?}");
    }
}

#[test]
fn arithmetic_with_a_device_sets_flags() {
    // cmpl $5, (%rdi)
    let compare = decode(&[0x83, 0x3f, 0x05]);
    assert_eq!(compare.access(), MmioAccess::Read { bytes: 4 });
    let mut after = registers();
    compare.finish_read(5, &mut after);
    assert_eq!(after.rflags & (ZERO | CARRY), ZERO);
    compare.finish_read(4, &mut after);
    assert_eq!(after.rflags & (ZERO | CARRY), CARRY);
    // testb $0x10, (%rdi)
    let mut after = registers();
    decode(&[0xf6, 0x07, 0x10]).finish_read(0xef, &mut after);
    assert_eq!(after.rflags & ZERO, ZERO);
    // and (%rdi), %eax
    let mut after = registers();
    decode(&[0x23, 0x07]).finish_read(0xff, &mut after);
    assert_eq!(after.rax, 0x44);
    // cmp (%rdi), %eax: the register is the minuend
    let mut after = registers();
    decode(&[0x3b, 0x07]).finish_read(0x3333_4445, &mut after);
    assert_eq!(after.rflags & CARRY, CARRY);
    assert_eq!(after.rax, registers().rax);
}

#[test]
fn a_device_can_be_modified_in_place() {
    for (code, old, new) in [
        (&[0x09, 0x07][..], 0xf000_0000, 0xf333_4444),
        (&[0x83, 0x27, 0xfe], 0xffff_ffff, 0xffff_fffe),
        (&[0x31, 0x07], 0x3333_4444, 0),
        (&[0x01, 0x07], 0xffff_ffff, 0x3333_4443),
        (&[0x29, 0x07], 0, 0xcccc_bbbc),
        (&[0xff, 0x07], 0xffff_ffff, 0),
        (&[0xff, 0x0f], 0, 0xffff_ffff),
        (&[0xf7, 0x17], 0xf0, 0xffff_ff0f),
        (&[0xf7, 0x1f], 1, 0xffff_ffff),
        (&[0x0f, 0xba, 0x2f, 0x10], 0, 0x1_0000),
        (&[0x0f, 0xba, 0x37, 0x10], 0x1_0001, 1),
        (&[0xf0, 0x0f, 0xba, 0x3f, 0x00], 3, 2),
    ] {
        let instruction = decode(code);
        assert_eq!(instruction.access(), MmioAccess::Modify { bytes: 4 }, "{code:x?}");
        let mut after = registers();
        assert_eq!(instruction.modify(old, &mut after), Some(new), "{code:x?}");
        assert_eq!(after.rip, 0x10_0000 + code.len() as u64);
    }
}

#[test]
fn a_bit_goes_into_the_carry_flag() {
    // bt $4, (%rdi)
    let instruction = decode(&[0x0f, 0xba, 0x27, 0x04]);
    assert_eq!(instruction.access(), MmioAccess::Read { bytes: 4 });
    let mut after = registers();
    instruction.finish_read(0x10, &mut after);
    assert_eq!(after.rflags & CARRY, CARRY);
    instruction.finish_read(0xef, &mut after);
    assert_eq!(after.rflags & CARRY, 0);
}

#[test]
fn exchanges_give_the_old_value_to_the_register() {
    let mut after = registers();
    assert_eq!(decode(&[0x87, 0x07]).modify(7, &mut after), Some(0x3333_4444));
    assert_eq!(after.rax, 7);
    // lock xadd %eax, (%rdi)
    let mut after = registers();
    assert_eq!(decode(&[0xf0, 0x0f, 0xc1, 0x07]).modify(1, &mut after), Some(0x3333_4445));
    assert_eq!(after.rax, 1);
    // lock cmpxchg %ebx, (%rdi)
    let instruction = decode(&[0xf0, 0x0f, 0xb1, 0x1f]);
    let mut after = registers();
    assert_eq!(instruction.modify(0x3333_4444, &mut after), Some(0x7777_8888));
    assert_eq!((after.rflags & ZERO, after.rax), (ZERO, registers().rax));
    let mut after = registers();
    assert_eq!(instruction.modify(9, &mut after), None);
    assert_eq!((after.rflags & ZERO, after.rax), (0, 9));
}

#[test]
fn a_carry_goes_into_the_next_sum() {
    // adc %eax, (%rdi) and sbb %eax, (%rdi)
    for (code, carry, old, new, carries) in [
        (0x11, 0, 0xcccc_bbbb_u64, 0xffff_ffff_u64, 0),
        (0x11, CARRY, 0xcccc_bbbb, 0, CARRY),
        (0x19, 0, 0x3333_4444, 0, 0),
        (0x19, CARRY, 0x3333_4444, 0xffff_ffff, CARRY),
    ] {
        let mut after = Registers { rflags: 2 | carry, ..registers() };
        assert_eq!(decode(&[code, 0x07]).modify(old, &mut after), Some(new), "{code:#x} {carry}");
        assert_eq!(after.rflags & CARRY, carries, "{code:#x} {carry}");
    }
    // With a carry and all ones added, the sum is what it was, and carries.
    let start = Registers { rflags: 2 | CARRY, rax: u64::MAX, ..registers() };
    let mut after = start;
    assert_eq!(decode(&[0x11, 0x07]).modify(5, &mut after), Some(5));
    assert_eq!(after.rflags & CARRY, CARRY);
}

#[test]
fn conditions_are_those_of_the_flags() {
    // sete (%rdi), setne (%rdi); cmove (%rdi), %eax
    let with = |rflags: u64, code: &[u8]| {
        let start = Registers { rflags, ..registers() };
        (decode_in(code, CodeSize::Bits64, &start).unwrap(), start)
    };
    assert_eq!(with(2 | ZERO, &[0x0f, 0x94, 0x07]).0.access(), write(1, 1));
    assert_eq!(with(2 | ZERO, &[0x0f, 0x95, 0x07]).0.access(), write(1, 0));
    for (flags, rax) in [(2 | ZERO, 0x9999_9999), (2, 0x3333_4444)] {
        let (instruction, mut after) = with(flags, &[0x0f, 0x44, 0x07]);
        assert_eq!(instruction.access(), MmioAccess::Read { bytes: 4 });
        instruction.finish_read(0x9999_9999, &mut after);
        assert_eq!((after.rax, after.rip), (rax, 0x10_0003), "the upper half is cleared in both cases");
    }
    // Each of the sixteen, by pairs: the second of a pair is the contrary of the first.
    for flags in (0..0x1000).filter(|flags| flags & !0x8c5 == 0) {
        let is = |number: u8| with(flags, &[0x0f, 0x90 + number, 0x07]).0.access() == write(1, 1);
        for pair in 0..8 {
            assert_ne!(is(2 * pair), is(2 * pair + 1), "{flags:#x} {pair}");
        }
        let (sign, overflow) = (flags & 0x80 != 0, flags & 0x800 != 0);
        let (zero, carry, parity) = (flags & 0x40 != 0, flags & 1 != 0, flags & 4 != 0);
        let first = [overflow, carry, zero, carry || zero, sign, parity, sign != overflow, zero || sign != overflow];
        assert_eq!([0, 2, 4, 6, 8, 10, 12, 14].map(is), first, "{flags:#x}");
    }
}

#[test]
fn strings_are_read_turn_by_turn() {
    // rep lodsw: three turns, of which the last steps.
    let start = registers();
    let mut after = start;
    for (turn, value) in [0xaaaa, 0xbbbb, 0xcccc].into_iter().enumerate() {
        let instruction = decode_in(&[0xf3, 0x66, 0xad], CodeSize::Bits64, &after).unwrap();
        assert_eq!(instruction.access(), MmioAccess::Read { bytes: 2 });
        instruction.finish_read(value, &mut after);
        let rip = if turn == 2 { 0x10_0003 } else { 0x10_0000 };
        assert_eq!((after.rcx, after.rip), (2 - turn as u64, rip));
    }
    assert_eq!((after.rax, after.rsi), (0x1111_2222_3333_cccc, 0x2006));
    // repne scasb, downwards: ends at the byte that is like AL.
    let mut after = Registers { rflags: 2 | FLAG_DIRECTION, ..start };
    for (value, rcx, rip) in [(0x45, 2, 0x10_0000), (0x44, 1, 0x10_0002)] {
        let instruction = decode_in(&[0xf2, 0xae], CodeSize::Bits64, &after).unwrap();
        assert_eq!(instruction.access(), MmioAccess::Read { bytes: 1 });
        instruction.finish_read(value, &mut after);
        assert_eq!((after.rcx, after.rip), (rcx, rip));
    }
    assert_eq!((after.rdi, after.rflags & ZERO), (0xffff_8000_0000_0ffe, ZERO));
    // repe scasd ends where they differ, and with nothing to do only steps.
    let mut after = start;
    decode_in(&[0xf3, 0xaf], CodeSize::Bits64, &after).unwrap().finish_read(0x3333_4444, &mut after);
    assert_eq!((after.rcx, after.rip), (2, 0x10_0000));
    decode_in(&[0xf3, 0xaf], CodeSize::Bits64, &after).unwrap().finish_read(7, &mut after);
    assert_eq!((after.rcx, after.rip, after.rflags & ZERO), (1, 0x10_0002, 0));
    let empty = Registers { rcx: 0, ..start };
    let instruction = decode_in(&[0xf3, 0xad], CodeSize::Bits64, &empty).unwrap();
    assert_eq!(instruction.access(), MmioAccess::Nothing);
}

#[test]
fn a_repeated_store_is_done_turn_by_turn() {
    // rep stosl
    let instruction = decode(&[0xf3, 0xab]);
    assert_eq!(instruction.access(), write(4, 0x3333_4444));
    let mut after = registers();
    instruction.finish_write(&mut after);
    assert_eq!((after.rcx, after.rdi, after.rip), (2, registers().rdi + 4, 0x10_0000));
    instruction.finish_write(&mut after);
    instruction.finish_write(&mut after);
    assert_eq!((after.rcx, after.rdi, after.rip), (0, registers().rdi + 12, 0x10_0002));
}

#[test]
fn a_repeated_store_of_nothing_only_steps() {
    let none = Registers { rcx: 0, ..registers() };
    let instruction = decode_in(&[0xf3, 0xab], CodeSize::Bits64, &none).unwrap();
    assert_eq!(instruction.access(), MmioAccess::Nothing);
    let mut after = none;
    instruction.finish_write(&mut after);
    assert_eq!(after, Registers { rip: 0x10_0002, ..none });
}

#[test]
fn a_copy_names_both_ends_and_may_go_backwards() {
    let backwards = Registers { rflags: 2 | 1 << 10, ..registers() };
    let instruction = decode_in(&[0x48, 0xa5], CodeSize::Bits64, &backwards).unwrap();
    assert_eq!(instruction.access(), MmioAccess::Copy { bytes: 8 });
    let mut after = backwards;
    instruction.finish_copy(&mut after);
    assert_eq!((after.rsi, after.rdi, after.rip), (0x1ff8, registers().rdi - 8, 0x10_0002));
}

#[test]
fn elements_are_done_together_to_the_end_of_the_devices_page() {
    let many = |rflags| Registers { rcx: 5000, rflags, ..registers() };
    // rep stosl
    let store = decode_in(&[0xf3, 0xab], CodeSize::Bits64, &many(2)).unwrap();
    assert_eq!(store.elements(0xb_8000, &many(2)), 1024);
    assert_eq!(store.elements(0xb_8ff9, &many(2)), 1, "the second crosses");
    assert_eq!(store.elements(0xb_8ffe, &many(2)), 1, "it crosses itself");
    assert_eq!(store.elements(0xb_8010, &many(FLAG_DIRECTION)), 5);
    assert_eq!(store.elements(0xb_8000, &Registers { rcx: 7, ..many(2) }), 7);
    // stosl
    assert_eq!(decode(&[0xab]).elements(0xb_8000, &many(2)), 1);
    let mut after = many(2);
    store.finish_elements(1024, &mut after);
    assert_eq!((after.rcx, after.rdi, after.rip), (5000 - 1024, registers().rdi + 4096, registers().rip));
    let mut last = many(FLAG_DIRECTION);
    store.finish_elements(5000, &mut last);
    assert_eq!((last.rcx, last.rdi, last.rip), (0, registers().rdi - 20000, registers().rip + 2));
}

#[test]
fn a_copy_has_memory_at_its_other_side() {
    // fs rep movsw
    let copy = decode(&[0x64, 0xf3, 0x66, 0xa5]);
    let (source, destination) = (copy.memory_operand(true).unwrap(), copy.memory_operand(false).unwrap());
    assert_eq!((source.segment, source.bytes, source.is_source), (Register::FS, 2, true));
    assert_eq!((destination.segment, destination.is_source), (Register::ES, false), "it is always ES");
    let mut after = registers();
    copy.finish_elements(3, &mut after);
    assert_eq!((after.rsi, after.rdi, after.rcx), (0x2006, registers().rdi + 6, 0));
    assert_eq!(decode(&[0xf3, 0xab]).memory_operand(false), None, "STOS");
}

#[test]
fn addresses_of_other_widths_wrap_in_theirs() {
    // In 32-bit code, with the upper halves of registers out of reach.
    let start = Registers { rdi: 0xffff_fffc, rip: 0xffff_ffff, ..registers() };
    let instruction = decode_in(&[0xab], CodeSize::Bits32, &start).unwrap();
    let mut after = start;
    instruction.finish_write(&mut after);
    assert_eq!((after.rdi, after.rip), (0, 0));
    // In 16-bit code: mov %ax, (%bx)
    let start = Registers { rip: 0xffff, ..registers() };
    let instruction = decode_in(&[0x89, 0x07], CodeSize::Bits16, &start).unwrap();
    assert_eq!(instruction.access(), write(2, 0x4444));
    let mut after = start;
    instruction.finish_write(&mut after);
    assert_eq!(after.rip, 1);
}

#[test]
fn what_is_not_known_is_an_error() {
    let fault = |code: &[u8]| decode_in(code, CodeSize::Bits64, &registers()).unwrap_err();
    assert_eq!(fault(&[]), DecodeError::Invalid);
    assert_eq!(fault(&[0x89]), DecodeError::Invalid, "cut short");
    assert_eq!(fault(&[0x0f, 0x0b, 0x00]), DecodeError::Unsupported, "UD2");
    assert_eq!(fault(&[0x89, 0xc0]), DecodeError::Unsupported, "no memory");
    assert_eq!(fault(&[0x0f, 0x6f, 0x07]), DecodeError::Unsupported, "MOVQ of MMX");
    assert_eq!(fault(&[0xf7, 0x37]), DecodeError::Unsupported, "DIV");
    assert_eq!(fault(&[0x8e, 0x07]), DecodeError::Unsupported, "a segment register");
    assert_eq!(fault(&[0xff, 0x27]), DecodeError::Unsupported, "a jump");
    assert_eq!(fault(&[0xf2, 0x0f, 0x58, 0x07]), DecodeError::Unsupported, "ADDSD");
    assert_eq!(fault(&[0x66; 20]), DecodeError::Invalid, "too long");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_it_fail_in_an_unforeseen_way(
        code in proptest::collection::vec(any::<u8>(), 0..20),
        value: u64,
        rcx: u64,
        rflags: u64,
        mode in 0..3,
    ) {
        let size = [CodeSize::Bits16, CodeSize::Bits32, CodeSize::Bits64][mode as usize];
        let start = Registers { rcx, rflags, rip: 0x1000, ..registers() };
        if let Ok(instruction) = decode_in(&code, size, &start) {
            let mut after = start;
            match instruction.access() {
                MmioAccess::Read { .. } => instruction.finish_read(value, &mut after),
                MmioAccess::Write { .. } | MmioAccess::Nothing => instruction.finish_write(&mut after),
                MmioAccess::Modify { .. } => { let _ = instruction.modify(value, &mut after); }
                MmioAccess::Copy { .. } => instruction.finish_copy(&mut after),
                MmioAccess::Parts => {}
            }
            prop_assert!((0x1000..=0x100f).contains(&after.rip), "{:#x}", after.rip);
        }
    }

    /// Compares with wide arithmetic, which is independent of the code under test.
    #[test]
    fn sums_and_differences_agree_with_wide_arithmetic(first: u64, second: u64, bytes in prop_oneof![Just(1u32), Just(2), Just(4), Just(8)]) {
        let bits = bytes * 8;
        let limit = 1u128 << bits;
        let (first, second) = ((u128::from(first) % limit) as u64, (u128::from(second) % limit) as u64);
        let signed = |value: u64| i128::from(operand::sign_extend(value, bytes).cast_signed());
        let range = -(1i128 << (bits - 1))..(1i128 << (bits - 1));
        let overflow = |flags: u64| flags & (1 << 11) != 0;

        let (sum, flags) = apply(Operation::Add, first, second, bytes, 0);
        let wide = u128::from(first) + u128::from(second);
        prop_assert_eq!(u128::from(sum), wide % limit);
        prop_assert_eq!(flags & CARRY != 0, wide >= limit);
        prop_assert_eq!(overflow(flags), !range.contains(&(signed(first) + signed(second))));
        prop_assert_eq!(flags & ZERO != 0, sum == 0);

        let (difference, flags) = apply(Operation::Subtract, first, second, bytes, 0);
        prop_assert_eq!(u128::from(difference), (limit + u128::from(first) - u128::from(second)) % limit);
        prop_assert_eq!(flags & CARRY != 0, first < second);
        prop_assert_eq!(overflow(flags), !range.contains(&(signed(first) - signed(second))));

        let kept = apply(Operation::Increment, first, 0, bytes, CARRY).1;
        prop_assert_eq!(kept & CARRY, CARRY, "INC leaves the carry flag alone");
    }
}

#[test]
fn every_form_that_linux_uses_for_device_registers_is_known() {
    // movb, movw, movl, movq between register and memory, as readb to writeq are.
    let forms: [&[u8]; 8] = [
        &[0x8a, 0x07],
        &[0x66, 0x8b, 0x07],
        &[0x8b, 0x07],
        &[0x48, 0x8b, 0x07],
        &[0x88, 0x07],
        &[0x66, 0x89, 0x07],
        &[0x89, 0x07],
        &[0x48, 0x89, 0x07],
    ];
    let accesses: Vec<_> = forms.iter().map(|code| decode(code).access()).collect();
    let read = |bytes| MmioAccess::Read { bytes };
    let value = registers().rax;
    let expected = [
        read(1),
        read(2),
        read(4),
        read(8),
        write(1, value & 0xff),
        write(2, value & 0xffff),
        write(4, value & 0xffff_ffff),
        write(8, value),
    ];
    assert_eq!(accesses, expected);
}

fn state() -> CpuState {
    CpuState { registers: registers(), ..CpuState::after_init() }
}

/// Does what takes parts: the operands are read as these values.
fn outcome(code: &[u8], values: [u128; 2], vector: u128, start: &CpuState) -> (Outcome, Registers) {
    let instruction = decode_in(code, CodeSize::Bits64, &start.registers).unwrap();
    assert_eq!(instruction.access(), MmioAccess::Parts, "{code:x?}");
    let mut after = start.registers;
    (instruction.outcome(values, vector, start, &mut after), after)
}

#[test]
fn shifts_and_rotations_are_those_of_the_manual() {
    // Groups C0, C1 by 4: rol, ror, rcl, rcr, shl, shr, shl, sar of %edi's 4 bytes.
    let results =
        [0x1234_5688, 0x8812_3456, 0x1234_5684, 0x0812_3456, 0x1234_5680, 0x0812_3456, 0x1234_5680, 0xf812_3456];
    for (operation, result) in (0u8..).zip(results) {
        let mut after = registers();
        let code = [0xc1, 0x07 | operation << 3, 4];
        assert_eq!(decode(&code).modify(0x8123_4568, &mut after), Some(result), "{code:x?}");
    }
    // The last bit goes into the carry flag: shl by 1, shr by CL (3).
    for (code, value, carry) in
        [(&[0xd1, 0x27][..], 0x8000_0000, CARRY), (&[0xd3, 0x2f], 4, CARRY), (&[0xd3, 0x2f], 3, 0)]
    {
        let mut after = registers();
        assert!(decode(code).modify(value, &mut after).is_some());
        assert_eq!(after.rflags & CARRY, carry, "{code:x?}");
    }
    // A count of 0 changes no flags; one of 32 is none.
    let mut after = Registers { rcx: 32, rflags: 0x8d5, ..registers() };
    assert_eq!(decode(&[0xd3, 0x27]).modify(5, &mut after), Some(5));
    assert_eq!(after.rflags, 0x8d5);
    // shld and shrd $8, %eax, (%rdi)
    let mut after = registers();
    assert_eq!(decode(&[0x0f, 0xa4, 0x07, 8]).modify(0x1234_5678, &mut after), Some(0x3456_7833));
    assert_eq!(decode(&[0x0f, 0xac, 0x07, 8]).modify(0x1234_5678, &mut after), Some(0x4412_3456));
}

#[test]
fn bits_are_counted_and_factors_multiplied() {
    for (code, value, rax, flags) in [
        (&[0x0f, 0xbc, 0x07][..], 0x10, 4, 0),
        (&[0x0f, 0xbd, 0x07], 0x18, 4, 0),
        (&[0x0f, 0xbc, 0x07], 0, 0x3333_4444, ZERO),
        (&[0xf3, 0x0f, 0xbc, 0x07], 0, 32, CARRY),
        (&[0xf3, 0x0f, 0xbd, 0x07], 1, 31, 0),
        (&[0xf3, 0x0f, 0xb8, 0x07], 0xf0f0, 8, 0),
        (&[0x6b, 0x07, 0xfe], 3, 0xffff_fffa, 0),
    ] {
        let mut after = registers();
        decode(code).finish_read(value, &mut after);
        assert_eq!((after.rax & 0xffff_ffff, after.rflags & (CARRY | ZERO)), (rax, flags), "{code:x?}");
    }
    // mull (%rdi) and imull (%rdi)
    for (code, rax, rdx) in [(0x27, 0x6666_8888, 0), (0x2f, 0x6666_8888, 0)] {
        let mut after = registers();
        decode(&[0xf7, code]).finish_read(2, &mut after);
        assert_eq!((after.rax, after.rdx), (rax, rdx));
    }
    let mut after = registers();
    decode(&[0xf7, 0x2f]).finish_read(0xffff_ffff, &mut after);
    assert_eq!((after.rax, after.rdx, after.rflags & CARRY), (0xcccc_bbbc, 0xffff_ffff, 0));
    // mulb (%rdi)
    decode(&[0xf6, 0x27]).finish_read(0x10, &mut after);
    assert_eq!(after.rax & 0xffff, 0xbc0);
    // movbe (%rdi), %eax and back
    decode(&[0x0f, 0x38, 0xf0, 0x07]).finish_read(0x1234_5678, &mut after);
    assert_eq!(after.rax, 0x7856_3412);
    assert_eq!(decode(&[0x0f, 0x38, 0xf1, 0x07]).access(), write(4, 0x4444_3333));
}

#[test]
fn stacks_and_strings_have_two_operands() {
    let start = CpuState { registers: Registers { rsp: 0x7000, ..registers() }, ..state() };
    // push (%rdi)
    let (done, after) = outcome(&[0xff, 0x37], [7, 0], 0, &start);
    assert_eq!((done.write, after.rsp, after.rip), (Some(7), 0x6ff8, 0x10_0002));
    let [memory, stack] = operands(&[0xff, 0x37], CodeSize::Bits64, &start);
    assert_eq!(memory.unwrap().linear(&start), Ok(registers().rdi));
    assert!(memory.unwrap().reads && !memory.unwrap().writes);
    assert_eq!(stack.unwrap().linear(&start), Ok(0x6ff8));
    // pop 16(%rsp), which counts from the new stack pointer
    let code = [0x8f, 0x44, 0x24, 0x10];
    let (done, after) = outcome(&code, [9, 0], 0, &start);
    assert_eq!((done.write, after.rsp), (Some(9), 0x7008));
    let operands = operands(&code, CodeSize::Bits64, &start);
    assert_eq!(operands.map(|operand| operand.unwrap().linear(&start)), [Ok(0x7000), Ok(0x7018)]);
    // repe cmpsl goes on while they are equal.
    for (values, rip, zero) in [([5, 5], 0x10_0000, ZERO), ([5, 6], 0x10_0002, 0)] {
        let (done, after) = outcome(&[0xf3, 0xa7], values, 0, &start);
        assert_eq!((done, after.rcx, after.rsi, after.rip), (Outcome::default(), 2, 0x2004, rip));
        assert_eq!(after.rflags & ZERO, zero);
    }
    // RDI's is read first, and subtracted from RSI's.
    let [first, second] = self::operands(&[0xf3, 0xa7], CodeSize::Bits64, &start).map(Option::unwrap);
    assert_eq!((first.linear(&start), second.linear(&start)), (Ok(registers().rdi), Ok(registers().rsi)));
    for (values, carry) in [([7, 5], CARRY), ([5, 7], 0)] {
        assert_eq!(outcome(&[0xf3, 0xa7], values, 0, &start).1.rflags & CARRY, carry);
    }
    let none = CpuState { registers: Registers { rcx: 0, ..registers() }, ..state() };
    let idle = decode_in(&[0xf3, 0xa7], CodeSize::Bits64, &none.registers).unwrap();
    assert_eq!(idle.access(), MmioAccess::Nothing);
}

#[test]
fn vectors_and_pairs_are_sixteen_bytes() {
    let (upper, lower) = (0x1111_1111_2222_2222u128, 0x3333_3333_4444_4444u128);
    let vector = upper << 64 | lower;
    for (code, loaded) in [
        (&[0x0f, 0x10, 0x07][..], 5),
        (&[0xf3, 0x0f, 0x10, 0x07], 5),
        (&[0x66, 0x0f, 0x6e, 0x07], 5),
        (&[0x0f, 0x12, 0x07], upper << 64 | 5),
        (&[0x0f, 0x16, 0x07], 5 << 64 | lower),
    ] {
        assert_eq!(
            outcome(code, [5, 0], vector, &state()).0,
            Outcome { write: None, vector: Some(loaded) },
            "{code:x?}"
        );
    }
    for (code, stored) in
        [(&[0x0f, 0x11, 0x07][..], vector), (&[0x66, 0x0f, 0xe7, 0x07], vector), (&[0x0f, 0x17, 0x07], upper)]
    {
        assert_eq!(outcome(code, [5, 0], vector, &state()).0.write, Some(stored), "{code:x?}");
    }
    assert_eq!(decode(&[0x66, 0x45, 0x0f, 0x6f, 0x3f]).vector_register(), Some(15));
    // lock cmpxchg8b (%rdi) and cmpxchg16b
    let start = CpuState { registers: Registers { rdx: 0xf_0000_0001, ..registers() }, ..state() };
    let (same, kept) = outcome(&[0xf0, 0x0f, 0xc7, 0x0f], [0x1_3333_4444, 0], 0, &start);
    assert_eq!((same.write, kept.rflags & ZERO), (Some(0x3_7777_8888), ZERO));
    let (other, after) = outcome(&[0x48, 0x0f, 0xc7, 0x0f], [0x99 << 64 | 8, 0], 0, &start);
    assert_eq!((other.write, after.rdx, after.rax, after.rflags & ZERO), (None, 0x99, 8, 0));
    // mov %ss, (%rdi)
    let start = CpuState { ss: Segment { selector: 0x18, ..state().ss }, ..state() };
    assert_eq!(outcome(&[0x8c, 0x17], [0; 2], 0, &start).0.write, Some(0x18));
}

#[test]
fn operands_lie_where_registers_and_segments_say() {
    let start = CpuState {
        registers: Registers { rbx: 0x1000, rsi: 0x10, ..registers() },
        gs: Segment { base: 0x5_0000, ..state().gs },
        ..state()
    };
    let linear = |code: &[u8], size| operands(code, size, &start)[0].unwrap().linear(&start);
    // mov %eax, 4(%rbx,%rsi,8); the same by GS; (%rip)
    assert_eq!(linear(&[0x89, 0x44, 0xf3, 4], CodeSize::Bits64), Ok(0x1084));
    assert_eq!(linear(&[0x65, 0x89, 0x44, 0xf3, 4], CodeSize::Bits64), Ok(0x5_1084));
    assert_eq!(linear(&[0x89, 0x05, 0x10, 0, 0, 0], CodeSize::Bits64), Ok(0x10_0016));
    // 32-bit addresses wrap, and constants stand alone.
    assert_eq!(linear(&[0x67, 0x89, 0x43, 0xff], CodeSize::Bits64), Ok(0xfff));
    assert_eq!(linear(&[0xa3, 1, 2, 0, 0], CodeSize::Bits32), Ok(0x201));
    // btsl %eax, (%rbx): bit 0x33334444 lies far behind.
    assert_eq!(linear(&[0x0f, 0xab, 0x03], CodeSize::Bits64), Ok(0x1000 + (0x3333_4444 / 32) * 4));
    // In 16-bit code: mov %ax, (%bx,%si); past a segment's limit there is none.
    assert_eq!(linear(&[0x89, 0x00], CodeSize::Bits16), Ok(0x1010));
    let short = CpuState { ds: Segment { limit: 0x100f, ..start.ds }, ..start };
    assert_eq!(
        operands(&[0x89, 0x00], CodeSize::Bits16, &short)[0].unwrap().linear(&short),
        Err(Exception::GENERAL_PROTECTION)
    );
}
