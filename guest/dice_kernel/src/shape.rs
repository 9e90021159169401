//! An instruction with random prefixes and operands, its memory operand pointed at the target.

use crate::dice::Dice;
use crate::forms::{Constant, FORMS, Form, Operands, Registers, Width};
use crate::place::{self, Place};
use crate::segments::{self, SEGMENTS};

/// Numbers of registers, as instructions have them.
pub const RCX: u8 = 1;
pub const RDX: u8 = 2;
pub const RBX: u8 = 3;
pub const RSP: u8 = 4;
pub const RBP: u8 = 5;
pub const RSI: u8 = 6;
pub const RDI: u8 = 7;

/// The longest instruction.
const LONGEST: usize = 15;

/// The size of code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Code16,
    Code32,
    Code64,
}

impl Mode {
    /// Returns the number of bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Code16 => 16,
            Self::Code32 => 32,
            Self::Code64 => 64,
        }
    }
}

/// Bytes of an instruction.
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    bytes: [u8; LONGEST],
    used: usize,
}

impl Bytes {
    const fn new() -> Self {
        Self { bytes: [0; LONGEST], used: 0 }
    }

    /// Returns them.
    #[must_use]
    pub fn all(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// Adds the lowest `count` bytes of `value`.
    fn put(&mut self, value: u64, count: usize) -> Option<()> {
        let to = self.bytes.get_mut(self.used..self.used + count)?;
        to.copy_from_slice(&value.to_le_bytes()[..count]);
        self.used += count;
        Some(())
    }
}

/// An instruction, and what it needs of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The index of its form.
    pub form: usize,
    pub mode: Mode,
    pub code: Bytes,
    /// Where its code begins, in the pages of code.
    pub code_at: u64,
    /// The segments of ES, SS, DS, FS and GS, by index in [`SEGMENTS`].
    pub segments: [usize; 5],
    pub place: Place,
    /// The address of the operand.
    pub target: u64,
    /// The width of the operation and of the memory operand, in bytes.
    pub width: u64,
    pub memory: u64,
    /// Registers that have a value already.
    pub fixed: [Option<u64>; 16],
    pub repeats: bool,
    /// The constant, if there is one.
    pub constant: u64,
}

/// Which instructions are made.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// Only forms whose names hold this.
    pub only: &'a str,
    /// Operands may lie where pages meet.
    pub splits: bool,
    /// Pages may be missing or be read-only.
    pub faults: bool,
}

/// What prefixes an instruction has.
struct Prefixes {
    legacy: [u8; 5],
    count: usize,
    rex: Option<u8>,
    /// The segment register that is named, by number, and the one that is used instead of the usual one.
    named: Option<usize>,
    segment: Option<usize>,
    is_narrow: bool,
    repeats: bool,
    address_bits: u32,
    operand_bytes: u64,
}

impl Prefixes {
    fn rex(&self, bit: u8) -> u8 {
        self.rex.unwrap_or(0) >> bit & 1
    }

    fn add(&mut self, prefix: u8) {
        self.legacy[self.count] = prefix;
        self.count += 1;
    }
}

/// Segment registers by number, and their prefixes.
const SEGMENT_PREFIXES: [u8; 6] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
const SS: usize = 2;
const DS: usize = 3;
const ES: usize = 0;
const CS: usize = 1;

impl Shape {
    /// Makes one.
    pub fn new(dice: &mut Dice, choice: Choice<'_>) -> Self {
        loop {
            let form = dice.below(FORMS.len() as u64) as usize;
            if FORMS[form].name.contains(choice.only)
                && let Some(shape) = Self::try_new(dice, form, choice)
            {
                return shape;
            }
        }
    }

