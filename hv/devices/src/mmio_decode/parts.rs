//! Instructions that are done in parts: they have two memory operands, or a wider one than a device answers at once, or one
//! across the end of a page, so that its halves are different devices, or a device and memory.
//!
//! The order of events: [`MmioInstruction::operands`] names the operands; the caller reads what is to be read, each in as
//! many accesses as it takes; [`MmioInstruction::outcome`] says what is written, and what the registers are then.

use iced_x86::{Instruction, OpKind, Register};
use xenolith_hal::{CpuState, Exception, Registers, SegmentAttributes, SegmentName};

use super::arithmetic::{Operation, apply};
use super::operand::{self, Source};
use super::{CodeSize, FLAG_DIRECTION, FLAG_ZERO, Half, Kind, MmioAccess, MmioInstruction, Place};
use crate::string_io::StringOperand;

/// A memory operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operand {
    memory: StringOperand,
    offset: u64,
    pub reads: bool,
    pub writes: bool,
}

impl Operand {
    /// Returns how many bytes it has: 1, 2, 4, 8 or 16.
    #[must_use]
    pub const fn bytes(&self) -> u32 {
        self.memory.bytes
    }

    /// Returns the linear address of its first byte.
    ///
    /// **Errors:** the exception for an operand that its segment does not allow.
    pub fn linear(&self, state: &CpuState) -> Result<u64, Exception> {
        self.memory.linear(self.offset, state).ok_or_else(|| self.memory.refusal())
    }

    /// Returns the linear address of byte number `byte`, if the first one is at `linear`.
    #[must_use]
    pub fn at(&self, linear: u64, byte: u32) -> u64 {
        let at = linear.wrapping_add(byte.into());
        if self.memory.code == CodeSize::Bits64 { at } else { at & u64::from(u32::MAX) }
    }
}

/// What an instruction leaves besides the general registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// The value of the operand that is written; none if it stays.
    pub write: Option<u128>,
    /// The new value of [`MmioInstruction::vector_register`].
    pub vector: Option<u128>,
}

/// Returns where the memory operand is.
#[inline(never)]
pub(super) fn place(instruction: &Instruction, kind: Kind, bytes: u32, registers: &Registers) -> Place {
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    let part = |register| if register == Register::None { 0 } else { operand::read(registers, register) };
    let first = if base == Register::None { index } else { base };
    let size = if first == Register::None { instruction.memory_displ_size() } else { first.size() as u32 };
    let scaled = part(index) << (instruction.memory_index_scale().trailing_zeros() & 3);
    // POP counts from the stack pointer that it leaves.
    let popped = if kind == Kind::Pop && base.full_register() == Register::RSP { bytes } else { 0 };
    let base = if instruction.is_ip_rel_memory_operand() { 0 } else { part(base) };
    let sum = base.wrapping_add(scaled).wrapping_add(instruction.memory_displacement64()).wrapping_add(popped.into());
    let bit = match kind {
        // The bit may lie outside of the operand: then it is another one of the same width.
        Kind::ReadModifyWrite { operation, other: Source::Register(register) }
        | Kind::Compute { operation, other: Source::Register(register), .. }
            if is_bit(operation) && instruction.op0_kind() == OpKind::Memory =>
        {
            let bit = operand::sign_extend(operand::read(registers, register), bytes).cast_signed();
            let shift = bytes.trailing_zeros();
            (bit >> (shift & 7) >> 3 << (shift & 7)).cast_unsigned()
        }
        _ => 0,
    };
    Place { segment: instruction.memory_segment(), offset: operand::truncate(sum.wrapping_add(bit), size) }
}

const fn is_bit(operation: Operation) -> bool {
    matches!(operation, Operation::BitTest | Operation::BitSet | Operation::BitReset | Operation::BitComplement)
}

impl MmioInstruction {
    /// Returns where the operand is that is read, or written if `write` says so: its segment and the offset there.
    #[must_use]
    pub const fn operand_at(&self, place: Place, write: bool, registers: &Registers) -> (SegmentName, u64) {
        match self.kind {
            Kind::String { copies: true, address_bits, source, .. } if !write => {
                (name(source), operand::address_part(registers.rsi, address_bits))
            }
            Kind::String { address_bits, .. } | Kind::ReadString { scans: true, address_bits, .. } => {
                (SegmentName::Es, operand::address_part(registers.rdi, address_bits))
            }
            Kind::ReadString { address_bits, .. } => {
                (name(place.segment), operand::address_part(registers.rsi, address_bits))
            }
            _ => (name(place.segment), place.offset),
        }
    }

