//! What a decoded instruction does with its memory operand.

use iced_x86::{ConditionCode, Instruction, OpKind, Register};
use xenolith_hal::Registers;

use super::arithmetic::{Operation, holds};
use super::class::{self, Class};
use super::operand::{self, Source};
use super::{DecodeError, Half, Kind, MmioAccess, swapped};

/// Determines what the instruction does with its memory operand.
pub(super) fn kind_of(instruction: &Instruction, bytes: u32) -> Result<Kind, DecodeError> {
    let to_memory = instruction.op0_kind() == OpKind::Memory;
    match class::of(instruction.code()) {
        Some(Class::Move) if to_memory => Ok(Kind::Store),
        Some(Class::Move | Class::MoveZeroExtended) => {
            Ok(Kind::Load { register: general(instruction, 0)?, sign: false })
        }
        class => other_kind(instruction, class, to_memory, bytes),
    }
}

/// The same for all but plain moves. Kept apart so that those are short.
#[inline(never)]
fn other_kind(
    instruction: &Instruction,
    class: Option<Class>,
    to_memory: bool,
    bytes: u32,
) -> Result<Kind, DecodeError> {
    let Some(class) = class else {
        return match instruction.condition_code() {
            ConditionCode::None => Err(DecodeError::Unsupported),
            condition if to_memory => Ok(Kind::StoreCondition(condition)),
            condition => Ok(Kind::LoadIf { register: general(instruction, 0)?, condition }),
        };
    };
    Ok(match class {
        Class::StoreString => string(instruction, false),
        Class::MoveString => string(instruction, true),
        Class::LoadString => read_string(instruction, false),
        Class::ScanString => read_string(instruction, true),
        Class::MoveSignExtended => Kind::Load { register: general(instruction, 0)?, sign: true },
        Class::CompareStrings => compare_strings(instruction),
        Class::MoveSwapped if to_memory => Kind::StoreSwapped,
        Class::MoveSwapped => Kind::LoadSwapped(general(instruction, 0)?),
        Class::Push => Kind::Push,
        Class::Pop => Kind::Pop,
        Class::ShiftDouble { left } => {
            let count = operand::source(instruction, 2, 1)?;
            Kind::ShiftDouble { left, register: general(instruction, 1)?, count }
        }
        Class::Multiply { signed } => Kind::Multiply { signed },
        Class::CompareExchangePair => Kind::CompareExchangePair,
        Class::StoreSelector => Kind::StoreSelector(instruction.op_register(1)),
        Class::MoveVector => vector(instruction, Half::Whole, to_memory)?,
        Class::MoveHalf { upper: false } => vector(instruction, Half::Lower, to_memory)?,
        Class::MoveHalf { upper: true } => vector(instruction, Half::Upper, to_memory)?,
        Class::Exchange => Kind::Exchange { register: general(instruction, u32::from(to_memory))?, adds: false },
        Class::ExchangeAdd if to_memory => Kind::Exchange { register: general(instruction, 1)?, adds: true },
        Class::CompareExchange if to_memory => Kind::CompareExchange { register: general(instruction, 1)? },
        Class::Compute(operation) => return computation(instruction, operation, true, to_memory, bytes),
        Class::Compare(operation) => return computation(instruction, operation, false, to_memory, bytes),
        Class::Move | Class::MoveZeroExtended | Class::ExchangeAdd | Class::CompareExchange => {
            return Err(DecodeError::Unsupported);
        }
    })
}

fn vector(instruction: &Instruction, half: Half, to_memory: bool) -> Result<Kind, DecodeError> {
    let register = instruction.op_register(u32::from(to_memory));
    let register = u8::try_from(register.number()).map_err(|_| DecodeError::Unsupported)?;
    Ok(Kind::Vector { register, half, to_memory })
}

/// Returns how a string instruction with flags repeats: while they are equal, or while they are not.
fn repetition(instruction: &Instruction) -> Option<bool> {
    if instruction.has_repne_prefix() { Some(false) } else { instruction.has_rep_prefix().then_some(true) }
}