    fn try_new(dice: &mut Dice, index: usize, choice: Choice<'_>) -> Option<Self> {
        let form = &FORMS[index];
        let mode = match (form.long, dice.below(4)) {
            (Some(true), _) => Mode::Code64,
            (Some(false), throw) if throw < 2 => Mode::Code32,
            (Some(false), _) => Mode::Code16,
            (None, 0) => Mode::Code32,
            (None, 1) => Mode::Code16,
            _ => Mode::Code64,
        };
        let second = form.width == Width::Either && dice.once_in(2);
        let is_byte = form.width == Width::Byte || form.width == Width::Either && !second;
        let mut prefixes = prefixes(dice, form, mode, is_byte);
        if form.by_prefix && (mode == Mode::Code16 || prefixes.is_narrow && prefixes.operand_bytes == 8) {
            return None;
        }
        let width = match (is_byte, mode, prefixes.operand_bytes) {
            (true, ..) => 1,
            (_, Mode::Code64, 4) if form.stack => 8,
            (.., bytes) => bytes,
        };
        let memory = match form.memory {
            0 if form.pair => {
                if width == 8 {
                    16
                } else {
                    8
                }
            }
            0 if form.registers == Registers::Vector => width.max(4),
            0 => width,
            bytes => bytes,
        };
        let mut segments = segments_of(dice, mode, prefixes.address_bits);
        if let (Mode::Code64, Some(segment @ (ES | SS | DS))) = (mode, prefixes.named) {
            // QEMU adds the base of one that is named.
            segments[[0, 0, 1, 2][segment]] = 0;
        }
        // QEMU writes half of 16 bytes before it finds that it may not write the other.
        let place = Place::new(dice, choice.splits, choice.faults && memory < 16);
        let mut shape = Self {
            form: index,
            mode,
            code: Bytes::new(),
            code_at: code_at(dice),
            segments,
            place,
            target: place.target(dice, memory),
            width,
            memory,
            fixed: [None; 16],
            repeats: prefixes.repeats,
            constant: 0,
        };
        shuffle(dice, &mut prefixes.legacy[..prefixes.count]);
        prefixes.legacy[..prefixes.count].iter().try_for_each(|prefix| shape.code.put((*prefix).into(), 1))?;
        if let Some(rex) = prefixes.rex {
            shape.code.put(rex.into(), 1)?;
        }
        let opcode = form.opcode + u32::from(second) + dice.below(form.opcodes.into()) as u32;
        let length = (4 - opcode.leading_zeros() as usize / 8).max(1);
        opcode.to_be_bytes()[4 - length..].iter().try_for_each(|byte| shape.code.put((*byte).into(), 1))?;
        let constant = match form.constant {
            Constant::None => 0,
            Constant::Byte => 1,
            Constant::Full => width.min(4) as usize,
        };
        shape.constant = dice.value() & if form.short && width == 2 { 15 } else { u64::MAX };
        match form.operands {
            Operands::Offset => {
                let segment = prefixes.segment.unwrap_or(DS);
                let at = shape.offset_in(segment, prefixes.address_bits)?;
                shape.code.put(at, prefixes.address_bits as usize / 8)?;
            }
            Operands::String { source, destination } => {
                shape.point_strings(dice, &prefixes, source, destination)?;
            }
            Operands::Register | Operands::Digit(_) => {
                let field = match form.operands {
                    Operands::Digit(digit) => digit + dice.below(form.digits.into()) as u8,
                    _ => dice.below(8) as u8,
                };
                shape.fix_for_form(dice, form, field | prefixes.rex(2) << 3)?;
                // QEMU forgets the constant of a double shift where it counts from the next instruction on.
                let relative = shape.point(dice, &prefixes, field, constant)?;
                if relative && form.short && constant != 0 {
                    return None;
                }
            }
        }
        shape.code.put(shape.constant, constant)?;
        Some(shape)
    }

    /// Gives registers the values without which the instruction would reach too far.
    fn fix_for_form(&mut self, dice: &mut Dice, form: &Form, register: u8) -> Option<()> {
        if form.stack {
            self.fixed[usize::from(RSP)] = self.offset_of(place::STACK_POINTER, SS, self.mode.bits().max(32));
        }
        if form.short && self.width == 2 {
            self.fixed[usize::from(RCX)] = Some(dice.next() & !0xf0);
        }
        if form.bits {
            // The bit offset moves the operand by whole operands: back to the target.
            let bits = self.width * 8;
            let offset = dice.below(8 * bits).wrapping_sub(4 * bits);
            let moved =
                (offset.cast_signed().div_euclid(bits.cast_signed()) * self.width.cast_signed()).cast_unsigned();
            let at = self.target.wrapping_sub(moved);
            self.target = at;
            let garbage = if self.width == 8 { 0 } else { dice.next() << (bits - 1) << 1 };
            let mask = if self.width == 8 { u64::MAX } else { (1 << bits) - 1 };
            self.fixed[usize::from(register)] = Some(offset & mask | garbage);
        }
        Some(())
    }

    /// Returns the base of a segment register in this mode.
    fn base(&self, segment: usize) -> u64 {
        let index = match segment {
            ES => self.segments[0],
            SS => self.segments[1],
            DS => self.segments[2],
            4 => self.segments[3],
            5 => self.segments[4],
            _ => return 0,
        };
        if self.mode == Mode::Code64 && segment < 4 { 0 } else { SEGMENTS[index].base }
    }

    /// Returns the target's offset in a segment, if addresses of this width reach it.
    fn offset_in(&self, segment: usize, address_bits: u32) -> Option<u64> {
        self.offset_of(self.target, segment, address_bits)
    }

    fn offset_of(&self, target: u64, segment: usize, address_bits: u32) -> Option<u64> {
        let offset = target.wrapping_sub(self.base(segment));
        let offset = if self.mode == Mode::Code64 { offset } else { offset & 0xffff_ffff };
        (offset & !mask(address_bits) == 0).then_some(offset)
    }

