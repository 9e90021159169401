//! INS and OUTS: which part of memory the instruction moves to or from a port, and what it leaves in the registers.
//!
//! The order of events: [`StringIo::decode`] reads the instruction; [`StringIo::plan`] says which elements are moved next
//! ([`Batch`]), from the guest's registers and segments; the caller moves them; [`StringIo::finish`] advances the
//! registers. A repetition is done in batches of at most [`MOST_BYTES`] bytes inside one page, so that the guest can take
//! interrupts between them as on a processor.
//!
//! A hostile guest may change the instruction in memory between the exit and the fetch. [`StringIo::is`] compares it with
//! the access that the processor checked, so port, width and direction are always the checked ones.
//!
//! **Source:** AMD manual volume 3, INS and OUTS; volume 2, 4.5 (segment limits) and 8.2 (exceptions).

#[cfg(test)]
mod tests;

use iced_x86::{Code, Decoder, DecoderOptions, OpKind, Register};
use xenolith_hal::{CpuState, Exception, IoAccess, Registers, Segment, SegmentAttributes};

use crate::mmio_decode::operand::{address_part, advance};
use crate::mmio_decode::{CodeSize, DecodeError, MAX_LENGTH};

/// The most bytes of one batch.
pub const MOST_BYTES: usize = 1024;

const PAGE_BYTES: u64 = 0x1000;
const CR0_PROTECTION: u64 = 1;
const CR4_LA57: u64 = 1 << 12;
const FLAG_DIRECTION: u64 = 1 << 10;
const FLAG_VIRTUAL_8086: u64 = 1 << 17;

/// INS or OUTS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StringIo {
    memory: StringOperand,
    repeats: bool,
}

/// A memory operand: of a string instruction whose other side is a port or a device, or of any that is done in parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StringOperand {
    pub(crate) code: CodeSize,
    /// Bytes of an element: 1, 2, 4, 8 or 16.
    pub(crate) bytes: u32,
    /// The memory is read: it is the source, at rSI. Otherwise it is the destination, at rDI.
    pub(crate) is_source: bool,
    pub(crate) address_bits: u32,
    pub(crate) segment: Register,
}

/// Elements that are moved together. They lie side by side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch {
    /// The linear address of the lowest byte.
    pub start: u64,
    /// How many elements, at least 1.
    pub elements: u32,
    /// Bytes of an element: 1, 2, 4 or 8.
    pub bytes: u32,
    /// The first element is the highest one.
    pub backwards: bool,
    wraps_at_4_gib: bool,
}

impl Batch {
    /// Returns the number of bytes, at most as many as were asked for.
    #[expect(clippy::arithmetic_side_effects, reason = "32 bits by 4 in 64")]
    #[must_use]
    pub const fn length(&self) -> usize {
        self.elements as usize * self.bytes as usize
    }

    /// Returns the parts of the batch in each page that it touches: linear address and number of bytes. The second is empty
    /// unless a single element crosses into the next page.
    #[must_use]
    #[expect(clippy::arithmetic_side_effects, reason = "a remainder of a page, and a part of the length")]
    pub fn parts(&self) -> [(u64, usize); 2] {
        let here = self.length().min((PAGE_BYTES - self.start % PAGE_BYTES) as usize);
        let next = self.start.wrapping_add(here as u64);
        let next = if self.wraps_at_4_gib { next & u64::from(u32::MAX) } else { next };
        [(self.start, here), (next, self.length() - here)]
    }

    /// Returns the linear address of the element that is moved first.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.start.wrapping_add(self.offset(0) as u64)
    }

    /// Returns the offset in the batch of the element that is moved as number `index`.
    #[expect(clippy::arithmetic_side_effects, reason = "32 bits by 4 in 64")]
    #[must_use]
    pub const fn offset(&self, index: u32) -> usize {
        let place = if self.backwards { self.elements.saturating_sub(1).saturating_sub(index) } else { index };
        place as usize * self.bytes as usize
    }
}

