//! The machine addresses that the control domain sees identity-mapped: firmware's tables and data, and the registers of
//! devices.
//!
//! They are mapped on the first access, a page at a time, since a kernel accesses few of them.

use alloc::vec::Vec;
use core::ops::Range;
use xenolith_hal::{Gfn, Mfn};

/// Where chipsets have registers that no BAR covers, such as timers: the last 32 MiB below 4 GiB. Other holes are not
/// the machine's, and stay free for what the guest maps there.
const CHIP_SET: Range<u64> = 0xf_e000..0x10_0000;

/// The machine's address space as the control domain may see it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceSpace {
    /// RAM, which is never mapped this way.
    ram: Vec<Range<u64>>,
    /// Ranges that are neither RAM nor a hole, wherever they are.
    firmware: Vec<Range<u64>>,
    /// Device pages that the hypervisor keeps to itself.
    hidden: Vec<Mfn>,
}

impl DeviceSpace {
    /// Creates it from the frames of RAM, the other ranges in the firmware's memory map, and the hidden devices.
    #[must_use]
    pub const fn new(ram: Vec<Range<u64>>, firmware: Vec<Range<u64>>, hidden: Vec<Mfn>) -> Self {
        Self { ram, firmware, hidden }
    }

    /// Returns whether the frame may be identity-mapped.
    #[must_use]
    pub fn shows(&self, frame: Gfn) -> bool {
        let within = |ranges: &[Range<u64>]| ranges.iter().any(|range| range.contains(&frame.0));
        let hidden = self.hidden.contains(&Mfn(frame.0)) || within(&self.ram);
        !hidden && (CHIP_SET.contains(&frame.0) || within(&self.firmware))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> DeviceSpace {
        DeviceSpace::new(
            alloc::vec![0..0x9f, 0x100..0x7ffdf, 0x10_0000..0x18_0000],
            alloc::vec![0x7ffdf..0x8_0000, 0xfd_0000_0000..0x100_0000_0000],
            alloc::vec![Mfn(0xfee00), Mfn(0xfec00)],
        )
    }

    #[test]
    fn firmware_and_devices_are_shown_but_no_ram() {
        for frame in [0x7ffdf, 0xfed00, 0xfed40, 0xfffff, 0xfd_0000_0000] {
            assert!(space().shows(Gfn(frame)), "{frame:#x}");
        }
        for frame in [0, 0x100, 0x7ffde, 0x10_0000, 0x17_ffff] {
            assert!(!space().shows(Gfn(frame)), "{frame:#x}");
        }
    }

    #[test]
    fn what_the_hypervisor_keeps_and_other_holes_are_not_shown() {
        for frame in [0xa0, 0x80000, 0xc8000, 0xfdfff, 0xfee00, 0xfec00, 0x18_0000, 0xfc_ffff_ffff, u64::MAX] {
            assert!(!space().shows(Gfn(frame)), "{frame:#x}");
        }
    }
}
