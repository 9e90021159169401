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

/// The number that the machine gave to one interrupt of a device; below [`HostInterrupt::LIMIT`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostInterrupt(pub u16);

impl HostInterrupt {
    /// One past the highest number.
    pub const LIMIT: usize = 256;

    /// Returns the number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Trigger mode and polarity of an interrupt line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LineMode {
    /// Level-triggered rather than edge-triggered.
    pub level: bool,
    /// Active when low.
    pub active_low: bool,
}

/// The address and data of a message-signalled interrupt (MSI).
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
    /// The global system interrupt (GSI) of its first line.
    pub first_line: u32,
    pub pins: u32,
}

/// The devices of the machine, passed through to the domain that owns them. As in [`crate::Machine`], interrupts are
/// off in every method and nothing calls up: the machine notes an interrupt, and [`Devices::take_interrupts`] reports
/// it.
pub trait Devices {
    /// Reads part of a doubleword of a function's configuration space; all ones if nothing answers. `register` is below
    /// 0x1000 and the access crosses no doubleword.
    fn pci_read(&self, function: PciFunction, register: u16, size: IoSize) -> u32;

    /// Writes part of a doubleword of a function's configuration space.
    fn pci_write(&self, function: PciFunction, register: u16, size: IoSize, value: u32);

    /// Returns what the guest wrote to PCI's address port 0xcf8, if that port is [open](crate::Machine::open_ports) to
    /// it; None if its writes come as exits.
    fn pci_chosen(&self) -> Option<u32> {
        None
    }

    /// Reads a device register in memory (MMIO), aligned to its size; all ones if the address is RAM or cannot be
    /// reached.
    fn device_read(&self, at: Mpa, size: IoSize) -> u32;

    /// Writes a device register in memory (MMIO), aligned to its size; dropped if the address is RAM or cannot be
    /// reached.
    fn device_write(&self, at: Mpa, size: IoSize, value: u32);

    /// Routes the line with this GSI to `cpu`. The line stays masked. None if there is no such line, if the hypervisor
    /// uses it or it is bound already, or if no number is left.
    fn bind_line(&self, line: u32, mode: LineMode, cpu: CpuId) -> Option<HostInterrupt>;

    /// Masks or unmasks a bound line. The machine itself masks a level-triggered line when it notes an interrupt, so
    /// that it does not interrupt again before it was served.
    fn mask_line(&self, line: u32, masked: bool);

    /// Allocates a message interrupt that arrives at `cpu`, and returns its number and what a device must write to
    /// raise it. None if no number is left.
    fn bind_message(&self, cpu: CpuId) -> Option<(HostInterrupt, MessageAddress)>;

    /// Frees what `bind_line` or `bind_message` returned. A line is masked; a message that a device still sends is
    /// ignored. [`Devices::take_interrupts`] may still report an interrupt that was noted before.
    fn unbind(&self, interrupt: HostInterrupt);

    /// Calls `each` once for every device interrupt that arrived at this CPU since the last call, however often it
    /// arrived.
    fn take_interrupts(&self, each: &mut dyn FnMut(HostInterrupt));
}
