//! Operands: registers by name, constants, and their widths.

use iced_x86::{Instruction, OpKind, Register};
use xenolith_hal::Registers;

use super::{CodeSize, DecodeError};

/// The source of the operand that is not the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    Register(Register),
    Constant(u64),
}

/// Returns ones in the lowest `bytes` bytes.
#[expect(clippy::arithmetic_side_effects, reason = "one bit, shifted by less than 64")]
const fn mask(bytes: u32) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (bytes * 8)) - 1 }
}

pub(super) const fn truncate(value: u64, bytes: u32) -> u64 {
    value & mask(bytes)
}

pub(super) const fn sign_extend(value: u64, bytes: u32) -> u64 {
    let unused = 8u32.saturating_sub(bytes) << 3;
    ((value << unused).cast_signed() >> unused).cast_unsigned()
}

/// Returns operand `index`, if it is a general register or a constant. Constants are sign-extended to the width of the
/// operation.
#[inline]
pub(super) fn source(instruction: &Instruction, index: u32, bytes: u32) -> Result<Source, DecodeError> {
    match instruction.op_kind(index) {
        OpKind::Register => {
            let register = instruction.op_register(index);
            if register.is_gpr() { Ok(Source::Register(register)) } else { Err(DecodeError::Unsupported) }
        }
        _ => match instruction.try_immediate(index) {
            Ok(constant) => Ok(Source::Constant(truncate(constant, bytes))),
            Err(_) => Err(DecodeError::Unsupported),
        },
    }
}

pub(super) fn value(registers: &Registers, source: Source) -> u64 {
    match source {
        Source::Register(register) => read(registers, register),
        Source::Constant(constant) => constant,
    }
}

/// Returns the accumulator of this width.
pub(super) const fn accumulator(bytes: u32) -> Register {
    match bytes {
        1 => Register::AL,
        2 => Register::AX,
        4 => Register::EAX,
        _ => Register::RAX,
    }
}

/// Returns true for AH, CH, DH and BH, which are the second byte of their registers.
const fn is_second_byte(register: Register) -> bool {
    matches!(register, Register::AH | Register::CH | Register::DH | Register::BH)
}

fn slot(registers: &mut Registers, register: Register) -> Option<&mut u64> {
    Some(match register.full_register() {
        Register::RAX => &mut registers.rax,
        Register::RBX => &mut registers.rbx,
        Register::RCX => &mut registers.rcx,
        Register::RDX => &mut registers.rdx,
        Register::RSI => &mut registers.rsi,
        Register::RDI => &mut registers.rdi,
        Register::RBP => &mut registers.rbp,
        Register::RSP => &mut registers.rsp,
        Register::R8 => &mut registers.r8,
        Register::R9 => &mut registers.r9,
        Register::R10 => &mut registers.r10,
        Register::R11 => &mut registers.r11,
        Register::R12 => &mut registers.r12,
        Register::R13 => &mut registers.r13,
        Register::R14 => &mut registers.r14,
        Register::R15 => &mut registers.r15,
        _ => return None,
    })
}

#[inline]
pub(super) fn read(registers: &Registers, register: Register) -> u64 {
    let whole = match register.full_register() {
        Register::RAX => registers.rax,
        Register::RBX => registers.rbx,
        Register::RCX => registers.rcx,
        Register::RDX => registers.rdx,
        Register::RSI => registers.rsi,
        Register::RDI => registers.rdi,
        Register::RBP => registers.rbp,
        Register::RSP => registers.rsp,
        Register::R8 => registers.r8,
        Register::R9 => registers.r9,
        Register::R10 => registers.r10,
        Register::R11 => registers.r11,
        Register::R12 => registers.r12,
        Register::R13 => registers.r13,
        Register::R14 => registers.r14,
        Register::R15 => registers.r15,
        _ => 0,
    };
    let whole = if is_second_byte(register) { whole >> 8 } else { whole };
    truncate(whole, register.size() as u32)
}

/// Writes a register. A 32-bit write clears the upper half in 64-bit code; narrower ones leave the rest unchanged.
#[inline]
pub(super) fn write(registers: &mut Registers, register: Register, value: u64, code: CodeSize) {
    let bytes = register.size() as u32;
    let shift = if is_second_byte(register) { 8 } else { 0 };
    let Some(slot) = slot(registers, register) else { return };
    *slot = if bytes == 4 && code == CodeSize::Bits64 {
        truncate(value, 4)
    } else {
        *slot & !(mask(bytes) << shift) | truncate(value, bytes) << shift
    };
}

/// Returns the part of a register that is used as an address of this width.
pub(crate) const fn address_part(value: u64, bits: u32) -> u64 {
    truncate(value, bits / 8)
}

/// Adds to the part of a register that is used as an address. A 32-bit one clears the upper half.
pub(crate) const fn advance(value: u64, by: u64, bits: u32) -> u64 {
    let sum = address_part(value.wrapping_add(by), bits);
    if bits == 16 { value & !0xffff | sum } else { sum }
}
