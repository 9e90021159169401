//! Undoing the filter that packers put before LZMA2 for x86 code: it turned the relative targets of calls and jumps
//! into absolute ones, so that calls of one function look alike.
//!
//! **Source:** the .xz file format 1.2.1, 5.3.2; XZ Utils' description of the x86 BCJ filter.

/// A call or jump and its target.
const LENGTH: usize = 5;

/// Whether the highest byte of a target is that of a near one.
const fn is_near(byte: u8) -> bool {
    byte == 0 || byte == 0xff
}

/// True if one of eight bytes is the first of a call (0xe8) or a jump (0xe9).
const fn may_branch(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let differs = (word & (0xfe * ONES)) ^ (0xe8 * ONES);
    differs.wrapping_sub(ONES) & !differs & (0x80 * ONES) != 0
}

/// Undoes the filter for all that was packed, which begins at `code`.
pub fn undo(code: &mut [u8]) {
    // Bit n says that the byte n + 1 before this one looked like a branch and was none.
    let mut passed = 0_u32;
    let mut last = None::<usize>;
    let mut at = 0;
    while let Some(window) = code.get(at..).and_then(|rest| rest.first_chunk::<LENGTH>()) {
        if window[0] & 0xfe != 0xe8 {
            at += 1;
            // Stretches without a branch are passed over by words.
            while let Some(word) = code.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
                if may_branch(u64::from_le_bytes(*word)) {
                    break;
                }
                at += 8;
            }
            continue;
        }
        let apart = last.map_or(usize::MAX, |last| at - last);
        passed = if apart > 3 { 0 } else { passed << (apart - 1) & 7 };
        last = Some(at);
        let target = [window[1], window[2], window[3], window[4]];
        if !may_be_branch(passed, target) {
            passed = passed << 1 | 1;
            at += 1;
            continue;
        }
        let relative = relative(u32::from_le_bytes(target), at as u32, passed);
        if let Some(place) = code.get_mut(at + 1..at + LENGTH) {
            place.copy_from_slice(&relative.to_le_bytes());
        }
        at += LENGTH;
        // The next one is looked at as if this one were not there.
        passed = 0;
    }
}

/// The number of the byte, counted from the highest, that a passed byte before would have as the highest of its target.
const fn shared_byte(passed: u32) -> u32 {
    match passed {
        0 => 0,
        1 => 1,
        2 | 3 => 2,
        _ => 3,
    }
}

/// Whether the packer took this for a branch, by what it had passed just before.
fn may_be_branch(passed: u32, target: [u8; 4]) -> bool {
    if !is_near(target[3]) {
        return false;
    }
    if passed == 0 {
        return true;
    }
    let shared = target[3 - shared_byte(passed) as usize];
    matches!(passed, 1 | 2 | 4) && !is_near(shared)
}

/// The relative target that the packer saw.
fn relative(absolute: u32, at: u32, passed: u32) -> u32 {
    let next = at.wrapping_add(LENGTH as u32);
    let mut from = absolute;
    let relative = loop {
        let relative = from.wrapping_sub(next);
        let shift = 24_u32.wrapping_sub(shared_byte(passed) * 8);
        if passed == 0 || !is_near((relative >> shift) as u8) {
            break relative;
        }
        from = relative ^ (1_u32 << (shift + 8)).wrapping_sub(1);
    };
    // The highest byte is the sign of the rest.
    let sign = 0_u32.wrapping_sub(relative & 0x0100_0000);
    relative & 0x01ff_ffff | sign
}
