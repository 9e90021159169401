//! Port 0xe9 (`XEN_HVM_DEBUGCONS_IOPORT`): what a guest writes there becomes lines of the hypervisor's log.

use core::fmt;

/// The most characters of a line; a longer one is cut in pieces. **Source:** Xen 4.17, observed.
const MOST_CHARACTERS: usize = 199;

/// The line that a guest has begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DebugConsole {
    begun: DebugLine,
}

/// A line of a guest's. It holds printable ASCII characters and tabs, so it cannot pass for a line of someone else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DebugLine {
    characters: [u8; MOST_CHARACTERS],
    length: usize,
}

impl DebugLine {
    const EMPTY: Self = Self { characters: [0; MOST_CHARACTERS], length: 0 };
}

impl Default for DebugConsole {
    fn default() -> Self {
        Self { begun: DebugLine::EMPTY }
    }
}

impl fmt::Display for DebugLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let characters = self.characters.get(..self.length).unwrap_or_default();
        f.write_str(core::str::from_utf8(characters).unwrap_or_default())
    }
}

impl DebugConsole {
    /// The port. **Source:** `arch-x86/xen.h`, `XEN_HVM_DEBUGCONS_IOPORT`.
    pub const PORT: u16 = 0xe9;

    /// Takes a byte that the guest wrote; returns the line that it ends. Bytes that are neither printable nor a tab or the
    /// end of a line are dropped.
    pub fn write(&mut self, byte: u8) -> Option<DebugLine> {
        let ends = byte == b'\n';
        if !(ends || byte == b'\t' || matches!(byte, b' '..=b'~')) {
            return None;
        }
        if !ends && let Some(place) = self.begun.characters.get_mut(self.begun.length) {
            *place = byte;
            self.begun.length = self.begun.length.saturating_add(1);
        }
        (ends || self.begun.length == MOST_CHARACTERS).then(|| core::mem::replace(&mut self.begun, DebugLine::EMPTY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut console = DebugConsole::default();
        bytes.iter().filter_map(|byte| console.write(*byte)).map(|line| line.to_string()).collect()
    }

    #[test]
    fn a_line_is_complete_at_its_end() {
        assert_eq!(lines(b"hello e9\n\nand"), ["hello e9", ""]);
        assert_eq!(lines(b"[    0.000000] a\ttab\r\n"), ["[    0.000000] a\ttab"]);
    }

    #[test]
    fn what_is_not_printable_is_dropped() {
        assert_eq!(lines(b"a\0b\x1b[31m\x07\x7f\x80\xff\n"), ["ab[31m"]);
    }

    #[test]
    fn a_long_line_is_cut() {
        let long = [b'x'; 450];
        let pieces: Vec<usize> = lines(&[&long[..], b"\n"].concat()).iter().map(String::len).collect();
        assert_eq!(pieces, [199, 199, 52]);
    }
}
