//! What each virtual processor has for itself: an index, segments, a stack for faults, and how the others are started.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::entry::TRAMPOLINE;
use crate::{cpu, lapic, traps};

/// How many processors the kernel has room for.
pub const MAX_PROCESSORS: usize = 8;
/// The size of the ordinary stack of each.
pub const STACK_BYTES: usize = 64 * 1024;
const TRAP_STACK_BYTES: usize = 32 * 1024;

const AFTER_INIT_TICKS: u64 = 60_000_000;

/// What a started processor is to run.
pub type Work = fn(usize);

#[repr(C, packed(4))]
struct TaskState {
    reserved: u32,
    rsp: [u64; 3],
    reserved2: u64,
    ist: [u64; 7],
    reserved3: u64,
    io_map: u32,
}

#[repr(C, align(4096))]
struct Own {
    index: u64,
    task_state: TaskState,
    trap_stack: [u8; TRAP_STACK_BYTES],
    fault_stack: [u8; TRAP_STACK_BYTES],
}

static mut OWN: [Own; MAX_PROCESSORS] = [const {
    Own {
        index: 0,
        task_state: TaskState { reserved: 0, rsp: [0; 3], reserved2: 0, ist: [0; 7], reserved3: 0, io_map: 104 << 16 },
        trap_stack: [0; TRAP_STACK_BYTES],
        fault_stack: [0; TRAP_STACK_BYTES],
    }
}; MAX_PROCESSORS];

static WORK: [AtomicU64; MAX_PROCESSORS] = [const { AtomicU64::new(0) }; MAX_PROCESSORS];
static STARTED: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" {
    static mut kit_gdt: [u64; 6 + 2 * MAX_PROCESSORS];
    static kit_gdt_pointer: [u8; 10];
    static kit_trampoline_start: u8;
    static kit_trampoline_end: u8;
    static kit_starting_processor: AtomicU32;
}

/// Returns the index of the processor that runs this, 0 for the one that booted.
#[must_use]
pub fn this() -> usize {
    let index: u64;
    // SAFETY: the GS base points at this processor's `Own`, whose first field is the index, from its first Rust code on.
    unsafe { asm!("mov {}, gs:[0]", out(reg) index, options(nostack, readonly, preserves_flags)) };
    index as usize
}

/// Returns how many other processors have arrived in Rust so far.
#[must_use]
pub fn started() -> u32 {
    STARTED.load(Ordering::Acquire)
}

/// Loads this processor's segments, fault stacks and interrupt table, and turns on its local APIC's x2APIC mode.
fn settle(index: usize) {
    let own = &raw mut OWN;
    // SAFETY: each processor touches only its own element and its own two descriptors, and does so before anything
    // else can use them; `index` is below MAX_PROCESSORS (0, or checked by `start`).
    unsafe {
        let own = own.cast::<Own>().add(index);
        (*own).index = index as u64;
        let tss = &raw mut (*own).task_state;
        (&raw mut (*tss).rsp).cast::<u64>().write_unaligned((&raw const (*own).trap_stack).add(1) as u64);
        (&raw mut (*tss).ist).cast::<u64>().write_unaligned((&raw const (*own).fault_stack).add(1) as u64);
        let base = tss as u64;
        let low = 0x67 | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
        let gdt = (&raw mut kit_gdt).cast::<u64>();
        gdt.add(6 + 2 * index).write(low);
        gdt.add(7 + 2 * index).write(base >> 32);
        asm!("lgdt [{}]", in(reg) &raw const kit_gdt_pointer, options(nostack, readonly));
        asm!("ltr {:x}", in(reg) 0x30 + 16 * index, options(nostack));
        cpu::write_msr(0xc000_0101, own as u64); // GS base
    }
    traps::load();
    lapic::enable_x2apic();
}

/// Returns the first Rust code of every processor.
#[unsafe(no_mangle)]
extern "C" fn kit_start(index: usize, start_info: u64) -> ! {
    settle(index);
    if index == 0 {
        traps::fill();
        crate::start_info::remember(start_info);
        // SAFETY: `entry!` defines it with this signature, or the link fails.
        unsafe { crate::kit_main() }
    }
    STARTED.fetch_add(1, Ordering::Release);
    let work = WORK.get(index).map_or(0, |w| w.load(Ordering::Acquire));
    if work != 0 {
        // SAFETY: `start` put a `Work` there.
        let work: Work = unsafe { core::mem::transmute(work) };
        work(index);
    }
    cpu::stop()
}

/// Starts the processor with local APIC id `apic_id` as number `index` and lets it run `work`.
///
/// INIT, then two SIPIs, by the x2APIC interrupt command register. Answers whether it arrived in Rust within about
/// `bound_ticks` of the time-stamp counter.
pub fn start(index: usize, apic_id: u32, work: Work, bound_ticks: u64) -> bool {
    let Some(slot) = WORK.get(index) else { return false };
    slot.store(work as usize as u64, Ordering::Release);
    // SAFETY: the trampoline page is RAM below 1 MiB that nothing else of this kernel lies in; the symbols bound the
    // code that is copied, which is less than a page.
    unsafe {
        let from = &raw const kit_trampoline_start;
        let size = (&raw const kit_trampoline_end as usize) - (from as usize);
        core::ptr::copy_nonoverlapping(from, TRAMPOLINE as *mut u8, size);
        kit_starting_processor.store(index as u32, Ordering::Release);
    }
    let before = started();
    lapic::send_init(apic_id);
    // The time that processors' manuals give it: some hundredths of a second.
    crate::wait_until(AFTER_INIT_TICKS, || false);
    for _ in 0..2 {
        lapic::send_startup(apic_id, (TRAMPOLINE >> 12) as u8);
        if crate::wait_until(bound_ticks / 2, || started() != before) {
            return true;
        }
    }
    false
}
