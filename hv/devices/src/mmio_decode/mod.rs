//! Instruction emulation for MMIO: decodes the instruction by which a guest accessed a device's registers, and
//! completes it.
//!
//! The order of events: [`MmioInstruction::decode`] says what to do ([`MmioAccess`]); the device does it; one of
//! `finish_write`, `finish_read`, `modify` writes the result to the guest's registers and steps over the instruction.
//! The address of the access is known from the nested page fault, so addresses are not computed here.
//!
//! A hostile guest may change the instruction in memory between the fault and the fetch: the decoded instruction is
//! then still no more than an access to the same device that the guest could have made.

mod arithmetic;
mod class;
mod kind;
pub(crate) mod operand;
mod parts;

#[cfg(test)]
mod tests;

use iced_x86::{ConditionCode, Decoder, DecoderOptions, Register};
use xenolith_hal::Registers;

use crate::string_io::StringOperand;
use arithmetic::{Operation, apply, double_shift, holds, multiply};
use kind::{access_of, kind_of};
use operand::Source;
pub use parts::{Operand, Outcome};

/// The most bytes of an instruction.
pub const MAX_LENGTH: usize = 15;

const PAGE_BYTES: u64 = 0x1000;
const FLAG_DIRECTION: u64 = 1 << 10;
const FLAG_ZERO: u64 = 1 << 6;

/// Builds the decoder's tables, which takes some heap memory: once, before the first guest runs.
pub fn prepare() {
    let _ = Decoder::new(64, &[0x90], DecoderOptions::NONE).decode();
}

/// The address and operand size of the guest's code segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeSize {
    Bits16,
    Bits32,
    Bits64,
}

impl CodeSize {
    /// Returns the number of bits: 16, 32 or 64.
    pub(crate) const fn bits(self) -> u32 {
        match self {
            Self::Bits16 => 16,
            Self::Bits32 => 32,
            Self::Bits64 => 64,
        }
    }
}

/// Why an instruction could not be completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The bytes are not an instruction, or not a whole one.
    Invalid,
    /// The instruction has no memory operand, or is not one that is emulated.
    Unsupported,
}

/// The access that the device must perform.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MmioAccess {
    /// Read this many bytes (1, 2, 4 or 8), then call [`MmioInstruction::finish_read`].
    Read { bytes: u32 },
    /// Write the value, then call [`MmioInstruction::finish_write`].
    Write { bytes: u32, value: u64 },
    /// Read, call [`MmioInstruction::modify`], and write what that returns.
    Modify { bytes: u32 },
    /// Copy between the device and memory (MOVS), then call [`MmioInstruction::finish_copy`].
    Copy { bytes: u32 },
    /// More than one access or a wider one: see [`MmioInstruction::operands`] and [`MmioInstruction::outcome`].
    Parts,
    /// Nothing: a repeated instruction with a count of 0. Call [`MmioInstruction::finish_write`].
    Nothing,
}

