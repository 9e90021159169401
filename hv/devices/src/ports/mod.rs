//! I/O ports: which device responds, and the small devices of the PC chipset.
//!
//! A port to which no device responds reads all ones and drops writes, as on a real bus.

mod debug_console;
mod pit;
pub mod pm_timer;
pub(crate) mod rtc;

use xenolith_hal::{IoSize, Time, WallClock};

pub use debug_console::{DebugConsole, DebugLine};
pub use pit::Pit;
pub use rtc::Rtc;

/// The device that responds at a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortOwner {
    /// No device.
    Nobody,
    /// The interval timer (PIT) or port 0x61.
    Pit,
    /// The real-time clock (RTC).
    Rtc,
    /// The power-management timer.
    PmTimer,
    /// The debug console, port 0xe9, which takes single bytes.
    DebugConsole,
    /// The chipset of an HVM guest, or its device model.
    Platform,
    /// PCI configuration by address and data port.
    PciConfig,
    /// The machine's own device, for dom0.
    Machine,
}

/// The ports of PCI configuration: the first, and one past the last.
pub const PCI_CONFIG: u16 = 0xcf8;
pub const PCI_CONFIG_END: u16 = 0xd00;

/// The ports of dom0 that depend on the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dom0Ports {
    /// The first of the power-management timer's four ports, from the FADT.
    pub pm_timer: Option<u16>,
    /// The first of the eight ports of the serial line that the hypervisor keeps to itself.
    pub console: Option<u16>,
}

impl Dom0Ports {
    /// Returns the device that responds to dom0 at a port. Dom0 reaches every device of the machine except the ones
    /// that the hypervisor keeps: the interrupt controllers, the interval timer, PCI configuration and its serial line.
    #[must_use]
    pub fn owner(&self, port: u16) -> PortOwner {
        let within = |first: Option<u16>, count: u16| first.is_some_and(|first| port.wrapping_sub(first) < count);
        match port {
            // The two interrupt controllers.
            0x20 | 0x21 | 0xa0 | 0xa1 => PortOwner::Nobody,
            DebugConsole::PORT => PortOwner::DebugConsole,
            PCI_CONFIG..PCI_CONFIG_END => PortOwner::PciConfig,
            _ if Pit::has(port) => PortOwner::Pit,
            _ if Rtc::has(port) => PortOwner::Rtc,
            _ if within(self.pm_timer, 4) => PortOwner::PmTimer,
            _ if within(self.console, 8) => PortOwner::Nobody,
            _ => PortOwner::Machine,
        }
    }
}

/// Returns the device that responds to an ordinary PVH guest: it has none of them, but kernels calibrate their clocks
/// by the interval timer, and say their first words at the debug console.
#[must_use]
pub const fn guest_owner(port: u16) -> PortOwner {
    match port {
        DebugConsole::PORT => PortOwner::DebugConsole,
        _ if Pit::has(port) => PortOwner::Pit,
        _ => PortOwner::Nobody,
    }
}

/// Returns the device that responds to an HVM guest. All but the debug console is the platform's.
#[must_use]
pub const fn hvm_owner(port: u16) -> PortOwner {
    match port {
        DebugConsole::PORT => PortOwner::DebugConsole,
        _ => PortOwner::Platform,
    }
}

/// The emulated port devices of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortDevices {
    pub pit: Pit,
    pub rtc: Rtc,
    pub debug_console: DebugConsole,
}

impl PortDevices {
    /// Reads a port of an emulated device; the others read all ones. An access of several bytes is one access for each
    /// of the ports it covers, except of the power-management timer.
    pub fn read(&mut self, owner: PortOwner, port: u16, size: IoSize, now: Time, wall: WallClock) -> u32 {
        let mut value = 0;
        for index in 0..size.bytes() {
            // Ports wrap at the end of their space as on a real bus.
            let at = port.wrapping_add(index as u16);
            let byte = match owner {
                PortOwner::Pit => self.pit.read(at, now),
                PortOwner::Rtc => self.rtc.read(at, wall),
                _ => 0xff,
            };
            value |= u32::from(byte) << (index << 3);
        }
        value
    }

