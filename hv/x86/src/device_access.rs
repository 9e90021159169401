//! The machine's devices as the core sees them.

use xenolith_bootinfo::{BootInfo, MachineRange};
use xenolith_hal::{CpuId, Devices, HostInterrupt, IoSize, LineMode, MessageAddress, Mpa, PciFunction};
use xenolith_sync::Once;

use crate::boot::Booted;
use crate::devices::DeviceRegisters;
use crate::machine::X86Machine;
use crate::{device_interrupts, interrupt_controllers, pci_config};

/// What the boot loader said of the memory.
static BOOT_INFO: Once<&'static BootInfo> = Once::new();

/// Notes what is RAM, so that nobody takes it for a device.
pub fn set_up(booted: &Booted) {
    let _ = BOOT_INFO.set(booted.info);
}

/// A register in memory; none if it is RAM.
fn registers(at: Mpa, size: IoSize) -> Option<DeviceRegisters> {
    let range = MachineRange::new(at.0, size.bytes().into())?;
    if BOOT_INFO.get()?.memory.ram().any(|ram| ram.intersection(range).is_some()) {
        return None;
    }
    // SAFETY: no RAM lies there, so a device answers or nothing does; what the access does to it is the core's to
    // allow.
    unsafe { DeviceRegisters::map(at.0, size.bytes().into()) }
}

impl Devices for X86Machine {
    fn pci_read(&self, function: PciFunction, register: u16, size: IoSize) -> u32 {
        pci_config::read(function, register, size)
    }

    fn pci_write(&self, function: PciFunction, register: u16, size: IoSize, value: u32) {
        pci_config::write(function, register, size, value);
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