/// What the instruction does with the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Load into a register, zero- or sign-extended as `sign` says.
    Load {
        register: Register,
        sign: bool,
    },
    /// Load into a register if the condition holds (CMOVcc); the device is read all the same.
    LoadIf {
        register: Register,
        condition: ConditionCode,
    },
    /// Load with the order of the bytes turned round (MOVBE).
    LoadSwapped(Register),
    /// Multiply with the accumulator into that and RDX (MUL, IMUL).
    Multiply {
        signed: bool,
    },
    /// Set flags, and store the result in a register unless it is only a comparison.
    Compute {
        operation: Operation,
        register: Option<Register>,
        other: Source,
        swapped: bool,
    },
    /// Store a register or constant in the device.
    Store,
    /// Store 1 if the condition holds, else 0 (SETcc).
    StoreCondition(ConditionCode),
    /// Store a register with the order of its bytes turned round (MOVBE).
    StoreSwapped,
    /// Store the result of the device's value and another one in the device.
    ReadModifyWrite {
        operation: Operation,
        other: Source,
    },
    /// Shift the device's value, filled from a register (SHLD, SHRD).
    ShiftDouble {
        left: bool,
        register: Register,
        count: Source,
    },
    /// Swap register and device (XCHG), or store the sum and load the old value (XADD).
    Exchange {
        register: Register,
        adds: bool,
    },
    /// Store the register if the device holds the same value as the accumulator (CMPXCHG).
    CompareExchange {
        register: Register,
    },
    /// One iteration of a string instruction that reads the device: LODS, or SCAS if it `scans`. `repeats` says whether
    /// SCAS goes on while they are equal.
    ReadString {
        scans: bool,
        repeats: Option<bool>,
        address_bits: u32,
    },
    /// One iteration of STOS or MOVS; `source` is the segment of what MOVS reads.
    String {
        copies: bool,
        repeats: bool,
        address_bits: u32,
        source: Register,
    },
    /// One iteration of CMPS. `repeats` as for SCAS.
    CompareStrings {
        repeats: Option<bool>,
        address_bits: u32,
    },
    Push,
    Pop,
    /// Store RCX and RBX if memory holds what RDX and RAX do (CMPXCHG8B, CMPXCHG16B).
    CompareExchangePair,
    /// Store the selector of a segment.
    StoreSelector(Register),
    /// Move between memory and an XMM register, or a half of it.
    Vector {
        register: u8,
        half: Half,
        to_memory: bool,
    },
}

/// The part of an XMM register that is moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Half {
    /// As much as the memory operand has; a load clears the rest.
    Whole,
    /// A load keeps the other half.
    Lower,
    Upper,
}

/// Where an instruction's memory operand is, which only what is done in parts needs to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    segment: Register,
    offset: u64,
}

impl Place {
    /// None: the start of DS.
    pub const NONE: Self = Self { segment: Register::DS, offset: 0 };
}

/// An instruction that accesses a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmioInstruction {
    length: u8,
    bytes: u32,
    code: CodeSize,
    access: MmioAccess,
    kind: Kind,
}

impl MmioInstruction {
    /// Decodes the instruction at the guest's instruction pointer. `code` holds its bytes, up to [`MAX_LENGTH`],
    /// possibly followed by others. `place` is set if `with_place` asks for it, and for [`MmioAccess::Parts`] and
    /// [`MmioAccess::Modify`].
    ///
    /// **Errors:** [`DecodeError`].
    pub fn decode(
        code: &[u8],
        size: CodeSize,
        registers: &Registers,
        with_place: bool,
        place: &mut Place,
    ) -> Result<Self, DecodeError> {
        let code = if code.len() > MAX_LENGTH { code.get(..MAX_LENGTH).unwrap_or_default() } else { code };
        let mut decoder = Decoder::try_with_ip(size.bits(), code, registers.rip, DecoderOptions::NONE);
        // By reference: it is too large to be moved.
        let Ok(decoder) = &mut decoder else {
            return Err(DecodeError::Invalid);
        };
        let instruction = &decoder.decode();
        if instruction.is_invalid() {
            return Err(DecodeError::Invalid);
        }
        let bytes = u32::try_from(instruction.memory_size().size()).unwrap_or(0);
        if !matches!(bytes, 1 | 2 | 4 | 8 | 16) {
            return Err(DecodeError::Unsupported);
        }
        let kind = kind_of(instruction, bytes)?;
        let access = access_of(instruction, kind, bytes, registers)?;
        if with_place || matches!(access, MmioAccess::Parts | MmioAccess::Modify { .. }) {
            *place = parts::place(instruction, kind, bytes, registers);
        }
        Ok(Self { length: instruction.len() as u8, bytes, code: size, access, kind })
    }

    /// Returns the access that the device must perform.
    #[must_use]
    pub const fn access(&self) -> MmioAccess {
        self.access
    }

    /// Completes [`MmioAccess::Write`] and [`MmioAccess::Nothing`].
    pub fn finish_write(&self, registers: &mut Registers) {
        match self.kind {
            Kind::String { .. } if self.access != MmioAccess::Nothing => self.finish_string(registers),
            _ => self.step(registers),
        }
    }

    /// Completes [`MmioAccess::Copy`].
    pub fn finish_copy(&self, registers: &mut Registers) {
        self.finish_string(registers);
    }

