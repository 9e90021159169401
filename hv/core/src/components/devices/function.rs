//! One PCI function: the part of its configuration space that is virtualised, and how it is probed.

use super::messages::{Msi, MsiX};
use super::window::AddressRange;
use alloc::collections::TryReserveError;
use xenolith_devices::pci::{
    Bar, BarKind, Bars, Capability, Command, ConfigAccess, MemoryRange, PciAddress, capabilities,
};
use xenolith_hal::{Gpa, IoSize, Machine, PciFunction};

const CLASS: u16 = 0x8;
/// Class codes, as the upper half of [`CLASS`]: an IOMMU is the hypervisor's; a host bridge must always respond.
const CLASS_IOMMU: u32 = 0x0806;
const CLASS_HOST_BRIDGE: u32 = 0x0600;
/// The doubleword that holds the header type.
const HEADER: u16 = 0xc;
const HEADER_KIND: u32 = 0x7f;
const FIRST_BAR: u16 = 0x10;
const BARS: usize = 6;
const COMMAND_MEMORY_AND_PORTS: u32 = 3;

/// The expansion ROM's window comes after the BARs'.
const ROM_WINDOW: usize = BARS;
pub(super) const WINDOWS: usize = BARS + 1;
const ROM_ENABLE: u32 = 1;
const ROM_ADDRESS: u32 = !0x7ff;

/// The expansion ROM's BAR.
#[derive(Clone, Copy)]
struct Rom {
    register: u16,
    size: u32,
    value: u32,
}

/// A function.
pub(super) struct Function {
    pub(super) address: PciAddress,
    /// The hypervisor's own: the guest may only read its configuration.
    pub(super) is_kept: bool,
    bars: Bars,
    /// The number of BARs of its header type.
    bar_count: usize,
    rom: Option<Rom>,
    memory_on: bool,
    pub(super) msi: Option<Msi>,
    pub(super) msix: Option<MsiX>,
    /// The windows that the guest has mapped, where each was then.
    shown: [Option<MemoryRange>; WINDOWS],
}

/// Returns the machine's name of the function.
pub(super) const fn named(address: PciAddress) -> PciFunction {
    PciFunction { segment: address.segment, bdf: address.bdf() }
}

/// Returns the width of an access, which is 1, 2 or 4 bytes.
pub(super) const fn width(access: ConfigAccess) -> IoSize {
    match access.bytes {
        1 => IoSize::Byte,
        2 => IoSize::Word,
        _ => IoSize::Dword,
    }
}

/// A function's configuration space in the machine, by doublewords.
struct Registers<'a, M> {
    machine: &'a M,
    function: PciFunction,
}

impl<M: Machine> Registers<'_, M> {
    fn read(&self, register: u16) -> u32 {
        self.machine.pci_read(self.function, register, IoSize::Dword)
    }

    fn write(&self, register: u16, value: u32) {
        self.machine.pci_write(self.function, register, IoSize::Dword, value);
    }

    /// Returns the value of a register, and what it reads after ones were written (BAR sizing).
    fn probe(&self, register: u16) -> (u32, u32) {
        let value = self.read(register);
        self.write(register, u32::MAX);
        let ones = self.read(register);
        self.write(register, value);
        (value, ones)
    }

    fn bars(&self, count: usize) -> Bars {
        let last = count.saturating_sub(1);
        let mut found = [Bar::default(); BARS];
        let mut upper = false;
        for (index, register) in (0..count).zip((FIRST_BAR..).step_by(4)) {
            if core::mem::take(&mut upper) {
                continue;
            }
            let (value, ones) = self.probe(register);
            let prefetchable = value & 8 != 0;
            let (kind, size, address) = if ones == 0 {
                continue;
            } else if value & 1 != 0 {
                // A device may leave the upper half of a port's address out.
                (BarKind::Ports, u64::from((!(ones & !3 | 0xffff_0000)).wrapping_add(1)), u64::from(value & !3))
            } else if value & 6 == 4 && index < last {
                upper = true;
                let (high, high_ones) = self.probe(register.saturating_add(4));
                let ones = u64::from(high_ones) << 32 | u64::from(ones & !0xf);
                let address = u64::from(high) << 32 | u64::from(value & !0xf);
                (BarKind::Memory64 { prefetchable }, (!ones).wrapping_add(1), address)
            } else {
                let size = (!(ones & !0xf)).wrapping_add(1);
                (BarKind::Memory32 { prefetchable }, u64::from(size), u64::from(value & !0xf))
            };
            if let Some(bar) = found.get_mut(index) {
                *bar = Bar::new(kind, size, address);
            }
        }
        Bars::new(found)
    }

    fn rom(&self, register: u16) -> Option<Rom> {
        let value = self.read(register);
        self.write(register, ROM_ADDRESS);
        let ones = self.read(register) & ROM_ADDRESS;
        self.write(register, value);
        let size = (!ones).wrapping_add(1);
        (ones != 0 && size.is_power_of_two()).then_some(Rom { register, size, value })
    }
}

