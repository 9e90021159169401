//! LZMA2: chunks of literal bytes and of references back into what is there already.
//!
//! **Source:** the LZMA specification (Igor Pavlov, 2015); for the chunks the .xz file format 1.2.1, 5.3.1, and the
//! description in XZ for Java.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::range_decoder::{Chance, EVEN, RangeDecoder, entry};

/// Chances by how many low bits of the place count, at most.
const PLACES: usize = 16;
/// What came before counts so much: the last symbols, by their kinds.
const STATES: usize = 16;
/// The chances of literal bytes; three quarters are in use.
type Literal = [Chance; 1024];
/// The shortest reference.
const LEAST_LENGTH: u32 = 2;

/// What a symbol makes of the state.
const AFTER_LITERAL: [u8; STATES] = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5, 0, 0, 0, 0];
/// From here on the last symbol was a reference.
const AFTER_REFERENCE: u32 = 7;

/// The chances of lengths.
struct Lengths {
    is_middle_or_long: Chance,
    is_long: Chance,
    short: [[Chance; 8]; PLACES],
    middle: [[Chance; 8]; PLACES],
    long: [Chance; 256],
}

impl Lengths {
    const NEW: Self = Self {
        is_middle_or_long: EVEN,
        is_long: EVEN,
        short: [[EVEN; 8]; PLACES],
        middle: [[EVEN; 8]; PLACES],
        long: [EVEN; 256],
    };

    #[inline(always)]
    fn read(&mut self, from: &mut RangeDecoder<'_>, place: u32) -> u32 {
        if !from.flag(&mut self.is_middle_or_long) {
            from.number::<3, 8>(entry(&mut self.short, place)) + LEAST_LENGTH
        } else if !from.flag(&mut self.is_long) {
            from.number::<3, 8>(entry(&mut self.middle, place)) + LEAST_LENGTH + 8
        } else {
            from.number::<8, 256>(&mut self.long) + LEAST_LENGTH + 16
        }
    }
}

/// All chances but those of literals.
struct Chances {
    is_reference: [[Chance; PLACES]; STATES],
    is_repeated: [Chance; STATES],
    is_not_last: [Chance; STATES],
    is_not_second: [Chance; STATES],
    is_fourth: [Chance; STATES],
    is_longer_than_one: [[Chance; PLACES]; STATES],
    lengths: Lengths,
    repeated_lengths: Lengths,
    /// By the length of the reference.
    distance_kind: [[Chance; 64]; 4],
    distance_end: [Chance; 128],
    distance_last_bits: [Chance; 16],
}

impl Chances {
    const NEW: Self = Self {
        is_reference: [[EVEN; PLACES]; STATES],
        is_repeated: [EVEN; STATES],
        is_not_last: [EVEN; STATES],
        is_not_second: [EVEN; STATES],
        is_fourth: [EVEN; STATES],
        is_longer_than_one: [[EVEN; PLACES]; STATES],
        lengths: Lengths::NEW,
        repeated_lengths: Lengths::NEW,
        distance_kind: [[EVEN; 64]; 4],
        distance_end: [EVEN; 128],
        distance_last_bits: [EVEN; 16],
    };
}

/// What holds from one chunk to the next.
struct Decoder {
    chances: Box<Chances>,
    literals: Vec<Literal>,
    /// How many high bits of the last byte choose the chances of the next one.
    literal_bits: u32,
    /// Which bits of the place choose them as well.
    literal_place: u32,
    place: u32,
    state: u32,
    /// The last four distances, less one each.
    last: [u32; 4],
}

impl Decoder {
    fn new() -> Self {
        Self {
            chances: Box::new(Chances::NEW),
            literals: Vec::new(),
            literal_bits: 0,
            literal_place: 0,
            place: 0,
            state: 0,
            last: [0; 4],
        }
    }

    fn reset(&mut self) {
        *self.chances = Chances::NEW;
        self.literals.iter_mut().for_each(|chances| *chances = [EVEN; 1024]);
        self.state = 0;
        self.last = [0; 4];
    }

    /// None for a number that stands for nothing.
    fn set_properties(&mut self, properties: u8) -> Option<()> {
        let (rest, bits) = (properties / 9, properties % 9);
        let (place_bits, literal_place_bits) = (rest / 5, rest % 5);
        if place_bits > 4 || bits + literal_place_bits > 4 {
            return None;
        }
        self.literal_bits = bits.into();
        self.literal_place = (1 << literal_place_bits) - 1;
        self.place = (1 << place_bits) - 1;
        self.literals = vec![[EVEN; 1024]; 1 << (bits + literal_place_bits)];
        Some(())
    }

