//! The machine's own devices: their configuration, their registers and their interrupts.

use crate::{CpuId, IoSize, Mpa};

/// A function of a PCI device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PciFunction {
    /// The segment group.
    pub segment: u16,
    /// Bus, device and function, as requesters carry them.
    pub bdf: u16,
}

/// A number that the machine has allotted to one interrupt of a device; below [`HostInterrupt::LIMIT`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostInterrupt(pub u16);

impl HostInterrupt {
    /// One past the highest number.
    pub const LIMIT: usize = 256;

    /// The number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a line signals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LineMode {
    /// Until the device is quiet, rather than once.
    pub level: bool,
    /// Active when low.
    pub active_low: bool,
}

/// What a device writes, and where, to raise a message interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageAddress {
    pub address: u64,
    pub data: u32,
}

/// One of the machine's I/O APICs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoApicPlace {
    pub id: u8,
    /// Its registers.
    pub address: Mpa,
    /// The global number of its first line.
    pub first_line: u32,
    pub pins: u32,
}

/// Devices, for the domain that owns them. As with [`crate::Machine`], interrupts are off in all of it, and nothing
/// calls up: an interrupt is noted, and [`Devices::take_interrupts`] tells of it.
pub trait Devices {
    /// Reads a part of a doubleword of a function's configuration; ones where nothing answers. `register` is below
    /// 0x1000 and the access crosses no doubleword.
    fn pci_read(&self, function: PciFunction, register: u16, size: IoSize) -> u32;

    /// Writes a part of a doubleword of a function's configuration.
    fn pci_write(&self, function: PciFunction, register: u16, size: IoSize, value: u32);

    /// What a guest has written to the address port of PCI configuration, where that port is
    /// [open](crate::Machine::open_ports) to it. None where its writes come as exits.
    fn pci_chosen(&self) -> Option<u32> {
        None
    }

    /// Reads a device's register in memory, aligned to its size; ones if the address is RAM or cannot be reached.
    fn device_read(&self, at: Mpa, size: IoSize) -> u32;

    /// Writes a device's register in memory, aligned to its size; dropped if the address is RAM or cannot be reached.
    fn device_write(&self, at: Mpa, size: IoSize, value: u32);

    /// Has a global line interrupt `cpu`. It stays masked. None if there is no such line, if it is the hypervisor's
    /// own or bound already, or if no number is left.
    fn bind_line(&self, line: u32, mode: LineMode, cpu: CpuId) -> Option<HostInterrupt>;

    /// Masks a line that is bound, or lets it through. The machine masks a level line by itself when it notes it, so
    /// that it does not interrupt again before it was served.
    fn mask_line(&self, line: u32, masked: bool);

    /// Allots a message interrupt that arrives at `cpu`, and says what raises it. None if no number is left.
    fn bind_message(&self, cpu: CpuId) -> Option<(HostInterrupt, MessageAddress)>;

    /// Takes back what `bind_line` or `bind_message` gave. A line is masked; a device that still sends the message
    /// interrupts in vain. What was noted before may still be told by [`Devices::take_interrupts`].
    fn unbind(&self, interrupt: HostInterrupt);

    /// Tells of each device interrupt that came to this CPU since the last call, once however often it came.
    fn take_interrupts(&self, each: &mut dyn FnMut(HostInterrupt));
}
