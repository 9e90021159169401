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
pub(crate) mod operand;

#[cfg(test)]
mod tests;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use xenolith_hal::Registers;

use crate::string_io::StringOperand;
use arithmetic::{Operation, apply};
use operand::Source;

/// The most bytes of an instruction.
pub const MAX_LENGTH: usize = 15;

const PAGE_BYTES: u64 = 0x1000;
const FLAG_DIRECTION: u64 = 1 << 10;

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
    /// Copy between the device and memory (MOVS): the guest virtual addresses are `from` and `to`, and one of them is
    /// the device. Then call [`MmioInstruction::finish_copy`].
    Copy { bytes: u32, from: u64, to: u64 },
    /// Nothing: a repeated instruction with a count of 0. Call [`MmioInstruction::finish_write`].
    Nothing,
}

/// What the instruction does with the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Load into a register, zero- or sign-extended as `sign` says.
    Load { register: Register, sign: bool },
    /// Set flags, and store the result in a register unless it is only a comparison.
    Compute { operation: Operation, register: Option<Register>, other: Source, swapped: bool },
    /// Store a register or constant in the device.
    Store,
    /// Store the result of the device's value and another one in the device.
    ReadModifyWrite { operation: Operation, other: Source },
    /// Swap register and device (XCHG), or store the sum and load the old value (XADD).
    Exchange { register: Register, adds: bool },
    /// Store the register if the device holds the same value as the accumulator (CMPXCHG).
    CompareExchange { register: Register },
    /// One iteration of a string instruction; `source` is the segment of what MOVS reads.
    String { copies: bool, repeats: bool, address_bits: u32, source: Register },
}

/// An instruction that accesses a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmioInstruction {
    length: u64,
    bytes: u32,
    code: CodeSize,
    access: MmioAccess,
    kind: Kind,
}

impl MmioInstruction {
    /// Decodes the instruction at the guest's instruction pointer. `code` holds its bytes, up to [`MAX_LENGTH`],
    /// possibly followed by others.
    ///
    /// **Errors:** [`DecodeError`].
    pub fn decode(code: &[u8], size: CodeSize, registers: &Registers) -> Result<Self, DecodeError> {
        let code = code.get(..code.len().min(MAX_LENGTH)).unwrap_or_default();
        let mut decoder = Decoder::try_new(size.bits(), code, DecoderOptions::NONE);
        // By reference: it is too large to be moved.
        let Ok(decoder) = &mut decoder else {
            return Err(DecodeError::Invalid);
        };
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return Err(DecodeError::Invalid);
        }
        let bytes = u32::try_from(instruction.memory_size().size()).unwrap_or(0);
        if !matches!(bytes, 1 | 2 | 4 | 8) {
            return Err(DecodeError::Unsupported);
        }
        let kind = kind_of(&instruction, bytes)?;
        let access = access_of(&instruction, kind, bytes, registers)?;
        Ok(Self { length: instruction.len() as u64, bytes, code: size, access, kind })
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
        match self.kind {
            Kind::Load { register, sign } => {
                let value = if sign { operand::sign_extend(value, self.bytes) } else { value };
                operand::write(registers, register, value, self.code);
            }
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
        let next = registers.rip.wrapping_add(self.length);
        registers.rip = match self.code {
            CodeSize::Bits64 => next,
            CodeSize::Bits32 => next & u64::from(u32::MAX),
            CodeSize::Bits16 => next & 0xffff,
        };
    }
}

/// Determines what the instruction does with its memory operand.
fn kind_of(instruction: &Instruction, bytes: u32) -> Result<Kind, DecodeError> {
    use Mnemonic as M;
    let to_memory = instruction.op0_kind() == OpKind::Memory;
    let kind = match instruction.mnemonic() {
        M::Stosb | M::Stosw | M::Stosd | M::Stosq => string(instruction, false),
        // MOVSD is also the name of an instruction of floating point.
        M::Movsb | M::Movsw | M::Movsd | M::Movsq if instruction.is_string_instruction() => string(instruction, true),
        M::Mov | M::Movnti if to_memory => Kind::Store,
        M::Mov | M::Movzx => Kind::Load { register: general(instruction, 0)?, sign: false },
        M::Movsx | M::Movsxd => Kind::Load { register: general(instruction, 0)?, sign: true },
        M::Xchg => Kind::Exchange { register: general(instruction, u32::from(to_memory))?, adds: false },
        M::Xadd if to_memory => Kind::Exchange { register: general(instruction, 1)?, adds: true },
        M::Cmpxchg if to_memory => Kind::CompareExchange { register: general(instruction, 1)? },
        mnemonic => return computation(instruction, mnemonic, to_memory, bytes),
    };
    Ok(kind)
}

