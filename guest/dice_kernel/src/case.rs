//! One case: the same instruction with the same registers on RAM and on a device, and what differs afterwards.

use core::fmt::Write;

use xenolith_guest_kit::console::Line;

use crate::dice::Dice;
use crate::forms::{Count, Duty, FORMS, Operands, Registers, Undefined, flag};
use crate::place::{CODE_AT, Kind, Place, STACK_WORDS, WORDS, fill_stack, put_code, read_stack};
use crate::run::{self, Input, Output};
use crate::segments::{of_code, selector};
use crate::shape::{Mode, RCX, RDX, Shape};

const INVALID_OPCODE: u64 = 6;
const PAGE_FAULT: u64 = 14;
/// In a page fault's code: it was a write.
const WRITES: u64 = 2;
const PAGE: u64 = 4096;
/// Flags that are always set, and that only debuggers look at.
const FIXED_FLAG: u64 = 2;
const RESUME_FLAG: u64 = 1 << 16;

const NAMES: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// A case with its inputs.
pub struct Case<'a> {
    shape: &'a Shape,
    input: Input,
    words: [u64; WORDS],
    /// The device comes first: in turn, so that the window need not be changed twice for each case.
    device_first: bool,
}

/// What one run left behind.
struct Outcome {
    output: Output,
    words: [u64; WORDS],
    stack: [u64; STACK_WORDS],
    /// A difference of the registers of vectors.
    vectors: Option<(usize, u64, u64)>,
}

/// How a case went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Same,
    /// The emulator does not know the form, and need not.
    Refused,
    Differs,
}

impl<'a> Case<'a> {
    /// Makes the inputs.
    pub fn new(dice: &mut Dice, shape: &'a Shape, device_first: bool) -> Self {
        let words = words(dice);
        let mut registers = shape.fixed.map(|fixed| fixed.unwrap_or_else(|| dice.value()));
        if shape.fixed[0].is_none() && dice.once_in(4) {
            registers[0] = in_memory(&shape.place, &words, shape.target);
            if FORMS[shape.form].pair && shape.fixed[usize::from(RDX)].is_none() {
                registers[usize::from(RDX)] = if shape.width == 8 {
                    in_memory(&shape.place, &words, shape.target + 8)
                } else {
                    registers[0] >> 32
                };
            }
        }
        let (cs, base) = of_code(shape.mode, shape.place.user);
        let [es, ss, ds, fs, gs] = shape.segments.map(|segment| selector(segment, shape.place.user));
        let flags = dice.next() & (flag::ARITHMETIC | flag::DIRECTION) | FIXED_FLAG;
        let rip = CODE_AT + shape.code_at - base;
        let has_vectors = FORMS[shape.form].registers == Registers::Vector;
        let (vectors, vectors_to) = if has_vectors { run::fill_vectors(|| dice.next()) } else { (0, 0) };
        Self {
            shape,
            input: Input { registers, flags, rip, cs, es, ss, ds, fs, gs, vectors, vectors_to },
            words,
            device_first,
        }
    }

    /// Runs it on both, and compares. The code lies in its pages already. A difference is written to `line`.
    pub fn run(&self, line: &mut Line) -> Verdict {
        let has_vectors = self.input.vectors_to != 0;
        let first = self.on(if self.device_first { Kind::Device } else { Kind::Ram });
        if has_vectors {
            run::keep_vectors();
        }
        let second = self.on(if self.device_first { Kind::Ram } else { Kind::Device });
        let vectors = if has_vectors { run::differing_vectors() } else { None };
        let (wanted, got, vectors) = if self.device_first {
            (second, first, vectors.map(|(word, got, wanted)| (word, wanted, got)))
        } else {
            (first, second, vectors)
        };
        let got = Outcome { vectors, ..got };
        if self.is_same(&wanted, &got) {
            return Verdict::Same;
        }
        // What the two hold must be the same where the next case does not fill them.
        [Kind::Ram, Kind::Device].iter().for_each(|kind| self.shape.place.fill(*kind, &self.words));
        let is_refused = (got.output.vector, got.output.rip) == (INVALID_OPCODE, self.input.rip);
        if is_refused && FORMS[self.shape.form].duty == Duty::May {
            return Verdict::Refused;
        }
        // A line that is too long is cut.
        let _ = self.describe(line, &wanted, &got);
        Verdict::Differs
    }

    fn on(&self, kind: Kind) -> Outcome {
        let place = &self.shape.place;
        place.fill(kind, &self.words);
        place.show(kind);
        let has_stack = FORMS[self.shape.form].stack;
        if has_stack {
            fill_stack();
        }
        let output = run::run(&self.input);
        let mut words = [0; WORDS];
        place.read(kind, &mut words);
        Outcome { output, words, stack: if has_stack { read_stack() } else { [0; STACK_WORDS] }, vectors: None }
    }

    /// Returns the flags that are compared after this vector.
    fn defined(&self, vector: u64) -> u64 {
        let bits = self.shape.width * 8;
        let count = |count| {
            let count = match count {
                Count::One => 1,
                Count::Cl => self.input.registers[usize::from(RCX)],
                Count::Constant => self.shape.constant,
            };
            count & if bits == 64 { 63 } else { 31 }
        };
        let undefined = match FORMS[self.shape.form].undefined {
            Undefined::These(flags) => flags,
            Undefined::Shift(place) => match count(place) {
                0 => 0,
                1 => flag::ADJUST,
                count if count < bits => flag::ADJUST | flag::OVERFLOW,
                _ => flag::ADJUST | flag::OVERFLOW | flag::CARRY,
            },
            // QEMU changes the flags before it finds that it may not write.
            Undefined::Rotate(_) if vector == PAGE_FAULT => flag::CARRY | flag::OVERFLOW,
            Undefined::Rotate(place) => {
                if count(place) < 2 {
                    0
                } else {
                    flag::OVERFLOW
                }
            }
        };
        !(undefined | RESUME_FLAG)
    }

