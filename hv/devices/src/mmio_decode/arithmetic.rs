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
    RotateLeft,
    RotateRight,
    RotateLeftThroughCarry,
    RotateRightThroughCarry,
    ShiftLeft,
    ShiftRight,
    ShiftRightSigned,
    /// The signed product, as wide as its factors.
    Multiply,
    /// The number of the lowest and of the highest bit that is set (BSF, BSR); the first value stays if there is none.
    LowestBit,
    HighestBit,
    /// How many zeros stand below the lowest bit that is set (TZCNT), and above the highest (LZCNT).
    ZerosBelow,
    ZerosAbove,
    /// How many bits are set (POPCNT).
    CountBits,
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
        Operation::Multiply => {
            let signed = |value| i128::from(super::operand::sign_extend(value, bytes).cast_signed());
            let product = signed(first) * signed(second);
            let result = product.cast_unsigned() as u64 & mask;
            let is_short = if_set(product != signed(result), CARRY | OVERFLOW);
            with((result, of_result(result) | is_short), ALL)
        }
        Operation::LowestBit | Operation::HighestBit if second == 0 => (first, flags | ZERO),
        Operation::LowestBit => (u64::from(second.trailing_zeros()), flags & !ZERO),
        Operation::HighestBit => (u64::from(63 - second.leading_zeros()), flags & !ZERO),
        Operation::ZerosBelow | Operation::ZerosAbove => {
            let below = operation == Operation::ZerosBelow;
            let zeros = if below { second.trailing_zeros().min(bits) } else { second.leading_zeros() + bits - 64 };
            (zeros.into(), flags & !(CARRY | ZERO) | if_set(second == 0, CARRY) | if_set(zeros == 0, ZERO))
        }
        Operation::CountBits => (second.count_ones().into(), flags & !ALL | if_set(second == 0, ZERO)),
        _ => shift(operation, first, second, bits, flags).map_or((first, flags), |(result, carry, changed)| {
            let result = result & mask;
            // What is defined for a count of 1 alone: whether the sign changed.
            let before = if operation == Operation::RotateRight || operation == Operation::RotateRightThroughCarry {
                result << 1
            } else if operation == Operation::ShiftRight || operation == Operation::ShiftRightSigned {
                first
            } else {
                if_set(carry, top)
            };
            let overflow = if_set((result ^ before) & top != 0, OVERFLOW);
            with((result, of_result(result) | if_set(carry, CARRY) | overflow), changed)
        }),
    }
}

/// Shifts or rotates by `count`, as far as that counts: the result, the bit that went into the carry flag, and the flags
/// that change. None for a count of 0, which changes nothing.
#[expect(clippy::arithmetic_side_effects, reason = "the decoder admits these widths alone; counts are below 64")]
fn shift(operation: Operation, first: u64, count: u64, bits: u32, flags: u64) -> Option<(u64, bool, u64)> {
    let count = count as u32 & if bits == 64 { 63 } else { 31 };
    if count == 0 {
        return None;
    }
    let wide = u128::from(first);
    let signed = i128::from(super::operand::sign_extend(first, bits / 8).cast_signed());
    Some(match operation {
        Operation::ShiftLeft => ((wide << count) as u64, wide << count >> bits & 1 != 0, ALL),
        Operation::ShiftRight => ((wide >> count) as u64, wide >> (count - 1) & 1 != 0, ALL),
        Operation::ShiftRightSigned => ((signed >> count) as u64, signed >> (count - 1) & 1 != 0, ALL),
        Operation::RotateLeft | Operation::RotateRight => {
            let left = operation == Operation::RotateLeft;
            let by = if left { count % bits } else { (bits - count % bits) % bits };
            let result = (wide << by | wide >> (bits - by)) as u64;
            let carry = if left { result & 1 } else { result >> (bits - 1) & 1 };
            (result, carry != 0, CARRY | OVERFLOW)
        }
        _ => {
            // The carry flag is one more bit on top.
            let all = bits + 1;
            let left = operation == Operation::RotateLeftThroughCarry;
            let by = if left { count % all } else { (all - count % all) % all };
            let whole = u128::from(flags & CARRY) << bits | wide;
            let result = whole << by | whole >> (all - by);
            (result as u64, result >> bits & 1 != 0, CARRY | OVERFLOW)
        }
    })
}

/// Shifts `first` by `count` and fills with the bits of `second` (SHLD, SHRD); returns the result and the new flags.
#[expect(clippy::arithmetic_side_effects, reason = "the decoder admits 2, 4 and 8 bytes alone; counts are below 64")]
pub(super) fn double_shift(left: bool, first: u64, second: u64, count: u64, bytes: u32, flags: u64) -> (u64, u64) {
    let bits = bytes * 8;
    let count = count as u32 & if bits == 64 { 63 } else { 31 };
    // A count above 16 for a width of 16 gives nothing that is defined.
    if count == 0 || count > bits {
        return (first, flags);
    }
    let (upper, lower) = if left { (first, second) } else { (second, first) };
    let whole = u128::from(upper) << bits | u128::from(lower);
    let (result, last) = if left { (whole >> (bits - count), 2 * bits - count) } else { (whole >> count, count - 1) };
    let carry = whole >> last & 1;
    let result = super::operand::truncate(result as u64, bytes);
    let (_, new) = apply(Operation::Or, result, 0, bytes, flags);
    let changed = (result ^ first) >> (bits - 1) & 1 != 0;
    let bit = |set: bool, flag: u64| if set { flag } else { 0 };
    (result, new | bit(carry != 0, CARRY) | bit(changed, OVERFLOW))
}

/// Multiplies two values: the product's lower and upper half, and the new flags (MUL, IMUL of one operand).
pub(super) fn multiply(signed: bool, first: u64, second: u64, bytes: u32, flags: u64) -> (u64, u64, u64) {
    let extended = |value: u64| {
        let whole = i128::from(super::operand::sign_extend(value, bytes).cast_signed());
        if signed { whole.cast_unsigned() } else { u128::from(value) }
    };
    let (first, second) = (extended(first), extended(second));
    let product = first.wrapping_mul(second);
    let half = bytes.wrapping_mul(8);
    let low = super::operand::truncate(product as u64, bytes);
    let high = super::operand::truncate((product >> half) as u64, bytes);
    let fits = extended(low) == product;
    let (_, new) = apply(Operation::Or, low, 0, bytes, flags);
    (low, high, if fits { new } else { new | CARRY | OVERFLOW })
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
