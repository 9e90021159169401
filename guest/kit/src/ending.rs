//! How a domain 0 of ours ends.

use crate::console::line;
use crate::{calls, cpu};
use xen_abi::hypercall::SCHED_OP;
use xen_abi::sched::SCHEDOP_SHUTDOWN;

/// QEMU's `isa-debug-exit`, where the tests put it.
const EXIT_DEVICE: u16 = 0xf4;
const EXIT_CODE: u32 = 0x10;

/// Ends the machine: through the emulator's exit device where there is one, else by shutting the domain down.
pub fn finish() -> ! {
    // SAFETY: the port belongs to the emulator's exit device or to nothing.
    unsafe { cpu::out32(EXIT_DEVICE, EXIT_CODE) };
    let reason = [0_u32; 1];
    calls::call(SCHED_OP, [SCHEDOP_SHUTDOWN.into(), reason.as_ptr() as u64]);
    cpu::stop()
}

/// Says why the kernel cannot go on, and ends the machine.
pub fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    line(format_args!("PANIC {info}"));
    finish()
}
