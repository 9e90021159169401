//! Interrupts and exceptions: entry and dispatch to handlers.
//!
//! IPIs of the CPUs and interrupts of devices that the core serves are handled here. Code above this folder that has
//! interrupts registers its handler at boot: see [`set_handler`] and [`descriptors::fill_gates`].
//!
//! The hypervisor runs with interrupts off except at a few points where it holds no lock, so a handler may take locks.
//! NMIs and machine checks come anywhere: their handlers take none.

pub mod calls;
pub mod descriptors;
pub mod device_interrupts;
mod entry;
pub mod idle;
pub mod interrupt_controllers;
pub mod local_apic;
pub mod probe;
pub mod shootdown;
pub mod timer;

use core::sync::atomic::{AtomicU32, Ordering};

use xenolith_hal::HostEvents;
use xenolith_sync::Once;

use crate::bare::base::cpu_area;

pub use entry::InterruptFrame;

/// The vectors that the hypervisor uses itself, highest priority last.
pub mod vector {
    /// The lowest of them.
    pub const FIRST_OWN: u8 = 0xf0;
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
/// How many vectors are the hypervisor's own.
const OWN: usize = 16;
/// What takes exceptions. Set before a gate leads here.
static EXCEPTIONS: Once<fn(&InterruptFrame)> = Once::new();
/// What takes the hypervisor's own vectors, from [`vector::FIRST_OWN`] up, where something above this folder does.
static HANDLERS: [Once<fn()>; OWN] = [const { Once::new() }; OWN];
/// Interrupts that nobody expected; only the first few are shown.
static UNEXPECTED: AtomicU32 = AtomicU32::new(0);

/// Dispatches an interrupt. Called by the entry code with what it saved, interrupts off.
#[unsafe(no_mangle)]
extern "C" fn handle_interrupt(frame: &mut InterruptFrame) {
    if frame.vector < FIRST_EXTERNAL {
        if probe::answer(frame) {
            return;
        }
        if let Some(handle) = EXCEPTIONS.get() {
            // An exception may come between a guest's exit and the loading of the host's GS base.
            cpu_area::with_own(descriptors::this_index(), || handle(frame));
        }
        return;
    }
    match frame.vector as u8 {
        // There is nothing to acknowledge.
        vector::SPURIOUS => return,
        vector::TIMER => timer::expire(),
        vector::KICK => cpu_area::note(HostEvents::KICK),
        vector::CALL => calls::serve(),
        vector::APIC_ERROR => {
            let status = local_apic::error_status();
            crate::log!(Warning, "CPU{}: APIC error {status:#04x}", cpu_area::this_index().as_u32());
        }
        device if device_interrupts::VECTORS.contains(&device) => device_interrupts::note(device),
        other => match handler_of(other).and_then(Once::get) {
            Some(handle) => handle(),
            None => tell_unexpected(other),
        },
    }
    local_apic::end_of_interrupt();
}

fn tell_unexpected(vector: u8) {
    if UNEXPECTED.fetch_add(1, Ordering::Relaxed) < 8 {
        crate::log!(Warning, "unexpected interrupt {vector:#04x} on CPU{}", cpu_area::this_index().as_u32());
    }
}

fn handler_of(vector: u8) -> Option<&'static Once<fn()>> {
    HANDLERS.get(usize::from(vector.checked_sub(vector::FIRST_OWN)?))
}

/// Registers `handler` for one of the hypervisor's own vectors; it is called with interrupts off, and the EOI is sent
/// afterwards. Each vector gets one handler, before any source of it is enabled.
pub fn set_handler(vector: u8, handler: fn()) {
    let _ = handler_of(vector).map(|place| place.set(handler));
}
