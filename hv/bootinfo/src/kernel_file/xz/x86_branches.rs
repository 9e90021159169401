//! XZ's filter for x86 code: calls and jumps were made absolute before packing, so that those to one function are alike.
//!
//! **Source:** the .xz file format 1.2.1, 5.3.2, and the filter of LZMA's authors that it names, in the public domain.

const WORD: usize = 8;
/// An instruction with its operand.
const INSTRUCTION: usize = 5;

/// How far a byte of the operand lies from its end that was looked at before, by which of the last three bytes looked
/// like opcodes.
const LOOKED_AT: [usize; 8] = [0, 1, 2, 2, 3, 3, 3, 3];
/// With which of the last three bytes opcodes this one can be one.
const IS_POSSIBLE: [bool; 8] = [true, true, true, false, true, false, false, false];

/// The highest byte of an operand that is near.
const fn is_near(byte: u8) -> bool {
    matches!(byte, 0x00 | 0xff)
}

/// The next byte from `at` on that is the opcode of a call or a jump.
#[inline(always)]
fn next_opcode(code: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    while let Some(word) = code.get(at..).and_then(<[u8]>::first_chunk::<WORD>) {
        // Bytes 0xe8 and 0xe9 become zero; the lowest zero's highest bit is the lowest that is set then.
        let others = (u64::from_le_bytes(*word) & (0xfe * ONES)) ^ (0xe8 * ONES);
        let zeros = others.wrapping_sub(ONES) & !others & (0x80 * ONES);
        if zeros != 0 {
            return Some(at + (zeros.trailing_zeros() / 8) as usize);
        }
        at += WORD;
    }
    let rest = code.get(at..)?;
    rest.iter().position(|byte| byte & 0xfe == 0xe8).map(|found| at + found)
}

/// Makes the operands relative again. `code` is the whole of a block.
pub fn undo(code: &mut [u8]) {
    // Which of the last three bytes looked like opcodes, the nearest in the lowest bit, and where the last one was.
    let (mut seen, mut last) = (0_usize, None::<usize>);
    let mut next = 0;
    while let Some(at) = next_opcode(code, next) {
        let Some(&mut [_, ref mut operand @ ..]) = code.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<INSTRUCTION>)
        else {
            return;
        };
        next = at + 1;
        let gap = last.map_or(at + 1, |last| at - last);
        last = Some(at);
        seen = if gap > 3 { 0 } else { seen << (gap - 1) & 7 };
        let looked_at = LOOKED_AT[seen & 7];
        let doubtful = seen != 0 && (!IS_POSSIBLE[seen & 7] || is_near(operand[(3 - looked_at) & 3]));
        if doubtful || !is_near(operand[3]) {
            seen = seen << 1 | 1;
            continue;
        }
        *operand = relative(*operand, at, seen, looked_at as u32 * 8).to_le_bytes();
        next = at + INSTRUCTION;
    }
}

/// The operand of the instruction at `at`.
#[inline(always)]
fn relative(operand: [u8; 4], at: usize, seen: usize, looked_at_bits: u32) -> u32 {
    let mut absolute = u32::from_le_bytes(operand);
    loop {
        let relative = absolute.wrapping_sub((at + INSTRUCTION) as u32);
        // The packer avoided values whose byte would have been taken for an opcode's neighbour.
        if seen == 0 || !is_near((relative >> (24 - looked_at_bits)) as u8) {
            let short = relative & 0x01ff_ffff;
            return short | 0_u32.wrapping_sub(short & 0x0100_0000);
        }
        absolute = relative ^ ((1 << (32 - looked_at_bits)) - 1);
    }
}
