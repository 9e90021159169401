//! Accesses of an HVM guest to devices that the hypervisor does not emulate: each becomes a request to the server of the
//! guest's device model that has the range, and the vCPU waits for the answer. Where no server has it, reads give ones
//! and writes are dropped.
//!
//! A repetition (REP) is handed out as one request, as far as it stays in one page on both sides. What is done with an
//! answer is in [`completion`](super::completion).

use crate::components::event_channel::send_from_hypervisor;
use crate::components::ioreq::{DeviceModel, Kind, MOST_SERVERS, Request, Scribbled, Server, State, Then, Unfinished};
use crate::domains::running::Running;
use crate::lifecycle::event_domain::HostedDomain;
use crate::memory::guest_memory::ram_page;
use crate::memory::physmap::is_watched;
use crate::outcome::{After, CrashReason};
use crate::x86::chipset;
use crate::x86::completion::finish;
use crate::x86::parts;
use crate::x86::string_io::{Behind, behind, read_memory};
use core::ops::Range;
use xenolith_devices::mmio_decode::{MmioAccess, MmioInstruction, Place};
use xenolith_devices::string_io::{Batch, StringIo};
use xenolith_hal::{Exception, Gpa, GuestCpu, IoAccess, IoSize, LogLevel, Machine, NestedSpace, PAGE_SIZE};
use xenolith_sync::Arc;

/// The port that latches the address of PCI configuration.
const PCI_ADDRESS: u16 = 0xcf8;
/// The window of VGA. Single writes there do not wait for the server.
const VGA: Range<u64> = 0xa_0000..0xc_0000;
const PAGE_BYTES: u64 = PAGE_SIZE as u64;

/// What became of a request.
pub(super) enum Sent {
    /// It is done: this was read.
    Done(u64),
    /// The vCPU waits for this server.
    Waiting(Arc<Server>),
}

/// Handles IN and OUT: the chipset's own, or else the device model's.
pub fn port<M: Machine>(running: &mut Running<'_, M>, access: IoAccess) -> After {
    let value = running.core.hardware.registers().rax as u32 & access.size.mask();
    if let Some(answer) = chipset_port(running, access, value) {
        return finish(running, Then::Port(access), &port_request(access), answer.into());
    }
    if let Some(model) = running.domain.device_model.get()
        && access.write
        && (access.port, access.size) == (PCI_ADDRESS, IoSize::Dword)
    {
        model.latch_pci_address(value);
    }
    let data = if access.write { u64::from(value) } else { 0 };
    issue(running, Request { data, ..port_request(access) }, Then::Port(access))
}

/// Lets the chipset answer an access of `value`; returns what was read. None if none of its chips responds.
fn chipset_port<M: Machine>(running: &Running<'_, M>, access: IoAccess, value: u32) -> Option<u32> {
    let Running { hv, domain, .. } = *running;
    if !access.write {
        return chipset::read_port(hv, domain, access);
    }
    let moved = chipset::write_port(hv, domain, access, value)?.clock_moved;
    if moved != 0 {
        tell_time_offset(running, moved);
    }
    Some(0)
}

/// Tells every server that the guest has set its clock forward by some seconds. A server that has no room for it misses
/// it, as with real Xen.
fn tell_time_offset<M: Machine>(running: &Running<'_, M>, seconds: i64) {
    let Running { hv, domain, .. } = *running;
    let Some(model) = domain.device_model.get() else { return };
    let data = seconds.cast_unsigned();
    let request = Request { data, ..Request::access(Kind::TimeOffset, 0, 8, false) };
    let mut below = MOST_SERVERS;
    while let Some((id, server)) = model.enabled_below(below) {
        if let Some(port) = server.post_buffered(&hv.machine, &request) {
            send_from_hypervisor(&HostedDomain::new(hv, domain), port);
        }
        below = id;
    }
}

fn port_request(access: IoAccess) -> Request {
    Request::access(Kind::Port, access.port.into(), access.size.bytes(), !access.write)
}

/// Handles INS and OUTS.
pub fn string_port<M: Machine>(running: &mut Running<'_, M>, access: IoAccess, instruction: StringIo) -> After {
    let planned = plan_string_port(running, access, &instruction);
    match planned {
        Ok(Some((request, then))) => issue(running, request, then),
        Ok(None) => {
            running.core.hardware.skip_instruction();
            After::Resume
        }
        Err(exception) => {
            running.core.hardware.inject(exception);
            After::Resume
        }
    }
}

