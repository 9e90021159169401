//! The bootable hypervisor: joins the core to the x86 machine.
#![no_std]
#![no_main]

extern crate alloc;

mod launch;
mod modules;

use xenolith_core::domains::hypervisor::Hypervisor;
use xenolith_core::lifecycle::debug_keys;
use xenolith_core::run;
use xenolith_hal::CpuId;
use xenolith_sync::Once;
use xenolith_x86::bare::platform::keys::{self, MoreKeys};
use xenolith_x86::bare::{X86Machine, boot, crash};

static HYPERVISOR: Once<Hypervisor<X86Machine>> = Once::new();

/// Starts the hypervisor: the entry code jumps here from the high half, on the boot stack, with interrupts off.
#[unsafe(no_mangle)]
extern "C" fn xenolith_main(magic: u32, info: u32) -> ! {
    // SAFETY: the entry code calls this once, on the boot CPU, with what the loader left in the registers.
    unsafe { boot::start(magic, info, start) }
}

/// Builds dom0 on a machine that is up, and starts the run loop of every CPU.
fn start(booted: boot::Booted) -> ! {
    if let Err(hv) = launch::hypervisor(&booted).and_then(|hv| HYPERVISOR.set(hv).map_err(|_| launch::NoMemory)) {
        crash::refuse(format_args!("{hv}."));
    }
    if let Some(hv) = HYPERVISOR.get() {
        keys::add(MoreKeys { listed: &debug_keys::KEYS, press: press_key });
        launch::dom0(hv, &booted);
    }
    boot::run_on_every_cpu(work)
}

/// Passes a typed debug key on to the core.
fn press_key(key: u8) {
    if let Some(hv) = HYPERVISOR.get() {
        debug_keys::press(hv, key);
    }
}

fn work(_cpu: CpuId) -> ! {
    match HYPERVISOR.get() {
        Some(hv) => run::run(hv),
        None => panic!("a CPU runs before the hypervisor is there"),
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    crash::panic(info)
}
