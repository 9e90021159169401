//! Formats of AMD's IOMMU: device table entries, commands, events.
//!
//! **Source:** AMD I/O Virtualization Technology specification 3.07, 2.2.2 (device table), 2.4 (commands), 2.5 (event
//! log).

use xenolith_hal::Mpa;

use super::tables::ROOT_LEVEL;

const VALID: u64 = 1;
const TRANSLATION_VALID: u64 = 1 << 1;
const MODE_SHIFT: u32 = 9;
const MAY_READ: u64 = 1 << 61;
const MAY_WRITE: u64 = 1 << 62;

/// The length of a device table entry, in words.
pub const DEVICE_ENTRY_WORDS: usize = 4;
/// Of an entry's second word (SA): what the device is refused is not reported.
pub const REPORTS_NOTHING: u64 = 1 << 34;

const OPCODE_SHIFT: u32 = 60;
const COMPLETION_WAIT: u64 = 1;
const INVALIDATE_DEVICE: u64 = 2;
const INVALIDATE_PAGES: u64 = 3;
const INVALIDATE_ALL: u64 = 8;
/// Of a completion wait: store the data when everything before is done.
const STORE: u64 = 1;
/// Of an invalidation of pages: an address of ones after this bit means all pages; tables are forgotten too.
const ALL_PAGES: u64 = 0x7fff_ffff_ffff_f000 | 0b11;

/// Builds the entry of a device whose accesses go through the tables at `root`, tagged with `domain`. Interrupts are
/// not remapped.
#[must_use]
pub const fn device_entry(root: Mpa, domain: u16) -> [u64; DEVICE_ENTRY_WORDS] {
    let walk = VALID | TRANSLATION_VALID | (ROOT_LEVEL as u64) << MODE_SHIFT;
    [walk | root.0 & 0x000f_ffff_ffff_f000 | MAY_READ | MAY_WRITE, domain as u64, 0, 0]
}

/// A command.
pub type Command = [u64; 2];

/// Builds COMPLETION_WAIT: writes `data` to `at`, a multiple of 8, when all earlier commands are done.
#[must_use]
pub const fn completion_wait(at: Mpa, data: u64) -> Command {
    [COMPLETION_WAIT << OPCODE_SHIFT | at.0 & 0x000f_ffff_ffff_fff8 | STORE, data]
}

/// Builds INVALIDATE_DEVTAB_ENTRY: flushes the entry of a device.
#[must_use]
pub const fn forget_device(bdf: u16) -> Command {
    [INVALIDATE_DEVICE << OPCODE_SHIFT | bdf as u64, 0]
}

/// Builds INVALIDATE_IOMMU_PAGES: flushes all translations of a domain.
#[must_use]
pub const fn forget_pages(domain: u16) -> Command {
    [INVALIDATE_PAGES << OPCODE_SHIFT | (domain as u64) << 32, ALL_PAGES]
}

/// Builds INVALIDATE_IOMMU_ALL: flushes everything, where the IOMMU supports it.
#[must_use]
pub const fn forget_everything() -> Command {
    [INVALIDATE_ALL << OPCODE_SHIFT, 0]
}

/// An event of an IOMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A device's access was refused.
    PageFault { bdf: u16, address: u64, write: bool },
    /// Anything else, by its number.
    Other { code: u8, bdf: u16, address: u64 },
}

impl Event {
    /// Decodes an entry of the event log.
    #[must_use]
    pub const fn from_words([low, address]: [u64; 2]) -> Self {
        let code = (low >> 60) as u8;
        let bdf = low as u16;
        if code == 2 {
            Self::PageFault { bdf, address, write: low >> 53 & 1 != 0 }
        } else {
            Self::Other { code, bdf, address }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_walks_four_levels_and_may_do_what_the_pages_say() {
        let [low, domain, interrupts, rest] = device_entry(Mpa(0x1234_5000), 1);
        assert_eq!(low, 0x6000_0000_1234_5803);
        assert_eq!((domain, interrupts, rest), (1, 0, 0));
    }

    #[test]
    fn commands_have_their_numbers_in_the_highest_bits() {
        assert_eq!(completion_wait(Mpa(0x1008), 7), [0x1000_0000_0000_1009, 7]);
        assert_eq!(forget_device(0xfa), [0x2000_0000_0000_00fa, 0]);
        assert_eq!(forget_pages(1), [0x3000_0001_0000_0000, 0x7fff_ffff_ffff_f003]);
        assert_eq!(forget_everything(), [0x8000_0000_0000_0000, 0]);
    }

    #[test]
    fn a_refused_write_is_told_from_a_refused_read() {
        let fault = |write| Event::PageFault { bdf: 0xfa, address: 0xdead_b000, write };
        assert_eq!(Event::from_words([0x2020_0000_0000_00fa, 0xdead_b000]), fault(true));
        assert_eq!(Event::from_words([0x2000_0001_0000_00fa, 0xdead_b000]), fault(false));
        assert_eq!(Event::from_words([0x1000_0000_0000_0010, 0]), Event::Other { code: 1, bdf: 0x10, address: 0 });
    }
}