    /// Writes a port of an emulated device; writes to the others are dropped.
    pub fn write(&mut self, owner: PortOwner, port: u16, size: IoSize, value: u32, now: Time, wall: WallClock) {
        for (index, byte) in value.to_le_bytes().into_iter().enumerate().take(size.bytes() as usize) {
            let at = port.wrapping_add(index as u16);
            match owner {
                PortOwner::Pit => self.pit.write(at, byte, now),
                PortOwner::Rtc => self.rtc.write(at, byte, wall),
                _ => {}
            }
        }
    }
}

/// Reads the power-management timer at `offset` bytes from its first port.
#[must_use]
pub fn read_pm_timer(offset: u16, size: IoSize, now: Time, width: pm_timer::Width) -> u32 {
    let bits = u32::from(offset & 3) * 8;
    (pm_timer::read(now, width) >> bits) & size.mask()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Dom0Ports = Dom0Ports { pm_timer: Some(0x608), console: Some(0x3f8) };

    #[test]
    fn dom0_reaches_the_machine_except_what_the_hypervisor_keeps() {
        for (port, owner) in [
            (0x21, PortOwner::Nobody),
            (0xa1, PortOwner::Nobody),
            (0x42, PortOwner::Pit),
            (0x61, PortOwner::Pit),
            (0xe9, PortOwner::DebugConsole),
            (0x60, PortOwner::Machine),
            (0x64, PortOwner::Machine),
            (0x71, PortOwner::Rtc),
            (0x604, PortOwner::Machine),
            (0x608, PortOwner::PmTimer),
            (0x60b, PortOwner::PmTimer),
            (0x60c, PortOwner::Machine),
            (0x3f7, PortOwner::Machine),
            (0x3f9, PortOwner::Nobody),
            (0x400, PortOwner::Machine),
            (0xcfc, PortOwner::PciConfig),
        ] {
            assert_eq!(PORTS.owner(port), owner, "{port:#x}");
        }
    }

    #[test]
    fn an_ordinary_guest_has_an_interval_timer_and_a_debug_console() {
        assert_eq!(guest_owner(0xe9), PortOwner::DebugConsole);
        assert_eq!((guest_owner(0xe8), guest_owner(0xea)), (PortOwner::Nobody, PortOwner::Nobody));
        assert_eq!(guest_owner(0x42), PortOwner::Pit);
        for port in [0, 0x20, 0x60, 0x70, 0xcf8, 0xcfc, 0xaf00, 0xb000, 0xffff] {
            assert_eq!(guest_owner(port), PortOwner::Nobody);
        }
    }

    #[test]
    fn a_port_of_nobody_reads_ones_and_drops_writes() {
        let mut devices = PortDevices::default();
        let wall = WallClock::default();
        devices.write(PortOwner::Nobody, 0x42, IoSize::Dword, 0, Time(0), wall);
        assert_eq!(devices, PortDevices::default());
        assert_eq!(devices.read(PortOwner::Nobody, 0x42, IoSize::Word, Time(0), wall), 0xffff);
        assert_eq!(devices.read(PortOwner::Nobody, 0xffff, IoSize::Dword, Time(0), wall), u32::MAX);
    }

    #[test]
    fn a_wide_access_is_one_for_each_port() {
        let mut devices = PortDevices::default();
        let wall = WallClock { seconds: 59, nanoseconds: 0 };
        devices.write(PortOwner::Rtc, 0x70, IoSize::Byte, 0, Time(0), wall);
        assert_eq!(devices.read(PortOwner::Rtc, 0x70, IoSize::Word, Time(0), wall), 0x59ff);
    }

    #[test]
    fn the_timer_reads_by_bytes_too() {
        let now = Time(10_000_000_000);
        let whole = read_pm_timer(0, IoSize::Dword, now, pm_timer::Width::Bits32);
        assert_eq!(read_pm_timer(1, IoSize::Byte, now, pm_timer::Width::Bits32), (whole >> 8) & 0xff);
        assert_eq!(read_pm_timer(2, IoSize::Word, now, pm_timer::Width::Bits32), whole >> 16);
    }
}
