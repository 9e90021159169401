//! Early boot: on the boot stack, with the boot page tables. Ends with page tables, heap and stack of our own.

use core::arch::asm;
use core::ptr::NonNull;

use x86_64::instructions::interrupts;
use xenolith_bootinfo::acpi::{AcpiTables, find_rsdp};
use xenolith_bootinfo::{BootFault, BootInfo, ConsoleTarget, MachineRange, MemoryPlan, Options};
use xenolith_sync::{CpuIndex, Once};

use super::{Booted, machine};
use crate::bare::base::{clock, cpu_area, image};
use crate::bare::console;
use crate::bare::crash::{self, reboot};
use crate::bare::interrupts::descriptors;
use crate::bare::memory::boot_memory::BootMemory;
use crate::bare::memory::stacks::{self, StackUse};
use crate::bare::memory::{address_space, heap};
use crate::bare::svm;
use crate::plain::layout::{self, DIRECT_MAP, DIRECT_MAP_BYTES, PAGE};
use crate::plain::paging::{self, EntryFlags, PageTables, PagingError, Protections};

static INFO: Once<BootInfo> = Once::new();
static OPTIONS: Once<Options> = Once::new();
static ACPI: Once<AcpiTables> = Once::new();
static PLAN: Once<MemoryPlan> = Once::new();
static THEN: Once<fn(Booted) -> !> = Once::new();

/// Brings the machine up and goes on in `then`, on the boot CPU's own stack, with all CPUs waiting for work.
///
/// # Safety
/// The boot CPU calls it once, on the boot stack and the boot page tables, with what the entry code got.
pub unsafe fn start(magic: u32, info: u32, then: fn(Booted) -> !) -> ! {
    interrupts::disable();
    // SAFETY: this is the first CPU, and it has no number yet.
    unsafe { cpu_area::claim(CpuIndex::BOOT) };
    clock::start();
    let _ = THEN.set(then);
    // SAFETY: the boot page tables are in use until `switch_tables`, where the value's life ends.
    let memory = unsafe { BootMemory::new() };
    let info = xenolith_bootinfo::parse(&memory, magic, info.into());
    let options = read_options(info.as_ref().ok());
    let info: &'static BootInfo = INFO.get_or_init(|| {
        let mut info = must(info);
        let bound = |asked: Option<u64>| asked.unwrap_or(u64::MAX);
        info.memory.limit(bound(options.memory_end), bound(options.memory_bytes));
        info
    });
    introduce(info);
    if let Err(unfit) = svm::look_for() {
        crash::refuse(format_args!("{unfit}."));
    }
    must(xenolith_bootinfo::validate(info, image::loaded()));
    let acpi = ACPI.get_or_init(|| read_acpi(&memory, info));
    let plan = PLAN.get_or_init(|| {
        let mut plan = must(MemoryPlan::new(info, image::loaded()));
        switch_tables(info, options, &mut plan);
        plan
    });
    let _ = (acpi, plan);
    descriptors::fill_gates(crash::exceptions::handle);
    descriptors::load(CpuIndex::BOOT);
    // SAFETY: the stack was mapped by `switch_tables`, and nothing of the old one is used any more.
    unsafe { go_on_at(stacks::top(CpuIndex::BOOT, StackUse::Main)) }
}

/// Returns the value, or ends the machine: without it boot cannot go on.
fn must<T>(result: Result<T, BootFault>) -> T {
    match result {
        Ok(value) => value,
        Err(fault) => crash::refuse(format_args!("{fault}.")),
    }
}

/// Reads the command line and sets up what it decides at once. Without boot information, all is at its default.
fn read_options(info: Option<&BootInfo>) -> &'static Options {
    let line = info.map_or("", BootInfo::command_line);
    let options = OPTIONS.get_or_init(|| Options::parse(line, &mut |_| {}));
    console::configure(options);
    crash::set_no_reboot(options.no_reboot);
    if let Some(port) = options.debug_exit {
        reboot::set_emulator_exit(port);
    }
    if let Some(method) = options.reboot {
        reboot::set_first_method(method);
    }
    options
}

/// Logs the version, the boot loader, and the unknown options of the command line.
fn introduce(info: &BootInfo) {
    crate::print!(" Xenolith version {} (speaks Xen 4.17)", env!("CARGO_PKG_VERSION"));
    crate::print!("Bootloader: {} ({:?})", info.loader_name(), info.protocol);
    crate::print!("Command line: {}", info.command_line());
    let _ = Options::parse(info.command_line(), &mut |complaint| crate::log!(Warning, "{complaint}"));
    if OPTIONS.get().is_some_and(|options| options.consoles.contains(&ConsoleTarget::Vga)) {
        crate::log!(Warning, "console=vga: there is no driver for the screen");
    }
    crate::print!("Xenolith image load base address: {:#x}", image::loaded().start);
    for (index, module) in info.modules().iter().enumerate() {
        crate::log!(Info, "module {index}: {} \"{}\"", module.range, info.module_command_line(module));
    }
    crate::print!("Memory map:");
    for region in info.memory.regions() {
        let (start, last) = (region.range.start, region.range.end.saturating_sub(1));
        crate::print!(" [{start:016x}, {last:016x}] ({})", region.kind.name());
    }
    crate::print!("System RAM: {}MB ({}kB)", info.memory.ram_bytes() >> 20, info.memory.ram_bytes() >> 10);
}

