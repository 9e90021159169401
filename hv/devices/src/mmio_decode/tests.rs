use alloc::vec::Vec;

use proptest::prelude::*;
use xenolith_hal::Registers;

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

fn decode(code: &[u8]) -> MmioInstruction {
    MmioInstruction::decode(code, CodeSize::Bits64, &registers()).unwrap()
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
        (MmioInstruction::decode(code, CodeSize::Bits64, &start).unwrap(), start)
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
        let instruction = MmioInstruction::decode(&[0xf3, 0x66, 0xad], CodeSize::Bits64, &after).unwrap();
        assert_eq!(instruction.access(), MmioAccess::Read { bytes: 2 });
        instruction.finish_read(value, &mut after);
        let rip = if turn == 2 { 0x10_0003 } else { 0x10_0000 };
        assert_eq!((after.rcx, after.rip), (2 - turn as u64, rip));
    }
    assert_eq!((after.rax, after.rsi), (0x1111_2222_3333_cccc, 0x2006));
    // repne scasb, downwards: ends at the byte that is like AL.
    let mut after = Registers { rflags: 2 | FLAG_DIRECTION, ..start };
    for (value, rcx, rip) in [(0x45, 2, 0x10_0000), (0x44, 1, 0x10_0002)] {
        let instruction = MmioInstruction::decode(&[0xf2, 0xae], CodeSize::Bits64, &after).unwrap();
        assert_eq!(instruction.access(), MmioAccess::Read { bytes: 1 });
        instruction.finish_read(value, &mut after);
        assert_eq!((after.rcx, after.rip), (rcx, rip));
    }
    assert_eq!((after.rdi, after.rflags & ZERO), (0xffff_8000_0000_0ffe, ZERO));
    // repe scasd ends where they differ, and with nothing to do only steps.
    let mut after = start;
    MmioInstruction::decode(&[0xf3, 0xaf], CodeSize::Bits64, &after).unwrap().finish_read(0x3333_4444, &mut after);
    assert_eq!((after.rcx, after.rip), (2, 0x10_0000));
    MmioInstruction::decode(&[0xf3, 0xaf], CodeSize::Bits64, &after).unwrap().finish_read(7, &mut after);
    assert_eq!((after.rcx, after.rip, after.rflags & ZERO), (1, 0x10_0002, 0));
    let empty = Registers { rcx: 0, ..start };
    let instruction = MmioInstruction::decode(&[0xf3, 0xad], CodeSize::Bits64, &empty).unwrap();
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
    let instruction = MmioInstruction::decode(&[0xf3, 0xab], CodeSize::Bits64, &none).unwrap();
    assert_eq!(instruction.access(), MmioAccess::Nothing);
    let mut after = none;
    instruction.finish_write(&mut after);
    assert_eq!(after, Registers { rip: 0x10_0002, ..none });
}

#[test]
fn a_copy_names_both_ends_and_may_go_backwards() {
    let backwards = Registers { rflags: 2 | 1 << 10, ..registers() };
    let instruction = MmioInstruction::decode(&[0x48, 0xa5], CodeSize::Bits64, &backwards).unwrap();
    assert_eq!(instruction.access(), MmioAccess::Copy { bytes: 8, from: 0x2000, to: registers().rdi });
    let mut after = backwards;
    instruction.finish_copy(&mut after);
    assert_eq!((after.rsi, after.rdi, after.rip), (0x1ff8, registers().rdi - 8, 0x10_0002));
}

#[test]
fn elements_are_done_together_to_the_end_of_the_devices_page() {
    let many = |rflags| Registers { rcx: 5000, rflags, ..registers() };
    // rep stosl
    let store = MmioInstruction::decode(&[0xf3, 0xab], CodeSize::Bits64, &many(2)).unwrap();
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
    let instruction = MmioInstruction::decode(&[0xab], CodeSize::Bits32, &start).unwrap();
    let mut after = start;
    instruction.finish_write(&mut after);
    assert_eq!((after.rdi, after.rip), (0, 0));
    // In 16-bit code: mov %ax, (%bx)
    let start = Registers { rip: 0xffff, ..registers() };
    let instruction = MmioInstruction::decode(&[0x89, 0x07], CodeSize::Bits16, &start).unwrap();
    assert_eq!(instruction.access(), write(2, 0x4444));
    let mut after = start;
    instruction.finish_write(&mut after);
    assert_eq!(after.rip, 1);
}

#[test]
fn what_is_not_known_is_an_error() {
    let fault = |code: &[u8]| MmioInstruction::decode(code, CodeSize::Bits64, &registers()).unwrap_err();
    assert_eq!(fault(&[]), DecodeError::Invalid);
    assert_eq!(fault(&[0x89]), DecodeError::Invalid, "cut short");
    assert_eq!(fault(&[0x0f, 0x0b, 0x00]), DecodeError::Unsupported, "UD2");
    assert_eq!(fault(&[0x89, 0xc0]), DecodeError::Unsupported, "no memory");
    assert_eq!(fault(&[0x0f, 0x11, 0x07]), DecodeError::Unsupported, "MOVUPS");
    assert_eq!(fault(&[0x8e, 0x07]), DecodeError::Unsupported, "a segment register");
    assert_eq!(fault(&[0xff, 0x27]), DecodeError::Unsupported, "a jump");
    assert_eq!(fault(&[0xf2, 0x0f, 0x10, 0x07]), DecodeError::Unsupported, "MOVSD of floating point");
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
        if let Ok(instruction) = MmioInstruction::decode(&code, size, &start) {
            let mut after = start;
            match instruction.access() {
                MmioAccess::Read { .. } => instruction.finish_read(value, &mut after),
                MmioAccess::Write { .. } | MmioAccess::Nothing => instruction.finish_write(&mut after),
                MmioAccess::Modify { .. } => { let _ = instruction.modify(value, &mut after); }
                MmioAccess::Copy { .. } => instruction.finish_copy(&mut after),
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
