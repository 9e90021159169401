//! The bootable hypervisor: joins the core to the x86 machine.
#![no_std]
#![no_main]

use xenolith_hal::CpuId;
use xenolith_x86::{boot, crash};

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
        x86_idle();
    }
}

fn x86_idle() {
    xenolith_x86::idle::wait();
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    crash::panic(info)
}
