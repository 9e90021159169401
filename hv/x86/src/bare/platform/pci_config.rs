//! PCI configuration space: by ECAM where the firmware describes it, and by the two ports elsewhere.
//!
//! If ECAM covers all of segment 0, the hypervisor does not need the ports: the address port can be the control
//! domain's alone, which then writes it without an exit.
//!
//! **Source:** PCI Local Bus specification 3.0, 3.2.2.3; PCI Firmware specification 3.2, 4.1.2.

use alloc::vec::Vec;
use core::arch::asm;

use x86_64::instructions::port::{PortReadOnly, PortWriteOnly};
use xenolith_bootinfo::acpi::PciRange;
use xenolith_bootinfo::{BootInfo, MachineRange};
use xenolith_hal::{IoSize, PciFunction};
use xenolith_sync::{Once, SpinLock, rank};

use crate::bare::memory::device_registers::DeviceRegisters;

const ADDRESS_PORT: u16 = 0xcf8;
const DATA_PORT: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;
/// Registers that the ports reach.
const PORT_REGISTERS: u16 = 0x100;
/// Bytes of one bus' configuration in memory, and of one function's.
const BUS_BYTES: u64 = 1 << 20;
const FUNCTION_BYTES: u64 = 1 << 12;
/// The first function of each device of bus 0, by which the two ways are compared.
const FIRST_FUNCTIONS: u16 = 32;

/// Configuration of some buses in memory.
struct Area {
    range: PciRange,
    registers: DeviceRegisters,
}

static AREAS: Once<Vec<Area>> = Once::new();
/// The two ports work together.
static PORTS: SpinLock<(), rank::Interrupts> = SpinLock::new(());

/// Sets the ECAM areas: the firmware's, except areas that are RAM, have no page tables, or do not show the same as the
/// ports.
#[expect(clippy::disallowed_methods, reason = "only at boot")]
pub fn set_up(ranges: &[PciRange], info: &BootInfo) {
    let areas = ranges.iter().filter_map(|range| area(range, info)).filter(is_sound);
    let _ = AREAS.set(areas.collect());
}

fn area(range: &PciRange, info: &BootInfo) -> Option<Area> {
    let buses = u64::from(range.last_bus.checked_sub(range.first_bus)?) + 1;
    let start = range.address.checked_add(u64::from(range.first_bus) * BUS_BYTES)?;
    let place = MachineRange::new(start, buses * BUS_BYTES)?;
    if info.memory.ram().any(|ram| ram.intersection(place).is_some()) {
        return None;
    }
    // SAFETY: the firmware says that configuration is there, and RAM is not.
    let registers = unsafe { DeviceRegisters::map(start, place.length()) }?;
    Some(Area { range: *range, registers })
}

/// Returns whether an area shows the same devices as the ports, as far as both reach.
fn is_sound(area: &Area) -> bool {
    let PciRange { segment, first_bus, .. } = area.range;
    if segment != 0 || first_bus != 0 {
        return true;
    }
    let sound = (0..FIRST_FUNCTIONS).map(|device| PciFunction { segment, bdf: device << 3 }).all(|function| {
        let in_memory = area.place(function, 0).map(|place| read_memory(place, IoSize::Dword));
        in_memory == Some(read_ports(function, 0, IoSize::Dword))
    });
    if !sound {
        crate::log!(Warning, "PCI: configuration in memory at {:#x} is not as the ports show it", area.range.address);
    }
    sound
}

impl Area {
    fn holds(&self, function: PciFunction) -> bool {
        let bus = (function.bdf >> 8) as u8;
        self.range.segment == function.segment && (self.range.first_bus..=self.range.last_bus).contains(&bus)
    }

    /// Returns the address of a register, which is in its function's space.
    fn place(&self, function: PciFunction, register: u16) -> Option<u64> {
        let [low, bus] = function.bdf.to_le_bytes();
        let bus = bus.checked_sub(self.range.first_bus).filter(|_| self.holds(function))?;
        let offset = u64::from(bus) * BUS_BYTES + u64::from(low) * FUNCTION_BYTES;
        Some(self.registers.base() + offset + u64::from(register) % FUNCTION_BYTES)
    }
}