impl StringIo {
    /// Decodes the instruction at the guest's instruction pointer. `code` holds its bytes, possibly followed by others.
    ///
    /// **Errors:** [`DecodeError`]; `Unsupported` for any other instruction.
    pub fn decode(code: &[u8], size: CodeSize) -> Result<Self, DecodeError> {
        let code_bytes = code.get(..code.len().min(MAX_LENGTH)).unwrap_or_default();
        let decoder = Decoder::try_new(size.bits(), code_bytes, DecoderOptions::NONE);
        let instruction = decoder.map_err(|_| DecodeError::Invalid)?.decode();
        if instruction.is_invalid() {
            return Err(DecodeError::Invalid);
        }
        let (bytes, writes) = match instruction.code() {
            Code::Insb_m8_DX => (1, false),
            Code::Insw_m16_DX => (2, false),
            Code::Insd_m32_DX => (4, false),
            Code::Outsb_DX_m8 => (1, true),
            Code::Outsw_DX_m16 => (2, true),
            Code::Outsd_DX_m32 => (4, true),
            _ => return Err(DecodeError::Unsupported),
        };
        let memory = if writes { instruction.op1_kind() } else { instruction.op0_kind() };
        let address_bits = match memory {
            OpKind::MemoryESDI | OpKind::MemorySegSI => 16,
            OpKind::MemoryESEDI | OpKind::MemorySegESI => 32,
            OpKind::MemoryESRDI | OpKind::MemorySegRSI => 64,
            _ => return Err(DecodeError::Unsupported),
        };
        // INS always stores by ES.
        let segment = if writes { instruction.memory_segment() } else { Register::ES };
        let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
        Ok(Self { memory: StringOperand { code: size, bytes, is_source: writes, address_bits, segment }, repeats })
    }

    /// Returns true if this is the instruction that made the access.
    #[must_use]
    pub const fn is(&self, access: IoAccess) -> bool {
        access.string && access.write == self.memory.is_source && access.size.bytes() == self.memory.bytes
    }

    /// Returns the elements that are moved next, of at most [`MOST_BYTES`] bytes; None if there are none: a repetition
    /// with a count of 0.
    ///
    /// **Errors:** the exception for an element that the segment does not allow; nothing was moved.
    pub fn plan(&self, state: &CpuState) -> Result<Option<Batch>, Exception> {
        self.plan_at_most(state, MOST_BYTES as u64)
    }

    /// Returns the elements that are moved next, of at most `bytes` bytes and one at least; see [`StringIo::plan`].
    ///
    /// **Errors:** as [`StringIo::plan`].
    pub fn plan_at_most(&self, state: &CpuState, bytes: u64) -> Result<Option<Batch>, Exception> {
        let count = if self.repeats { address_part(state.registers.rcx, self.memory.address_bits) } else { 1 };
        if count == 0 {
            return Ok(None);
        }
        self.memory.batch(state, count, bytes).map(Some)
    }

    /// Advances the registers over elements that were moved. Returns true if the instruction is done, and the guest goes on
    /// behind it.
    #[must_use]
    pub fn finish(&self, batch: &Batch, registers: &mut Registers) -> bool {
        let length = batch.length() as u64;
        let by = if batch.backwards { length.wrapping_neg() } else { length };
        let bits = self.memory.address_bits;
        let index = if self.memory.is_source { &mut registers.rsi } else { &mut registers.rdi };
        *index = advance(*index, by, bits);
        if !self.repeats {
            return true;
        }
        registers.rcx = advance(registers.rcx, u64::from(batch.elements).wrapping_neg(), bits);
        address_part(registers.rcx, bits) == 0
    }
}

