//! An access to the PCI configuration space: its function and register.

use core::fmt;

/// A function of a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    pub segment: u16,
    pub bus: u8,
    /// 0 to 31.
    pub device: u8,
    /// 0 to 7.
    pub function: u8,
}

impl PciAddress {
    /// Splits the 16 bits of bus, device and function (BDF).
    #[must_use]
    pub const fn from_bdf(segment: u16, bdf: u16) -> Self {
        let [low, bus] = bdf.to_le_bytes();
        Self { segment, bus, device: low >> 3, function: low & 7 }
    }

    /// Returns bus, device and function in 16 bits (BDF), as in requester identifiers.
    #[must_use]
    pub const fn bdf(self) -> u16 {
        u16::from_le_bytes([(self.device & 0x1f) << 3 | self.function & 7, self.bus])
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.segment, self.bus, self.device, self.function)
    }
}

impl fmt::Debug for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One access, inside one doubleword of one function's configuration space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfigAccess {
    pub address: PciAddress,
    /// Offset of the first byte, 0 to 0xfff.
    pub register: u16,
    /// 1, 2 or 4.
    pub bytes: u32,
}

impl ConfigAccess {
    /// Creates an access; None if it crosses a doubleword, or is not 1, 2 or 4 bytes wide.
    #[must_use]
    pub const fn new(address: PciAddress, register: u16, bytes: u32) -> Option<Self> {
        let before_end = 4u32.saturating_sub((register & 3) as u32);
        let fits = matches!(bytes, 1 | 2 | 4) && bytes <= before_end && register < 0x1000;
        if fits { Some(Self { address, register, bytes }) } else { None }
    }

    /// Returns the offset of the doubleword.
    #[must_use]
    pub const fn doubleword(&self) -> u16 {
        self.register & !3
    }

    const fn shift(&self) -> u32 {
        ((self.register & 3) as u32) << 3
    }

    const fn mask(&self) -> u32 {
        match self.bytes {
            1 => 0xff,
            2 => 0xffff,
            _ => u32::MAX,
        }
    }

    /// Returns the part of the doubleword that the access reads.
    #[must_use]
    pub const fn extract(&self, doubleword: u32) -> u32 {
        doubleword >> self.shift() & self.mask()
    }

    /// Returns the doubleword after the access has written its part.
    #[must_use]
    pub const fn merge(&self, doubleword: u32, value: u32) -> u32 {
        doubleword & !(self.mask() << self.shift()) | (value & self.mask()) << self.shift()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn names_and_numbers_of_functions() {
        let address = PciAddress::from_bdf(0, 0x00fa);
        assert_eq!(address, PciAddress { segment: 0, bus: 0, device: 31, function: 2 });
        assert_eq!(address.bdf(), 0xfa);
        assert_eq!(format!("{address}"), "0000:00:1f.2");
    }

    #[test]
    fn an_access_stays_inside_its_doubleword() {
        let address = PciAddress::from_bdf(0, 0);
        for (register, bytes, fits) in [
            (0, 4, true),
            (1, 2, true),
            (2, 2, true),
            (3, 1, true),
            (3, 2, false),
            (2, 4, false),
            (0, 8, false),
            (0, 3, false),
            (0x1000, 1, false),
        ] {
            assert_eq!(ConfigAccess::new(address, register, bytes).is_some(), fits, "{register} {bytes}");
        }
        let word = ConfigAccess::new(address, 0x3e, 2).unwrap();
        assert_eq!(
            (word.doubleword(), word.extract(0x1234_5678), word.merge(0x1234_5678, 0xffff_abcd)),
            (0x3c, 0x1234, 0xabcd_5678)
        );
    }
}