/// Returns the request of INS or OUTS: of all elements that lie in one page of the guest's memory, or of one element.
fn plan_string_port<M: Machine>(
    running: &Running<'_, M>,
    access: IoAccess,
    instruction: &StringIo,
) -> Result<Option<(Request, Then)>, Exception> {
    let state = running.core.hardware.state();
    let Some(batch) = instruction.plan_at_most(&state, PAGE_BYTES)? else { return Ok(None) };
    let request = port_request(access);
    let instruction = *instruction;
    if let Behind::Ram(at) = behind(running, access.write, &batch)? {
        let many = Request { data: at.0, count: batch.elements, is_pointer: true, falls: batch.backwards, ..request };
        return Ok(Some((many, Then::StringPort { instruction, batch })));
    }
    let Some(batch) = instruction.plan_at_most(&state, 1)? else { return Ok(None) };
    if access.write {
        let data = read_memory(running, &batch)?;
        return Ok(Some((Request { data, ..request }, Then::StringPort { instruction, batch })));
    }
    Ok(Some((request, Then::StringIn { instruction, batch })))
}

/// Handles an instruction that accesses memory where there is none. `write` says that this is the side that it writes.
pub fn memory<M: Machine>(running: &mut Running<'_, M>, instruction: &MmioInstruction, at: Gpa, write: bool) -> After {
    let instruction = *instruction;
    let request = |size, is_read| Request::access(Kind::Memory, at.0, size, is_read);
    match instruction.access() {
        MmioAccess::Read { bytes } => issue(running, request(bytes, true), Then::Read(instruction)),
        MmioAccess::Modify { bytes } => issue(running, request(bytes, true), Then::Modify { instruction, at }),
        MmioAccess::Write { bytes, value } => {
            let registers = running.core.hardware.registers();
            let elements = instruction.elements(at.0, registers);
            let falls = instruction.falls(registers) && elements > 1;
            let request = Request { data: value, count: elements, falls, ..request(bytes, false) };
            issue(running, request, Then::Written { instruction, elements })
        }
        MmioAccess::Copy { bytes, .. } => match plan_copy(running, &instruction, request(bytes, !write)) {
            Ok(Some((request, then))) => issue(running, request, then),
            Ok(None) => parts::begin(running, &instruction, Place::NONE),
            Err(exception) => {
                running.core.hardware.inject(exception);
                After::Resume
            }
        },
        MmioAccess::Nothing | MmioAccess::Parts => {
            instruction.finish_write(running.core.hardware.registers_mut());
            After::Resume
        }
    }
}

/// Returns the request of MOVS: of all elements that lie in one page of the device and one of memory, or of one element.
/// `device` is one access to the device. None for an element that lies in two pages on its other side.
fn plan_copy<M: Machine>(
    running: &Running<'_, M>,
    instruction: &MmioInstruction,
    device: Request,
) -> Result<Option<(Request, Then)>, Exception> {
    let instruction = *instruction;
    let state = running.core.hardware.state();
    let elements = instruction.elements(device.address, &state.registers);
    let is_source = !device.is_read;
    let operand = instruction.memory_operand(is_source).ok_or(Exception::INVALID_OPCODE)?;
    let batch = operand.batch(&state, elements.into(), PAGE_BYTES)?;
    let found = behind(running, is_source, &batch)?;
    if let Behind::Ram(at) = found {
        let many = Request { data: at.0, count: batch.elements, is_pointer: true, falls: batch.backwards, ..device };
        return Ok(Some((many, Then::Written { instruction, elements: batch.elements })));
    }
    let batch = operand.batch(&state, 1, 1)?;
    let [_, (_, beyond)] = batch.parts();
    if beyond != 0 {
        return Ok(None);
    }
    one_copy(running, instruction, device, &batch).map(Some)
}

/// Returns the request of one element of MOVS whose memory is no page of the guest's own.
fn one_copy<M: Machine>(
    running: &Running<'_, M>,
    instruction: MmioInstruction,
    device: Request,
    batch: &Batch,
) -> Result<(Request, Then), Exception> {
    let batch = *batch;
    Ok(match (behind(running, !device.is_read, &batch)?, device.is_read) {
        (Behind::Device(to), true) => (device, Then::CopyToDevice { instruction, to }),
        (Behind::Device(from), false) => {
            let to = Gpa(device.address);
            (Request { address: from.0, is_read: true, ..device }, Then::CopyToDevice { instruction, to })
        }
        (_, true) => (device, Then::CopyToMemory { instruction, batch }),
        (_, false) => {
            let data = read_memory(running, &batch)?;
            (Request { data, ..device }, Then::Written { instruction, elements: 1 })
        }
    })
}

