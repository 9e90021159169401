//! The port by which emulators and hypervisors take a machine's first words.
//!
//! **Source:** Bochs and QEMU's `isa-debugcon`; Xen prints what a guest writes there into its own log.

use core::sync::atomic::{AtomicBool, Ordering};

use x86_64::instructions::port::PortWriteOnly;

const PORT: u16 = 0xe9;

static OPEN: AtomicBool = AtomicBool::new(false);

/// From now on lines go there as well.
pub(super) fn open() {
    OPEN.store(true, Ordering::Relaxed);
}

/// Writes text, if the port was opened.
pub(super) fn write(text: &str) {
    if OPEN.load(Ordering::Relaxed) {
        for byte in text.bytes() {
            // SAFETY: nothing of a PC answers at this port; an emulator only shows the byte.
            unsafe { PortWriteOnly::<u8>::new(PORT).write(byte) };
        }
    }
}