    /// Fills `made` from `at` on by the symbols of one chunk. References lead back to `start` at most.
    #[inline(never)]
    fn chunk(&mut self, input: &[u8], made: &mut [u8], start: usize, mut at: usize) -> Option<()> {
        let mut from = RangeDecoder::new(input)?;
        let chances = &mut *self.chances;
        let (mut state, mut last) = (self.state, self.last);
        while at < made.len() {
            let number = at.wrapping_sub(start) as u32;
            let place = number & self.place;
            if !from.flag(entry(entry(&mut chances.is_reference, state), place)) {
                let before = if at > start { *made.get(at - 1)? } else { 0 };
                let by_place = (number & self.literal_place) << self.literal_bits;
                let by_byte = u32::from(before) << self.literal_bits >> 8;
                let literal = self.literals.get_mut((by_place + by_byte) as usize)?;
                let byte = if state < AFTER_REFERENCE {
                    from.byte(literal)
                } else {
                    from.byte_unlike(literal, *made.get(at.checked_sub(last[0] as usize + 1)?)?)
                };
                *made.get_mut(at)? = byte;
                at += 1;
                state = AFTER_LITERAL[state as usize & (STATES - 1)].into();
                continue;
            }
            let length = if !from.flag(entry(&mut chances.is_repeated, state)) {
                let length = chances.lengths.read(&mut from, place);
                last = [distance(&mut from, chances, length), last[0], last[1], last[2]];
                state = if state < AFTER_REFERENCE { 7 } else { 10 };
                length
            } else {
                if !from.flag(entry(&mut chances.is_not_last, state)) {
                    if !from.flag(entry(entry(&mut chances.is_longer_than_one, state), place)) {
                        state = if state < AFTER_REFERENCE { 9 } else { 11 };
                        repeat(made, start, at, last[0], 1)?;
                        at += 1;
                        continue;
                    }
                } else if !from.flag(entry(&mut chances.is_not_second, state)) {
                    last = [last[1], last[0], last[2], last[3]];
                } else if !from.flag(entry(&mut chances.is_fourth, state)) {
                    last = [last[2], last[0], last[1], last[3]];
                } else {
                    last = [last[3], last[0], last[1], last[2]];
                }
                state = if state < AFTER_REFERENCE { 8 } else { 11 };
                chances.repeated_lengths.read(&mut from, place)
            };
            repeat(made, start, at, last[0], length as usize)?;
            at += length as usize;
        }
        (self.state, self.last) = (state, last);
        from.ends_here().then_some(())
    }
}

/// How far back a reference of `length` bytes leads, less one.
#[inline(always)]
fn distance(from: &mut RangeDecoder<'_>, chances: &mut Chances, length: u32) -> u32 {
    let by_length = (length - LEAST_LENGTH).min(3);
    let kind = from.number::<6, 64>(entry(&mut chances.distance_kind, by_length));
    if kind < 4 {
        return kind;
    }
    let bits = (kind >> 1) - 1;
    let high = (2 | kind & 1) << bits;
    if kind < 14 {
        // The first chance of a number is counted as its second one.
        high + from.reversed(&mut chances.distance_end, high.wrapping_sub(kind + 1), bits)
    } else {
        let middle = from.even(bits - 4) << 4;
        (high + middle).wrapping_add(from.reversed(&mut chances.distance_last_bits, 0, 4))
    }
}

/// Puts `length` bytes to `at` that stand `back` + 1 bytes before it, one after the other: they may overlap.
#[inline(always)]
fn repeat(made: &mut [u8], start: usize, at: usize, back: u32, length: usize) -> Option<()> {
    const WORD: usize = 8;
    let end = at + length;
    let back = back as usize + 1;
    if back > at - start || end > made.len() {
        return None;
    }
    let (mut to, mut back) = (at, back);
    if back < WORD {
        // What repeats every `back` bytes also repeats every multiple of that.
        let wide = back * WORD.div_ceil(back);
        let by_bytes = end.min(to + wide - back);
        while to < by_bytes {
            *made.get_mut(to)? = *made.get(to - back)?;
            to += 1;
        }
        back = wide;
    }
    // Whole words go beyond the end where that is not the end of all: what comes next is written over them.
    while to < end && to + WORD <= made.len() {
        let word = *made.get(to - back..)?.first_chunk::<WORD>()?;
        *made.get_mut(to..)?.first_chunk_mut::<WORD>()? = word;
        to += WORD;
    }
    while to < end {
        *made.get_mut(to)? = *made.get(to - back)?;
        to += 1;
    }
    Some(())
}

/// Unpacks to `into` from `at` on. Gives what follows the last chunk, and how far `into` is filled. None when the data
/// are damaged, or `into` is too short.
pub fn unpack<'a>(mut data: &'a [u8], into: &mut [u8], mut at: usize) -> Option<(&'a [u8], usize)> {
    const END: u8 = 0;
    const FORGET_AND_PLAIN: u8 = 1;
    const PLAIN: u8 = 2;
    const PACKED: u8 = 0x80;
    const WITH_RESET: u8 = 0xa0;
    const WITH_PROPERTIES: u8 = 0xc0;
    const FORGET: u8 = 0xe0;
    let mut decoder = Decoder::new();
    // Where references may lead to, once the first chunk has said so.
    let mut start = None;
    loop {
        let (control, rest) = data.split_first()?;
        let control = *control;
        if control == END {
            return Some((rest, at));
        }
        if control == FORGET_AND_PLAIN || control >= FORGET {
            start = Some(at);
        }
        let start = start?;
        let (high, rest) = rest.split_first_chunk()?;
        let size = usize::from(u16::from_be_bytes(*high)) + 1;
        if control < PACKED {
            let (plain, rest) = rest.split_at_checked(size)?;
            let room = into.get_mut(at..)?.get_mut(..size)?;
            (control <= PLAIN).then(|| room.copy_from_slice(plain))?;
            (data, at) = (rest, at + size);
            continue;
        }
        let size = size + (usize::from(control & 0x1f) << 16);
        let (packed, mut rest) = rest.split_first_chunk()?;
        if control >= WITH_PROPERTIES {
            let (properties, after) = rest.split_first()?;
            decoder.set_properties(*properties)?;
            rest = after;
        }
        if control >= WITH_RESET {
            decoder.reset();
        }
        let (packed, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*packed)) + 1)?;
        let end = at.checked_add(size)?;
        decoder.chunk(packed, into.get_mut(..end)?, start, at)?;
        (data, at) = (rest, end);
    }
}
