//! LZMA2 straight into the memory that is to hold the result: what was unpacked already is the dictionary, so there is
//! no window and nothing is copied twice.
//!
//! The state of the range decoder stays in registers while a chunk is decoded, and matches are copied by words. At each
//! boot one packed kernel goes through here, and on an emulated CPU that is a good part of the boot.
//!
//! **Source:** the LZMA specification (7-Zip's `lzma-specification.txt`); the .xz file format 1.2.1, 5.3.1, for LZMA2.

use alloc::boxed::Box;
use alloc::vec;

/// Probabilities are 11 bits wide; each starts in the middle and moves by a 32nd of what is left.
const PROBABILITY_BITS: u32 = 11;
const MIDDLE: u16 = 1 << (PROBABILITY_BITS - 1);
const MOVE: u32 = 5;
/// Below this the range takes another byte in.
const TOP: u32 = 1 << 24;

const STATES: usize = 12;
/// States from this on follow a match.
const FIRST_AFTER_MATCH: usize = 7;
const POSITIONS: usize = 16;
/// `lc + lp` is at most 4.
const LITERAL_CODERS: usize = 1 << 4;
/// The nodes of a literal's three trees, and a fourth that is not there: a power of two needs no check.
const LITERAL_NODES: usize = 0x400;
const SHORTEST_MATCH: usize = 2;
/// Distances from this slot on have direct bits.
const FIRST_DIRECT_SLOT: u32 = 14;
const FIRST_MODELLED_SLOT: u32 = 4;

const WORD: usize = 8;

/// The data are not LZMA2, end too early, or unpack to more than there is room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damaged;

/// A tree of bits: the probability of each bit, by the bits before it with a one in front.
type Tree<const NODES: usize> = [u16; NODES];

/// How long a match is.
struct Lengths {
    choice: [u16; 2],
    low: [Tree<8>; POSITIONS],
    middle: [Tree<8>; POSITIONS],
    high: Tree<256>,
}

impl Lengths {
    const fn new() -> Self {
        Self {
            choice: [MIDDLE; 2],
            low: [[MIDDLE; 8]; POSITIONS],
            middle: [[MIDDLE; 8]; POSITIONS],
            high: [MIDDLE; 256],
        }
    }
}

/// Everything that is learned from the data.
struct Model {
    is_match: [[u16; POSITIONS]; STATES],
    is_repeated: [u16; STATES],
    is_not_first: [u16; STATES],
    is_not_second: [u16; STATES],
    is_not_third: [u16; STATES],
    is_long: [[u16; POSITIONS]; STATES],
    slots: [Tree<64>; 4],
    /// Of the distances of slots 4 to 13, one tree after the other.
    modelled: [u16; 128],
    aligned: Tree<16>,
    match_length: Lengths,
    repeated_length: Lengths,
}

impl Model {
    const fn new() -> Self {
        Self {
            is_match: [[MIDDLE; POSITIONS]; STATES],
            is_repeated: [MIDDLE; STATES],
            is_not_first: [MIDDLE; STATES],
            is_not_second: [MIDDLE; STATES],
            is_not_third: [MIDDLE; STATES],
            is_long: [[MIDDLE; POSITIONS]; STATES],
            slots: [[MIDDLE; 64]; 4],
            modelled: [MIDDLE; 128],
            aligned: [MIDDLE; 16],
            match_length: Lengths::new(),
            repeated_length: Lengths::new(),
        }
    }
}

/// The trees of literals. Apart from the rest, since they are too large to be made on a stack.
type Literals = Box<[Tree<LITERAL_NODES>; LITERAL_CODERS]>;

/// A chunk's packed bytes, at most 64 KiB of them, and room behind: reading past the end gives something without a check.
type Packed = [u8; PACKED];
const PACKED: usize = 1 << 17;
/// A symbol takes fewer bytes than this.
const MOST_A_SYMBOL: usize = 64;

/// Turns packed bytes into bits, without a branch: an emulated CPU goes straight on at several times the speed at which
/// it branches, and a real one guesses half of these branches wrong.
struct Range<'a> {
    range: u32,
    code: u32,
    packed: &'a Packed,
    next: usize,
}

/// All ones if `a` is below `b`, and zeros otherwise; and the difference.
#[inline(always)]
const fn below(a: u32, b: u32) -> (u32, u32) {
    let (difference, is_below) = a.overflowing_sub(b);
    (0_u32.wrapping_sub(is_below as u32), difference)
}