/// Hands a request out, and goes on with `then` when it is answered: at once, or when the vCPU is woken.
pub(super) fn issue<M: Machine>(running: &mut Running<'_, M>, mut request: Request, then: Then) -> After {
    let sent = hand_out(running, &mut request);
    conclude(running, sent, request, then)
}

/// Hands a request to the server that has its range; where there is none, it is done.
#[inline]
pub(super) fn hand_out<M: Machine>(running: &Running<'_, M>, request: &mut Request) -> Result<Sent, Scribbled> {
    match running
        .domain
        .device_model
        .get()
        .and_then(|model| model.select(request, is_for_watcher(running, model, request)))
    {
        Some(server) => send(running, server, request),
        None => {
            if request.is_pointer && request.is_read {
                fill_with_ones(running, request);
            }
            Ok(Sent::Done(u64::MAX))
        }
    }
}

/// Returns true for a write to memory whose writes a server gets.
fn is_for_watcher<M: Machine>(running: &Running<'_, M>, model: &DeviceModel, request: &Request) -> bool {
    request.kind == Kind::Memory
        && model.watcher().is_some()
        && !request.is_read
        && running.domain.space.lookup(Gpa(request.address).gfn()).is_some_and(is_watched)
}

/// Writes what nobody answers to the guest's memory, which a request names that lies in one page.
#[cold]
fn fill_with_ones<M: Machine>(running: &Running<'_, M>, request: &Request) {
    let Running { hv, domain, .. } = *running;
    let others = u64::from(request.count.saturating_sub(1)).saturating_mul(request.size.into());
    let first = Gpa(if request.falls { request.data.saturating_sub(others) } else { request.data });
    let Some(page) = ram_page(&hv.machine, &domain.space, first, true) else { return };
    let end = first.page_offset().saturating_add((others as usize).saturating_add(request.size as usize));
    (first.page_offset()..end.min(PAGE_SIZE)).for_each(|at| {
        let _ = page.store_u8(at, u8::MAX);
    });
}

/// Tells the servers below this number, one after the other, that pages have left the guest.
pub(super) fn tell_servers<M: Machine>(running: &mut Running<'_, M>, below: usize) -> After {
    let next = running.domain.device_model.get().and_then(|model| model.enabled_below(below));
    let Some((id, server)) = next else { return After::Resume };
    let request = Request::INVALIDATE;
    let sent = send(running, server, &request);
    conclude(running, sent, request, Then::Told { below: id })
}

pub(super) fn conclude<M: Machine>(
    running: &mut Running<'_, M>,
    sent: Result<Sent, Scribbled>,
    request: Request,
    then: Then,
) -> After {
    match sent {
        Ok(Sent::Done(value)) => finish(running, then, &request, value),
        Ok(Sent::Waiting(server)) => {
            running.core.unfinished = Some(Unfinished { server, request, seen: State::Ready, then });
            After::Stop
        }
        Err(Scribbled) => bad_answer(running),
    }
}

/// Logs that the device model broke the protocol, and crashes the guest.
pub(super) fn bad_answer<M: Machine>(running: &Running<'_, M>) -> After {
    let Running { hv, domain, vcpu, .. } = *running;
    let line = format_args!("d{}v{}: its device model left a request in a state without meaning", domain.id, vcpu.id);
    hv.machine.log(LogLevel::Error, true, line);
    After::Crash(CrashReason::BadAnswer)
}

/// Hands a request to a server.
///
/// The vCPU is marked as waiting first, then the request is posted, and last it is asked whether the server is gone. What
/// ends the wait does it the other way round, so one of the two sees the other.
fn send<M: Machine>(running: &Running<'_, M>, server: Arc<Server>, request: &Request) -> Result<Sent, Scribbled> {
    let Running { hv, domain, vcpu, .. } = *running;
    let hosted = HostedDomain::new(hv, domain);
    let single = !request.is_read && !request.is_pointer && request.count == 1;
    if request.kind == Kind::Memory
        && single
        && VGA.contains(&request.address)
        && let Some(port) = server.post_buffered(&hv.machine, request)
    {
        send_from_hypervisor(&hosted, port);
        return Ok(Sent::Done(0));
    }
    vcpu.begin_wait();
    let posted = server.post(&hv.machine, vcpu.id, request);
    if let Ok(Some(port)) = posted {
        send_from_hypervisor(&hosted, port);
        if server.is_closed() {
            vcpu.end_wait();
        }
        return Ok(Sent::Waiting(server));
    }
    vcpu.end_wait();
    posted.map(|_no_page| Sent::Done(u64::MAX))
}
