//! What must have become of an exit when its vCPU is entered again.

use xen_abi::hypercall::{MULTICALL, SCHED_OP};
use xenolith_core::memory::guest_memory::Layout;
use xenolith_devices::mmio_decode::MAX_LENGTH;
use xenolith_hal::{CpuState, Exception, Exit, IoAccess, IoSize, Registers};

/// Bytes of every instruction of the fake processor.
const LENGTH: u64 = 3;
const WIDE: u64 = u32::MAX as u64;

/// Returns true for an exit that ends the guest.
pub const fn is_fatal(exit: Exit) -> bool {
    matches!(exit, Exit::Shutdown | Exit::InvalidState | Exit::StateLost | Exit::Unknown { .. })
}

/// Returns true for an exit by which a guest ends itself, directly or by what it asks for.
pub fn ends(exit: Exit, state: &CpuState) -> bool {
    let registers = &state.registers;
    match exit {
        Exit::NestedFault { access, .. } => access.execute || access.page_walk,
        Exit::Hypercall => registers.rax == u64::from(SCHED_OP) || registers.rax == u64::from(MULTICALL),
        Exit::Halt { interrupts_enabled } => !interrupts_enabled,
        _ => is_fatal(exit),
    }
}

/// Checks the registers after an exit, and what was injected.
pub fn check(exit: Exit, before: &CpuState, after: &CpuState, injected: Option<Exception>) {
    let (was, is) = (before.registers, after.registers);
    let over = Registers { rip: was.rip.wrapping_add(LENGTH), ..was };
    let protection = injected == Some(Exception::GENERAL_PROTECTION) && is == was;
    let sound = match exit {
        Exit::Cpuid { .. } => {
            let narrow = [is.rax, is.rbx, is.rcx, is.rdx].iter().all(|value| *value <= WIDE);
            let same = Registers { rax: is.rax, rbx: is.rbx, rcx: is.rcx, rdx: is.rdx, ..over } == is;
            (narrow && same && injected.is_none()) || (protection && before.paging().cpl > 0)
        }
        Exit::ReadMsr { .. } => {
            let read = is.rax <= WIDE && is.rdx <= WIDE && Registers { rax: is.rax, rdx: is.rdx, ..over } == is;
            (read && injected.is_none()) || protection
        }
        Exit::WriteMsr { .. } => (is == over && injected.is_none()) || protection,
        Exit::Io(access) if access.string => string(&was, &is, injected),
        Exit::Io(access) => injected.is_none() && port(access, &over, &is),
        Exit::Halt { .. } | Exit::CacheFlush => is == over && injected.is_none(),
        Exit::UndefinedInstruction => is == was && injected == Some(Exception::INVALID_OPCODE),
        Exit::SetXcr0 { .. } => protection,
        Exit::Hypercall => {
            let native = Layout::of_caller(&before.paging()) == Layout::Native;
            injected.is_none() && hypercall(&was, &is, native)
        }
        Exit::NestedFault { .. } => match injected {
            Some(_) => is == was,
            None => is.rip.wrapping_sub(was.rip) <= MAX_LENGTH as u64,
        },
        Exit::Interrupted | Exit::Shutdown | Exit::InvalidState | Exit::StateLost | Exit::Unknown { .. } => {
            is == was && injected.is_none()
        }
    };
    assert!(sound, "{exit:x?} made {is:x?} of {was:x?}, and injected {injected:x?}");
}

fn port(access: IoAccess, over: &Registers, is: &Registers) -> bool {
    let kept = match access.size {
        IoSize::Byte => !0xff,
        IoSize::Word => !0xffff,
        // The upper half becomes zero.
        IoSize::Dword => 0,
    };
    let rax = if access.write { over.rax } else { over.rax & kept | is.rax & u64::from(access.size.mask()) };
    Registers { rax, ..*over } == *is
}

/// INS and OUTS move their registers, as far as they got; they go on where they are, or behind.
fn string(was: &Registers, is: &Registers, injected: Option<Exception>) -> bool {
    if injected.is_some() {
        return is == was;
    }
    let moved = Registers { rcx: is.rcx, rsi: is.rsi, rdi: is.rdi, rip: is.rip, ..*was };
    moved == *is && (is.rip == was.rip || is.rip == was.rip.wrapping_add(LENGTH))
}

/// A hypercall is done or is to be made again. Of the registers it changes the one of its answer; while it is to be made
/// again, those of its arguments: what 64-bit code passes them in, or 32-bit code.
fn hypercall(was: &Registers, is: &Registers, native: bool) -> bool {
    let again = is.rip == was.rip && is.rax == was.rax;
    let arguments = if native {
        Registers { rdi: is.rdi, rsi: is.rsi, rdx: is.rdx, r10: is.r10, r8: is.r8, r9: is.r9, ..*was }
    } else {
        Registers { rbx: is.rbx, rcx: is.rcx, rdx: is.rdx, rsi: is.rsi, rdi: is.rdi, rbp: is.rbp, ..*was }
    };
    // A call of Microsoft's interface notes in its control word that it was begun.
    let by_microsoft = native && was.rax & 1 << 31 != 0 && (is.rcx ^ was.rcx) & !(1 << 47) == 0;
    let arguments = Registers { rcx: if by_microsoft { is.rcx } else { arguments.rcx }, ..arguments };
    let done = is.rip == was.rip.wrapping_add(LENGTH);
    Registers { rax: is.rax, rip: is.rip, ..arguments } == *is && (again || done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(exit: Exit, change: impl Fn(&mut Registers), injected: Option<Exception>) -> bool {
        let before = CpuState::at_pvh_entry(0x1000, 0);
        let mut after = before;
        change(&mut after.registers);
        std::panic::catch_unwind(|| check(exit, &before, &after, injected)).is_ok()
    }

    #[test]
    fn an_answer_that_changes_too_much_is_found() {
        let leaf = Exit::Cpuid { leaf: 0, subleaf: 0 };
        assert!(judged(leaf, |is| is.rip += LENGTH, None));
        assert!(!judged(leaf, |is| (is.rip, is.rsi) = (is.rip + LENGTH, 1), None));
        assert!(!judged(leaf, |is| (is.rip, is.rax) = (is.rip + LENGTH, 1 << 32), None));
        assert!(!judged(leaf, |_| {}, Some(Exception::GENERAL_PROTECTION)));
        assert!(!judged(Exit::ReadMsr { msr: 0 }, |is| is.rip += LENGTH, Some(Exception::GENERAL_PROTECTION)));
        assert!(judged(Exit::Hypercall, |is| (is.rip, is.rax) = (is.rip + LENGTH, 1), None));
        assert!(!judged(Exit::Hypercall, |is| (is.rip, is.rsp) = (is.rip + LENGTH, 1), None));
        let byte = IoAccess { port: 0, size: IoSize::Byte, write: false, string: false, repeat: false };
        assert!(judged(Exit::Io(byte), |is| (is.rip, is.rax) = (is.rip + LENGTH, 0xff), None));
        assert!(!judged(Exit::Io(byte), |is| (is.rip, is.rax) = (is.rip + LENGTH, 0x1ff), None));
    }
}
