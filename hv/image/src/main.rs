//! The bootable hypervisor: an ELF file that joins the core (`xenolith_core`) to the x86 machine (`xenolith_x86`).
//!
//! It is the only crate that names both. Everything that can be tested on the host is in the crates below it.
//!
//! | here | what it is |
//! |---|---|
//! | [`xenolith_main`] | entry from the boot code of `hv/x86`, on the boot CPU |
//! | [`start`], [`work`] | building the hypervisor and dom0; the run loop of each CPU |
//! | [`launch`] | settings from the command line, the frame allocator, dom0's firmware tables, ports and devices |
//! | [`modules`] | the boot modules: dom0's kernel is unpacked, its initial RAM disk is copied |
//! | `image.ld` | the linker script: where the file's parts are loaded and run |
//! | `build.rs` | passes the linker script for bare metal, and the compiler's version for `XENVER_compile_info` |
//!
//! **The order of a boot.** The boot loader enters `boot_entry` (`hv/x86`), in 32-bit mode, by multiboot1, multiboot2
//! or PVH. It turns on paging and jumps to [`xenolith_main`] in the high half, which brings up the machine and calls
//! [`start`]. That creates the hypervisor of all RAM, builds dom0 of the first boot module, and starts the run loop on
//! every CPU. An error on the way is one line on the console with its cause and remedy, and the machine stops.
//!
//! **What is where in memory.** All of it is loaded at 2 MiB, in this order; everything but the boot segments runs at
//! 0xffffffff80000000 plus its load address. Each segment starts a page, because page rights differ.
//!
//! | section | rights | holds |
//! |---|---|---|
//! | `.boot` | read, execute | boot headers, entry in 32-bit mode |
//! | `.boot.data` | read, write | the first page tables; used until the hypervisor has its own |
//! | `.text` | read, execute | code |
//! | `.note`, `.rodata`, `.symbols` | read | ELF notes (PVH entry, build ID), constants, function names for crash reports |
//! | `.data`, `.bss` | read, write | statics, the boot stack |
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
        launch::announce_watchdog(hv);
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
    crash::get_stuck_if_asked();
    match HYPERVISOR.get() {
        Some(hv) => run::run(hv),
        None => panic!("a CPU runs before the hypervisor is there"),
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    crash::panic(info)
}
