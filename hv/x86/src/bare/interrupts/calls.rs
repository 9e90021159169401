//! Cross-CPU function calls (IPIs): each CPU has one request of its own, which the others handle on an interrupt.
//!
//! A CPU that waits for an answer serves others' requests meanwhile, so two CPUs that call each other both get on. It
//! must hold no lock: a CPU that spins for that lock, with interrupts off, would not answer.

use core::sync::atomic::{AtomicU32, Ordering};

use arrayvec::ArrayVec;
use xenolith_hal::CpuId;
use xenolith_sync::{CpuIndex, MAX_CPUS, Padded, PerCpu, SpinLock, assert_no_lock_held, rank};

use super::{local_apic, vector};
use crate::bare::base::cpu_area;
use crate::plain::paging;

/// How many translations are flushed one by one; for more, the whole TLB is.
pub const PAGES_PER_BATCH: usize = 32;

/// What is asked for.
#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "each CPU has one, in place: nothing may be allocated to ask for it")]
pub enum Work {
    /// Call a function with an argument.
    Call(fn(u64), u64),
    /// Flush the translations of these addresses (INVLPG).
    Forget(ArrayVec<u64, PAGES_PER_BATCH>),
    /// Flush the whole TLB.
    ForgetAll,
}

/// One CPU's request to the others.
struct Request {
    work: SpinLock<Option<Work>, rank::CrossCall>,
    /// How many CPUs have not answered yet.
    waiting: AtomicU32,
}

static REQUESTS: PerCpu<Request> =
    PerCpu::new([const { Padded(Request { work: SpinLock::new(None), waiting: AtomicU32::new(0) }) }; MAX_CPUS]);

impl Work {
    fn run(self) {
        match self {
            Self::Call(function, argument) => function(argument),
            Self::Forget(addresses) => addresses.into_iter().for_each(paging::forget),
            Self::ForgetAll => paging::forget_all(),
        }
    }
}

/// Makes every other CPU do `work`, with one IPI each, and returns when all have done it. The caller does not do it
/// itself.
///
/// # Panics
///
/// In debug builds, when the caller holds a lock.
pub fn on_all_others(work: Work) {
    assert_no_lock_held();
    let this = cpu_area::this_index();
    let is_target =
        |(cpu, area): &(CpuId, &cpu_area::CpuArea)| cpu.0 != this.as_u32() && area.online.load(Ordering::Acquire);
    REQUESTS.with(this, |request| {
        *request.work.lock() = Some(work);
        let mut asked = false;
        for (_, area) in cpu_area::all().filter(is_target) {
            request.waiting.fetch_add(1, Ordering::AcqRel);
            asked = true;
            mark(area, this);
            local_apic::send(area.apic_id.load(Ordering::Relaxed), vector::CALL);
        }
        while asked && request.waiting.load(Ordering::Acquire) > 0 {
            serve();
            core::hint::spin_loop();
        }
        *request.work.lock() = None;
    });
}

/// Marks in `area` that `from` has a request.
fn mark(area: &cpu_area::CpuArea, from: CpuIndex) {
    let number = from.as_usize();
    if let Some(word) = area.calls.get(number / 64) {
        word.fetch_or(1 << (number % 64), Ordering::Release);
    }
}

/// Handles the requests of other CPUs.
pub fn serve() {
    for (index, word) in cpu_area::this().calls.iter().enumerate() {
        let mut asking = word.swap(0, Ordering::Acquire);
        while asking != 0 {
            let number = (index as u32).wrapping_mul(64).wrapping_add(asking.trailing_zeros());
            asking &= asking.wrapping_sub(1);
            if let Some(from) = CpuIndex::new(number) {
                serve_one(from);
            }
        }
    }
}

fn serve_one(from: CpuIndex) {
    REQUESTS.with(from, |request| {
        let work = request.work.lock().clone();
        if let Some(work) = work {
            work.run();
        }
        request.waiting.fetch_sub(1, Ordering::AcqRel);
    });
}

/// Makes a CPU check its events soon, out of a guest or out of idling (reschedule IPI); never waits. A CPU can kick
/// itself: the interrupt is pending until it enters a guest or enables interrupts.
pub fn kick(cpu: CpuId) {
    use xenolith_hal::HostEvents;
    let Some(area) = cpu_area::of(cpu) else { return };
    let before = area.events.fetch_or(HostEvents::KICK.bits(), Ordering::AcqRel);
    // One interrupt is enough until the CPU has looked.
    if before & HostEvents::KICK.bits() == 0 {
        local_apic::send(area.apic_id.load(Ordering::Relaxed), vector::KICK);
    }
}
