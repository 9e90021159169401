//! Bringing up the application processors (APs), one after the other, and starting their work.

use core::sync::atomic::{AtomicBool, Ordering};

use x86_64::instructions::interrupts;
use xenolith_bootinfo::MachineRange;
use xenolith_hal::{CpuId, HostEvents};
use xenolith_sync::{CpuIndex, Once};

use super::Booted;
use super::trampoline::Trampoline;
use crate::bare::base::{clock, cpu_area};
use crate::bare::interrupts::shootdown::Batch;
use crate::bare::interrupts::{calls, descriptors, local_apic};
use crate::bare::memory::address_space;
use crate::bare::memory::stacks::{self, StackUse};
use crate::bare::{crash, svm};
use crate::plain::layout::PAGE;
use crate::plain::paging::{self, EntryFlags, Protections};

/// How long a CPU may take from its start to its first sign of life, in steps of 100 microseconds: a little for the
/// first attempt, and for the second as much as an emulator on a busy host may need.
const PATIENCE: [u32; 2] = [1_000, 100_000];

/// What every CPU does once the machine is up.
static WORK: Once<fn(CpuId) -> !> = Once::new();
static SMEP: AtomicBool = AtomicBool::new(false);
static SMAP: AtomicBool = AtomicBool::new(false);

/// Starts the other CPUs, as many as there are and as the command line allows.
pub(super) fn start_others(booted: &Booted) {
    if let Err(unfit) = svm::start_this_cpu() {
        crash::refuse(format_args!("{unfit}."));
    }
    let this = local_apic::id();
    let wanted = booted.options.max_cpus.unwrap_or(u32::MAX) as usize;
    let found = booted.acpi.processors.usable.len();
    SMEP.store(booted.options.smep, Ordering::Relaxed);
    SMAP.store(booted.options.smap, Ordering::Relaxed);
    let others = booted.acpi.processors.usable.iter().filter(|processor| processor.apic_id != this);
    let mut others = others.take(wanted.saturating_sub(1)).peekable();
    if others.peek().is_some() {
        let Some(trampoline) = lay_trampoline(booted) else {
            crate::log!(Error, "no page below 640 KiB is free: other CPUs cannot be started");
            return;
        };
        for processor in others {
            if !start_one(&trampoline, processor.apic_id) {
                crate::log!(Error, "CPU with APIC {:#x} did not start", processor.apic_id);
                // It may still come late and find the page prepared for another: nobody else is started after it.
                break;
            }
        }
        let mut batch = Batch::new();
        batch.unmap_page(trampoline.page());
        batch.finish();
    }
    crate::print!("Brought up {} CPUs ({found} found)", cpu_area::count());
}

/// Enables SVM on this CPU, or logs why it cannot be.
fn start_virtualisation() {
    if let Err(unfit) = svm::start_this_cpu() {
        crate::log!(Error, "CPU{} cannot run guests: {unfit}", cpu_area::this_index().as_u32());
    }
}

/// Copies the trampoline into place and identity-maps its page, where paging finds it when it is enabled.
fn lay_trampoline(booted: &Booted) -> Option<Trampoline> {
    let page = booted.plan.start_page?;
    let root = address_space::root();
    if u32::try_from(root).is_err() {
        return None;
    }
    let range = MachineRange::new(page, PAGE)?;
    address_space::map(page, range, EntryFlags::TEXT).ok()?;
    // SAFETY: the plan found the page free; all RAM is in the direct map; the root was checked.
    Some(unsafe { Trampoline::new(page, root) })
}

fn start_one(trampoline: &Trampoline, apic_id: u32) -> bool {
    let Some((index, area)) = cpu_area::next() else { return false };
    if let Err(error) = address_space::map_stacks(index) {
        crate::log!(Error, "no stacks for CPU{}: {error:?}", index.as_u32());
        return false;
    }
    area.apic_id.store(apic_id, Ordering::Relaxed);
    trampoline.prepare(index.as_u32(), stacks::top(index, StackUse::Main), start_here);
    local_apic::send_init(apic_id);
    clock::wait_microseconds(10_000);
    for steps in PATIENCE {
        local_apic::send_start(apic_id, trampoline.page());
        for _ in 0..steps {
            if area.online.load(Ordering::Acquire) {
                cpu_area::count_next();
                return true;
            }
            clock::wait_microseconds(100);
        }
    }
    false
}

/// Returns the first Rust that another CPU runs, on its own stack.
extern "C" fn start_here(index: u32) -> ! {
    let Some(index) = CpuIndex::new(index) else { crash::halt() };
    // SAFETY: the boot CPU gave this number to this CPU alone.
    unsafe { cpu_area::claim(index) };
    let wanted = Protections { smep: SMEP.load(Ordering::Relaxed), smap: SMAP.load(Ordering::Relaxed) };
    paging::set_up_this_cpu(wanted);
    descriptors::load(index);
    local_apic::enable();
    start_virtualisation();
    cpu_area::this().online.store(true, Ordering::Release);
    loop {
        // Who kicks a CPU that was kicked and did not look yet sends nothing, so this one has to look before it waits.
        cpu_area::this().events.fetch_and(!HostEvents::KICK.bits(), Ordering::AcqRel);
        if let Some(work) = WORK.get() {
            cpu_area::this().at_work.store(true, Ordering::Relaxed);
            work(CpuId(index.as_u32()));
        }
        wait_for_interrupt();
    }
}

/// Enables interrupts until one has arrived.
fn wait_for_interrupt() {
    interrupts::enable_and_hlt();
    interrupts::disable();
}

/// Runs `work` on every CPU, this one included, with its number. To be called once.
pub fn run_on_every_cpu(work: fn(CpuId) -> !) -> ! {
    let _ = WORK.set(work);
    for (cpu, _) in cpu_area::all() {
        calls::kick(cpu);
    }
    cpu_area::this().at_work.store(true, Ordering::Relaxed);
    work(cpu_area::this_cpu())
}
