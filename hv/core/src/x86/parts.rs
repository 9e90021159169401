//! Instructions that are done in parts, since their memory is more than one place, or wider than a device answers at once:
//! each part is memory of the guest, a device of ours, or a request to the device model.
//!
//! Accessed and dirty bits of the guest's page tables are not set, as with all memory that the hypervisor reaches for it.

use crate::components::grant::World;
use crate::components::ioreq::{Kind, Progress, Request, Scribbled, Then};
use crate::domains::running::Running;
use crate::memory::guest_memory::{Lookups, translate};
use crate::memory::physmap::is_watched;
use crate::outcome::After;
use crate::x86::device_model::{Sent, conclude, hand_out};
use crate::x86::mmio;
use crate::x86::string_io::{page_fault, wanted};
use xenolith_devices::mmio_decode::{MmioAccess, MmioInstruction, Operand, Outcome, Place};
use xenolith_hal::{
    CpuState, Exception, Gpa, GuestCpu, Gva, Machine, NestedSpace, PAGE_SIZE, PageKind, PageWords, Registers,
    SegmentName,
};

/// The most bytes that a device answers at once.
const WIDEST: u32 = 8;

/// One access of an instruction: which operand, from which byte on.
#[derive(Clone, Copy)]
struct Part {
    operand: Operand,
    index: usize,
    byte: u32,
    write: bool,
}

/// What a part is an access to.
enum Behind<'a> {
    Memory(&'a PageWords, usize),
    /// Memory that may only be read: what is written is dropped.
    ReadOnly,
    /// No memory; perhaps a device.
    Device(Gpa),
}

/// Returns true if the operand that was reported `at` the first or one of the last bytes of a page has a part in the page
/// before or behind. `write` says that it is the one that is written.
#[inline(never)]
pub(super) fn is_split<M: Machine>(
    running: &Running<'_, M>,
    instruction: &MmioInstruction,
    place: Place,
    at: Gpa,
    write: bool,
) -> bool {
    let bytes = instruction.bytes();
    if at.page_offset() != 0 {
        return bytes_in_page(at.0) < bytes;
    }
    let hardware = &running.core.hardware;
    let (segment, offset) = instruction.operand_at(place, write, hardware.registers());
    let is_flat = instruction.is_long() && !matches!(segment, SegmentName::Fs | SegmentName::Gs);
    let base = if is_flat { 0 } else { hardware.segment(segment).base };
    Gva(base.wrapping_add(offset)).page_offset() != 0
}

/// Returns how many bytes there are from an address to the end of its page.
fn bytes_in_page(at: u64) -> u32 {
    PAGE_SIZE.saturating_sub(Gva(at).page_offset()) as u32
}

/// Carries an instruction out. What its operands raise comes before anything is done.
#[inline(never)]
pub(super) fn begin<M: Machine>(running: &mut Running<'_, M>, instruction: &MmioInstruction, place: Place) -> After {
    if instruction.access() == MmioAccess::Nothing {
        // The guest has changed the instruction since it exited: this one has no turns left.
        instruction.finish_write(running.core.hardware.registers_mut());
        return After::Resume;
    }
    let state = running.core.hardware.state();
    let operands = instruction.operands(place, &state);
    let checked = operands.iter().flatten().try_for_each(|operand| {
        let first = operand.linear(&state)?;
        // Its first byte, and the first one in the next page.
        let here = bytes_in_page(first);
        find(running, operand, first, operand.writes)?;
        if here < operand.bytes() {
            find(running, operand, operand.at(first, here), operand.writes)?;
        }
        Ok(())
    });
    match checked {
        Ok(()) => go_on(running, Progress { instruction: *instruction, place, values: [[0; 16]; 2], done: 0 }, None),
        Err(exception) => fault(running, exception),
    }
}

/// Goes on with an instruction. `answer` is what a device answered to the part that is next, and how wide that was.
pub(super) fn go_on<M: Machine>(running: &mut Running<'_, M>, progress: Progress, answer: Option<(u64, u32)>) -> After {
    advance(running, progress, answer).unwrap_or_else(|exception| fault(running, exception))
}

fn fault<M: Machine>(running: &mut Running<'_, M>, exception: Exception) -> After {
    running.core.hardware.inject(exception);
    After::Resume
}

fn advance<M: Machine>(
    running: &mut Running<'_, M>,
    mut progress: Progress,
    mut answer: Option<(u64, u32)>,
) -> Result<After, Exception> {
    let state = running.core.hardware.state();
    let operands = progress.instruction.operands(progress.place, &state);
    while let Some(part) = next(&operands, progress.done) {
        let mut data = 0;
        if part.write {
            let (outcome, _) = outcome(running, &progress, &state);
            let Some(value) = outcome.write else {
                progress.done = progress.done.saturating_add(part.operand.bytes());
                continue;
            };
            data = (value >> (part.byte.saturating_mul(8) & 127)) as u64;
        }
        let (value, bytes) = match answer.take() {
            Some(answer) => answer,
            None => match access(running, &part, &state, data)? {
                Accessed::Done(value, bytes) => (value, bytes),
                Accessed::Waits(sent, request) => return Ok(conclude(running, sent, request, Then::Part(progress))),
            },
        };
        if !part.write
            && let Some(buffer) = progress.values.get_mut(part.index)
        {
            let into = buffer.iter_mut().skip(part.byte as usize).take(bytes as usize);
            into.zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
        }
        progress.done = progress.done.saturating_add(bytes.max(1));
    }
    let (outcome, registers) = outcome(running, &progress, &state);
    if let (Some(value), Some(number)) = (outcome.vector, progress.instruction.vector_register()) {
        running.core.hardware.set_vector(number, value);
    }
    *running.core.hardware.registers_mut() = registers;
    Ok(After::Resume)
}