    /// Returns true if the code is of 64 bits, where segments but FS and GS begin at 0.
    #[must_use]
    pub const fn is_long(&self) -> bool {
        matches!(self.code, CodeSize::Bits64)
    }

    /// Returns how many bytes a memory operand has.
    #[must_use]
    pub const fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Returns the memory operands, in the order in which they are read and then written.
    #[must_use]
    pub fn operands(&self, place: Place, state: &CpuState) -> [Option<Operand>; 2] {
        let operand = |segment, offset, reads: bool, writes: bool| {
            let memory =
                StringOperand { code: self.code, bytes: self.bytes, is_source: !writes, address_bits: 64, segment };
            Some(Operand { memory, offset, reads, writes })
        };
        let own = |reads, writes| operand(place.segment, place.offset, reads, writes);
        let source = |bits| operand::address_part(state.registers.rsi, bits);
        let destination = |bits| operand::address_part(state.registers.rdi, bits);
        match self.kind {
            Kind::String { copies: true, address_bits, source: segment, .. } => [
                operand(segment, source(address_bits), true, false),
                operand(Register::ES, destination(address_bits), false, true),
            ],
            Kind::String { address_bits, .. } => [operand(Register::ES, destination(address_bits), false, true), None],
            Kind::ReadString { scans: true, address_bits, .. } => {
                [operand(Register::ES, destination(address_bits), true, false), None]
            }
            Kind::ReadString { address_bits, .. } => [operand(place.segment, source(address_bits), true, false), None],
            // Which of two faults comes first no manual says; QEMU's order is the one that can be compared.
            Kind::CompareStrings { address_bits, .. } => [
                operand(Register::ES, destination(address_bits), true, false),
                operand(place.segment, source(address_bits), true, false),
            ],
            Kind::Push => [own(true, false), operand(Register::SS, self.pushed(state), false, true)],
            Kind::Pop => {
                let top = operand::address_part(state.registers.rsp, self.stack_bits(state));
                [operand(Register::SS, top, true, false), own(false, true)]
            }
            Kind::Store
            | Kind::StoreCondition(_)
            | Kind::StoreSwapped
            | Kind::StoreSelector(_)
            | Kind::Vector { to_memory: true, .. } => [own(false, true), None],
            Kind::ReadModifyWrite { .. }
            | Kind::ShiftDouble { .. }
            | Kind::Exchange { .. }
            | Kind::CompareExchange { .. }
            | Kind::CompareExchangePair => [own(true, true), None],
            Kind::Load { .. }
            | Kind::LoadIf { .. }
            | Kind::LoadSwapped(_)
            | Kind::Multiply { .. }
            | Kind::Compute { .. }
            | Kind::Vector { .. } => [own(true, false), None],
        }
    }

    /// Returns the number of the XMM register whose value [`MmioInstruction::outcome`] needs and may change.
    #[must_use]
    pub const fn vector_register(&self) -> Option<u8> {
        match self.kind {
            Kind::Vector { register, .. } => Some(register),
            _ => None,
        }
    }

    /// Carries the instruction out. `values` are what was read of the operands, `vector` is the XMM register;
    /// `registers` are those of `state`, and are changed.
    #[must_use]
    pub fn outcome(&self, values: [u128; 2], vector: u128, state: &CpuState, registers: &mut Registers) -> Outcome {
        let [first, second] = values;
        let written = |value: u64| Outcome { write: Some(value.into()), vector: None };
        if let MmioAccess::Write { value, .. } = self.access {
            self.finish_write_of_one(registers);
            return written(value);
        }
        match self.kind {
            Kind::String { .. } => {
                self.finish_elements(1, registers);
                return Outcome { write: Some(first), vector: None };
            }
            Kind::ReadModifyWrite { .. }
            | Kind::ShiftDouble { .. }
            | Kind::Exchange { .. }
            | Kind::CompareExchange { .. } => {
                return self.modify(first as u64, registers).map_or(Outcome::default(), written);
            }
            Kind::CompareStrings { .. } => {
                self.compare_strings(second as u64, first as u64, registers);
                return Outcome::default();
            }
            Kind::Push => registers.rsp = self.moved_stack(state, self.pushed(state)),
            Kind::Pop => {
                let top = registers.rsp.wrapping_add(self.bytes.into());
                registers.rsp = self.moved_stack(state, top);
            }
            Kind::CompareExchangePair => {
                let write = self.compare_exchange_pair(first, registers);
                self.step(registers);
                return Outcome { write, vector: None };
            }
            Kind::StoreSelector(register) => {
                self.step(registers);
                return written(state.segment(name(register)).selector.into());
            }
            Kind::Vector { half, to_memory, .. } => {
                self.step(registers);
                let upper = half == Half::Upper;
                if to_memory {
                    return Outcome { write: Some(if upper { vector >> 64 } else { vector }), vector: None };
                }
                let low = u128::from(u64::MAX);
                let loaded = match half {
                    Half::Whole => first,
                    Half::Lower => vector & !low | first,
                    Half::Upper => vector & low | first << 64,
                };
                return Outcome { write: None, vector: Some(loaded) };
            }
            _ => {
                self.finish_read(first as u64, registers);
                return Outcome::default();
            }
        }
        // PUSH and POP.
        self.step(registers);
        Outcome { write: Some(first), vector: None }
    }