    /// Completes [`MmioAccess::Read`] with the device's value.
    pub fn finish_read(&self, value: u64, registers: &mut Registers) {
        let value = operand::truncate(value, self.bytes);
        let Kind::Load { register, sign } = self.kind else { return self.finish_other_read(value, registers) };
        let value = if sign { operand::sign_extend(value, self.bytes) } else { value };
        operand::write(registers, register, value, self.code);
        self.step(registers);
    }

    /// Completes a read that is no plain load. Kept apart so that those are short.
    #[inline(never)]
    fn finish_other_read(&self, value: u64, registers: &mut Registers) {
        match self.kind {
            Kind::LoadIf { register, condition } => {
                let loads = holds(condition, registers.rflags);
                // A register of 32 bits is written in both cases, so that its upper half is cleared.
                let value = if loads { value } else { operand::read(registers, register) };
                operand::write(registers, register, value, self.code);
            }
            Kind::ReadString { .. } => return self.finish_read_string(value, registers),
            Kind::LoadSwapped(register) => operand::write(registers, register, swapped(value, self.bytes), self.code),
            Kind::Multiply { signed } => self.multiply(signed, value, registers),
            Kind::Compute { operation, register, other, swapped } => {
                let other = operand::value(registers, other);
                let (first, second) = if swapped { (other, value) } else { (value, other) };
                let (result, flags) = apply(operation, first, second, self.bytes, registers.rflags);
                registers.rflags = flags;
                if let Some(register) = register {
                    operand::write(registers, register, result, self.code);
                }
            }
            _ => {}
        }
        self.step(registers);
    }

    /// Completes [`MmioAccess::Modify`] with the device's value; returns the value to write, or None if nothing is to
    /// be written.
    #[must_use]
    pub fn modify(&self, value: u64, registers: &mut Registers) -> Option<u64> {
        let old = operand::truncate(value, self.bytes);
        let new = match self.kind {
            Kind::ReadModifyWrite { operation, other } => {
                let other = operand::value(registers, other);
                let (result, flags) = apply(operation, old, other, self.bytes, registers.rflags);
                registers.rflags = flags;
                Some(result)
            }
            Kind::ShiftDouble { left, register, count } => {
                let (mine, count) = (operand::read(registers, register), operand::value(registers, count));
                let (result, flags) = double_shift(left, old, mine, count, self.bytes, registers.rflags);
                registers.rflags = flags;
                Some(result)
            }
            Kind::Exchange { register, adds } => {
                let mine = operand::read(registers, register);
                let new = if adds {
                    let (sum, flags) = apply(Operation::Add, old, mine, self.bytes, registers.rflags);
                    registers.rflags = flags;
                    sum
                } else {
                    mine
                };
                operand::write(registers, register, old, self.code);
                Some(new)
            }
            Kind::CompareExchange { register } => {
                let expected = operand::truncate(registers.rax, self.bytes);
                let (_, flags) = apply(Operation::Subtract, expected, old, self.bytes, registers.rflags);
                registers.rflags = flags;
                if expected == old {
                    Some(operand::read(registers, register))
                } else {
                    operand::write(registers, operand::accumulator(self.bytes), old, self.code);
                    None
                }
            }
            _ => None,
        };
        self.step(registers);
        new.map(|value| operand::truncate(value, self.bytes))
    }

    /// Multiplies the accumulator by a value: the product goes into AX, or into the accumulator and RDX.
    fn multiply(&self, signed: bool, value: u64, registers: &mut Registers) {
        let mine = operand::truncate(registers.rax, self.bytes);
        let (low, high, flags) = multiply(signed, mine, value, self.bytes, registers.rflags);
        registers.rflags = flags;
        if self.bytes == 1 {
            operand::write(registers, Register::AX, high << 8 | low, self.code);
            return;
        }
        operand::write(registers, operand::accumulator(self.bytes), low, self.code);
        let upper = match self.bytes {
            2 => Register::DX,
            4 => Register::EDX,
            _ => Register::RDX,
        };
        operand::write(registers, upper, high, self.code);
    }

