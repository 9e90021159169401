//! Builds the hypervisor and dom0 from what the boot left.

use super::modules::{self, Kept, ModuleError, Room};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use xenolith_bootinfo::acpi::{AcpiTables, PciRange};
use xenolith_bootinfo::{ConsoleTarget, MachineRange, Module, Options, VcpuCount};
use xenolith_core::components::devices::{AddressRange, DevicePlan};
use xenolith_core::dom0;
use xenolith_core::dom0::{Dom0Plan, FirmwareTables, HostRegion};
use xenolith_core::domains::hypervisor::Hypervisor;
use xenolith_core::memory::frames::Frames;
use xenolith_core::settings::{GrantBounds, Settings};
use xenolith_devices::acpi::{InterruptOverride, IoApicEntry, Origin, is_passed_on};
use xenolith_devices::cpuid::Capabilities;
use xenolith_devices::msr::Mtrr;
use xenolith_devices::pci::Ecam;
use xenolith_devices::ports::Dom0Ports;
use xenolith_hal::{Gpa, LogLevel, Machine, Mfn, PAGE_SHIFT};
use xenolith_x86::bare::boot::Booted;
use xenolith_x86::bare::interrupts::interrupt_controllers;
use xenolith_x86::bare::memory::heap;
use xenolith_x86::bare::platform::{amd_vi, memory_types, microcode};
use xenolith_x86::bare::{X86Machine, console, crash, svm};

/// What follows "4.17" in the version.
const EXTRA_VERSION: &str = ".0-xenolith";
/// The CPUID leaf whose lowest byte is the width of machine addresses; every CPU with nested paging has it.
const ADDRESS_SIZES: u32 = 0x8000_0008;
const PAGE: u64 = 1 << PAGE_SHIFT;
const MIB: u64 = 1 << 20;
/// Bytes of the heap that stay free once dom0 is built; the rest goes to domains.
const KEPT_FOR_HEAP: u64 = 4 * MIB;
/// The most vCPUs that dom0 gets where `dom0_max_vcpus=` is not given.
const MOST_VCPUS: u32 = 128;

/// The heap is too small for the hypervisor's own tables.
#[derive(Debug)]
pub struct NoMemory;

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the heap is too small for the table of frames; the machine has too little memory")
    }
}

/// Creates the hypervisor, which owns all RAM that the boot left.
///
/// **Errors:** [`NoMemory`].
pub fn hypervisor(booted: &Booted) -> Result<Hypervisor<X86Machine>, NoMemory> {
    let machine = X86Machine;
    let mut ram: Vec<Range<Mfn>> = booted.plan.free.iter().map(whole_frames).collect();
    ram.extend(booted.info.modules().iter().map(|module| modules::frame_range(module.range)));
    ram.extend(low_memory(booted));
    let frames = Frames::new(machine.frame_limit(), &ram, machine.cpu_count()).map_err(|_| NoMemory)?;
    Ok(Hypervisor::new(machine, frames, settings(booted)))
}

fn whole_frames(range: &MachineRange) -> Range<Mfn> {
    Mfn(range.start.div_ceil(PAGE))..Mfn(range.end >> PAGE_SHIFT)
}

/// Returns the frames of RAM below 1 MiB except page 0.
fn low_memory(booted: &Booted) -> impl Iterator<Item = Range<Mfn>> {
    let low = MachineRange { start: PAGE, end: MIB };
    booted.info.memory.ram().filter_map(move |range| Some(whole_frames(&range.intersection(low)?)))
}

/// Counts the whole frames in a range.
fn pages_of(range: &MachineRange) -> u64 {
    let frames = whole_frames(range);
    frames.end.0.saturating_sub(frames.start.0)
}

fn settings(booted: &Booted) -> Settings {
    Settings {
        command_line: String::from(booted.info.command_line()),
        extra_version: EXTRA_VERSION,
        compiler: env!("XENOLITH_COMPILER"),
        compiled_by: "xenolith",
        compile_domain: "localdomain",
        compile_date: "unknown",
        change_set: concat!("xenolith ", env!("CARGO_PKG_VERSION")),
        build_id: [0; 20],
        grants: GrantBounds {
            frames: booted.options.grants.frames,
            maptrack_frames: booted.options.grants.maptrack_frames,
            version: booted.options.grants.version,
        },
        no_reboot: booted.options.no_reboot,
        watchdog_timeout_s: if booted.options.watchdog.is_on { booted.options.watchdog.timeout_s } else { 0 },
        tsc_khz: X86Machine.time_base().tsc_khz,
        microcode: microcode::level(),
        mtrr: Mtrr::of_machine(memory_types::read, X86Machine.cpuid(ADDRESS_SIZES, 0).eax & 0xff),
        capabilities: Capabilities {
            xsave_components: 0,
            tsc_aux: false,
            lfence_serializing: svm::lfence_serializes(),
        },
        ram_pages: booted.info.memory.ram().map(|range| pages_of(&range)).sum(),
    }
}

