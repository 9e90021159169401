//! The arithmetic of an instruction and the flags that it sets. **Source:** AMD manual volume 3.

use iced_x86::ConditionCode;

const CARRY: u64 = 1;
const PARITY: u64 = 1 << 2;
const ADJUST: u64 = 1 << 4;
const ZERO: u64 = 1 << 6;
const SIGN: u64 = 1 << 7;
const OVERFLOW: u64 = 1 << 11;
const ALL: u64 = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW;

/// An operation on the device's value and another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    And,
    Or,
    Xor,
    Add,
    AddWithCarry,
    Subtract,
    SubtractWithBorrow,
    Increment,
    Decrement,
    Not,
    Negate,
    BitTest,
    BitSet,
    BitReset,
    BitComplement,
}

/// Returns the result and the new flags. Both values and the result are `bytes` wide: 1, 2, 4 or 8.
#[expect(clippy::arithmetic_side_effects, reason = "the decoder admits these widths alone")]
pub(super) fn apply(operation: Operation, first: u64, second: u64, bytes: u32, flags: u64) -> (u64, u64) {
    let bits = bytes * 8;
    let mask = super::operand::truncate(u64::MAX, bytes);
    let top = 1 << (bits - 1);
    let if_set = |set: bool, flag: u64| if set { flag } else { 0 };
    let of_result = |result: u64| {
        if_set(result == 0, ZERO)
            | if_set(result & top != 0, SIGN)
            | if_set((result as u8).count_ones().is_multiple_of(2), PARITY)
    };
    let logic = |result: u64| (result, flags & !ALL | of_result(result));
    let sum = |first: u64, second: u64, carried: u64| {
        let result = first.wrapping_add(second).wrapping_add(carried) & mask;
        let carry = if_set(result < first || (carried != 0 && result == first), CARRY);
        let overflow = if_set((first ^ result) & (second ^ result) & top != 0, OVERFLOW);
        (result, of_result(result) | carry | overflow | if_set((first ^ second ^ result) & 0x10 != 0, ADJUST))
    };
    let difference = |first: u64, second: u64, borrowed: u64| {
        let result = first.wrapping_sub(second).wrapping_sub(borrowed) & mask;
        let borrow = if_set(first < second || (borrowed != 0 && first == second), CARRY);
        let overflow = if_set((first ^ second) & (first ^ result) & top != 0, OVERFLOW);
        (result, of_result(result) | borrow | overflow | if_set((first ^ second ^ result) & 0x10 != 0, ADJUST))
    };
    let with = |(result, new): (u64, u64), changed: u64| (result, flags & !changed | new & changed);
    let bit = 1u64 << (second % u64::from(bits));
    let bit_flags = flags & !CARRY | if_set(first & bit != 0, CARRY);
    match operation {
        Operation::And => logic(first & second),
        Operation::Or => logic(first | second),
        Operation::Xor => logic(first ^ second),
        Operation::Add => with(sum(first, second, 0), ALL),
        Operation::AddWithCarry => with(sum(first, second, flags & CARRY), ALL),
        Operation::Subtract => with(difference(first, second, 0), ALL),
        Operation::SubtractWithBorrow => with(difference(first, second, flags & CARRY), ALL),
        Operation::Increment => with(sum(first, 1, 0), ALL & !CARRY),
        Operation::Decrement => with(difference(first, 1, 0), ALL & !CARRY),
        Operation::Not => (!first & mask, flags),
        Operation::Negate => with(difference(0, first, 0), ALL),
        Operation::BitTest => (first, bit_flags),
        Operation::BitSet => (first | bit, bit_flags),
        Operation::BitReset => (first & !bit, bit_flags),
        Operation::BitComplement => (first ^ bit, bit_flags),
    }
}

/// Returns whether a condition of Jcc, SETcc and CMOVcc holds.
pub(super) fn holds(condition: ConditionCode, flags: u64) -> bool {
    let set = |bits: u64| flags & bits != 0;
    let less = set(SIGN) != set(OVERFLOW);
    match condition {
        ConditionCode::o => set(OVERFLOW),
        ConditionCode::no => !set(OVERFLOW),
        ConditionCode::b => set(CARRY),
        ConditionCode::ae => !set(CARRY),
        ConditionCode::e => set(ZERO),
        ConditionCode::ne => !set(ZERO),
        ConditionCode::be => set(CARRY | ZERO),
        ConditionCode::a => !set(CARRY | ZERO),
        ConditionCode::s => set(SIGN),
        ConditionCode::ns => !set(SIGN),
        ConditionCode::p => set(PARITY),
        ConditionCode::np => !set(PARITY),
        ConditionCode::l => less,
        ConditionCode::ge => !less,
        ConditionCode::le => less || set(ZERO),
        ConditionCode::g => !less && !set(ZERO),
        _ => false,
    }
}