impl StringOperand {
    /// Returns the next elements, at most `count` (which is not 0) and at most `bytes` bytes, but one at least.
    ///
    /// **Errors:** the exception for an element that the segment does not allow.
    #[expect(clippy::arithmetic_side_effects, reason = "an element has 1, 2, 4 or 8 bytes, and there is one at least")]
    pub fn batch(&self, state: &CpuState, count: u64, bytes: u64) -> Result<Batch, Exception> {
        let registers = &state.registers;
        let backwards = registers.rflags & FLAG_DIRECTION != 0;
        let size = u64::from(self.bytes);
        let index = if self.is_source { registers.rsi } else { registers.rdi };
        let distance = |element: u64| {
            let forward = element.wrapping_mul(size);
            if backwards { forward.wrapping_neg() } else { forward }
        };
        let linear =
            |element| self.linear(address_part(index.wrapping_add(distance(element)), self.address_bits), state);
        let first = linear(0).ok_or_else(|| self.refusal())?;
        let most = count.min(bytes / size);
        let is_inside = |at: u64| at / PAGE_BYTES == first / PAGE_BYTES && at % PAGE_BYTES + size <= PAGE_BYTES;
        let follows =
            |element| linear(element).is_some_and(|at| at == first.wrapping_add(distance(element)) && is_inside(at));
        let mut elements = 1;
        while is_inside(first) && elements < most && follows(elements) {
            elements += 1;
        }
        let start = if backwards { first.wrapping_add(distance(elements - 1)) } else { first };
        let wraps_at_4_gib = self.code != CodeSize::Bits64;
        Ok(Batch { start, elements: elements as u32, bytes: self.bytes, backwards, wraps_at_4_gib })
    }

    /// Returns the linear address of an element at this offset of the segment; None if the segment does not allow it.
    pub(crate) fn linear(&self, offset: u64, state: &CpuState) -> Option<u64> {
        let segment = self.segment(state);
        let last = offset.checked_add(u64::from(self.bytes).saturating_sub(1))?;
        if self.code == CodeSize::Bits64 {
            let base = if matches!(self.segment, Register::FS | Register::GS) { segment.base } else { 0 };
            let unused = if state.cr4 & CR4_LA57 != 0 { 64 - 57 } else { 64 - 48 };
            let is_canonical = |at: u64| (at << unused).cast_signed() >> unused == at.cast_signed();
            let at = base.wrapping_add(offset);
            return (is_canonical(at) && is_canonical(base.wrapping_add(last))).then_some(at);
        }
        let has_types = state.cr0 & CR0_PROTECTION != 0 && state.registers.rflags & FLAG_VIRTUAL_8086 == 0;
        let allowed = (!has_types || self.allows(segment.attributes)) && is_within(segment, offset, last);
        allowed.then_some(segment.base.wrapping_add(offset) & u64::from(u32::MAX))
    }

    /// Returns true if the type of a segment allows the access in protected mode.
    const fn allows(&self, attributes: SegmentAttributes) -> bool {
        let is_code = attributes.contains(SegmentAttributes::CODE);
        let flag = attributes.contains(SegmentAttributes::WRITABLE_OR_READABLE);
        let type_fits = if self.is_source { !is_code || flag } else { !is_code && flag };
        type_fits && attributes.contains(SegmentAttributes::PRESENT.union(SegmentAttributes::NOT_SYSTEM))
    }

    const fn segment<'a>(&self, state: &'a CpuState) -> &'a Segment {
        match self.segment {
            Register::ES => &state.es,
            Register::CS => &state.cs,
            Register::SS => &state.ss,
            Register::FS => &state.fs,
            Register::GS => &state.gs,
            _ => &state.ds,
        }
    }

    /// Returns the exception for an element that the segment does not allow.
    pub(crate) fn refusal(&self) -> Exception {
        if self.segment == Register::SS { Exception::STACK_FAULT } else { Exception::GENERAL_PROTECTION }
    }
}

/// Returns true if a segment's limit includes both offsets and all between them.
const fn is_within(segment: &Segment, first: u64, last: u64) -> bool {
    let attributes = segment.attributes;
    let limit = segment.limit as u64;
    let grows_down = attributes.contains(SegmentAttributes::DOWN_OR_CONFORMING)
        && attributes.contains(SegmentAttributes::NOT_SYSTEM)
        && !attributes.contains(SegmentAttributes::CODE);
    if !grows_down {
        return last <= limit;
    }
    let top = if attributes.contains(SegmentAttributes::DEFAULT_SIZE) { u32::MAX as u64 } else { u16::MAX as u64 };
    first > limit && last <= top
}
