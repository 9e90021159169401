//! The machine's devices as the core sees them.

use xenolith_bootinfo::acpi::{AcpiTables, DeviceMemory};
use xenolith_bootinfo::{BootInfo, MachineRange};
use xenolith_hal::{
    CpuId, Devices, FrameSource, HostInterrupt, IoSize, LineMode, MessageAddress, Mfn, Mpa, PciFunction, Rights,
    Unconfined,
};
use xenolith_sync::Once;

use super::X86Machine;
use crate::bare::interrupts::{device_interrupts, interrupt_controllers};
use crate::bare::memory::device_registers::DeviceRegisters;
use crate::bare::platform::{amd_vi, pci_config};
use crate::bare::svm::Space;
use crate::plain::layout::PAGE;

/// What the boot loader and the firmware said.
static FOUND: Once<(&'static BootInfo, &'static AcpiTables)> = Once::new();

/// Sets what is RAM, so that it is never taken for a device, and what the firmware uses devices for.
pub fn set_up(info: &'static BootInfo, acpi: &'static AcpiTables) {
    let _ = FOUND.set((info, acpi));
}

/// Maps a register in memory; None if it is RAM.
fn registers(at: Mpa, size: IoSize) -> Option<DeviceRegisters> {
    let range = MachineRange::new(at.0, size.bytes().into())?;
    let (info, _) = FOUND.get()?;
    if info.memory.ram().any(|ram| ram.intersection(range).is_some()) {
        return None;
    }
    // SAFETY: no RAM lies there, so a device answers or nothing does; what the access does to it is the core's to
    // allow.
    unsafe { DeviceRegisters::map(at.0, size.bytes().into()) }
}

/// Confines devices to what a p2m maps, and to the ranges that the firmware reserves for them.
///
/// **Errors:** [`Unconfined`].
pub fn confine(space: &Space, frames: &mut dyn FrameSource) -> Result<(), Unconfined> {
    let (_, acpi) = FOUND.get().ok_or(Unconfined::NoIommu)?;
    if !amd_vi::is_there() {
        return Err(Unconfined::NoIommu);
    }
    let tables = space.follow_for_devices(frames).map_err(|_| Unconfined::NoMemory)?;
    for DeviceMemory { start, length, read, write } in &acpi.iommus.memory {
        let Some(range) = MachineRange::new(*start, *length).map(|range| range.grow_to(PAGE)) else { continue };
        let mut rights = Rights::empty();
        rights.set(Rights::READ, *read);
        rights.set(Rights::WRITE, *write);
        for frame in range.start / PAGE..range.end / PAGE {
            tables.map_reserved(Mfn(frame), rights, frames).map_err(|_| Unconfined::NoMemory)?;
        }
    }
    if amd_vi::confine(tables.root()) { Ok(()) } else { Err(Unconfined::NoMemory) }
}

impl Devices for X86Machine {
    fn pci_read(&self, function: PciFunction, register: u16, size: IoSize) -> u32 {
        pci_config::read(function, register, size)
    }

    fn pci_write(&self, function: PciFunction, register: u16, size: IoSize, value: u32) {
        pci_config::write(function, register, size, value);
    }

    #[inline]
    fn pci_chosen(&self) -> Option<u32> {
        pci_config::leaves_ports().then(pci_config::chosen)
    }

    fn device_read(&self, at: Mpa, size: IoSize) -> u32 {
        registers(at, size).map_or(size.mask(), |registers| registers.read_sized(0, size))
    }

    fn device_write(&self, at: Mpa, size: IoSize, value: u32) {
        if let Some(registers) = registers(at, size) {
            registers.write_sized(0, size, value);
        }
    }

    fn bind_line(&self, line: u32, mode: LineMode, cpu: CpuId) -> Option<HostInterrupt> {
        device_interrupts::bind_line(line, mode, cpu)
    }

    fn mask_line(&self, line: u32, masked: bool) {
        interrupt_controllers::mask(line, masked);
    }

    fn bind_message(&self, cpu: CpuId) -> Option<(HostInterrupt, MessageAddress)> {
        device_interrupts::bind_message(cpu)
    }

    fn unbind(&self, interrupt: HostInterrupt) {
        device_interrupts::unbind(interrupt);
    }

    fn take_interrupts(&self, each: &mut dyn FnMut(HostInterrupt)) {
        device_interrupts::take(each);
    }
}
