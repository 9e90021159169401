//! Hypercall dispatch: from the guest's registers to a handler, and back.

use super::{Call, Hypercall, Table};
use crate::domains::running::Running;
use crate::outcome::{After, Answer, Outcome};
use xen_abi::Errno;
use xenolith_hal::{GuestCpu, Machine, PagingRegisters, Registers};

const CR0_PE: u64 = 1;
const EFER_LMA: u64 = 1 << 10;
const RFLAGS_VM: u64 = 1 << 17;

/// The calling convention.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Convention {
    Long,
    /// 32-bit code: number in EAX, arguments in EBX, ECX, EDX, ESI, EDI, EBP.
    Compatible,
}

const fn convention(state: &PagingRegisters) -> Convention {
    if state.efer & EFER_LMA != 0 && state.long_code { Convention::Long } else { Convention::Compatible }
}

const fn arguments(registers: &Registers, convention: Convention) -> [u64; 6] {
    let r = registers;
    match convention {
        Convention::Long => [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9],
        Convention::Compatible => [
            r.rbx & 0xffff_ffff,
            r.rcx & 0xffff_ffff,
            r.rdx & 0xffff_ffff,
            r.rsi & 0xffff_ffff,
            r.rdi & 0xffff_ffff,
            r.rbp & 0xffff_ffff,
        ],
    }
}

const fn set_arguments(registers: &mut Registers, convention: Convention, args: [u64; 6]) {
    let [a, b, c, d, e, f] = args;
    let r = registers;
    match convention {
        Convention::Long => {
            (r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9) = (a, b, c, d, e, f);
        }
        Convention::Compatible => {
            (r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp) = (a, b, c, d, e, f);
        }
    }
}

/// Looks up and makes one call whose arguments are in `call`.
///
/// **Errors:** `ENOSYS` for a number that does not exist, and the call's own.
pub fn make<M: Machine>(number: u64, call: &mut Call<'_, M>) -> Answer {
    let hypercall: &Hypercall<M> = usize::try_from(number)
        .ok()
        .and_then(|number| Table::<M>::BY_NUMBER.get(number))
        .copied()
        .flatten()
        .ok_or(Errno::ENOSYS)?;
    hypercall.run(call)
}

/// Handles the hypercall that the vCPU has just made.
pub fn answer<M: Machine>(running: &mut Running<'_, M>) -> After {
    let paging = running.core.hardware.paging();
    let convention = convention(&paging);
    let from_kernel = paging.cpl == 0 && paging.rflags & RFLAGS_VM == 0 && paging.cr0 & CR0_PE != 0;
    let registers = running.core.hardware.registers();
    let (number, args) = (registers.rax, arguments(registers, convention));
    let number = if convention == Convention::Long { number } else { number & 0xffff_ffff };
    let answer = if !from_kernel {
        Err(Errno::EPERM)
    } else if convention == Convention::Compatible {
        Err(Errno::ENOSYS)
    } else {
        make(number, &mut Call::new(running, args))
    };
    let (value, after) = match answer {
        Ok(Outcome::Done(value)) => (value, After::Resume),
        Ok(Outcome::Yield(value)) => (value, After::Yield),
        Ok(Outcome::Block(value)) => (value, After::Block),
        Ok(Outcome::Again(args)) => {
            set_arguments(running.core.hardware.registers_mut(), convention, args);
            return After::Resume;
        }
        Ok(Outcome::Stopped) => (0, After::Stop),
        Ok(Outcome::Crash(reason)) => return After::Crash(reason),
        Err(errno) => (errno.as_return().cast_unsigned(), After::Resume),
    };
    running.core.hardware.registers_mut().rax = value;
    running.core.hardware.skip_instruction();
    after
}
