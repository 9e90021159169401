//! MSI and MSI-X of passed-through devices: the guest's values, and the ones programmed into the device instead.

use super::function::named;
use super::{Owner, Source};
use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use xenolith_devices::interrupt::Message;
use xenolith_devices::pci::{self, PciAddress};
use xenolith_hal::{HostInterrupt, IoSize, LogLevel, Machine, MessageAddress, Mpa};

/// The multiple-message field of the capability. The guest is shown one vector, since more would need neighbouring
/// vectors of the machine.
const MULTIPLE_CAPABLE: u32 = 7 << 17;
const ENTRY_BYTES: u64 = 16;
const ENTRY_MASKED: u32 = 1;

/// An interrupt of the machine that a device was programmed to send.
#[derive(Clone, Copy)]
struct Bound {
    interrupt: HostInterrupt,
    message: MessageAddress,
}

impl Bound {
    /// Allocates an interrupt for what the guest wants; on the CPU that its vCPU runs on, if possible.
    fn new<M: Machine>(owner: &Owner<'_, M>, target: Message) -> Option<Self> {
        let bound = owner.machine.bind_message((owner.cpu_for)(target));
        if bound.is_none() {
            let line = format_args!("d{}: no interrupt is left for a device", owner.id());
            owner.machine.log(LogLevel::Warning, true, line);
        }
        bound.map(|(interrupt, message)| Self { interrupt, message })
    }

    fn release<M: Machine>(self, owner: &Owner<'_, M>) {
        owner.machine.unbind(self.interrupt);
        owner.interrupts.clear(self.interrupt);
    }
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

    /// Disables the device's MSI.
    pub(super) fn turn_off<M: Machine>(&self, machine: &M, address: PciAddress) {
        self.program(machine, address, None);
    }

    fn program<M: Machine>(&self, machine: &M, address: PciAddress, message: Option<MessageAddress>) {
        let function = named(address);
        self.guest.program(message, |register, size, value| machine.pci_write(function, register, size, value));
    }

    /// Programs the device as the guest wants.
    pub(super) fn apply<M: Machine>(&mut self, owner: &Owner<'_, M>, address: PciAddress) {
        let Some(target) = self.guest.target(0) else {
            self.turn_off(owner.machine, address);
            if let Some(bound) = self.bound.take() {
                bound.release(owner);
            }
            return;
        };
        if self.bound.is_none() {
            self.bound = Bound::new(owner, target);
        }
        if let Some(bound) = self.bound {
            owner.interrupts.set(bound.interrupt, owner.id(), Source::Message(target));
        }
        self.program(owner.machine, address, self.bound.map(|bound| bound.message));
    }
}

/// The MSI-X of one function.
pub(super) struct MsiX {
    pub(super) guest: pci::MsiX,
    bound: Vec<Option<Bound>>,
}

impl MsiX {
    /// Creates it from the capability's three doublewords.
    ///
    /// **Errors:** memory is short for the table.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub(super) fn new(register: u16, header: u32, table: u32, pending: u32) -> Result<Self, TryReserveError> {
        let guest = pci::MsiX::new(register, header, table, pending)?;
        let mut bound = Vec::new();
        bound.try_reserve_exact(guest.vectors())?;
        bound.resize(guest.vectors(), None);
        Ok(Self { guest, bound })
    }

    /// Enables or disables the device's MSI-X as a whole, as the guest has it.
    pub(super) fn write_control<M: Machine>(&self, machine: &M, address: PciAddress) {
        let (register, control) = self.guest.control();
        machine.pci_write(named(address), register, IoSize::Word, control);
    }

    /// Programs the device after a write to the configuration space. `table` is the current place of its table.
    pub(super) fn apply<M: Machine>(&mut self, owner: &Owner<'_, M>, address: PciAddress, table: Option<Mpa>) {
        if self.guest.is_enabled() {
            // The table is right before the device looks at it.
            for entry in 0..self.guest.vectors() {
                self.apply_entry(owner, table, entry);
            }
            self.write_control(owner.machine, address);
            return;
        }
        self.write_control(owner.machine, address);
        for bound in self.bound.iter_mut().filter_map(Option::take) {
            bound.release(owner);
        }
    }

    /// Programs one entry of the device as the guest's is.
    pub(super) fn apply_entry<M: Machine>(&mut self, owner: &Owner<'_, M>, table: Option<Mpa>, entry: usize) {
        let place = table.and_then(|table| table.checked_add((entry as u64).checked_mul(ENTRY_BYTES)?));
        let (Some(place), Some(bound)) = (place, self.bound.get_mut(entry)) else { return };
        if !self.guest.is_enabled() {
            return;
        }
        let masked = self.guest.is_entry_masked(entry);
        let target = self.guest.target(entry);
        if let (Some(target), None, false) = (target, *bound, masked) {
            *bound = Bound::new(owner, target);
        }
        let write = |offset: u64, value: u32| {
            if let Some(at) = place.checked_add(offset) {
                owner.machine.device_write(at, IoSize::Dword, value);
            }
        };
        match (target, *bound) {
            (Some(target), Some(Bound { interrupt, message })) => {
                owner.interrupts.set(interrupt, owner.id(), Source::Message(target));
                write(0, message.address as u32);
                write(4, (message.address >> 32) as u32);
                write(8, message.data);
                write(12, if masked { ENTRY_MASKED } else { 0 });
            }
            _ => write(12, ENTRY_MASKED),
        }
    }
}
