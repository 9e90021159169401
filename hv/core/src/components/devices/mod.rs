//! PCI passthrough of the machine's devices to a domain: its I/O APICs, PCI configuration space, device memory and
//! interrupts.
//!
//! The guest sees each device where and as it is, except for three things that refer to CPUs and memory of the machine:
//! lines arrive through I/O APICs of its own (`lines`), its MSI and MSI-X values are kept and translated
//! (`messages`), and device memory is mapped on the first access, if a BAR of a function covers it (`window`).

mod function;
mod lines;
mod messages;
mod owner;
mod pci;
mod router;
mod window;

pub use owner::Owner;
pub use router::{DeviceInterrupts, Source};
pub use window::AddressRange;

use alloc::vec::Vec;
use lines::Lines;
use pci::Pci;
use xenolith_devices::interrupt::Message;
use xenolith_devices::ioapic::Route;
use xenolith_devices::pci::Ecam;
use xenolith_hal::{Gfn, Gpa, IoAccess, IoApicPlace, Machine};
use xenolith_sync::{SpinLock, rank};

/// The devices that a domain gets.
#[derive(Clone, Copy, Debug, Default)]
pub struct DevicePlan<'a> {
    pub io_apics: &'a [IoApicPlace],
    /// Where PCI configuration space is memory-mapped (ECAM).
    pub configuration: &'a [Ecam],
    /// Ranges that no BAR makes the domain's: RAM, and the registers of what the hypervisor keeps.
    pub kept: &'a [AddressRange],
}

/// The machine's devices as their domain has them.
pub struct HostDevices {
    lines: Lines,
    pci: SpinLock<Pci, rank::Device>,
}

impl HostDevices {
    /// Probes all functions, and turns all MSI and MSI-X off.
    #[expect(clippy::disallowed_methods, reason = "only at boot, for dom0")]
    pub fn new<M: Machine>(machine: &M, plan: &DevicePlan<'_>) -> Self {
        let mut kept: Vec<AddressRange> = plan.kept.to_vec();
        kept.extend(plan.io_apics.iter().map(|place| AddressRange::page_of(place.address.0)));
        kept.extend(plan.configuration.iter().map(AddressRange::of_configuration));
        let pci = Pci::new(machine, plan.configuration.to_vec(), kept);
        Self { lines: Lines::new(plan.io_apics), pci: SpinLock::new(pci) }
    }

    /// Returns the number of PCI functions that are known.
    pub fn function_count(&self) -> usize {
        self.pci.lock().function_count()
    }

    /// Returns where the ECAM of exactly these buses begins: segment, first and last bus.
    pub fn configuration_of(&self, buses: (u16, u8, u8)) -> Option<Gpa> {
        self.pci.lock().configuration_of(buses)
    }

    /// Reads one of the ports of PCI configuration; None if it is the chipset's own.
    pub fn read_port<M: Machine>(&self, machine: &M, access: IoAccess) -> Option<u32> {
        self.pci.lock().read_port(machine, access)
    }

    /// Writes one of the ports of PCI configuration; returns false, with nothing done, if it is the chipset's own.
    pub fn write_port<M: Machine>(&self, owner: &Owner<'_, M>, access: IoAccess, value: u32) -> bool {
        self.pci.lock().write_port(owner, access, value)
    }

    /// Returns whether the hypervisor emulates something in the page of an address, so that it must never be mapped.
    pub fn answers(&self, at: Gpa) -> bool {
        self.lines.answers(at) || self.pci.lock().answers(at)
    }

    /// Reads at an address that is not mapped in the guest; None if nothing responds there.
    pub fn read<M: Machine>(&self, machine: &M, at: Gpa, bytes: u32) -> Option<u64> {
        if let Some(value) = self.lines.read(at) {
            return Some(value.into());
        }
        self.pci.lock().read_memory(machine, at, bytes)
    }

    /// Writes to an address that nothing is mapped at; dropped if nothing answers there. Gives what is to be sent.
    pub fn write<M: Machine>(&self, owner: &Owner<'_, M>, at: Gpa, bytes: u32, value: u64) -> Option<Message> {
        match self.lines.write(owner, at, value as u32) {
            Some(message) => message,
            None => {
                self.pci.lock().write_memory(owner, at, bytes, value);
                None
            }
        }
    }

    /// Maps device memory that the guest accessed and that is not mapped; returns false if it has none there.
    pub fn show<M: Machine>(&self, owner: &Owner<'_, M>, gfn: Gfn) -> bool {
        self.pci.lock().show(owner, gfn)
    }

    /// Calls `each` for every bound line, with the guest's redirection entry and whether a level interrupt awaits its
    /// EOI. Returns false, without a call, while another CPU holds the lock.
    pub fn report_lines(&self, each: impl FnMut(u32, Route, bool)) -> bool {
        self.lines.report(each)
    }

    /// Returns the guest ended a level interrupt of this vector: what is to be sent again.
    pub fn end_of_interrupt<M: Machine>(&self, owner: &Owner<'_, M>, vector: u8) -> Vec<Message> {
        self.lines.end_of_interrupt(owner, vector)
    }

    /// Returns a line of the machine came: what is to be sent for it.
    pub fn line_arrived(&self, line: u32) -> Option<Message> {
        self.lines.arrived(line)
    }
}
