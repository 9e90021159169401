//! Message interrupts: what the guest wrote, and what its device was told instead.

use super::Source;
use super::function::named;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use alloc::vec::Vec;
use xenolith_devices::interrupt::Message;
use xenolith_devices::pci::{self, PciAddress};
use xenolith_hal::{CpuId, HostInterrupt, IoSize, LogLevel, Machine, MessageAddress, Mpa};

/// In the header of the capability: how many vectors the device can have. The guest is told that it is one, since more
/// would need neighbouring vectors of the machine.
const MULTIPLE_CAPABLE: u32 = 7 << 17;
const ENTRY_BYTES: u64 = 16;
const ENTRY_MASKED: u32 = 1;

/// An interrupt of the machine that a device was told to send.
#[derive(Clone, Copy)]
struct Bound {
    interrupt: HostInterrupt,
    message: MessageAddress,
}

impl Bound {
    /// Finds an interrupt for what the guest wants; on the CPU that its vCPU runs on, where it can be.
    fn new<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, target: Message) -> Option<Self> {
        let bound = hv.machine.bind_message(cpu_of(hv, domain, target));
        if bound.is_none() {
            let line = format_args!("d{}: no interrupt is left for a device", domain.id);
            hv.machine.log(LogLevel::Warning, true, line);
        }
        bound.map(|(interrupt, message)| Self { interrupt, message })
    }

    fn release<M: Machine>(self, hv: &Hypervisor<M>) {
        hv.machine.unbind(self.interrupt);
        hv.device_interrupts.clear(self.interrupt);
    }
}

fn cpu_of<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, target: Message) -> CpuId {
    let is_meant = |vcpu: &&crate::domains::vcpu::Vcpu<M>| vcpu.lapic_identity().is_meant(target.destination, false);
    domain.vcpus.iter().find(is_meant).map_or_else(|| hv.machine.this_cpu(), crate::domains::vcpu::Vcpu::processor)
}

/// The MSI of one function.
pub(super) struct Msi {
    pub(super) guest: pci::Msi,
    bound: Option<Bound>,
}

impl Msi {
    pub(super) const fn new(register: u16, header: u32) -> Self {
        Self { guest: pci::Msi::new(register, header & !MULTIPLE_CAPABLE), bound: None }
    }

    /// Has the device send none.
    pub(super) fn turn_off<M: Machine>(&self, machine: &M, address: PciAddress) {
        self.program(machine, address, None);
    }

    fn program<M: Machine>(&self, machine: &M, address: PciAddress, message: Option<MessageAddress>) {
        let function = named(address);
        self.guest.program(message, |register, size, value| machine.pci_write(function, register, size, value));
    }

    /// Has the device do what the guest wants.
    pub(super) fn settle<M: Machine>(&mut self, hv: &Hypervisor<M>, domain: &Domain<M>, address: PciAddress) {
        let Some(target) = self.guest.target(0) else {
            self.turn_off(&hv.machine, address);
            if let Some(bound) = self.bound.take() {
                bound.release(hv);
            }
            return;
        };
        if self.bound.is_none() {
            self.bound = Bound::new(hv, domain, target);
        }
        if let Some(bound) = self.bound {
            hv.device_interrupts.set(bound.interrupt, domain.id, Source::Message(target));
        }
        self.program(&hv.machine, address, self.bound.map(|bound| bound.message));
    }
}

/// The MSI-X of one function.
pub(super) struct MsiX {
    pub(super) guest: pci::MsiX,
    bound: Vec<Option<Bound>>,
}

impl MsiX {
    pub(super) fn new(register: u16, header: u32, table: u32, pending: u32) -> Self {
        let guest = pci::MsiX::new(register, header, table, pending);
        let bound = alloc::vec![None; guest.vectors()];
        Self { guest, bound }
    }

    /// Turns the device's on or off as a whole, as the guest has it.
    pub(super) fn write_control<M: Machine>(&self, machine: &M, address: PciAddress) {
        let (register, control) = self.guest.control();
        machine.pci_write(named(address), register, IoSize::Word, control);
    }

    /// Has the device do what the guest wants after a write to the configuration. `table` is where its table is now.
    pub(super) fn settle<M: Machine>(
        &mut self,
        hv: &Hypervisor<M>,
        domain: &Domain<M>,
        address: PciAddress,
        table: Option<Mpa>,
    ) {
        if self.guest.is_enabled() {
            // The table is right before the device looks at it.
            for entry in 0..self.guest.vectors() {
                self.settle_entry(hv, domain, table, entry);
            }
            self.write_control(&hv.machine, address);
            return;
        }
        self.write_control(&hv.machine, address);
        for bound in self.bound.iter_mut().filter_map(Option::take) {
            bound.release(hv);
        }
    }

    /// Has the device's entry be what the guest's is.
    pub(super) fn settle_entry<M: Machine>(
        &mut self,
        hv: &Hypervisor<M>,
        domain: &Domain<M>,
        table: Option<Mpa>,
        entry: usize,
    ) {
        let place = table.and_then(|table| table.checked_add(entry as u64 * ENTRY_BYTES));
        let (Some(place), Some(bound)) = (place, self.bound.get_mut(entry)) else { return };
        if !self.guest.is_enabled() {
            return;
        }
        let masked = self.guest.is_entry_masked(entry);
        let target = self.guest.target(entry);
        if let (Some(target), None, false) = (target, *bound, masked) {
            *bound = Bound::new(hv, domain, target);
        }
        let write = |offset: u64, value: u32| {
            if let Some(at) = place.checked_add(offset) {
                hv.machine.device_write(at, IoSize::Dword, value);
            }
        };
        match (target, *bound) {
            (Some(target), Some(Bound { interrupt, message })) => {
                hv.device_interrupts.set(interrupt, domain.id, Source::Message(target));
                write(0, message.address as u32);
                write(4, (message.address >> 32) as u32);
                write(8, message.data);
                write(12, if masked { ENTRY_MASKED } else { 0 });
            }
            _ => write(12, ENTRY_MASKED),
        }
    }
}