impl<'a> Range<'a> {
    fn new(packed: &'a Packed) -> Option<Self> {
        let [zero, code @ .., _, _, _] = *packed.first_chunk::<8>()?;
        (zero == 0).then_some(Self { range: u32::MAX, code: u32::from_be_bytes(code), packed, next: 5 })
    }

    #[inline(always)]
    fn refill(&mut self) {
        let (is_low, _) = below(self.range, TOP);
        let factor = 1 + (is_low & 0xff);
        self.range = self.range.wrapping_mul(factor);
        let byte = u32::from(self.packed[self.next % PACKED]) & is_low;
        self.code = self.code.wrapping_mul(factor) | byte;
        self.next += (is_low & 1) as usize;
    }

    /// A bit, as 0 or 1.
    #[inline(always)]
    fn digit(&mut self, probability: &mut u16) -> usize {
        self.refill();
        let chance = u32::from(*probability);
        let bound = (self.range >> PROBABILITY_BITS).wrapping_mul(chance);
        let (is_zero, difference) = below(self.code, bound);
        self.code = difference.wrapping_add(bound & is_zero);
        let rest = self.range.wrapping_sub(bound);
        self.range = rest ^ ((rest ^ bound) & is_zero);
        // Towards 2048 for a zero; for a one towards 0, rounded up.
        let target = 31 + (2017 & is_zero);
        *probability = chance.wrapping_add((target.wrapping_sub(chance).cast_signed() >> MOVE).cast_unsigned()) as u16;
        is_zero.wrapping_add(1) as usize
    }

    #[inline(always)]
    fn bit(&mut self, probability: &mut u16) -> bool {
        self.digit(probability) != 0
    }

    /// A number of `N.ilog2()` bits, highest first.
    #[inline(always)]
    fn tree<const N: usize>(&mut self, tree: &mut Tree<N>) -> usize {
        let mut node = 1;
        for _ in 0..N.ilog2() {
            node = node << 1 | self.digit(&mut tree[node % N]);
        }
        node % N
    }

    /// Bits of equal chance, highest first.
    #[inline(always)]
    fn direct(&mut self, count: u32) -> u32 {
        let mut value = 0;
        for _ in 0..count {
            self.refill();
            self.range >>= 1;
            let (is_zero, difference) = below(self.code, self.range);
            self.code = difference.wrapping_add(self.range & is_zero);
            value = value << 1 | is_zero.wrapping_add(1);
        }
        value
    }

    #[inline(always)]
    fn length(&mut self, lengths: &mut Lengths, position: usize) -> usize {
        let [long, longest] = &mut lengths.choice;
        if !self.bit(long) {
            return SHORTEST_MATCH + self.tree(&mut lengths.low[position % POSITIONS]);
        }
        if !self.bit(longest) {
            return SHORTEST_MATCH + 8 + self.tree(&mut lengths.middle[position % POSITIONS]);
        }
        SHORTEST_MATCH + 16 + self.tree(&mut lengths.high)
    }

    /// Distance less 1.
    #[inline(always)]
    fn distance(&mut self, model: &mut Model, length: usize) -> usize {
        let kind = (length - SHORTEST_MATCH).min(3);
        let slot = self.tree(&mut model.slots[kind]) as u32;
        if slot < FIRST_MODELLED_SLOT {
            return slot as usize;
        }
        let bits = (slot >> 1) - 1;
        let base = (2 | slot & 1) << bits;
        if slot < FIRST_DIRECT_SLOT {
            // The trees lie one after the other; each is as long as the bits below ask for.
            let first = (base - slot) as usize;
            let mut node = 1;
            let mut low = 0;
            for bit in 0..bits {
                let one = self.digit(&mut model.modelled[(first + node) % 128]);
                node = node << 1 | one;
                low |= (one as u32) << bit;
            }
            return (base + low) as usize;
        }
        let high = self.direct(bits - 4) << 4;
        let mut node = 1;
        let mut low = 0;
        for bit in 0..4 {
            let one = self.digit(&mut model.aligned[node % 16]);
            node = node << 1 | one;
            low |= (one as u32) << bit;
        }
        base.wrapping_add(high | low) as usize
    }
}

