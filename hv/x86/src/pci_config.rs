//! PCI configuration: by the two ports, and by memory where the firmware says so.
//!
//! **Source:** PCI Local Bus specification 3.0, 3.2.2.3; PCI Firmware specification 3.2, 4.1.2.

use alloc::vec::Vec;

use x86_64::instructions::port::{PortReadOnly, PortWriteOnly};
use xenolith_bootinfo::acpi::PciRange;
use xenolith_hal::{IoSize, PciFunction};
use xenolith_sync::{Once, SpinLock, rank};

use crate::devices::DeviceRegisters;

const ADDRESS_PORT: u16 = 0xcf8;
const DATA_PORT: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;
/// Registers that the ports reach.
const PORT_REGISTERS: u16 = 0x100;
/// Bytes of one function's configuration in memory, and of one bus'.
const FUNCTION_BYTES: u64 = 1 << 12;
const BUS_SHIFT: u32 = 20;

static RANGES: Once<Vec<PciRange>> = Once::new();
/// The two ports work together.
static PORTS: SpinLock<(), rank::Interrupts> = SpinLock::new(());

/// Notes where configuration is memory.
pub fn set_up(ranges: &[PciRange]) {
    let _ = RANGES.set(ranges.to_vec());
}

/// The configuration of a function in memory.
fn in_memory(function: PciFunction) -> Option<DeviceRegisters> {
    let bus = (function.bdf >> 8) as u8;
    let holds =
        |range: &&PciRange| range.segment == function.segment && (range.first_bus..=range.last_bus).contains(&bus);
    let range = RANGES.get()?.iter().find(holds)?;
    let [low, _] = function.bdf.to_le_bytes();
    let offset = u64::from(bus) << BUS_SHIFT | u64::from(low) << 12;
    // SAFETY: the firmware says that configuration is there.
    unsafe { DeviceRegisters::map(range.address.checked_add(offset)?, FUNCTION_BYTES) }
}

fn by_ports(function: PciFunction, register: u16) -> Option<u16> {
    (function.segment == 0 && register < PORT_REGISTERS).then_some(DATA_PORT | register & 3)
}

/// Has the data port stand for a register. The caller holds [`PORTS`].
fn select(function: PciFunction, register: u16) {
    let address = ENABLE | u32::from(function.bdf) << 8 | u32::from(register & 0xfc);
    // SAFETY: writing the address register does nothing but choose.
    unsafe { PortWriteOnly::<u32>::new(ADDRESS_PORT).write(address) };
}

/// Reads a part of a doubleword; ones where nothing answers.
pub fn read(function: PciFunction, register: u16, size: IoSize) -> u32 {
    let Some(port) = by_ports(function, register) else {
        return in_memory(function).map_or(size.mask(), |registers| registers.read_sized(register.into(), size));
    };
    let _ports = PORTS.lock();
    select(function, register);
    // SAFETY: reading configuration does nothing to memory.
    unsafe {
        match size {
            IoSize::Byte => PortReadOnly::<u8>::new(port).read().into(),
            IoSize::Word => PortReadOnly::<u16>::new(port).read().into(),
            IoSize::Dword => PortReadOnly::<u32>::new(port).read(),
        }
    }
}

/// Writes a part of a doubleword.
pub fn write(function: PciFunction, register: u16, size: IoSize, value: u32) {
    let Some(port) = by_ports(function, register) else {
        if let Some(registers) = in_memory(function) {
            registers.write_sized(register.into(), size, value);
        }
        return;
    };
    let _ports = PORTS.lock();
    select(function, register);
    // SAFETY: what the write does to the device is the core's to allow, and the IOMMU's to confine.
    unsafe {
        match size {
            IoSize::Byte => PortWriteOnly::<u8>::new(port).write(value as u8),
            IoSize::Word => PortWriteOnly::<u16>::new(port).write(value as u16),
            IoSize::Dword => PortWriteOnly::<u32>::new(port).write(value),
        }
    }
}