/// Returns whether ECAM covers every bus of segment 0, so that the ports are not used here.
#[must_use]
pub fn leaves_ports() -> bool {
    let whole = |area: &Area| area.range.segment == 0 && area.range.first_bus == 0 && area.range.last_bus == u8::MAX;
    AREAS.get().is_some_and(|areas| areas.iter().any(whole))
}

/// Reads the address port.
#[must_use]
pub fn chosen() -> u32 {
    // SAFETY: reading the address register has no effect.
    unsafe { PortReadOnly::<u32>::new(ADDRESS_PORT).read() }
}

/// Returns the ECAM address of a register, if an area covers it.
#[inline]
fn in_memory(function: PciFunction, register: u16) -> Option<u64> {
    AREAS.get()?.iter().find_map(|area| area.place(function, register))
}

/// Reads ECAM. Some AMD CPUs require EAX as the register.
fn read_memory(place: u64, size: IoSize) -> u32 {
    let value: u32;
    // SAFETY: the place lies in an area, which is mapped for ever; reading configuration does nothing to memory.
    unsafe {
        match size {
            IoSize::Byte => asm!("movzx eax, byte ptr [{}]", in(reg) place, out("eax") value, options(nostack)),
            IoSize::Word => asm!("movzx eax, word ptr [{}]", in(reg) place, out("eax") value, options(nostack)),
            IoSize::Dword => asm!("mov eax, [{}]", in(reg) place, out("eax") value, options(nostack)),
        }
    }
    value
}

/// Writes ECAM.
fn write_memory(place: u64, size: IoSize, value: u32) {
    // SAFETY: the place lies in an area; what the write does to the device is the core's to allow, and the IOMMU's to
    // confine.
    unsafe {
        match size {
            IoSize::Byte => asm!("mov [{}], al", in(reg) place, in("eax") value, options(nostack)),
            IoSize::Word => asm!("mov [{}], ax", in(reg) place, in("eax") value, options(nostack)),
            IoSize::Dword => asm!("mov [{}], eax", in(reg) place, in("eax") value, options(nostack)),
        }
    }
}

/// Selects a register through the address port, and returns the data port. The caller holds [`PORTS`]. None for
/// registers that the ports do not reach.
fn select(function: PciFunction, register: u16) -> Option<u16> {
    if function.segment != 0 || register >= PORT_REGISTERS {
        return None;
    }
    let address = ENABLE | u32::from(function.bdf) << 8 | u32::from(register & 0xfc);
    // SAFETY: writing the address register does nothing but choose.
    unsafe { PortWriteOnly::<u32>::new(ADDRESS_PORT).write(address) };
    Some(DATA_PORT | register & 3)
}

fn read_ports(function: PciFunction, register: u16, size: IoSize) -> u32 {
    let _ports = PORTS.lock();
    let Some(port) = select(function, register) else { return size.mask() };
    // SAFETY: reading configuration does nothing to memory.
    unsafe {
        match size {
            IoSize::Byte => PortReadOnly::<u8>::new(port).read().into(),
            IoSize::Word => PortReadOnly::<u16>::new(port).read().into(),
            IoSize::Dword => PortReadOnly::<u32>::new(port).read(),
        }
    }
}

fn write_ports(function: PciFunction, register: u16, size: IoSize, value: u32) {
    let _ports = PORTS.lock();
    let Some(port) = select(function, register) else { return };
    // SAFETY: as in `write_memory`.
    unsafe {
        match size {
            IoSize::Byte => PortWriteOnly::<u8>::new(port).write(value as u8),
            IoSize::Word => PortWriteOnly::<u16>::new(port).write(value as u16),
            IoSize::Dword => PortWriteOnly::<u32>::new(port).write(value),
        }
    }
}

/// Reads part of a doubleword; all ones if nothing responds.
pub fn read(function: PciFunction, register: u16, size: IoSize) -> u32 {
    match in_memory(function, register) {
        Some(place) => read_memory(place, size),
        None => read_ports(function, register, size),
    }
}

/// Writes part of a doubleword.
pub fn write(function: PciFunction, register: u16, size: IoSize, value: u32) {
    match in_memory(function, register) {
        Some(place) => write_memory(place, size, value),
        None => write_ports(function, register, size, value),
    }
}