    /// Returns the bits of registers that are compared: code of 32 bits leaves the upper halves undefined.
    fn kept(&self) -> u64 {
        if self.shape.mode == Mode::Code64 { u64::MAX } else { 0xffff_ffff }
    }

    fn is_same(&self, wanted: &Outcome, got: &Outcome) -> bool {
        let (first, second) = (&wanted.output, &got.output);
        let (flags, kept) = (self.defined(first.vector), self.kept());
        let registers =
            first.registers.iter().zip(&second.registers).all(|(first, second)| (first ^ second) & kept == 0);
        // QEMU reads all of an operand before it looks whether it may write it: what faults in its second page is a read there,
        // where a processor says that it writes.
        let reads_first = first.vector == PAGE_FAULT
            && first.address % PAGE == 0
            && matches!(FORMS[self.shape.form].operands, Operands::Register | Operands::Digit(_));
        let ignored = if reads_first && first.code & WRITES == 0 { WRITES } else { 0 };
        let rest = |output: &Output| {
            let Output { vector, code, rip, cs, ss, flags: _, address, registers: _ } = *output;
            [vector, code & !ignored, rip, cs, ss, address]
        };
        registers
            && (first.flags ^ second.flags) & flags == 0
            && rest(first) == rest(second)
            && wanted.words == got.words
            && wanted.stack == got.stack
            && got.vectors.is_none()
    }

    fn describe(&self, line: &mut Line, wanted: &Outcome, got: &Outcome) -> core::fmt::Result {
        let Self { shape, input, words, device_first: _ } = self;
        write!(line, "{} bits={} bytes=", FORMS[shape.form].name, shape.mode.bits())?;
        shape.code.all().iter().try_for_each(|byte| write!(line, "{byte:02x}"))?;
        write!(line, " at={:#x}{}", shape.target, if shape.place.swapped { " swapped" } else { "" })?;
        if shape.place.user {
            line.write_str(" cpl=3")?;
        }
        if let Some((slot, rights)) = shape.place.other {
            write!(line, " page{slot}={rights:x}")?;
        }
        write!(line, " memory={:x} flags={:x}", in_memory(&shape.place, words, shape.target), input.flags)?;
        let pairs = [
            ("vector", wanted.output.vector, got.output.vector),
            ("code", wanted.output.code, got.output.code),
            ("cr2", wanted.output.address, got.output.address),
            ("rip", wanted.output.rip - input.rip, got.output.rip.wrapping_sub(input.rip)),
            ("cs", wanted.output.cs, got.output.cs),
            ("ss", wanted.output.ss, got.output.ss),
            (
                "flags",
                wanted.output.flags & self.defined(wanted.output.vector),
                got.output.flags & self.defined(wanted.output.vector),
            ),
        ];
        for (name, wanted, got) in pairs.into_iter().filter(|(_, wanted, got)| wanted != got) {
            write!(line, " | {name}: {wanted:x}, got {got:x}")?;
        }
        let kept = self.kept();
        for (index, name) in NAMES.iter().enumerate() {
            let (before, wanted, got) =
                (input.registers[index], wanted.output.registers[index], got.output.registers[index]);
            if (wanted ^ got) & kept != 0 {
                write!(line, " | {name} {before:x}: {wanted:x}, got {got:x}")?;
            }
        }
        for (index, (wanted, got)) in wanted.words.iter().zip(&got.words).enumerate() {
            if wanted != got {
                let at = shape.place.center + index as u64 * 8 - WORDS as u64 * 4;
                write!(line, " | [{at:x}] {:x}: {wanted:x}, got {got:x}", words[index])?;
            }
        }
        for (index, (wanted, got)) in
            wanted.stack.iter().zip(&got.stack).enumerate().filter(|(_, (wanted, got))| wanted != got)
        {
            write!(line, " | stack {index}: {wanted:x}, got {got:x}")?;
        }
        if let Some((word, wanted, got)) = got.vectors {
            write!(line, " | vectors {word}: {wanted:x}, got {got:x}")?;
        }
        line.write_str(" | in:")?;
        let named = (0..16).filter(|index| *index < 4 || shape.fixed[*index].is_some());
        named.into_iter().try_for_each(|index| write!(line, " {}={:x}", NAMES[index], input.registers[index]))
    }

    /// Puts the instruction in its place.
    pub fn put_code(&self) {
        put_code(self.shape.code_at, self.shape.code.all());
    }
}

/// Returns what memory holds at first: random bytes, or one byte everywhere, so that strings are found equal.
fn words(dice: &mut Dice) -> [u64; WORDS] {
    let (first, step) = (dice.next(), dice.next());
    let mut words = [0; WORDS];
    if dice.once_in(4) {
        let byte = dice.pick(&[0, 0xff, 0x80, 0x7f, first as u8]);
        words.fill(u64::from_le_bytes([byte; 8]));
        return words;
    }
    let mut next = first;
    for word in &mut words {
        next = next.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(step);
        *word = next ^ next >> 29;
    }
    words
}

/// Returns the eight bytes from an address on.
fn in_memory(place: &Place, words: &[u64; WORDS], at: u64) -> u64 {
    (0..8).fold(0, |value, offset| value | u64::from(place.byte(words, at + offset)) << (8 * offset))
}