/// The properties of a chunk, as bits of the position that count.
#[derive(Clone, Copy)]
struct Properties {
    /// Highest bits of the byte before that choose among the literals' trees.
    literal_context: u32,
    literal_mask: usize,
    position_mask: usize,
}

impl Properties {
    fn read(byte: u8) -> Option<Self> {
        let (lc, lp, pb) = (u32::from(byte % 9), u32::from(byte / 9 % 5), u32::from(byte / 45));
        (pb <= 4 && lc + lp <= 4).then_some(Self {
            literal_context: lc,
            literal_mask: (1 << lp) - 1,
            position_mask: (1 << pb) - 1,
        })
    }
}

/// What lasts from one chunk to the next.
struct Decoder<'o> {
    literals: Literals,
    model: Box<Model>,
    packed: Box<Packed>,
    properties: Properties,
    state: usize,
    /// The last four distances, less 1.
    recent: [usize; 4],
    out: &'o mut [u8],
    /// How much is unpacked.
    at: usize,
    /// Where the dictionary begins.
    start: usize,
}

/// Unpacks `data` to the beginning of `out`. Gives how many bytes were read, and how many written.
///
/// **Errors:** [`Damaged`].
pub fn unpack(data: &[u8], out: &mut [u8]) -> Result<(usize, usize), Damaged> {
    let mut decoder = Decoder::new(out).ok_or(Damaged)?;
    let mut rest = data;
    let mut is_first = true;
    loop {
        let (control, after) = rest.split_first().ok_or(Damaged)?;
        rest = match control {
            0 => return Ok((data.len() - after.len(), decoder.at)),
            1 => decoder.plain(after, true),
            2 if !is_first => decoder.plain(after, false),
            0xe0.. => decoder.chunk(*control, after),
            0x80.. if !is_first => decoder.chunk(*control, after),
            _ => None,
        }
        .ok_or(Damaged)?;
        is_first = false;
    }
}

fn number(bytes: [u8; 2]) -> usize {
    usize::from(u16::from_be_bytes(bytes))
}

impl<'o> Decoder<'o> {
    fn new(out: &'o mut [u8]) -> Option<Self> {
        let properties = Properties { literal_context: 0, literal_mask: 0, position_mask: 0 };
        let literals = vec![[MIDDLE; LITERAL_NODES]; LITERAL_CODERS].into_boxed_slice().try_into().ok()?;
        let model = Box::new(Model::new());
        let packed = vec![0; PACKED].into_boxed_slice().try_into().ok()?;
        Some(Self { literals, model, packed, properties, state: 0, recent: [0; 4], out, at: 0, start: 0 })
    }