/// Reads the ACPI tables. Without them the machine has one CPU and no timers, so the fault is logged in full.
fn read_acpi(memory: &BootMemory, info: &BootInfo) -> AcpiTables {
    let Some(root) = info.rsdp.or_else(|| find_rsdp(memory)) else {
        crate::log!(Error, "ACPI: no RSDP found");
        return AcpiTables::default();
    };
    match AcpiTables::read(memory, root) {
        Ok(tables) => tables,
        Err(fault) => {
            crate::log!(Error, "ACPI: {fault}");
            AcpiTables::default()
        }
    }
}

/// Builds our own page tables, puts them in use, and gives the heap its memory.
fn switch_tables(info: &BootInfo, options: &Options, plan: &mut MemoryPlan) {
    let end = plan.early.end;
    let mut next = plan.early.start;
    let mut take = || {
        let frame = next;
        next = next.wrapping_add(PAGE);
        if frame >= end {
            return None;
        }
        // SAFETY: the plan took the page from free RAM below 4 GiB, which the boot page tables map one to one; it is
        // given out once.
        unsafe { core::ptr::write_bytes(frame as *mut u8, 0, PAGE as usize) };
        Some(frame)
    };
    // SAFETY: `take` gives such frames, and the boot page tables map them at offset 0.
    let mut tables = unsafe { PageTables::new(0, &mut take) }.unwrap_or_else(|| too_small());
    match fill(&mut tables, info, &mut take) {
        Ok(()) => {}
        Err(PagingError::NoFrame) => too_small(),
        Err(error) => panic!("the hypervisor's page tables cannot be built: {error:?}"),
    }
    let got = paging::set_up_this_cpu(Protections { smep: options.smep, smap: options.smap });
    // SAFETY: the tables map the image, in which code, data and the boot stack lie, with the rights each needs; and
    // all RAM that is used from here on at its address in the direct map.
    unsafe {
        tables.activate();
        tables.reach_at(DIRECT_MAP);
    }
    address_space::adopt(tables);
    let heap = layout::direct(plan.heap.start) as *mut u8;
    let region = NonNull::slice_from_raw_parts(
        NonNull::new(heap).unwrap_or_else(|| panic!("the heap has no address")),
        plan.heap.length() as usize,
    );
    // SAFETY: the plan took the range out of free RAM for this alone, and the direct map maps it writable.
    if !unsafe { heap::give(region) } {
        panic!("the heap of {} bytes is too small", plan.heap.length());
    }
    crate::log!(Info, "Hypervisor heap: {} MiB at {:#x}", plan.heap.length() >> 20, plan.heap.start);
    crate::log!(Info, "Protections: W^X, WP, NX{}{}", word(got.smep, ", SMEP"), word(got.smap, ", SMAP"));
    // What the tables did not need is free like all else.
    let left = MachineRange::between(next, end);
    plan.early.end = next.min(end);
    if let Some(left) = left {
        let place = plan.free.partition_point(|range| range.start < left.start);
        let _ = plan.free.try_insert(place, left);
    }
}

fn too_small() -> ! {
    crash::refuse(format_args!("the machine has too little memory for the hypervisor's page tables."))
}

const fn word(on: bool, word: &str) -> &str {
    if on { word } else { "" }
}

/// Maps the image, all RAM but the image, and the boot CPU's stacks.
fn fill(tables: &mut PageTables, info: &BootInfo, take: &mut dyn FnMut() -> Option<u64>) -> Result<(), PagingError> {
    let parts = [
        (image::text(), EntryFlags::TEXT),
        (image::rodata(), EntryFlags::READ_ONLY),
        (image::data(), EntryFlags::DATA),
    ];
    for (part, flags) in parts {
        tables.map(part.start, part.loaded(), flags, take)?;
    }
    let reach = MachineRange { start: 0, end: DIRECT_MAP_BYTES };
    // The image has its own mapping with fewer rights; a second one would be writable.
    let image = image::loaded().grow_to(PAGE);
    let ram = info.memory.ram().filter_map(|range| range.intersection(reach)?.shrink_to(PAGE));
    for piece in ram.flat_map(|range| range.without(image)).flatten() {
        tables.map(layout::direct(piece.start), piece, EntryFlags::DATA, take)?;
    }
    stacks::map(CpuIndex::BOOT, tables, take)
}

/// Continues in [`go_on`] with an empty stack.
///
/// # Safety
///
/// `stack` is the top of a mapped stack that nothing uses; the caller's frame is never returned to.
unsafe fn go_on_at(stack: u64) -> ! {
    // SAFETY: as above. The zero ends every backtrace; after it the stack is as a call leaves it.
    unsafe {
        asm!(
            "mov rsp, {stack}",
            "xor ebp, ebp",
            "push 0",
            "jmp {next}",
            stack = in(reg) stack,
            next = sym go_on,
            options(noreturn),
        )
    }
}

extern "C" fn go_on() -> ! {
    let (Some(info), Some(options), Some(acpi), Some(plan)) = (INFO.get(), OPTIONS.get(), ACPI.get(), PLAN.get())
    else {
        panic!("boot went on before it had begun");
    };
    let booted = Booted { info, options, acpi, plan };
    machine::bring_up(&booted);
    match THEN.get() {
        Some(then) => then(booted),
        None => crash::halt(),
    }
}