fn compare_strings(instruction: &Instruction) -> Kind {
    let address_bits = match instruction.op0_kind() {
        OpKind::MemorySegSI => 16,
        OpKind::MemorySegESI => 32,
        _ => 64,
    };
    Kind::CompareStrings { repeats: repetition(instruction), address_bits }
}

fn read_string(instruction: &Instruction, scans: bool) -> Kind {
    let address_bits = match instruction.op1_kind() {
        OpKind::MemoryESDI | OpKind::MemorySegSI => 16,
        OpKind::MemoryESEDI | OpKind::MemorySegESI => 32,
        _ => 64,
    };
    Kind::ReadString { scans, repeats: repetition(instruction), address_bits }
}

fn computation(
    instruction: &Instruction,
    operation: Operation,
    keeps: bool,
    to_memory: bool,
    bytes: u32,
) -> Result<Kind, DecodeError> {
    if !to_memory {
        let register = general(instruction, 0)?;
        if instruction.op1_kind() != OpKind::Memory {
            return Err(DecodeError::Unsupported);
        }
        // IMUL with a constant multiplies by that.
        let other = if instruction.op2_kind() == OpKind::Register {
            Source::Register(register)
        } else {
            operand::source(instruction, 2, bytes)?
        };
        return Ok(Kind::Compute { operation, register: keeps.then_some(register), other, swapped: true });
    }
    let other = match operation {
        Operation::Increment | Operation::Decrement | Operation::Not | Operation::Negate => Source::Constant(0),
        _ if bytes > 8 => return Err(DecodeError::Unsupported),
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

pub(super) fn access_of(
    instruction: &Instruction,
    kind: Kind,
    bytes: u32,
    registers: &Registers,
) -> Result<MmioAccess, DecodeError> {
    Ok(match kind {
        Kind::Load { .. } | Kind::LoadIf { .. } if instruction.op1_kind() == OpKind::Memory => {
            MmioAccess::Read { bytes }
        }
        Kind::Load { .. } | Kind::LoadIf { .. } => return Err(DecodeError::Unsupported),
        Kind::StoreCondition(condition) => {
            MmioAccess::Write { bytes, value: u64::from(holds(condition, registers.rflags)) }
        }
        Kind::Compute { .. } | Kind::Multiply { .. } | Kind::LoadSwapped(_) => MmioAccess::Read { bytes },
        Kind::StoreSwapped => {
            let value = operand::value(registers, operand::source(instruction, 1, bytes)?);
            MmioAccess::Write { bytes, value: swapped(value, bytes) }
        }
        Kind::Store => {
            let value = operand::value(registers, operand::source(instruction, 1, bytes)?);
            MmioAccess::Write { bytes, value: operand::truncate(value, bytes) }
        }
        Kind::ReadModifyWrite { .. }
        | Kind::ShiftDouble { .. }
        | Kind::Exchange { .. }
        | Kind::CompareExchange { .. } => MmioAccess::Modify { bytes },
        Kind::String { repeats: true, address_bits, .. }
        | Kind::ReadString { repeats: Some(_), address_bits, .. }
        | Kind::CompareStrings { repeats: Some(_), address_bits }
            if operand::address_part(registers.rcx, address_bits) == 0 =>
        {
            MmioAccess::Nothing
        }
        Kind::ReadString { .. } => MmioAccess::Read { bytes },
        Kind::CompareStrings { .. }
        | Kind::Push
        | Kind::Pop
        | Kind::CompareExchangePair
        | Kind::StoreSelector(_)
        | Kind::Vector { .. } => MmioAccess::Parts,
        Kind::String { copies: false, .. } => {
            MmioAccess::Write { bytes, value: operand::truncate(registers.rax, bytes) }
        }
        Kind::String { .. } => MmioAccess::Copy { bytes },
    })
}
