//! What the loader of a PVH guest left for it.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::pages::read_at;

/// The magic number of the structure.
pub const MAGIC: u32 = 0x336e_c578;

static ADDRESS: AtomicU64 = AtomicU64::new(0);
const COMMAND_LINE_BYTES: usize = 1024;

pub(crate) fn remember(address: u64) {
    ADDRESS.store(address, Ordering::Release);
}

/// The fields of the start information that every version has.
#[derive(Clone, Copy, Debug)]
pub struct StartInfo {
    pub magic: u32,
    pub version: u32,
    pub flags: u32,
    pub modules: u32,
    pub module_list: u64,
    pub command_line: u64,
    pub rsdp: u64,
}

/// Reads the start information.
#[must_use]
pub fn start_info() -> StartInfo {
    let at = ADDRESS.load(Ordering::Acquire);
    StartInfo {
        magic: read_at(at),
        version: read_at(at + 4),
        flags: read_at(at + 8),
        modules: read_at(at + 12),
        module_list: read_at(at + 16),
        command_line: read_at(at + 24),
        rsdp: read_at(at + 32),
    }
}

/// The command line, at most 1023 bytes of it.
pub struct CommandLine {
    bytes: [u8; COMMAND_LINE_BYTES],
    used: usize,
}

impl CommandLine {
    /// Reads it from where the loader left it.
    #[must_use]
    pub fn read() -> Self {
        let mut line = Self { bytes: [0; COMMAND_LINE_BYTES], used: 0 };
        let from = start_info().command_line;
        if from != 0 {
            for (slot, at) in line.bytes.iter_mut().zip(from..) {
                *slot = read_at(at);
                if *slot == 0 {
                    break;
                }
                line.used += 1;
            }
        }
        line
    }

    /// Returns all of it.
    #[must_use]
    pub fn text(&self) -> &str {
        self.bytes.get(..self.used).and_then(|b| core::str::from_utf8(b).ok()).unwrap_or("")
    }

    /// Returns the value of the word `name=value`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.text().split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}