    fn finish_read_string(&self, value: u64, registers: &mut Registers) {
        let Kind::ReadString { scans, repeats, address_bits } = self.kind else { return };
        let length = u64::from(self.bytes);
        let by = if registers.rflags & FLAG_DIRECTION != 0 { length.wrapping_neg() } else { length };
        if scans {
            let mine = operand::truncate(registers.rax, self.bytes);
            (_, registers.rflags) = apply(Operation::Subtract, mine, value, self.bytes, registers.rflags);
            registers.rdi = operand::advance(registers.rdi, by, address_bits);
        } else {
            operand::write(registers, operand::accumulator(self.bytes), value, self.code);
            registers.rsi = operand::advance(registers.rsi, by, address_bits);
        }
        if let Some(while_equal) = repeats {
            registers.rcx = operand::advance(registers.rcx, u64::MAX, address_bits);
            let goes_on = !scans || (registers.rflags & FLAG_ZERO != 0) == while_equal;
            if goes_on && operand::address_part(registers.rcx, address_bits) != 0 {
                return;
            }
        }
        self.step(registers);
    }

    fn finish_string(&self, registers: &mut Registers) {
        self.finish_elements(1, registers);
    }

    /// Returns how many elements of a string instruction (STOS, MOVS) can be done at once, from the one whose device
    /// address is `at` to the end of the device's page: 1 for any other instruction, and for an element that crosses
    /// into the next page.
    #[must_use]
    pub fn elements(&self, at: u64, registers: &Registers) -> u32 {
        let Kind::String { repeats: true, address_bits, .. } = self.kind else { return 1 };
        let (offset, shift) = (at % PAGE_BYTES, self.bytes.trailing_zeros());
        let room = if self.falls(registers) {
            (offset >> shift).saturating_add(1)
        } else {
            PAGE_BYTES.saturating_sub(offset) >> shift
        };
        let crosses = offset.saturating_add(u64::from(self.bytes)) > PAGE_BYTES;
        let room = if crosses { 1 } else { room };
        operand::address_part(registers.rcx, address_bits).min(room).max(1) as u32
    }

    /// Returns true if each element of a string instruction lies below the one before.
    #[must_use]
    pub const fn falls(&self, registers: &Registers) -> bool {
        matches!(self.kind, Kind::String { .. }) && registers.rflags & FLAG_DIRECTION != 0
    }

    /// Returns one side of MOVS as memory, the source or the destination; None for any other instruction.
    #[must_use]
    pub const fn memory_operand(&self, is_source: bool) -> Option<StringOperand> {
        let Kind::String { copies: true, address_bits, source, .. } = self.kind else { return None };
        let segment = if is_source { source } else { Register::ES };
        Some(StringOperand { code: self.code, bytes: self.bytes, is_source, address_bits, segment })
    }

    /// Completes `count` elements of a string instruction.
    #[expect(clippy::arithmetic_side_effects, reason = "32 bits by 4 in 64")]
    pub fn finish_elements(&self, count: u32, registers: &mut Registers) {
        let Kind::String { copies, repeats, address_bits, .. } = self.kind else { return self.step(registers) };
        let length = u64::from(count) * u64::from(self.bytes);
        let by = if self.falls(registers) { length.wrapping_neg() } else { length };
        registers.rdi = operand::advance(registers.rdi, by, address_bits);
        if copies {
            registers.rsi = operand::advance(registers.rsi, by, address_bits);
        }
        if repeats {
            registers.rcx = operand::advance(registers.rcx, u64::from(count).wrapping_neg(), address_bits);
            // With turns left the guest comes to the same instruction again.
            if operand::address_part(registers.rcx, address_bits) != 0 {
                return;
            }
        }
        self.step(registers);
    }

    fn step(&self, registers: &mut Registers) {
        let next = registers.rip.wrapping_add(self.length.into());
        registers.rip = match self.code {
            CodeSize::Bits64 => next,
            CodeSize::Bits32 => next & u64::from(u32::MAX),
            CodeSize::Bits16 => next & 0xffff,
        };
    }
}

/// Returns a value of that many bytes with their order turned round.
const fn swapped(value: u64, bytes: u32) -> u64 {
    value.swap_bytes() >> (8u32.saturating_sub(bytes) << 3)
}