    /// A chunk that is not packed. Gives what follows.
    fn plain<'d>(&mut self, data: &'d [u8], fresh: bool) -> Option<&'d [u8]> {
        if fresh {
            self.start = self.at;
        }
        let (size, rest) = data.split_first_chunk::<2>()?;
        let (bytes, rest) = rest.split_at_checked(number(*size) + 1)?;
        let end = self.at.checked_add(bytes.len())?;
        self.out.get_mut(self.at..end)?.copy_from_slice(bytes);
        self.at = end;
        Some(rest)
    }

    /// A packed chunk. Gives what follows.
    fn chunk<'d>(&mut self, control: u8, data: &'d [u8]) -> Option<&'d [u8]> {
        let ([high, low, packed @ ..], mut rest) = data.split_first_chunk::<4>().map(|(head, rest)| (*head, rest))?;
        let unpacked = (usize::from(control & 0x1f) << 16 | number([high, low])) + 1;
        if control >= 0xe0 {
            self.start = self.at;
        }
        if control >= 0xc0 {
            let (properties, after) = rest.split_first()?;
            self.properties = Properties::read(*properties)?;
            rest = after;
        }
        if control >= 0xa0 {
            self.literals.fill([MIDDLE; LITERAL_NODES]);
            *self.model = Model::new();
            self.state = 0;
            self.recent = [0; 4];
        }
        let (packed, rest) = rest.split_at_checked(number(packed) + 1)?;
        let end = self.at.checked_add(unpacked).filter(|end| *end <= self.out.len())?;
        let (chunk, behind) = self.packed.split_at_mut_checked(packed.len())?;
        chunk.copy_from_slice(packed);
        behind.get_mut(..MOST_A_SYMBOL)?.fill(0);
        self.decode(packed.len(), end)?;
        Some(rest)
    }

    /// Unpacks up to `end`. None when the chunk is damaged.
    fn decode(&mut self, packed: usize, end: usize) -> Option<()> {
        let mut range = Range::new(&self.packed)?;
        let Properties { literal_context, literal_mask, position_mask } = self.properties;
        let (mut state, mut recent, mut at) = (self.state % STATES, self.recent, self.at);
        let (literals, model, start) = (&mut *self.literals, &mut *self.model, self.start);
        let out = self.out.get_mut(start..end)?;
        at -= start;
        let end = end - start;
        while at < end {
            if range.next > packed {
                return None;
            }
            let position = at & position_mask;
            if !range.bit(&mut model.is_match[state][position % POSITIONS]) {
                let before = if at > 0 { out[at - 1] } else { 0 };
                let coder = (at & literal_mask) << literal_context | (usize::from(before) << literal_context >> 8);
                let tree = &mut literals[coder % LITERAL_CODERS];
                let mut node = 1;
                if state < FIRST_AFTER_MATCH {
                    for _ in 0..8 {
                        node = node << 1 | range.digit(&mut tree[node % LITERAL_NODES]);
                    }
                } else {
                    // What stands where the last match would have gone on is probably not what comes: the bits up to
                    // the first that differs have trees of their own.
                    let mut expected = usize::from(*out.get(at.checked_sub(recent[0] + 1)?)?);
                    let mut agrees = 0x100;
                    for _ in 0..8 {
                        expected <<= 1;
                        let wanted = expected & agrees;
                        let bit = range.digit(&mut tree[(agrees + wanted + node) % LITERAL_NODES]);
                        node = node << 1 | bit;
                        agrees &= !(expected ^ (bit << 8));
                    }
                }
                out[at] = node as u8;
                at += 1;
                state = if state < 4 {
                    0
                } else if state < 10 {
                    state - 3
                } else {
                    state - 6
                };
                continue;
            }
            let length;
            if !range.bit(&mut model.is_repeated[state]) {
                length = range.length(&mut model.match_length, position);
                let distance = range.distance(model, length);
                recent = [distance, recent[0], recent[1], recent[2]];
                state = if state < FIRST_AFTER_MATCH { 7 } else { 10 };
            } else {
                if !range.bit(&mut model.is_not_first[state]) {
                    if !range.bit(&mut model.is_long[state][position % POSITIONS]) {
                        out[at] = *out.get(at.checked_sub(recent[0] + 1)?)?;
                        at += 1;
                        state = if state < FIRST_AFTER_MATCH { 9 } else { 11 };
                        continue;
                    }
                } else if !range.bit(&mut model.is_not_second[state]) {
                    recent = [recent[1], recent[0], recent[2], recent[3]];
                } else if !range.bit(&mut model.is_not_third[state]) {
                    recent = [recent[2], recent[0], recent[1], recent[3]];
                } else {
                    recent = [recent[3], recent[0], recent[1], recent[2]];
                }
                length = range.length(&mut model.repeated_length, position);
                state = if state < FIRST_AFTER_MATCH { 8 } else { 11 };
            }
            repeat(out, at, recent[0] + 1, length)?;
            at += length;
        }
        (self.state, self.recent, self.at) = (state, recent, at + start);
        // A sound chunk has given all it has.
        range.refill();
        (range.code == 0 && range.next == packed).then_some(())
    }
}

/// Copies `length` bytes from `distance` before `at` to `at`, as if byte by byte: the two may overlap.
#[inline(always)]
fn repeat(out: &mut [u8], at: usize, distance: usize, length: usize) -> Option<()> {
    let from = at.checked_sub(distance)?;
    let rounded = length.next_multiple_of(WORD);
    if distance >= WORD && rounded <= out.len() - at {
        // What is written too far is overwritten by what comes.
        for offset in (0..rounded).step_by(WORD) {
            let word: [u8; WORD] = *out.get(from + offset..)?.first_chunk()?;
            *out.get_mut(at + offset..)?.first_chunk_mut()? = word;
        }
        return Some(());
    }
    if length > out.len() - at {
        return None;
    }
    for offset in 0..length {
        out[at + offset] = out[from + offset];
    }
    Some(())
}
