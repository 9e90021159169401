//! What is done with the answers of a device model, at once or when the vCPU that waited is resumed.

use crate::components::ioreq::{Answer, Kind, MOST_SERVERS, Request, Scribbled, State, Then, Unfinished};
use crate::domains::running::Running;
use crate::outcome::After;
use crate::x86::device_model::{bad_answer, issue, tell_servers};
use crate::x86::guest_ports::with_input;
use crate::x86::parts;
use crate::x86::string_io::write_memory;
use xenolith_devices::mmio_decode::MmioInstruction;
use xenolith_devices::string_io::{Batch, StringIo};
use xenolith_hal::{GuestCpu, IoAccess, Machine};

/// Goes on with the access that a vCPU waits for, if it waits for one, and then tells servers that pages have left the
/// guest, if they have: to be called before it enters its guest. Returns [`After::Resume`] when nothing is left,
/// [`After::Stop`] while there is no answer.
pub fn resume<M: Machine>(running: &mut Running<'_, M>) -> After {
    let after = go_on(running);
    if after != After::Resume || !running.domain.device_model.get().is_some_and(|model| model.take_stale_mappings()) {
        return after;
    }
    tell_servers(running, MOST_SERVERS)
}

fn go_on<M: Machine>(running: &mut Running<'_, M>) -> After {
    let Some(unfinished) = running.core.unfinished.take() else { return After::Resume };
    let Running { hv, vcpu, .. } = *running;
    let poll = |seen: State| unfinished.server.poll(&hv.machine, vcpu.id, seen);
    let mut answer = poll(unfinished.seen);
    if let Ok(Answer::Waiting(seen)) = answer {
        // Marked first, and asked again afterwards: the answer may come between.
        vcpu.begin_wait();
        answer = poll(seen);
    }
    match answer {
        Ok(Answer::Waiting(seen)) => {
            running.core.unfinished = Some(Unfinished { seen, ..unfinished });
            After::Stop
        }
        Ok(Answer::Done(value)) => {
            vcpu.end_wait();
            finish(running, unfinished.then, &unfinished.request, value)
        }
        Err(Scribbled) => {
            vcpu.end_wait();
            bad_answer(running)
        }
    }
}

/// Completes an instruction with the outcome of its request. Another request may follow.
pub(super) fn finish<M: Machine>(running: &mut Running<'_, M>, then: Then, request: &Request, value: u64) -> After {
    match then {
        Then::Port(access) => finish_port(running, access, value),
        Then::StringPort { instruction, batch } => advance(running, &instruction, &batch),
        Then::StringIn { instruction, batch } => match write_memory(running, &batch, value) {
            Ok(()) => advance(running, &instruction, &batch),
            Err(exception) => {
                running.core.hardware.inject(exception);
                After::Resume
            }
        },
        Then::Read(instruction) => {
            instruction.finish_read(value, running.core.hardware.registers_mut());
            After::Resume
        }
        Then::Modify { instruction, at } => {
            let new = instruction.modify(value, running.core.hardware.registers_mut());
            let Some(data) = new else { return After::Resume };
            issue(running, Request { data, ..Request::access(Kind::Memory, at.0, request.size, false) }, Then::Modified)
        }
        Then::Written { instruction, elements } => step(running, &instruction, elements),
        Then::Modified => After::Resume,
        Then::CopyToMemory { instruction, batch } => match write_memory(running, &batch, value) {
            Ok(()) => step(running, &instruction, 1),
            Err(exception) => {
                running.core.hardware.inject(exception);
                After::Resume
            }
        },
        Then::CopyToDevice { instruction, to } => {
            let write = Request { data: value, ..Request::access(Kind::Memory, to.0, request.size, false) };
            issue(running, write, Then::Written { instruction, elements: 1 })
        }
        Then::Part(progress) => parts::go_on(running, progress, Some((value, request.size))),
        Then::Told { below } => tell_servers(running, below),
    }
}

fn finish_port<M: Machine>(running: &mut Running<'_, M>, access: IoAccess, value: u64) -> After {
    if !access.write {
        let registers = running.core.hardware.registers_mut();
        registers.rax = with_input(registers.rax, access.size, value as u32 & access.size.mask());
    }
    running.core.hardware.skip_instruction();
    After::Resume
}

fn advance<M: Machine>(running: &mut Running<'_, M>, instruction: &StringIo, batch: &Batch) -> After {
    if instruction.finish(batch, running.core.hardware.registers_mut()) {
        running.core.hardware.skip_instruction();
    }
    After::Resume
}

fn step<M: Machine>(running: &mut Running<'_, M>, instruction: &MmioInstruction, elements: u32) -> After {
    instruction.finish_elements(elements, running.core.hardware.registers_mut());
    After::Resume
}
