//! PCI configuration space through the address port 0xcf8 and the data ports from 0xcfc.

use xenolith_hal::IoSize;

use super::{ConfigAccess, PciAddress};

const ADDRESS_PORT: u16 = 0xcf8;
const ENABLE: u32 = 1 << 31;

/// What an access to one of the ports addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortUse {
    /// The address register itself: [`ConfigPorts::address`] or [`ConfigPorts::set_address`].
    Address,
    /// A register of a function's configuration space.
    Config(ConfigAccess),
    /// Configuration space without a function: reads return all ones, writes are dropped.
    Nothing,
    /// Not PCI: narrow accesses from 0xcf8 reach other registers of the chipset, such as its reset register.
    Other,
}

/// The address register of one domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConfigPorts {
    address: u32,
}

impl ConfigPorts {
    /// Returns the address register.
    #[must_use]
    pub const fn address(&self) -> u32 {
        self.address
    }

    /// Writes the address register.
    pub const fn set_address(&mut self, address: u32) {
        self.address = address;
    }

    /// Decodes an access to a port from 0xcf8 to 0xcff. `extended` makes bits 24-27 of the address the upper part of
    /// the register, which AMD's CPUs can be configured to do.
    #[must_use]
    pub const fn decode(&self, port: u16, size: IoSize, extended: bool) -> PortUse {
        let bytes = size.bytes();
        match port {
            ADDRESS_PORT if bytes == 4 => PortUse::Address,
            0xcf8..=0xcfb => PortUse::Other,
            0xcfc..=0xcff if self.address & ENABLE != 0 => {
                let high = if extended { (self.address >> 16 & 0xf00) as u16 } else { 0 };
                let register = high | (self.address & 0xfc) as u16 | port & 3;
                let address = PciAddress::from_bdf(0, (self.address >> 8) as u16);
                match ConfigAccess::new(address, register, bytes) {
                    Some(access) => PortUse::Config(access),
                    None => PortUse::Nothing,
                }
            }
            _ => PortUse::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: u32) -> ConfigPorts {
        let mut ports = ConfigPorts::default();
        ports.set_address(address);
        ports
    }

    fn config(bdf: u16, register: u16, bytes: u32) -> PortUse {
        PortUse::Config(ConfigAccess::new(PciAddress::from_bdf(0, bdf), register, bytes).unwrap())
    }

    #[test]
    fn the_address_names_bus_device_function_and_register() {
        let ports = at(0x8000_fa10);
        assert_eq!(ports.decode(0xcfc, IoSize::Dword, false), config(0xfa, 0x10, 4));
        assert_eq!(ports.decode(0xcfe, IoSize::Word, false), config(0xfa, 0x12, 2));
        assert_eq!(ports.decode(0xcff, IoSize::Byte, false), config(0xfa, 0x13, 1));
        assert_eq!(ports.decode(0xcf8, IoSize::Dword, false), PortUse::Address);
    }

    #[test]
    fn only_whole_writes_reach_the_address_and_narrow_ones_the_chip_set() {
        assert_eq!(at(0).decode(0xcf9, IoSize::Byte, false), PortUse::Other);
        assert_eq!(at(0).decode(0xcf8, IoSize::Byte, false), PortUse::Other);
    }

    #[test]
    fn without_the_enable_bit_or_across_registers_there_is_nothing() {
        assert_eq!(at(0xfa10).decode(0xcfc, IoSize::Dword, false), PortUse::Nothing);
        assert_eq!(at(0x8000_fa10).decode(0xcfd, IoSize::Dword, false), PortUse::Nothing);
        assert_eq!(at(0x8000_fa10).decode(0xd00, IoSize::Byte, false), PortUse::Nothing);
    }

    #[test]
    fn extended_registers_only_where_the_machine_has_them() {
        assert_eq!(at(0x8100_fa10).decode(0xcfc, IoSize::Dword, true), config(0xfa, 0x110, 4));
        assert_eq!(at(0x8100_fa10).decode(0xcfc, IoSize::Dword, false), config(0xfa, 0x10, 4));
    }
}
