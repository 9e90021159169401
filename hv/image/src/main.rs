//! The bootable hypervisor: joins the core to the x86 machine.
#![no_std]
#![no_main]

use core::fmt::Write;

use xenolith_x86::serial::SerialPort;

/// Where the entry code jumps once it has reached the high half, on the boot stack with interrupts off.
#[unsafe(no_mangle)]
extern "C" fn xenolith_main(magic: u32, info: u32) -> ! {
    let mut port = SerialPort::at(0x3f8);
    port.configure(Some(115_200), 3);
    let _ = writeln!(port, "(XEN) Xenolith {} magic {magic:x} info {info:x}", env!("CARGO_PKG_VERSION"));
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    let _ = writeln!(SerialPort::at(0x3f8), "{info}");
    loop {
        core::hint::spin_loop();
    }
}
