//! A virtual CPU: what others may touch while it runs, and what belongs to whoever runs it.

use crate::components::requests::Requests;
use crate::components::runstate::Runstate;
use crate::components::slot::Slot;
use crate::components::vcpu_timers::VcpuTimers;
use alloc::boxed::Box;
use xen_abi::VcpuId;
use xen_abi::shared_info::VCPU_INFO_UPCALL_PENDING;
use xenolith_devices::lapic::{Identity, Lapic};
use xenolith_devices::msr::{MsrState, Mtrr};
use xenolith_hal::{CpuId, GuestCpu, Machine, Mfn, PAGE_SHIFT, PAGE_SIZE, PageWords, Time};
use xenolith_sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use xenolith_sync::{SpinLock, rank};

/// Waits for an event: HLT, SCHEDOP_block or SCHEDOP_poll.
const BLOCKED: u32 = 1;
/// Not brought up, or taken down.
const DOWN: u32 = 1 << 1;
/// It has a state to run in: it was brought up once since it was made or since the last INIT, or was given one.
const INITIALISED: u32 = 1 << 2;

/// The part of a vCPU that moves to the CPU that runs it, and lies in its slot while nobody does. Who has it has the
/// vCPU to itself: one vCPU cannot run in two places.
pub struct VcpuCore<M: Machine> {
    pub hardware: M::Vcpu,
    pub lapic: Lapic,
    pub msrs: MsrState,
    /// By how many ticks the guest has moved its time stamp counter.
    pub tsc_offset: i64,
    /// An NMI waits to be taken.
    pub nmi_pending: bool,
    /// In the state after INIT: nothing but a start-up IPI starts it.
    pub waits_for_startup: bool,
}

impl<M: Machine> VcpuCore<M> {
    /// A core in the state after INIT, with the memory types `mtrr`.
    pub fn new(id: VcpuId, hardware: M::Vcpu, mtrr: Mtrr) -> Self {
        Self {
            hardware,
            lapic: Lapic::new(id),
            msrs: MsrState::with_mtrr(mtrr),
            tsc_offset: 0,
            nmi_pending: false,
            waits_for_startup: true,
        }
    }

    /// Moves the guest's time stamp counter by so many ticks.
    pub fn shift_tsc(&mut self, ticks: i64) {
        self.tsc_offset = self.tsc_offset.wrapping_add(ticks);
        self.hardware.shift_tsc(ticks);
    }
}

/// A virtual CPU.
pub struct Vcpu<M: Machine> {
    pub id: VcpuId,
    core: SpinLock<Option<Box<VcpuCore<M>>>, rank::VcpuState>,
    flags: AtomicU32,
    pause_count: AtomicU32,
    pub requests: Requests,
    /// Where its `vcpu_info` lies: machine address, or 0 for none.
    info: AtomicU64,
    /// The guest has chosen where it lies.
    own_info: AtomicBool,
    /// The local APIC vector that events raise; 0 for none.
    pub upcall_vector: AtomicU8,
    pub timers: VcpuTimers,
    /// Its place with the scheduler.
    pub schedule: Slot,
    lapic_identity: AtomicU64,
    /// How its time was spent, and what is it doing now.
    pub runstate: SpinLock<Runstate, rank::VcpuState>,
    /// The guest virtual address where it wants to see [`Vcpu::runstate`]; 0 for nowhere.
    pub runstate_area: AtomicU64,
    /// The guest virtual address where it wants to see the time; 0 for nowhere.
    pub time_area: AtomicU64,
    /// The CPU that it runs on, or in whose queue it stands or stood last.
    processor: AtomicU32,
    /// True while it has a CPU.
    running: AtomicBool,
    /// Where the guest was when it was last left. Of no protocol, so models leave it out.
    last_rip: core::sync::atomic::AtomicU64,
}