impl Function {
    /// Probes a function, which is disabled for a moment, and turns its MSI and MSI-X off. None if there is no
    /// function, or no memory for what is kept of it: a function whose MSI-X is not watched is not shown.
    pub(super) fn find<M: Machine>(machine: &M, address: PciAddress) -> Option<Self> {
        let registers = Registers { machine, function: named(address) };
        if registers.read(0) & 0xffff == 0xffff {
            return None;
        }
        let class = registers.read(CLASS) >> 16;
        let (bar_count, rom) = match registers.read(HEADER) >> 16 & HEADER_KIND {
            _ if class == CLASS_HOST_BRIDGE => (0, None),
            0 => (BARS, Some(0x30)),
            1 => (2, Some(0x38)),
            _ => (0, None),
        };
        let register = Command::REGISTER;
        let command = machine.pci_read(registers.function, register, IoSize::Word);
        if bar_count > 0 {
            machine.pci_write(registers.function, register, IoSize::Word, command & !COMMAND_MEMORY_AND_PORTS);
        }
        let bars = registers.bars(bar_count);
        let rom = rom.and_then(|register| registers.rom(register));
        if bar_count > 0 {
            machine.pci_write(registers.function, register, IoSize::Word, command);
        }
        let memory_on = Command(command as u16).memory();
        let is_kept = class == CLASS_IOMMU;
        let shown = [None; WINDOWS];
        let mut found = Self { address, is_kept, bars, bar_count, rom, memory_on, msi: None, msix: None, shown };
        if !is_kept {
            found.find_messages(&registers).ok()?;
        }
        Some(found)
    }

    fn find_messages<M: Machine>(&mut self, registers: &Registers<'_, M>) -> Result<(), TryReserveError> {
        for Capability { id, register } in capabilities(|register| registers.read(register)) {
            match id {
                Capability::MSI if self.msi.is_none() => {
                    let msi = Msi::new(register, registers.read(register));
                    msi.turn_off(registers.machine, self.address);
                    self.msi = Some(msi);
                }
                Capability::MSI_X if self.msix.is_none() => {
                    let [header, table, pending] =
                        [0, 4, 8].map(|offset| registers.read(register.saturating_add(offset)));
                    let msix = MsiX::new(register, header, table, pending)?;
                    msix.write_control(registers.machine, self.address);
                    self.msix = Some(msix);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn rom_window(&self) -> Option<(usize, MemoryRange)> {
        let rom = self.rom.filter(|rom| rom.value & ROM_ENABLE != 0)?;
        // The size is a power of two.
        let start = Gpa(u64::from(rom.value & ROM_ADDRESS & rom.size.wrapping_neg()));
        Some((ROM_WINDOW, MemoryRange { start, bytes: rom.size.into() }))
    }

    /// Returns the memory windows of the function, by number of the window.
    pub(super) fn windows(&self) -> impl Iterator<Item = (usize, MemoryRange)> + '_ {
        self.bars.memory().chain(self.rom_window()).filter(|_| self.memory_on)
    }

    /// Returns the first of [`Self::windows`] that is `wanted`.
    #[inline]
    pub(super) fn find_window(&self, wanted: impl Fn(MemoryRange) -> bool) -> Option<(usize, MemoryRange)> {
        if !self.memory_on {
            return None;
        }
        let is_wanted = |window: &(usize, MemoryRange)| wanted(window.1);
        self.bars.memory().find(is_wanted).or_else(|| self.rom_window().filter(is_wanted))
    }

    /// Returns the current place of its MSI-X table.
    #[inline]
    pub(super) fn table(&self) -> Option<MemoryRange> {
        self.table_of(self.msix.as_ref()?)
    }

    #[inline(never)]
    fn table_of(&self, msix: &MsiX) -> Option<MemoryRange> {
        let (bar, offset, bytes) = msix.guest.table_place();
        let window = self.bars.range(bar).filter(|_| self.memory_on)?;
        let inside = offset.checked_add(bytes)? <= window.bytes;
        inside.then_some(MemoryRange { start: Gpa(window.start.0.checked_add(offset)?), bytes })
    }

    /// Returns the pages of its MSI-X table.
    pub(super) fn table_pages(&self) -> Option<AddressRange> {
        self.table().map(AddressRange::pages_of)
    }

    /// Notes that the guest has mapped a part of a window; returns where the window was when it last did, if that was
    /// elsewhere.
    pub(super) fn note_shown(&mut self, window: usize, range: MemoryRange) -> Option<MemoryRange> {
        self.shown.get_mut(window)?.replace(range).filter(|before| *before != range)
    }

    /// Takes out every range of the function that the guest may have mapped.
    pub(super) fn take_shown(&mut self) -> impl Iterator<Item = MemoryRange> + use<> {
        core::mem::take(&mut self.shown).into_iter().flatten()
    }

    /// Reads part of the configuration space.
    pub(super) fn read<M: Machine>(&self, machine: &M, access: ConfigAccess) -> u32 {
        let register = access.doubleword();
        let kept = self.msi.as_ref().and_then(|msi| msi.guest.read(register));
        let kept = kept.or_else(|| self.msix.as_ref().and_then(|msix| msix.guest.read(register)));
        match kept {
            Some(doubleword) => access.extract(doubleword),
            None => machine.pci_read(named(access.address), access.register, width(access)),
        }
    }

    /// Notes a write to the command register or a BAR; returns true if a window may have moved.
    pub(super) fn note_write(&mut self, access: ConfigAccess, value: u32) -> bool {
        let register = access.doubleword();
        if register == Command::REGISTER {
            let before = self.memory_on;
            let command = access.merge(if before { 2 } else { 0 }, value);
            self.memory_on = Command(command as u16).memory();
            return self.memory_on != before;
        }
        if let Some(rom) = &mut self.rom
            && rom.register == register
        {
            rom.value = access.merge(rom.value, value);
            return true;
        }
        let last = FIRST_BAR.saturating_add((self.bar_count as u16) << 2);
        if !(FIRST_BAR..last).contains(&register) {
            return false;
        }
        if let Some(before) = self.bars.read(register) {
            self.bars.write(register, access.merge(before, value));
        }
        true
    }
}
