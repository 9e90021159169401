//! The guest's PCI configuration space, by ports and by ECAM, and the pages of MSI-X tables.

use super::Owner;
use super::function::{Function, WINDOWS, named, width};
use super::window::{AddressRange, hide};
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use core::ops::RangeInclusive;
use xenolith_devices::pci::{ConfigAccess, ConfigPorts, Ecam, PciAddress, PortUse};
use xenolith_hal::{Gpa, IoAccess, IoSize, Machine, Mpa};

/// The bit of the header type for a multi-function device.
const HAS_FUNCTIONS: u32 = 1 << 23;

/// All functions, and the guest's address register.
pub(super) struct Pci {
    ports: ConfigPorts,
    areas: Vec<Ecam>,
    pub(super) kept: Vec<AddressRange>,
    /// Sorted by address.
    pub(super) functions: Vec<Function>,
    /// The function that was accessed last: a guest mostly stays with it.
    last: usize,
}

impl Pci {
    /// Probes all functions of segment 0 and of the ECAM areas. Functions that are added later are probed when the
    /// guest finds them.
    #[expect(clippy::disallowed_methods, reason = "only at boot, for dom0")]
    pub(super) fn new<M: Machine>(machine: &M, areas: Vec<Ecam>, kept: Vec<AddressRange>) -> Self {
        let mut buses: Vec<(u16, RangeInclusive<u8>)> =
            areas.iter().map(|area| (area.segment, area.first_bus..=area.last_bus)).collect();
        if !areas.iter().any(|area| area.segment == 0) {
            buses.push((0, 0..=255));
        }
        let mut found = Self { ports: ConfigPorts::default(), areas, kept, functions: Vec::new(), last: 0 };
        for (segment, buses) in buses {
            for bus in buses {
                for device in 0..32 {
                    found.look_at_device(machine, PciAddress { segment, bus, device, function: 0 });
                }
            }
        }
        found
    }

    fn look_at_device<M: Machine>(&mut self, machine: &M, first: PciAddress) {
        if self.find(machine, first).is_none() {
            return;
        }
        if machine.pci_read(named(first), 0xc, IoSize::Dword) & HAS_FUNCTIONS != 0 {
            for function in 1..8 {
                let _ = self.find(machine, PciAddress { function, ..first });
            }
        }
    }

    pub(super) const fn function_count(&self) -> usize {
        self.functions.len()
    }

    pub(super) fn function_mut(&mut self, index: usize) -> Option<&mut Function> {
        self.functions.get_mut(index)
    }

    /// Returns the index of a function; probes it if it is not known. None if there is no function.
    fn find<M: Machine>(&mut self, machine: &M, address: PciAddress) -> Option<usize> {
        if self.functions.get(self.last).is_some_and(|function| function.address == address) {
            return Some(self.last);
        }
        let found = self.search(machine, address);
        self.last = found.unwrap_or(self.last);
        found
    }

    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    fn search<M: Machine>(&mut self, machine: &M, address: PciAddress) -> Option<usize> {
        match self.functions.binary_search_by_key(&address, |function| function.address) {
            Ok(index) => Some(index),
            Err(index) => {
                let function = Function::find(machine, address)?;
                self.functions.try_reserve(1).ok()?;
                self.functions.insert(index, function);
                Some(index)
            }
        }
    }

    /// Reads a port; see [`super::HostDevices::read_port`].
    pub(super) fn read_port<M: Machine>(&mut self, machine: &M, access: IoAccess) -> Option<u32> {
        match self.decode(machine, access) {
            PortUse::Address => Some(self.ports.address()),
            PortUse::Config(config) => Some(self.read(machine, config)),
            PortUse::Nothing => Some(u32::MAX),
            PortUse::Other => None,
        }
    }

    /// Writes a port; see [`super::HostDevices::write_port`].
    pub(super) fn write_port<M: Machine>(&mut self, owner: &Owner<'_, M>, access: IoAccess, value: u32) -> bool {
        match self.decode(owner.machine, access) {
            PortUse::Address => self.ports.set_address(value),
            PortUse::Config(config) => self.write(owner, config, value),
            PortUse::Nothing => {}
            PortUse::Other => return false,
        }
        true
    }

    #[inline]
    fn decode<M: Machine>(&mut self, machine: &M, access: IoAccess) -> PortUse {
        if let Some(chosen) = machine.pci_chosen() {
            self.ports.set_address(chosen);
        }
        self.ports.decode(access.port, access.size, false)
    }

    fn read<M: Machine>(&mut self, machine: &M, access: ConfigAccess) -> u32 {
        let index = self.find(machine, access.address);
        let function = index.and_then(|index| self.functions.get(index));
        function.map_or_else(|| width(access).mask(), |function| function.read(machine, access))
    }

    fn write<M: Machine>(&mut self, owner: &Owner<'_, M>, access: ConfigAccess, value: u32) {
        let index = self.find(owner.machine, access.address);
        let Some(function) = index.and_then(|index| self.functions.get_mut(index)) else { return };
        if function.is_kept {
            return;
        }
        let (address, register) = (access.address, access.doubleword());
        let table = function.table().map(|table| Mpa(table.start.0));
        if let Some(msi) = &mut function.msi
            && msi.guest.contains(register)
        {
            if msi.guest.write(access, value) {
                msi.apply(owner, address);
            }
            return;
        }
        if let Some(msix) = &mut function.msix
            && msix.guest.read(register).is_some()
        {
            if msix.guest.write(access, value) {
                msix.apply(owner, address, table);
            }
            return;
        }
        owner.machine.pci_write(named(address), access.register, width(access), value);
        if function.note_write(access, value) {
            moved(owner, function);
        }
    }