impl<M: Machine> Vcpu<M> {
    /// A vCPU that is down.
    pub fn new(id: VcpuId, core: Box<VcpuCore<M>>, processor: CpuId, now: Time) -> Self {
        Self {
            timers: VcpuTimers::default(),
            schedule: Slot::default(),
            lapic_identity: AtomicU64::new(core.lapic.identity().pack()),
            runstate: SpinLock::new(Runstate::new(now)),
            runstate_area: AtomicU64::new(0),
            time_area: AtomicU64::new(0),
            id,
            core: SpinLock::new(Some(core)),
            flags: AtomicU32::new(DOWN),
            pause_count: AtomicU32::new(0),
            requests: Requests::default(),
            info: AtomicU64::new(0),
            own_info: AtomicBool::new(false),
            upcall_vector: AtomicU8::new(0),
            processor: AtomicU32::new(processor.0),
            running: AtomicBool::new(false),
            last_rip: core::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Takes the part that runs, for the CPU that is to run it; none if another has it.
    pub fn take_core(&self) -> Option<Box<VcpuCore<M>>> {
        let core = self.core.lock().take();
        if core.is_some() {
            self.running.store(true, Ordering::SeqCst);
        }
        core
    }

    /// Puts the part that runs back.
    pub fn put_core(&self, core: Box<VcpuCore<M>>) {
        let mut slot = self.core.lock();
        *slot = Some(core);
        self.running.store(false, Ordering::SeqCst);
    }

    /// Works on the part that runs while nobody runs it; none if somebody does.
    pub fn with_core<R>(&self, work: impl FnOnce(&mut VcpuCore<M>) -> R) -> Option<R> {
        self.core.lock().as_mut().map(|core| work(core))
    }

    /// As [`Vcpu::with_core`], but with no lock held in `work`: for work that takes memory or frames. The vCPU stands
    /// still for a reason of the caller's.
    pub fn with_core_apart<R>(&self, work: impl FnOnce(&mut VcpuCore<M>) -> R) -> Option<R> {
        let mut core = self.core.lock().take()?;
        let result = work(&mut core);
        *self.core.lock() = Some(core);
        Some(result)
    }

    /// Looks at the part that runs if it lies here; none if a CPU has it, or another one holds the lock.
    pub fn try_with_core<R>(&self, look: impl FnOnce(&VcpuCore<M>) -> R) -> Option<R> {
        self.core.try_lock()?.as_deref().map(look)
    }

    /// Where the guest was when it was last left.
    pub fn last_rip(&self) -> u64 {
        self.last_rip.load(Ordering::Relaxed)
    }

    /// The guest was left there.
    pub fn note_rip(&self, rip: u64) {
        self.last_rip.store(rip, Ordering::Relaxed);
    }

    /// True while a CPU runs it.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::SeqCst)
    }

    /// True if it is neither down nor blocked nor paused.
    pub fn is_runnable(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & (BLOCKED | DOWN) == 0 && self.pause_count.load(Ordering::SeqCst) == 0
    }

    /// True if it was brought up.
    pub fn is_up(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & DOWN == 0
    }

    /// True if it waits for an event.
    pub fn is_blocked(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & BLOCKED != 0
    }

    /// True if somebody holds it paused.
    pub fn is_paused(&self) -> bool {
        self.pause_count.load(Ordering::SeqCst) != 0
    }

    /// How many reasons there are for it not to run.
    pub fn pauses(&self) -> u32 {
        self.pause_count.load(Ordering::SeqCst)
    }

    /// Marks it as waiting. The caller looks for pending events *afterwards* and calls [`Vcpu::unblock`] if there are
    /// any, so that an event that came in between is not slept through.
    pub fn block(&self) {
        self.flags.fetch_or(BLOCKED, Ordering::SeqCst);
    }

    /// Marks it as not waiting; true if it waited.
    pub fn unblock(&self) -> bool {
        self.flags.fetch_and(!BLOCKED, Ordering::SeqCst) & BLOCKED != 0
    }

    /// Brings it up, in whatever state it was given; true if it was down.
    pub fn bring_up(&self) -> bool {
        self.mark_initialised();
        self.flags.fetch_and(!(DOWN | BLOCKED), Ordering::SeqCst) & DOWN != 0
    }

    /// Brings it up where it was when it was taken down; true if it was down and has something to run.
    pub fn bring_back_up(&self) -> bool {
        self.flags.fetch_and(!DOWN, Ordering::SeqCst) & (DOWN | BLOCKED) == DOWN
    }

    /// True if it has a state to run in.
    pub fn is_initialised(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & INITIALISED != 0
    }

    /// Notes that it has a state to run in.
    pub fn mark_initialised(&self) {
        self.flags.fetch_or(INITIALISED, Ordering::SeqCst);
    }

    /// Takes it down and notes that what it was doing is over, as INIT does.
    pub fn reset(&self) {
        self.flags.fetch_and(!INITIALISED, Ordering::SeqCst);
        self.take_down();
    }

    /// Takes it down; true if it was up.
    pub fn take_down(&self) -> bool {
        self.flags.fetch_or(DOWN, Ordering::SeqCst) & DOWN == 0
    }

    /// Adds a reason not to run.
    pub fn pause(&self) {
        self.pause_count.fetch_add(1, Ordering::SeqCst);
    }

    /// Adds this many reasons not to run.
    pub(crate) fn pause_times(&self, reasons: u32) {
        self.pause_count.fetch_add(reasons, Ordering::SeqCst);
    }

    /// Takes a reason not to run away; true if it was the last.
    pub fn unpause(&self) -> bool {
        let before = self.pause_count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1));
        before == Ok(1)
    }

    /// The CPU that it runs on, or in whose queue it stands or stood last.
    pub fn processor(&self) -> CpuId {
        CpuId(self.processor.load(Ordering::SeqCst))
    }

    /// It has come into this CPU's queue. Called with that queue's lock held.
    pub(crate) fn set_processor(&self, cpu: CpuId) {
        self.processor.store(cpu.0, Ordering::SeqCst);
    }

    /// Whom interrupt messages must name to mean it.
    pub fn lapic_identity(&self) -> Identity {
        Identity::unpack(self.lapic_identity.load(Ordering::SeqCst))
    }

    /// Shows the others whom interrupt messages must name.
    pub fn set_lapic_identity(&self, identity: Identity) {
        self.lapic_identity.store(identity.pack(), Ordering::SeqCst);
    }

    /// True if an event waits for it, by its `vcpu_info`. The guest may write anything there.
    pub fn upcall_pending(&self, machine: &M) -> bool {
        let Some((page, offset)) = self.info(machine) else { return false };
        page.load_u8(offset + VCPU_INFO_UPCALL_PENDING).is_some_and(|pending| pending != 0)
    }

    /// Where its `vcpu_info` lies: the frame, which is pinned for as long as the domain lives, and the offset.
    pub fn info_place(&self) -> Option<(Mfn, usize)> {
        let place = self.info.load(Ordering::SeqCst);
        (place != 0).then_some((Mfn(place >> PAGE_SHIFT), place as usize & (PAGE_SIZE - 1)))
    }

    /// True if the guest has chosen where its `vcpu_info` lies, which it may do once.
    pub fn has_own_info(&self) -> bool {
        self.own_info.load(Ordering::SeqCst)
    }

    /// Remembers that the guest has chosen where its `vcpu_info` lies.
    pub fn mark_own_info(&self) {
        self.own_info.store(true, Ordering::SeqCst);
    }

    /// Says where its `vcpu_info` lies; the caller has pinned the frame.
    pub fn set_info_place(&self, frame: Mfn, offset: usize) {
        self.info.store((frame.0 << PAGE_SHIFT) | offset as u64, Ordering::SeqCst);
    }

    /// It has no `vcpu_info` any more. Who looked at it before may do so until its CPU is quiet.
    pub(crate) fn forget_info(&self) {
        self.info.store(0, Ordering::SeqCst);
    }

    /// The page and offset of its `vcpu_info`.
    pub fn info<'m>(&self, machine: &'m M) -> Option<(&'m PageWords, usize)> {
        let (frame, offset) = self.info_place()?;
        Some((machine.page(frame)?, offset))
    }
}