fn computation(
    instruction: &Instruction,
    mnemonic: Mnemonic,
    to_memory: bool,
    bytes: u32,
) -> Result<Kind, DecodeError> {
    use Mnemonic as M;
    let (operation, keeps) = match mnemonic {
        M::And => (Operation::And, true),
        M::Or => (Operation::Or, true),
        M::Xor => (Operation::Xor, true),
        M::Add => (Operation::Add, true),
        M::Sub => (Operation::Subtract, true),
        M::Inc => (Operation::Increment, true),
        M::Dec => (Operation::Decrement, true),
        M::Not => (Operation::Not, true),
        M::Neg => (Operation::Negate, true),
        M::Bts => (Operation::BitSet, true),
        M::Btr => (Operation::BitReset, true),
        M::Btc => (Operation::BitComplement, true),
        M::Bt => (Operation::BitTest, false),
        M::Cmp => (Operation::Subtract, false),
        M::Test => (Operation::And, false),
        _ => return Err(DecodeError::Unsupported),
    };
    if !to_memory {
        let register = general(instruction, 0)?;
        if instruction.op1_kind() != OpKind::Memory {
            return Err(DecodeError::Unsupported);
        }
        let other = Source::Register(register);
        return Ok(Kind::Compute { operation, register: keeps.then_some(register), other, swapped: true });
    }
    let other = match operation {
        Operation::Increment | Operation::Decrement | Operation::Not | Operation::Negate => Source::Constant(0),
        _ => operand::source(instruction, 1, bytes)?,
    };
    Ok(if keeps {
        Kind::ReadModifyWrite { operation, other }
    } else {
        Kind::Compute { operation, register: None, other, swapped: false }
    })
}

fn string(instruction: &Instruction, copies: bool) -> Kind {
    let address_bits = match instruction.op0_kind() {
        OpKind::MemoryESDI => 16,
        OpKind::MemoryESEDI => 32,
        _ => 64,
    };
    let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    let source = if copies { instruction.memory_segment() } else { Register::None };
    Kind::String { copies, repeats, address_bits, source }
}

/// Returns operand `index` as a general register; segment and control registers are not supported together with
/// devices.
fn general(instruction: &Instruction, index: u32) -> Result<Register, DecodeError> {
    if instruction.op_kind(index) != OpKind::Register {
        return Err(DecodeError::Unsupported);
    }
    let register = instruction.op_register(index);
    if register.is_gpr() { Ok(register) } else { Err(DecodeError::Unsupported) }
}

fn access_of(
    instruction: &Instruction,
    kind: Kind,
    bytes: u32,
    registers: &Registers,
) -> Result<MmioAccess, DecodeError> {
    Ok(match kind {
        Kind::Load { .. } if instruction.op1_kind() == OpKind::Memory => MmioAccess::Read { bytes },
        Kind::Load { .. } => return Err(DecodeError::Unsupported),
        Kind::Compute { .. } => MmioAccess::Read { bytes },
        Kind::Store => {
            let value = operand::value(registers, operand::source(instruction, 1, bytes)?);
            MmioAccess::Write { bytes, value: operand::truncate(value, bytes) }
        }
        Kind::ReadModifyWrite { .. } | Kind::Exchange { .. } | Kind::CompareExchange { .. } => {
            MmioAccess::Modify { bytes }
        }
        Kind::String { repeats: true, address_bits, .. } if operand::address_part(registers.rcx, address_bits) == 0 => {
            MmioAccess::Nothing
        }
        Kind::String { copies: false, .. } => {
            MmioAccess::Write { bytes, value: operand::truncate(registers.rax, bytes) }
        }
        Kind::String { address_bits, .. } => MmioAccess::Copy {
            bytes,
            from: operand::address_part(registers.rsi, address_bits),
            to: operand::address_part(registers.rdi, address_bits),
        },
    })
}