    /// Returns where an ECAM area begins; see [`super::HostDevices::configuration_of`].
    pub(super) fn configuration_of(&self, buses: (u16, u8, u8)) -> Option<Gpa> {
        self.areas.iter().find(|area| (area.segment, area.first_bus, area.last_bus) == buses).map(|area| area.base)
    }

    /// Returns whether a page is emulated; see [`super::HostDevices::answers`].
    pub(super) fn answers(&mut self, at: Gpa) -> bool {
        self.areas.iter().any(|area| area.contains(at)) || self.table_at(at).is_some()
    }

    /// Reads at an address that is not mapped.
    pub(super) fn read_memory<M: Machine>(&mut self, machine: &M, at: Gpa, bytes: u32) -> Option<u64> {
        if let Some(access) = self.configuration(at, bytes) {
            let low = u64::from(self.read(machine, access));
            let upper = (bytes == 8).then(|| self.configuration(at.checked_add(4)?, 4)).flatten();
            return Some(upper.map_or(low, |upper| u64::from(self.read(machine, upper)) << 32 | low));
        }
        let (function, offset) = self.table_at(at)?;
        let msix = function.msix.as_ref()?;
        if let Some(offset) = offset {
            return Some(msix.guest.read_table(offset, bytes));
        }
        let read = |at: Gpa, size| u64::from(machine.device_read(Mpa(at.0), size));
        Some(match bytes {
            1 => read(at, IoSize::Byte),
            2 => read(at, IoSize::Word),
            4 => read(at, IoSize::Dword),
            _ => read(at.checked_add(4)?, IoSize::Dword) << 32 | read(at, IoSize::Dword),
        })
    }

    /// Writes at an address that is not mapped.
    pub(super) fn write_memory<M: Machine>(&mut self, owner: &Owner<'_, M>, at: Gpa, bytes: u32, value: u64) {
        if let Some(access) = self.configuration(at, bytes) {
            self.write(owner, access, value as u32);
            let upper = (bytes == 8).then(|| self.configuration(at.checked_add(4)?, 4)).flatten();
            if let Some(upper) = upper {
                self.write(owner, upper, (value >> 32) as u32);
            }
            return;
        }
        let Some((function, offset)) = self.table_at(at) else { return };
        let table = function.table().map(|table| Mpa(table.start.0));
        let Some(msix) = &mut function.msix else { return };
        if let Some(offset) = offset {
            if let Some(entry) = msix.guest.write_table(offset, bytes, value) {
                msix.apply_entry(owner, table, entry);
            }
            return;
        }
        let write = |at: Gpa, size, value| owner.machine.device_write(Mpa(at.0), size, value);
        match bytes {
            1 => write(at, IoSize::Byte, value as u32),
            2 => write(at, IoSize::Word, value as u32),
            4 => write(at, IoSize::Dword, value as u32),
            _ => {
                write(at, IoSize::Dword, value as u32);
                if let Some(at) = at.checked_add(4) {
                    write(at, IoSize::Dword, (value >> 32) as u32);
                }
            }
        }
    }

    #[inline]
    fn configuration(&self, at: Gpa, bytes: u32) -> Option<ConfigAccess> {
        self.areas.iter().find_map(|area| area.decode(at, bytes))
    }

    /// Returns the function whose MSI-X table shares a page with an address, and the offset in the table if the address
    /// is in it.
    #[inline]
    fn table_at(&mut self, at: Gpa) -> Option<(&mut Function, Option<u32>)> {
        let function = self
            .functions
            .iter_mut()
            .find(|function| function.table_pages().is_some_and(|pages| (pages.start..pages.end).contains(&at.0)))?;
        let table = function.table()?;
        let offset = at.0.checked_sub(table.start.0).filter(|offset| *offset < table.bytes);
        Some((function, offset.and_then(|offset| u32::try_from(offset).ok())))
    }
}

/// Unmaps the ranges of a function whose windows moved: what the guest had mapped of it is stale, and so may be what it
/// has mapped at the new place of the table.
#[expect(clippy::disallowed_methods, reason = "an array with a place for each window that a function can have")]
fn moved<M: Machine>(owner: &Owner<'_, M>, function: &mut Function) {
    let now: ArrayVec<_, WINDOWS> = function.windows().collect();
    if now.is_empty() {
        // It is turned off, for a moment perhaps.
        return;
    }
    let shown: ArrayVec<_, WINDOWS> = function.take_shown().collect();
    for (number, range) in now.iter().filter(|(_, range)| shown.contains(range)) {
        let _ = function.note_shown(*number, *range);
    }
    for range in shown.into_iter().filter(|shown| !now.iter().any(|(_, range)| range == shown)) {
        hide(owner, AddressRange::pages_of(range));
    }
    if let Some(pages) = function.table_pages() {
        hide(owner, pages);
    }
    let (address, table) = (function.address, function.table().map(|table| Mpa(table.start.0)));
    if let Some(msix) = &mut function.msix
        && msix.guest.is_enabled()
    {
        msix.apply(owner, address, table);
    }
}
