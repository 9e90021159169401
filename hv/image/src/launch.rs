//! From a machine that is up to a dom0 that can run.

use super::modules::{self, Kept};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use xenolith_bootinfo::{Dom0Memory, MachineRange, VcpuCount};
use xenolith_core::dom0::{self, Dom0Plan, HostRegion};
use xenolith_core::frames::Frames;
use xenolith_core::hypervisor::Hypervisor;
use xenolith_core::settings::Settings;
use xenolith_devices::cpuid::Capabilities;
use xenolith_devices::msr::Mtrr;
use xenolith_hal::{LogLevel, Machine, Mfn, PAGE_SHIFT};
use xenolith_x86::boot::Booted;
use xenolith_x86::{X86Machine, console, memory_types, microcode};

/// What follows "4.17" in the version.
const EXTRA_VERSION: &str = ".0-xenolith";
/// The CPUID leaf whose lowest byte is the width of machine addresses; every CPU with nested paging has it.
const ADDRESS_SIZES: u32 = 0x8000_0008;
const PAGE: u64 = 1 << PAGE_SHIFT;
const MIB: u64 = 1 << 20;
/// What dom0 leaves to the hypervisor and to other domains' bookkeeping when nobody says how much it gets.
const LEFT_BY_DOM0: u64 = 64 * MIB;
/// The most vCPUs that dom0 gets when nobody says how many.
const MOST_VCPUS: u32 = 128;

/// Ports that even dom0 does not reach: interrupt controllers, the interval timer with its gate, the PM timer's
/// neighbours are the machine's own to refuse.
const DENIED_PORTS: &[(u16, u16)] = &[(0x20, 0x21), (0xa0, 0xa1), (0x40, 0x43), (0x61, 0x61), (0xe9, 0xe9)];

/// The heap is too small for the hypervisor's own tables.
#[derive(Debug)]
pub struct NoMemory;

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the heap is too small for the table of frames; the machine has too little memory")
    }
}

/// Makes the hypervisor, which owns all RAM that is left.
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

/// RAM below 1 MiB but for page 0.
fn low_memory(booted: &Booted) -> impl Iterator<Item = Range<Mfn>> {
    let low = MachineRange { start: PAGE, end: MIB };
    booted.info.memory.ram().filter_map(move |range| Some(whole_frames(&range.intersection(low)?)))
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
        no_reboot: booted.options.no_reboot,
        tsc_khz: X86Machine.time_base().tsc_khz,
        microcode: microcode::level(),
        mtrr: Mtrr::of_machine(memory_types::read, X86Machine.cpuid(ADDRESS_SIZES, 0).eax & 0xff),
    }
}

/// Makes dom0 of the first module, with the second as its ramdisk.
pub fn dom0(hv: &Hypervisor<X86Machine>, booted: &Booted) {
    let modules = booted.info.modules();
    let Some(kernel) = modules.first() else {
        // The hypervisor stays, so that somebody at the console can look around.
        let line = format_args!("No kernel for dom0: the boot loader must bring one as the first module.");
        hv.machine.log(LogLevel::Error, false, line);
        return;
    };
    let kept = Kept::take(&hv.frames, modules);
    let host_map = host_map(booted);
    let free = hv.frames.free_pages() << PAGE_SHIFT;
    let plan = Dom0Plan {
        kernel: kept.bytes(kernel),
        command_line: booted.info.module_command_line(kernel),
        ramdisk: modules.get(1).map(|module| kept.bytes(module)),
        pages: dom0_bytes(booted.options.dom0_memory, free) >> PAGE_SHIFT,
        vcpus: dom0_vcpus(booted.options.dom0_vcpus, hv.machine.cpu_count()),
        host_map: &host_map,
        denied_ports: DENIED_PORTS,
        capabilities: Capabilities { xsave_components: 0, tsc_aux: false, lfence_serializing: true },
    };
    match dom0::build(hv, &plan) {
        Ok(_) => kept.release(&hv.frames),
        Err(error) => panic!("Could not construct domain 0: {error}"),
    }
    hv.machine.log(LogLevel::Info, false, format_args!("*** Dom0 starts on {} CPUs", hv.machine.cpu_count()));
    console::input::hand_to_dom0();
}

fn host_map(booted: &Booted) -> Vec<HostRegion> {
    let regions = booted.info.memory.regions().iter();
    regions
        .map(|region| HostRegion { start: region.range.start, end: region.range.end, kind: region.kind.to_e820() })
        .collect()
}

/// How much memory dom0 gets, in bytes: what was asked for, within the bounds that were asked for, and no more than
/// there is.
fn dom0_bytes(asked: Dom0Memory, free: u64) -> u64 {
    let amount = asked.amount.map_or(free.saturating_sub(LEFT_BY_DOM0), |amount| amount.of(free));
    let amount = asked.min.map_or(amount, |min| amount.max(min.of(free)));
    let amount = asked.max.map_or(amount, |max| amount.min(max.of(free)));
    amount.min(free)
}

fn dom0_vcpus(asked: Option<VcpuCount>, cpus: usize) -> u32 {
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    asked.map_or(cpus, |count| cpus.clamp(count.min, count.max.max(count.min))).clamp(1, MOST_VCPUS)
}
