//! Lines of text to the hypervisor's console, each by one call; or to domain 0, which prints them (see [`relay`]).

use core::fmt::{self, Write};

use xen_abi::console_io::CONSOLEIO_WRITE;
use xen_abi::hypercall::CONSOLE_IO;

use crate::{hypercall, relay};

/// The longest line; the rest is cut.
pub const LINE_BYTES: usize = 480;

/// A line being put together.
pub struct Line {
    bytes: [u8; LINE_BYTES + 1],
    used: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    /// Creates an empty line.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; LINE_BYTES + 1], used: 0 }
    }

    /// Returns what it holds so far.
    #[must_use]
    pub fn text(&self) -> &str {
        self.bytes.get(..self.used).and_then(|b| core::str::from_utf8(b).ok()).unwrap_or("?")
    }

    /// Forgets what it holds.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Writes it out, with a line feed after it, in one call.
    pub fn print(mut self) {
        if relay::say(self.text().as_bytes()) {
            return;
        }
        if let Some(end) = self.bytes.get_mut(self.used) {
            *end = b'\n';
        }
        let arguments = [CONSOLEIO_WRITE.into(), self.used as u64 + 1, self.bytes.as_ptr() as u64, 0, 0];
        // SAFETY: console_io write only reads, and the bytes outlive the call.
        unsafe { hypercall::call(CONSOLE_IO.into(), arguments) };
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.used < LINE_BYTES
                && let Some(slot) = self.bytes.get_mut(self.used)
            {
                *slot = if byte.is_ascii_graphic() || byte == b' ' { byte } else { b'?' };
                self.used += 1;
            }
        }
        Ok(())
    }
}

/// Formats and prints one line.
pub fn line(arguments: fmt::Arguments<'_>) {
    let mut line = Line::new();
    // A line that is too long is cut, which is no error.
    let _ = line.write_fmt(arguments);
    line.print();
}
