//! The per-CPU area, reached through GS.
//!
//! Other CPUs may look at an area too, so everything in it is an atomic; there is never a `&mut` to one.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use x86_64::VirtAddr;
use x86_64::registers::model_specific::GsBase;
use xenolith_hal::{CpuId, HostEvents};
use xenolith_sync::{CpuIndex, HeldRanks, MAX_CPUS};

/// One CPU's area. GS points to it.
#[repr(C, align(128))]
pub struct CpuArea {
    /// The CPU's number. First, so that it can be read as `gs:[0]`.
    index: AtomicU32,
    /// The identifier of its local APIC.
    pub apic_id: AtomicU32,
    /// It is online: it answers interrupts and cross-calls.
    pub online: AtomicBool,
    /// It runs what it was started for.
    pub at_work: AtomicBool,
    /// Its pending events, as `HostEvents`.
    pub events: AtomicU32,
    /// The deadline of its timer, in nanoseconds since boot; `u64::MAX` for none.
    pub deadline: AtomicU64,
    /// When the hardware's timer interrupts it, or 0 if it does not. In the past if that interrupt was lost.
    pub armed_until: AtomicU64,
    /// Pending cross-calls: one bit for each calling CPU.
    pub calls: [AtomicU64; MAX_CPUS / 64],
    /// Device vectors that arrived since the core last asked: one bit each.
    pub device_vectors: [AtomicU64; 4],
    /// How many unexpected NMIs arrived.
    pub stray_nmis: AtomicU32,
    /// The ranks of the locks it holds.
    held: HeldRanks,
}

impl CpuArea {
    const fn new(index: u32) -> Self {
        Self {
            index: AtomicU32::new(index),
            apic_id: AtomicU32::new(u32::MAX),
            online: AtomicBool::new(false),
            at_work: AtomicBool::new(false),
            events: AtomicU32::new(0),
            deadline: AtomicU64::new(u64::MAX),
            armed_until: AtomicU64::new(0),
            calls: [const { AtomicU64::new(0) }; MAX_CPUS / 64],
            device_vectors: [const { AtomicU64::new(0) }; 4],
            stray_nmis: AtomicU32::new(0),
            held: HeldRanks::new(),
        }
    }
}

static AREAS: [CpuArea; MAX_CPUS] = {
    let mut areas = [const { CpuArea::new(0) }; MAX_CPUS];
    let mut number = 0;
    while number < MAX_CPUS {
        areas[number] = CpuArea::new(number as u32);
        number += 1;
    }
    areas
};
/// The number of online CPUs.
static COUNT: AtomicU32 = AtomicU32::new(1);
/// Set once the boot CPU's GS leads to its area; before that there is one CPU, number 0.
static READY: AtomicBool = AtomicBool::new(false);

/// Makes this CPU number `index` for as long as it runs.
///
/// # Safety
/// No other CPU has the number, and this one has none yet.
pub unsafe fn claim(index: CpuIndex) {
    let area = of_index(index);
    GsBase::write(VirtAddr::new_truncate(core::ptr::from_ref(area) as u64));
    READY.store(true, Ordering::Release);
    xenolith_sync::set_held_ranks_of_this_cpu(|| Some(&this().held));
}

/// Calls `handle` with GS leading to the area of the calling CPU, number `index`, whatever it led to before, and gives
/// back what was there: for exceptions, which may come while a guest's GS base lies in the CPU.
///
/// The number comes from elsewhere: a guest can give its GS base any value, the address of another CPU's area too.
pub fn with_own(index: CpuIndex, handle: impl FnOnce()) {
    let own = VirtAddr::new_truncate(core::ptr::from_ref(of_index(index)) as u64);
    let found = GsBase::read();
    if found == own {
        return handle();
    }
    GsBase::write(own);
    handle();
    GsBase::write(found);
}

/// Returns the number of the calling CPU.
#[must_use]
#[inline]
pub fn this_index() -> CpuIndex {
    if !READY.load(Ordering::Relaxed) {
        return CpuIndex::BOOT;
    }
    let index: u32;
    // SAFETY: since `claim` GS leads to this CPU's area, which starts with its number; the world switch gives GS back
    // before any other code runs, and exceptions in between go through `with_own`.
    unsafe { asm!("mov {:e}, gs:[0]", out(reg) index, options(nostack, preserves_flags, readonly)) };
    CpuIndex::new(index).unwrap_or(CpuIndex::BOOT)
}

/// Returns the calling CPU as the core counts.
#[must_use]
pub fn this_cpu() -> CpuId {
    CpuId(this_index().as_u32())
}

/// Returns the area of the calling CPU.
#[must_use]
pub fn this() -> &'static CpuArea {
    of_index(this_index())
}

/// Sets an event of the calling CPU for the core.
pub fn note(event: HostEvents) {
    this().events.fetch_or(event.bits(), Ordering::Release);
}

fn of_index(index: CpuIndex) -> &'static CpuArea {
    let [first, ..] = &AREAS;
    AREAS.get(index.as_usize()).unwrap_or(first)
}

/// Returns the area of a CPU; None if there is no such CPU.
#[must_use]
pub fn of(cpu: CpuId) -> Option<&'static CpuArea> {
    AREAS.get(cpu.index()).filter(|_| cpu.0 < COUNT.load(Ordering::Acquire))
}

/// Returns the number of online CPUs.
#[must_use]
pub fn count() -> usize {
    COUNT.load(Ordering::Acquire) as usize
}

/// Returns every online CPU.
pub fn all() -> impl Iterator<Item = (CpuId, &'static CpuArea)> {
    (0..).map(CpuId).zip(&AREAS).take(count())
}

/// Returns the area of the next CPU to come up, before it is counted.
#[must_use]
pub fn next() -> Option<(CpuIndex, &'static CpuArea)> {
    let index = CpuIndex::new(COUNT.load(Ordering::Acquire))?;
    Some((index, of_index(index)))
}

/// Counts the CPU that came up last.
pub fn count_next() {
    COUNT.fetch_add(1, Ordering::Release);
}