/// Returns the part that comes after `done` bytes: all that is read, then all that is written.
fn next(operands: &[Option<Operand>; 2], done: u32) -> Option<Part> {
    let mut left = done;
    for write in [false, true] {
        for (index, operand) in operands.iter().enumerate() {
            let Some(operand) = operand.filter(|operand| if write { operand.writes } else { operand.reads }) else {
                continue;
            };
            if left < operand.bytes() {
                return Some(Part { operand, index, byte: left, write });
            }
            left = left.saturating_sub(operand.bytes());
        }
    }
    None
}

/// Returns what the instruction leaves, by what was read so far.
fn outcome<M: Machine>(running: &mut Running<'_, M>, progress: &Progress, state: &CpuState) -> (Outcome, Registers) {
    let instruction = &progress.instruction;
    let hardware = &mut running.core.hardware;
    let vector = instruction.vector_register().map_or(0, |number| {
        hardware.park();
        hardware.vector(number)
    });
    let mut registers = state.registers;
    let values = progress.values.map(u128::from_le_bytes);
    (instruction.outcome(values, vector, state, &mut registers), registers)
}

enum Accessed {
    /// What was read, and how many bytes were read or written.
    Done(u64, u32),
    /// The vCPU waits for the answer to the request, or its device model broke the protocol.
    Waits(Result<Sent, Scribbled>, Request),
}

/// Makes one access, as far as it stays in one page.
fn access<M: Machine>(
    running: &mut Running<'_, M>,
    part: &Part,
    state: &CpuState,
    data: u64,
) -> Result<Accessed, Exception> {
    let at = part.operand.at(part.operand.linear(state)?, part.byte);
    let length = part.operand.bytes().saturating_sub(part.byte).min(bytes_in_page(at)).min(WIDEST);
    let mut bytes = data.to_le_bytes();
    let buffer = bytes.get_mut(..length as usize).unwrap_or_default();
    match find(running, &part.operand, at, part.write)? {
        Behind::Memory(page, offset) => {
            let _ = if part.write { page.write_bytes(offset, buffer) } else { page.read_bytes(offset, buffer) };
        }
        Behind::ReadOnly => {}
        Behind::Device(gpa) => return Ok(device(running, gpa, part.write, length, data)),
    }
    Ok(Accessed::Done(u64::from_le_bytes(bytes), length))
}

/// Makes one access to a device, as wide as a power of two and at most `length`.
fn device<M: Machine>(running: &mut Running<'_, M>, at: Gpa, write: bool, length: u32, data: u64) -> Accessed {
    let bytes = 1u32.wrapping_shl(length.max(1).ilog2());
    let data = if write { data & u64::MAX.wrapping_shr(64u32.wrapping_sub(bytes.wrapping_mul(8))) } else { 0 };
    if !mmio::is_for_device_model(running.domain, at) {
        if !write {
            return Accessed::Done(mmio::read(running, at, bytes), bytes);
        }
        mmio::write(running, at, bytes, data);
        return Accessed::Done(0, bytes);
    }
    let mut request = Request { data, ..Request::access(Kind::Memory, at.0, bytes, !write) };
    match hand_out(running, &mut request) {
        Ok(Sent::Done(value)) => Accessed::Done(value, bytes),
        sent => Accessed::Waits(sent, request),
    }
}

/// Finds what is at a linear address of an operand; `write` says that it is written there now.
///
/// **Errors:** a page fault, as the processor would raise it; general protection where memory was granted for reading alone.
fn find<'a, M: Machine>(
    running: &Running<'a, M>,
    operand: &Operand,
    at: u64,
    write: bool,
) -> Result<Behind<'a>, Exception> {
    let Running { hv, domain, .. } = *running;
    let paging = running.core.hardware.paging();
    let wanted = wanted(!operand.writes, paging.cpl);
    let memory = hv.memory(domain);
    let mut lookups = Lookups::new(&memory);
    let gpa =
        translate(&mut lookups, &paging, Gva(at), wanted).map_err(|fault| page_fault(at, fault.present, wanted))?;
    if let Some(page) = lookups.ram_page(gpa, write) {
        return Ok(Behind::Memory(page, gpa.page_offset()));
    }
    match domain.space.lookup(gpa.gfn()) {
        Some(there) if there.kind == PageKind::Grant => Err(Exception::GENERAL_PROTECTION),
        Some(there) if there.kind != PageKind::Mmio && !is_watched(there) => Ok(Behind::ReadOnly),
        _ => Ok(Behind::Device(gpa)),
    }
}
