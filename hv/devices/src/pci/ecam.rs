//! Memory-mapped PCI configuration space (ECAM).

use xenolith_hal::Gpa;

use super::{ConfigAccess, PciAddress};

/// One mapped range, as in the MCFG table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ecam {
    /// The address of bus 0, whether it is in the range or not.
    pub base: Gpa,
    pub segment: u16,
    pub first_bus: u8,
    pub last_bus: u8,
}

/// Bits of an address inside the configuration of one function, and of one bus.
const FUNCTION_SHIFT: u32 = 12;
const BUS_SHIFT: u32 = 20;

impl Ecam {
    /// Returns whether an address is in the range.
    #[must_use]
    pub fn contains(&self, at: Gpa) -> bool {
        let bus = at.0.checked_sub(self.base.0).map(|offset| offset >> BUS_SHIFT);
        bus.is_some_and(|bus| (u64::from(self.first_bus)..=u64::from(self.last_bus)).contains(&bus))
    }

    /// Decodes a read or write of `bytes` at an address; one of 8 bytes is two accesses, of which this returns the
    /// lower. None outside the range, and for accesses that cross a doubleword.
    #[must_use]
    pub fn decode(&self, at: Gpa, bytes: u32) -> Option<ConfigAccess> {
        if !self.contains(at) {
            return None;
        }
        let offset = at.0.checked_sub(self.base.0)?;
        let bdf = u16::try_from(offset >> FUNCTION_SHIFT).ok()?;
        let register = (offset & 0xfff) as u16;
        ConfigAccess::new(PciAddress::from_bdf(self.segment, bdf), register, if bytes == 8 { 4 } else { bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: Ecam = Ecam { base: Gpa(0xb000_0000), segment: 0, first_bus: 0, last_bus: 0x7f };

    #[test]
    fn an_address_names_function_and_register() {
        let access = RANGE.decode(Gpa(0xb002_0100), 4).unwrap();
        assert_eq!(access.address, PciAddress { segment: 0, bus: 0, device: 4, function: 0 });
        assert_eq!((access.register, access.bytes), (0x100, 4));
        let access = RANGE.decode(Gpa(0xb7ff_ffff), 1).unwrap();
        assert_eq!((access.address.bdf(), access.register), (0x7fff, 0xfff));
        assert_eq!(RANGE.decode(Gpa(0xb000_0010), 8).unwrap().bytes, 4);
    }

    #[test]
    fn outside_the_range_and_across_registers_there_is_nothing() {
        assert_eq!(RANGE.decode(Gpa(0xafff_fffc), 4), None);
        assert_eq!(RANGE.decode(Gpa(0xb800_0000), 4), None);
        assert_eq!(RANGE.decode(Gpa(u64::MAX), 1), None);
        assert_eq!(RANGE.decode(Gpa(0xb000_0002), 4), None);
    }

    #[test]
    fn the_range_may_begin_at_a_later_bus() {
        let range = Ecam { first_bus: 0x40, ..RANGE };
        assert!(!range.contains(Gpa(0xb000_0000)));
        assert_eq!(range.decode(Gpa(0xb400_0000), 4).unwrap().address.bus, 0x40);
    }
}