    /// Completes a store: one element, if it is one of a string.
    fn finish_write_of_one(&self, registers: &mut Registers) {
        self.finish_elements(1, registers);
    }

    fn compare_strings(&self, first: u64, second: u64, registers: &mut Registers) {
        let Kind::CompareStrings { repeats, address_bits } = self.kind else { return };
        let length = u64::from(self.bytes);
        let by = if registers.rflags & FLAG_DIRECTION != 0 { length.wrapping_neg() } else { length };
        (_, registers.rflags) = apply(Operation::Subtract, first, second, self.bytes, registers.rflags);
        registers.rsi = operand::advance(registers.rsi, by, address_bits);
        registers.rdi = operand::advance(registers.rdi, by, address_bits);
        if let Some(while_equal) = repeats {
            registers.rcx = operand::advance(registers.rcx, u64::MAX, address_bits);
            let goes_on = (registers.rflags & FLAG_ZERO != 0) == while_equal;
            if goes_on && operand::address_part(registers.rcx, address_bits) != 0 {
                return;
            }
        }
        self.step(registers);
    }

    /// Compares memory with the pair of RDX and RAX. Equal: returns the pair of RCX and RBX, to be written. Otherwise the
    /// pair takes the value.
    fn compare_exchange_pair(&self, value: u128, registers: &mut Registers) -> Option<u128> {
        let half = self.bytes >> 1;
        let shift = half << 3;
        let pair = |high: u64, low: u64| {
            u128::from(operand::truncate(high, half)) << (shift & 127) | u128::from(operand::truncate(low, half))
        };
        if value == pair(registers.rdx, registers.rax) {
            registers.rflags |= FLAG_ZERO;
            return Some(pair(registers.rcx, registers.rbx));
        }
        registers.rflags &= !FLAG_ZERO;
        let (low, high) = if half == 4 { (Register::EAX, Register::EDX) } else { (Register::RAX, Register::RDX) };
        operand::write(registers, low, value as u64, self.code);
        operand::write(registers, high, (value >> (shift & 127)) as u64, self.code);
        None
    }

    /// Returns the width of the stack pointer.
    fn stack_bits(&self, state: &CpuState) -> u32 {
        match self.code {
            CodeSize::Bits64 => 64,
            _ if state.ss.attributes.contains(SegmentAttributes::DEFAULT_SIZE) => 32,
            _ => 16,
        }
    }

    /// Returns the stack pointer below one more value.
    fn pushed(&self, state: &CpuState) -> u64 {
        let below = state.registers.rsp.wrapping_sub(self.bytes.into());
        operand::address_part(below, self.stack_bits(state))
    }

    /// Returns RSP with this new stack pointer in it.
    fn moved_stack(&self, state: &CpuState, top: u64) -> u64 {
        let bits = self.stack_bits(state);
        let rsp = state.registers.rsp;
        rsp & !operand::address_part(u64::MAX, bits) | operand::address_part(top, bits)
    }
}

/// Returns the name of a segment register.
const fn name(register: Register) -> SegmentName {
    match register {
        Register::ES => SegmentName::Es,
        Register::CS => SegmentName::Cs,
        Register::SS => SegmentName::Ss,
        Register::FS => SegmentName::Fs,
        Register::GS => SegmentName::Gs,
        _ => SegmentName::Ds,
    }
}
