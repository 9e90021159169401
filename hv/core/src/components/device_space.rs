//! Which addresses of the machine the control domain finds at their own place: firmware's tables and data, and the
//! registers of devices.
//!
//! They are mapped when they are first touched, a page at a time, since a kernel touches few of them.

use alloc::vec::Vec;
use core::ops::Range;
use xenolith_hal::{Gfn, Mfn};

/// Where chip sets have registers that no base address register names, such as timers: the last 32 MiB below 4 GiB. What
/// lies in other holes is none of the machine's, and stays free for what the guest places there.
const CHIP_SET: Range<u64> = 0xf_e000..0x10_0000;

/// The machine's address space as the control domain may see it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceSpace {
    /// RAM, which is never shown so.
    ram: Vec<Range<u64>>,
    /// What is neither RAM nor a hole, wherever it lies.
    firmware: Vec<Range<u64>>,
    /// Pages of devices that the hypervisor keeps to itself.
    hidden: Vec<Mfn>,
}

impl DeviceSpace {
    /// From frames of RAM, of what else the firmware speaks of, and of devices that stay hidden.
    #[must_use]
    pub const fn new(ram: Vec<Range<u64>>, firmware: Vec<Range<u64>>, hidden: Vec<Mfn>) -> Self {
        Self { ram, firmware, hidden }
    }

    /// Whether the frame may be seen at its own place.
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
