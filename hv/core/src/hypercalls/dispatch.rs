//! Hypercall dispatch: from the guest's registers to a handler, and back.

use super::{Call, Table, viridian};
use crate::domains::running::Running;
use crate::memory::guest_memory::Layout;
use crate::outcome::{After, Answer, Outcome};
use core::sync::atomic::Ordering;
use xen_abi::Errno;
use xenolith_hal::{GuestCpu, LogLevel, Machine, PagingRegisters, Registers};

const CR0_PE: u64 = 1;
const RFLAGS_VM: u64 = 1 << 17;

/// Returns the arguments in registers. 32-bit code has them in EBX, ECX, EDX, ESI, EDI, EBP.
const fn arguments(registers: &Registers, layout: Layout) -> [u64; 6] {
    let r = registers;
    match layout {
        Layout::Native => [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9],
        Layout::Compat => [low(r.rbx), low(r.rcx), low(r.rdx), low(r.rsi), low(r.rdi), low(r.rbp)],
    }
}

/// Returns the half of a register that 32-bit code has.
const fn low(register: u64) -> u64 {
    register & u32::MAX as u64
}

const fn set_arguments(registers: &mut Registers, layout: Layout, args: [u64; 6]) {
    let [a, b, c, d, e, f] = args;
    let r = registers;
    match layout {
        Layout::Native => {
            (r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9) = (a, b, c, d, e, f);
        }
        Layout::Compat => {
            (r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp) = (low(a), low(b), low(c), low(d), low(e), low(f));
        }
    }
}

/// Returns true if the guest's kernel calls. Code in real mode is the kernel's, code in virtual 8086 mode is not.
const fn is_kernel(mode: &PagingRegisters) -> bool {
    mode.cr0 & CR0_PE == 0 || (mode.cpl == 0 && mode.rflags & RFLAGS_VM == 0)
}

/// Looks up and makes one call whose arguments are in `call`.
///
/// **Errors:** `ENOSYS` for a number that does not exist, and the call's own.
pub fn make<M: Machine>(number: u64, call: &mut Call<'_, M>) -> Answer {
    let Some(Some(hypercall)) = Table::<M>::BY_NUMBER.get(number as usize) else {
        if call.domain.viridian.get().is_some()
            && let Some(answer) = viridian::call(number, call)
        {
            return answer;
        }
        if !call.domain.told_of_unknown_hypercall.swap(true, Ordering::Relaxed) {
            tell_of_unknown(number, call);
        }
        return Err(Errno::ENOSYS);
    };
    hypercall.run(call)
}

/// Logs that a domain makes hypercalls that do not exist, so that the cause of its end is found in the log.
#[cold]
#[inline(never)]
fn tell_of_unknown<M: Machine>(number: u64, call: &Call<'_, M>) {
    let (domain, vcpu, from) = (call.domain.id, call.vcpu.id, call.core.hardware.registers().rip);
    let line =
        format_args!("d{domain}v{vcpu} hypercall {number} from {from:#x} does not exist; further ones are not logged");
    call.hv.machine.log(LogLevel::Debug, true, line);
}

/// Handles the hypercall that the vCPU has just made.
pub fn answer<M: Machine>(running: &mut Running<'_, M>) -> After {
    let paging = running.core.hardware.paging();
    let layout = Layout::of_caller(&paging);
    let registers = running.core.hardware.registers();
    let (number, args) = (registers.rax, arguments(registers, layout));
    let number = if layout == Layout::Native { number } else { low(number) };
    let answer =
        if is_kernel(&paging) { make(number, &mut Call::new(running, args, layout)) } else { Err(Errno::EPERM) };
    let (value, after) = match answer {
        Ok(Outcome::Done(value)) => (value, After::Resume),
        Ok(Outcome::Yield(value)) => (value, After::Yield),
        Ok(Outcome::Block(value)) => (value, After::Block),
        Ok(Outcome::Again(args)) => {
            set_arguments(running.core.hardware.registers_mut(), layout, args);
            return After::Resume;
        }
        Ok(Outcome::Stopped) => (0, After::Stop),
        Ok(Outcome::Crash(reason)) => return After::Crash(reason),
        Err(errno) => (errno.as_return().cast_unsigned(), After::Resume),
    };
    running.core.hardware.registers_mut().rax = if layout == Layout::Native { value } else { low(value) };
    running.core.hardware.skip_instruction();
    after
}