/// Says which watchdog runs, if one was asked for.
pub fn announce_watchdog(hv: &Hypervisor<X86Machine>) {
    let seconds = hv.settings.watchdog_timeout_s;
    if hv.watchdog.is_on() {
        let line = format_args!("Watchdog: each CPU is watched by the one before it, timeout {seconds} s");
        hv.machine.log(LogLevel::Info, false, line);
    } else if seconds > 0 {
        let line = format_args!("Watchdog: off, since there is no second CPU that could watch the first");
        hv.machine.log(LogLevel::Warning, false, line);
    }
}

/// Builds dom0 of the first module, with the second as its initial RAM disk.
pub fn dom0(hv: &Hypervisor<X86Machine>, booted: &Booted) {
    let modules = booted.info.modules();
    let Some(kernel) = modules.first() else {
        // The hypervisor stays, so that somebody at the console can look around.
        let line = format_args!("No kernel for dom0: the boot loader must bring one as the first module.");
        hv.machine.log(LogLevel::Error, false, line);
        return;
    };
    let command_line = booted.info.module_command_line(kernel);
    let (kernel, ramdisk) = match unpack(&hv.frames, booted, kernel, modules.get(1)) {
        Ok(found) => found,
        Err(error) => crash::refuse(format_args!("could not construct domain 0: {error}.")),
    };
    let host_map = host_map(booted);
    let (io_apics, configuration, own) = (interrupt_controllers::places(), configuration(booted), kept_memory(booted));
    let vcpus = dom0_vcpus(booted.options.dom0_vcpus, hv.scheduler.online().iter().count());
    let free = hv.frames.free_pages();
    let free = free.saturating_sub(dom0::pages_beside(free, vcpus)) << PAGE_SHIFT;
    let asked = booted.options.dom0_memory;
    let firmware = Firmware::new(booted.acpi);
    let plan = Dom0Plan {
        kernel: kernel.bytes(),
        command_line,
        ramdisk: ramdisk.as_ref().map(Room::bytes),
        pages: asked.at_boot(free) >> PAGE_SHIFT,
        most_pages: asked.at_most(free).and_then(|most| u32::try_from(most >> PAGE_SHIFT).ok()).unwrap_or(u32::MAX),
        vcpus,
        vcpus_pinned: booted.options.dom0_vcpus_pinned,
        host_map: &host_map,
        firmware: firmware.tables(),
        ports: dom0_ports(booted.options, booted.acpi),
        hidden_pages: &hidden_pages(booted.acpi),
        confine_devices: confines_devices(hv, booted),
        devices: DevicePlan { io_apics: &io_apics, configuration: &configuration, kept: &own },
        capabilities: hv.settings.capabilities,
    };
    if let Err(error) = dom0::build(hv, &plan) {
        crash::refuse(format_args!("could not construct domain 0: {error}."));
    }
    kernel.release(&hv.frames);
    if let Some(ramdisk) = ramdisk {
        ramdisk.release(&hv.frames);
    }
    if let Some(unused) = heap::cut(KEPT_FOR_HEAP) {
        hv.frames.add(whole_frames(&unused));
    }
    let cpus = hv.scheduler.online().iter().count();
    hv.machine.log(LogLevel::Info, false, format_args!("*** Dom0 starts on {cpus} CPUs"));
    console::input::hand_to_dom0();
}

/// Unpacks the kernel's ELF file and copies the initial RAM disk to high memory. The modules' own memory is free
/// afterwards.
///
/// **Errors:** [`ModuleError`].
fn unpack(
    frames: &Frames,
    booted: &Booted,
    kernel: &Module,
    ramdisk: Option<&Module>,
) -> Result<(Room, Option<Room>), ModuleError> {
    let kept = Kept::take(frames, booted.info.modules());
    let free = &booted.plan.free;
    let kernel = kept.kernel(frames, free, kernel, heap::usage().free_bytes)?;
    let ramdisk = ramdisk.map(|module| kept.copied(frames, free, module)).transpose()?;
    kept.release(frames);
    Ok((kernel, ramdisk))
}

/// What dom0 is told of the firmware's tables.
struct Firmware {
    origin: Origin,
    passed_on: Vec<u64>,
    io_apics: Vec<IoApicEntry>,
    overrides: Vec<InterruptOverride>,
}

