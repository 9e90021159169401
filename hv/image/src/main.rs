//! The bootable hypervisor: joins the core to the x86 machine.
#![no_std]
#![no_main]

use xenolith_hal::{CpuId, Machine};
use xenolith_x86::{X86Machine, boot, crash};

/// Where the entry code jumps once it has reached the high half, on the boot stack with interrupts off.
#[unsafe(no_mangle)]
extern "C" fn xenolith_main(magic: u32, info: u32) -> ! {
    // SAFETY: the entry code calls this once, on the boot CPU, with what the loader left in the registers.
    unsafe { boot::start(magic, info, run) }
}

/// The machine is up: everything else from here on.
fn run(_booted: boot::Booted) -> ! {
    boot::run_on_every_cpu(work)
}

fn work(_cpu: CpuId) -> ! {
    loop {
        X86Machine.take_events();
        X86Machine.idle();
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    crash::panic(info)
}
