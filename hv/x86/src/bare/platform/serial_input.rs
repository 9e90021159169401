//! What comes in on the serial ports: to dom0, or to the keys.

use xenolith_hal::HostEvents;

use super::keys;
use crate::bare::base::cpu_area;
use crate::bare::console::{self, input};

/// How many bytes are taken from a port at once: it can hold sixteen, and one that never empties is broken.
const AT_ONCE: usize = 64;

/// Takes the input of the serial ports and passes it on. Called by the interrupt handler.
pub fn receive() {
    for port in console::ports() {
        for byte in core::iter::from_fn(|| port.receive()).take(AT_ONCE) {
            match input::receive(byte) {
                input::Received::ForDom0 => cpu_area::note(HostEvents::CONSOLE),
                input::Received::Key(key) => keys::press(key),
                input::Received::Taken => {}
            }
        }
    }
}