impl Firmware {
    fn new(acpi: &AcpiTables) -> Self {
        // The table of fixed hardware leads to these two.
        let is_listed = |signature: &[u8; 4]| is_passed_on(signature) && !matches!(signature, b"DSDT" | b"FACS");
        let controllers = &acpi.processors;
        let io_apic = |found: &xenolith_bootinfo::acpi::IoApic| {
            let address = u32::try_from(found.address).ok()?;
            Some(IoApicEntry { id: found.id, address, first_interrupt: found.first_interrupt })
        };
        let moved = controllers.overrides.iter();
        Self {
            origin: Origin {
                oem_id: acpi.maker.oem_id,
                oem_table_id: acpi.maker.oem_table_id,
                oem_revision: acpi.maker.oem_revision,
            },
            passed_on: acpi
                .tables
                .iter()
                .filter(|table| is_listed(&table.signature))
                .map(|table| table.address)
                .collect(),
            io_apics: controllers.io_apics.iter().filter_map(io_apic).collect(),
            overrides: moved
                .map(|moved| InterruptOverride { source: moved.source, interrupt: moved.global, flags: moved.flags })
                .collect(),
        }
    }

    fn tables(&self) -> FirmwareTables<'_> {
        FirmwareTables {
            origin: self.origin,
            passed_on: &self.passed_on,
            io_apics: &self.io_apics,
            overrides: &self.overrides,
        }
    }
}

/// Returns what of dom0's I/O ports depends on the machine.
fn dom0_ports(options: &Options, acpi: &AcpiTables) -> Dom0Ports {
    let lines = options.consoles.iter().filter_map(|target| match target {
        ConsoleTarget::Com1 => Some(options.com1.io_base),
        ConsoleTarget::Com2 => Some(options.com2.io_base),
        ConsoleTarget::Vga => None,
    });
    Dom0Ports { pm_timer: acpi.fixed.and_then(|fixed| fixed.pm_timer), console: lines.into_iter().next() }
}

/// Returns where the registers of the IOMMUs are: code that writes them decides what devices reach.
fn iommu_registers(acpi: &AcpiTables) -> impl Iterator<Item = AddressRange> {
    let range = |start: u64| AddressRange { start, end: start.saturating_add(amd_vi::REGISTERS_LENGTH) };
    acpi.iommus.iommus.iter().map(move |iommu| range(iommu.registers))
}

/// Returns the pages of devices that the hypervisor keeps to itself: interrupt controllers, its timer and the IOMMUs.
fn hidden_pages(acpi: &AcpiTables) -> Vec<Mfn> {
    let io_apics = acpi.processors.io_apics.iter().map(|io_apic| io_apic.address);
    let local = [acpi.processors.local_apic, 0xfee0_0000];
    let iommus = iommu_registers(acpi).flat_map(|range| (range.start..range.end).step_by(PAGE as usize));
    io_apics.chain(local).chain(acpi.hpet).chain(iommus).map(|address| Mfn(address >> PAGE_SHIFT)).collect()
}

fn host_map(booted: &Booted) -> Vec<HostRegion> {
    let regions = booted.info.memory.regions().iter();
    regions
        .map(|region| HostRegion { start: region.range.start, end: region.range.end, kind: region.kind.to_e820() })
        .collect()
}

/// Returns whether dom0's devices are to be confined; warns in the log of what it means when they are not.
fn confines_devices(hv: &Hypervisor<X86Machine>, booted: &Booted) -> bool {
    let asked = &booted.options.dom0_iommu;
    if !asked.none && !asked.passthrough {
        return true;
    }
    for line in [
        "*******************************************************************",
        "WARNING: dom0's devices are not confined by an IOMMU (dom0-iommu).",
        "They can read and write all memory, the hypervisor's included, and",
        "what they do to pages of other domains goes to the wrong pages.",
        "*******************************************************************",
    ] {
        hv.machine.log(LogLevel::Warning, false, format_args!("{line}"));
    }
    false
}

/// Returns the areas of memory-mapped PCI configuration (ECAM).
fn configuration(booted: &Booted) -> Vec<Ecam> {
    let area = |range: &PciRange| Ecam {
        base: Gpa(range.address),
        segment: range.segment,
        first_bus: range.first_bus,
        last_bus: range.last_bus,
    };
    booted.acpi.pci_ranges.iter().map(area).collect()
}

/// Returns the addresses at which no device of dom0's may be placed: RAM, the local APICs' page, the HPET, by which the
/// clock was measured, and the IOMMUs' registers.
fn kept_memory(booted: &Booted) -> Vec<AddressRange> {
    let ram = booted.info.memory.ram().map(|range| AddressRange { start: range.start, end: range.end });
    let own = [booted.acpi.processors.local_apic].into_iter().chain(booted.acpi.hpet).map(AddressRange::page_of);
    ram.chain(own).chain(iommu_registers(booted.acpi)).collect()
}

fn dom0_vcpus(asked: Option<VcpuCount>, cpus: usize) -> u32 {
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    asked.map_or(cpus, |count| cpus.clamp(count.min, count.max.max(count.min))).clamp(1, MOST_VCPUS)
}
