//! Late boot: interrupts, clock, the other CPUs.

use core::sync::atomic::Ordering;

use super::{Booted, cpus};
use crate::bare::base::cpu_area;
use crate::bare::console::{self, serial::SerialPort};
use crate::bare::crash::{self, reboot};
use crate::bare::interrupts::{self, interrupt_controllers, local_apic, vector};
use crate::bare::machine::devices;
use crate::bare::memory::{heap, ram};
use crate::bare::platform::{amd_vi, calibration, pci_config, power, serial_input, spare_cpu, wall_clock};

/// The ISA interrupts of the two serial ports.
const COM1_INTERRUPT: u8 = 4;
const COM2_INTERRUPT: u8 = 3;

/// Brings up what a machine needs besides memory.
pub(super) fn bring_up(booted: &Booted) {
    console::grow_ring(booted.options.console_ring_bytes);
    show_tables(booted);
    if let Some(reset) = booted.acpi.fixed.and_then(|fixed| fixed.reset) {
        reboot::set_acpi_reset(reset);
    }
    power::set_up(booted.acpi);
    let processors = &booted.acpi.processors;
    let needs_x2apic = processors.usable.iter().any(|processor| processor.apic_id >= 0xff);
    local_apic::find(processors.local_apic, booted.options.x2apic, needs_x2apic);
    local_apic::enable();
    let this = cpu_area::this();
    this.apic_id.store(local_apic::id(), Ordering::Relaxed);
    this.online.store(true, Ordering::Release);
    interrupt_controllers::silence(processors);
    if !calibration::run(booted.acpi) {
        crash::refuse(format_args!(
            "there is no clock to measure the time stamp counter against, neither an HPET nor ACPI's timer: switch one on \
             in the firmware's setup."
        ));
    }
    local_apic::measure_timer();
    wall_clock::start();
    let (seconds, nanoseconds) = wall_clock::at_boot();
    console::set_date_at_boot(seconds, nanoseconds);
    show_apic();
    cpus::start_others(booted);
    spare_cpu::decide(booted.options.guests_on_cpu0);
    if !ram::set_up(booted.info, booted.plan) {
        crash::refuse(format_args!("the machine has too little memory to note which of it is free."));
    }
    interrupts::set_handler(vector::IOMMU, amd_vi::report);
    interrupts::set_handler(vector::SERIAL, serial_input::receive);
    listen_to_serial_ports(booted);
    devices::set_up(booted.info, booted.acpi);
    pci_config::set_up(&booted.acpi.pci_ranges, booted.info);
    if booted.options.iommu {
        amd_vi::find(&booted.acpi.iommus.iommus);
    }
    if booted.options.iommu_required && !amd_vi::is_there() {
        crash::refuse(format_args!("there is no IOMMU that works, and iommu=required asks for one."));
    }
    let usage = heap::usage();
    crate::log!(Info, "Heap: {} KiB used, {} KiB free", usage.used_bytes >> 10, usage.free_bytes >> 10);
    crate::print!("Free RAM: {} MiB", booted.plan.free_bytes() >> 20);
    if let Some(test) = booted.options.crash_test {
        crash::provoke(test);
    }
}

fn show_tables(booted: &Booted) {
    for table in &booted.acpi.tables {
        let name = core::str::from_utf8(&table.signature).unwrap_or("????");
        crate::log!(Info, "ACPI: {name} {:08X}, {:04X}", table.address, table.length);
    }
    if booted.acpi.table(b"IVRS").is_none() && booted.acpi.table(b"DMAR").is_none() {
        crate::log!(Warning, "no IOMMU found: nothing confines what devices write to memory");
    }
    let left_out = booted.acpi.processors.left_out;
    if left_out > 0 {
        crate::log!(Warning, "{left_out} CPUs more than can be used are left alone");
    }
}

fn show_apic() {
    let mode = if local_apic::is_x2apic() { "x2APIC" } else { "xAPIC" };
    match local_apic::timer_hz() {
        0 => crate::log!(Info, "{mode} mode, timer by TSC deadline"),
        hz => crate::log!(Info, "{mode} mode, timer at {} kHz", hz / 1000),
    }
}

/// Routes the interrupts of the serial ports to the boot CPU.
fn listen_to_serial_ports(booted: &Booted) {
    let apic_id = cpu_area::this().apic_id.load(Ordering::Relaxed);
    for port in console::ports() {
        let isa = if *port == SerialPort::at(booted.options.com2.io_base) { COM2_INTERRUPT } else { COM1_INTERRUPT };
        if interrupt_controllers::route_isa(&booted.acpi.processors, isa, apic_id, vector::SERIAL) {
            port.enable_receive_interrupt();
        } else {
            crate::log!(Warning, "a serial port has no interrupt: nothing typed on it will be read");
        }
    }
}