    /// Points RSI and RDI at the device or near it, and gives RCX a count.
    fn point_strings(&mut self, dice: &mut Dice, prefixes: &Prefixes, source: bool, destination: bool) -> Option<()> {
        let bits = prefixes.address_bits;
        let garbage = |dice: &mut Dice| dice.next() & !mask(bits);
        let near = self.place.near(dice, self.memory);
        let (from, to) = if dice.once_in(2) { (self.target, near) } else { (near, self.target) };
        if source {
            let from = if destination { from } else { self.target };
            let offset = self.offset_of(from, prefixes.segment.unwrap_or(DS), bits)?;
            self.fixed[usize::from(RSI)] = Some(offset | garbage(dice));
        }
        if destination {
            let to = if source { to } else { self.target };
            let offset = self.offset_of(to, ES, bits)?;
            self.fixed[usize::from(RDI)] = Some(offset | garbage(dice));
        }
        if self.repeats {
            let most = place::REACH / self.width;
            let count = if dice.once_in(4) { dice.below(most) } else { dice.below(5) };
            self.fixed[usize::from(RCX)] = Some(count | garbage(dice));
        }
        Some(())
    }

    /// Adds ModRM, SIB and displacement, which lead to the target. `constant` bytes follow. Returns whether the operand is
    /// relative to the next instruction.
    fn point(&mut self, dice: &mut Dice, prefixes: &Prefixes, field: u8, constant: usize) -> Option<bool> {
        let bits = prefixes.address_bits;
        let (mode, low) = (dice.below(3) as u8, dice.below(8) as u8);
        let mut operand = Operand { parts: [None; 2], displacement: 0, segment: DS };
        let mut sib = None;
        let mut relative = false;
        if bits == 16 {
            operand.parts = match low {
                0 => [Some((RBX, 1)), Some((RSI, 1))],
                1 => [Some((RBX, 1)), Some((RDI, 1))],
                2 => [Some((RBP, 1)), Some((RSI, 1))],
                3 => [Some((RBP, 1)), Some((RDI, 1))],
                4 => [Some((RSI, 1)), None],
                5 => [Some((RDI, 1)), None],
                6 if mode == 0 => [None, None],
                6 => [Some((RBP, 1)), None],
                _ => [Some((RBX, 1)), None],
            };
            operand.displacement = match (mode, low) {
                (0, 6) | (2, _) => 2,
                (mode, _) => mode.into(),
            };
        } else {
            operand.displacement = [0, 1, 4][usize::from(mode)];
            let extended = |low: u8, bit: u8| low | prefixes.rex(bit) << 3;
            if low == 4 {
                let byte = dice.next() as u8;
                sib = Some(byte);
                let (scale, index, base) = (1 << (byte >> 6), extended(byte >> 3 & 7, 1), byte & 7);
                if base == 5 && mode == 0 {
                    operand.displacement = 4;
                } else {
                    operand.parts[0] = Some((extended(base, 0), 1));
                }
                if index != 4 {
                    operand.parts[1] = Some((index, scale));
                }
            } else if low == 5 && mode == 0 {
                operand.displacement = 4;
                relative = self.mode == Mode::Code64;
            } else {
                operand.parts[0] = Some((extended(low, 0), 1));
            }
        }
        let by_stack = operand.parts[0].is_some_and(|(base, _)| matches!(base, RBP | RSP));
        operand.segment = prefixes.segment.unwrap_or(if by_stack { SS } else { DS });
        self.code.put((mode << 6 | field << 3 | low).into(), 1)?;
        if let Some(sib) = sib {
            self.code.put(sib.into(), 1)?;
        }
        let offset = self.offset_in(operand.segment, bits)?;
        let before = if relative { place::CODE_AT + self.code_at + (self.code.used + 4 + constant) as u64 } else { 0 };
        let displacement = self.solve(dice, &operand, offset.wrapping_sub(before) & mask(bits), bits)?;
        self.code.put(displacement, operand.displacement)?;
        Some(relative)
    }

