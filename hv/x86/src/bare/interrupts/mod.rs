//! Interrupts and exceptions: where they come in and who takes them.
//!
//! The hypervisor runs with interrupts off but for a few points where it holds no lock, so a handler may take locks.
//! NMIs and machine checks come anywhere: their handlers take none.

pub mod calls;
pub mod descriptors;
pub mod device_interrupts;
mod entry;
mod exceptions;
pub mod idle;
pub mod interrupt_controllers;
pub mod local_apic;
pub mod shootdown;
pub mod timer;

use core::sync::atomic::{AtomicU32, Ordering};

use xenolith_hal::HostEvents;

use crate::bare::base::cpu_area;
use crate::bare::console;
use crate::bare::platform::{amd_vi, keys};

pub use entry::InterruptFrame;

/// The vectors that the hypervisor uses itself, highest priority last.
pub mod vector {
    /// A serial port has received something.
    pub const SERIAL: u8 = 0xf0;
    /// An IOMMU complains.
    pub const IOMMU: u8 = 0xf1;
    /// Another CPU wants this one to look at its events.
    pub const KICK: u8 = 0xf9;
    /// This CPU's timer.
    pub const TIMER: u8 = 0xfa;
    /// Another CPU wants a function called.
    pub const CALL: u8 = 0xfb;
    /// The local APIC found an error.
    pub const APIC_ERROR: u8 = 0xfe;
    /// An interrupt that went away before it was taken.
    pub const SPURIOUS: u8 = 0xff;
}

/// The first vector that is no exception.
const FIRST_EXTERNAL: u64 = 32;
/// Interrupts that nobody expected; only the first few are shown.
static UNEXPECTED: AtomicU32 = AtomicU32::new(0);

/// Called by the entry code with what it saved, interrupts off.
#[unsafe(no_mangle)]
extern "C" fn handle_interrupt(frame: &InterruptFrame) {
    if frame.vector < FIRST_EXTERNAL {
        exceptions::handle(frame);
        return;
    }
    match frame.vector as u8 {
        // There is nothing to acknowledge.
        vector::SPURIOUS => return,
        vector::TIMER => timer::expire(),
        vector::KICK => cpu_area::note(HostEvents::KICK),
        vector::CALL => calls::serve(),
        vector::IOMMU => amd_vi::report(),
        vector::SERIAL => receive_from_serial_ports(),
        vector::APIC_ERROR => {
            let status = local_apic::error_status();
            crate::log!(Warning, "CPU{}: APIC error {status:#04x}", cpu_area::this_index().as_u32());
        }
        device if device_interrupts::VECTORS.contains(&device) => device_interrupts::note(device),
        other => {
            if UNEXPECTED.fetch_add(1, Ordering::Relaxed) < 8 {
                crate::log!(Warning, "unexpected interrupt {other:#04x} on CPU{}", cpu_area::this_index().as_u32());
            }
        }
    }
    local_apic::end_of_interrupt();
}

/// Takes what the serial ports have received and passes it on.
pub fn receive_from_serial_ports() {
    for port in console::ports() {
        // A port can hold sixteen bytes; one that never empties is broken.
        for byte in core::iter::from_fn(|| port.receive()).take(64) {
            match console::input::receive(byte) {
                console::input::Received::ForDom0 => cpu_area::note(HostEvents::CONSOLE),
                console::input::Received::Key(key) => keys::press(key),
                console::input::Received::Taken => {}
            }
        }
    }
}