    /// Gives the registers of an operand values whose sum with the displacement is `wanted`, and returns that.
    fn solve(&mut self, dice: &mut Dice, operand: &Operand, wanted: u64, bits: u32) -> Option<u64> {
        let mut parts = operand.parts;
        if let [Some((base, _)), Some((index, scale))] = parts
            && base == index
        {
            parts = [Some((base, scale + 1)), None];
        }
        let mask = mask(bits);
        let mut sum = match operand.displacement {
            0 => 0,
            1 => (dice.next() as i64 >> 56) * 3 / 4,
            2 => dice.next() as i64 >> 48,
            _ if dice.once_in(2) => dice.next() as i64 >> 33,
            _ => dice.next() as i64 >> 52,
        }
        .cast_unsigned();
        let chosen = sum;
        let mut free = None;
        // The index first: the base, whose factor is 1, takes what is left.
        for (register, factor) in parts.into_iter().rev().flatten() {
            match self.fixed[usize::from(register)] {
                Some(value) => sum = sum.wrapping_add(value.wrapping_mul(factor)),
                None => {
                    if let Some((earlier, factor)) = free.replace((register, factor)) {
                        let value = dice.value();
                        self.fixed[usize::from(earlier)] = Some(value);
                        sum = sum.wrapping_add(value.wrapping_mul(factor));
                    }
                }
            }
        }
        let left = wanted.wrapping_sub(sum) & mask;
        let rest = match free {
            None => left,
            Some((register, factor)) => {
                self.fixed[usize::from(register)] = Some((left / factor) | (dice.next() & !mask));
                left % factor
            }
        };
        let displacement = chosen.wrapping_add(rest);
        let shift = 64 - 8 * operand.displacement as u32;
        let extended = match operand.displacement {
            0 => 0,
            _ => ((displacement << shift).cast_signed() >> shift).cast_unsigned(),
        };
        (extended & mask == displacement & mask).then_some(displacement)
    }
}

/// A memory operand.
struct Operand {
    /// Registers, and what they are multiplied by.
    parts: [Option<(u8, u64)>; 2],
    /// The bytes of the displacement.
    displacement: usize,
    segment: usize,
}

/// Returns ones in the lowest `bits` bits.
pub const fn mask(bits: u32) -> u64 {
    if bits == 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// Returns where the code begins: seldom so that it runs from one page into the other.
fn code_at(dice: &mut Dice) -> u64 {
    if dice.once_in(16) { 0x1000 - 1 - dice.below(14) } else { dice.below(0x100) }
}

/// Returns the segments of ES, SS, DS, FS and GS: with addresses of 16 bits, only near ones.
fn segments_of(dice: &mut Dice, mode: Mode, address_bits: u32) -> [usize; 5] {
    let choices = if address_bits == 16 { segments::NEAR } else { segments::ANY };
    [0; 5].map(
        |_: usize| {
            if mode != Mode::Code64 && address_bits != 16 && dice.once_in(2) { 0 } else { dice.pick(choices) }
        },
    )
}

fn prefixes(dice: &mut Dice, form: &Form, mode: Mode, is_byte: bool) -> Prefixes {
    let mut prefixes = Prefixes {
        legacy: [0; 5],
        count: 0,
        rex: None,
        named: None,
        segment: None,
        is_narrow: false,
        repeats: false,
        address_bits: mode.bits(),
        operand_bytes: if mode == Mode::Code16 { 2 } else { 4 },
    };
    let narrow = !form.plain && dice.once_in(if is_byte { 16 } else { 4 });
    if narrow {
        prefixes.add(0x66);
        prefixes.is_narrow = true;
        prefixes.operand_bytes = if mode == Mode::Code16 { 4 } else { 2 };
    }
    if dice.once_in(5) {
        prefixes.add(0x67);
        prefixes.address_bits = if mode == Mode::Code32 { 16 } else { 32 };
    }
    if dice.once_in(4) {
        let segment = dice.below(6) as usize;
        // What lies behind CS is not the target.
        if mode == Mode::Code64 || segment != CS {
            prefixes.add(SEGMENT_PREFIXES[segment]);
            prefixes.named = Some(segment);
            let is_used = mode != Mode::Code64 || segment >= 4;
            prefixes.segment = Some(if is_used { segment } else { DS });
        }
    }
    if form.counts && dice.once_in(2) {
        prefixes.add(if dice.once_in(2) { 0xf2 } else { 0xf3 });
        prefixes.repeats = true;
    } else if let Some(prefix) = form.prefix {
        prefixes.add(prefix);
    } else if !form.plain && !form.counts && (form.opcode < 0x100 || form.lock) && dice.once_in(16) {
        prefixes.add(if dice.once_in(2) { 0xf2 } else { 0xf3 });
    }
    // Elsewhere it is an invalid opcode, which QEMU does not always raise.
    if form.lock && dice.once_in(4) {
        prefixes.add(0xf0);
    }
    if mode == Mode::Code64 && dice.once_in(2) {
        let rex = 0x40 | dice.below(16) as u8;
        prefixes.rex = Some(rex);
        if rex & 8 != 0 {
            prefixes.operand_bytes = 8;
        }
    }
    prefixes
}

fn shuffle(dice: &mut Dice, bytes: &mut [u8]) {
    for last in (1..bytes.len()).rev() {
        bytes.swap(last, dice.below(last as u64 + 1) as usize);
    }
}
