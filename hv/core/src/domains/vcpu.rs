//! A virtual CPU: the part that other CPUs may access while it runs, and the part of the CPU that runs it.

use crate::components::ioreq::Unfinished;
use crate::components::requests::Requests;
use crate::components::runstate::Runstate;
use crate::components::slot as schedule;
use crate::components::vcpu_timers::VcpuTimers;
use alloc::boxed::Box;
use xen_abi::shared_info::VCPU_INFO_UPCALL_PENDING;
use xen_abi::{Errno, VcpuId};
use xenolith_devices::lapic::{Identity, Lapic};
use xenolith_devices::msr::{MsrState, Mtrr};
use xenolith_devices::platform::Acknowledged;
use xenolith_hal::{CpuId, GuestCpu, Machine, Mfn, PAGE_SHIFT, PAGE_SIZE, PageWords, Time};
use xenolith_sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use xenolith_sync::{SpinLock, rank};

/// Blocked: waits for an event (HLT, SCHEDOP_block or SCHEDOP_poll).
const BLOCKED: u32 = 1;
/// Not brought up, or taken down.
const DOWN: u32 = 1 << 1;
/// It has a state to run in: it was brought up since it was created or since the last INIT, or was given a state.
const INITIALISED: u32 = 1 << 2;
/// Waits for a device model's answer, whatever else happens.
const WAITING: u32 = 1 << 3;

/// The part of a vCPU that moves to the CPU that runs it, and is in its slot otherwise. The CPU that has it has
/// exclusive access: one vCPU cannot run in two places.
pub struct VcpuCore<M: Machine> {
    pub hardware: M::Vcpu,
    pub lapic: Lapic,
    pub msrs: MsrState,
    /// The guest's TSC offset, in ticks.
    pub tsc_offset: i64,
    /// An NMI is pending.
    pub nmi_pending: bool,
    /// In the state after INIT: only a start-up IPI starts it (wait-for-SIPI).
    pub waits_for_startup: bool,
    /// The access that a device model has not answered yet. The vCPU enters its guest again when it is finished.
    pub unfinished: Option<Unfinished>,
    /// The interrupt of an 8259 that is offered at this entry.
    pub external: Option<Acknowledged>,
}

impl<M: Machine> VcpuCore<M> {
    /// Makes a core in the state after INIT, with the memory types `mtrr`.
    pub fn new(id: VcpuId, hardware: M::Vcpu, mtrr: Mtrr) -> Self {
        Self {
            hardware,
            lapic: Lapic::new(id),
            msrs: MsrState::with_mtrr(mtrr),
            tsc_offset: 0,
            nmi_pending: false,
            waits_for_startup: true,
            unfinished: None,
            external: None,
        }
    }

    /// Shifts the guest's time stamp counter by `ticks`.
    pub fn shift_tsc(&mut self, ticks: i64) {
        self.tsc_offset = self.tsc_offset.wrapping_add(ticks);
        self.hardware.shift_tsc(ticks);
    }
}

/// Where the core of a vCPU is.
enum Slot<M: Machine> {
    Here(Box<VcpuCore<M>>),
    /// A CPU has it, or somebody works on it.
    Away,
    /// Nowhere any more: what the machine allocated for it was freed.
    Gone,
}

/// Why the core of a vCPU is not to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoCore {
    /// A CPU has it, or somebody works on it.
    Away,
    /// The domain ended.
    Gone,
}

impl From<NoCore> for Errno {
    fn from(why: NoCore) -> Self {
        match why {
            NoCore::Away => Self::EAGAIN,
            NoCore::Gone => Self::EINVAL,
        }
    }
}

/// A virtual CPU.
pub struct Vcpu<M: Machine> {
    pub id: VcpuId,
    core: SpinLock<Slot<M>, rank::VcpuState>,
    flags: AtomicU32,
    pause_count: AtomicU32,
    pub requests: Requests,
    /// The machine address of its `vcpu_info`, or 0 for none.
    info: AtomicU64,
    /// The guest has registered the place of its `vcpu_info`.
    own_info: AtomicBool,
    /// The local APIC vector that events raise; 0 for none.
    pub upcall_vector: AtomicU8,
    pub timers: VcpuTimers,
    /// Its place with the scheduler.
    pub schedule: schedule::Slot,
    lapic_identity: AtomicU64,
    /// Its run state, and the time spent in each.
    pub runstate: SpinLock<Runstate, rank::VcpuState>,
    /// The guest virtual address where it wants [`Vcpu::runstate`] written; 0 for none.
    pub runstate_area: AtomicU64,
    /// The guest virtual address where it wants the time written; 0 for none.
    pub time_area: AtomicU64,
    /// The CPU that it runs on, or whose queue it is or was last in.
    processor: AtomicU32,
    /// True while it is on a CPU.
    running: AtomicBool,
    /// The guest's instruction pointer at the last exit. Of no protocol, so models leave it out.
    last_rip: core::sync::atomic::AtomicU64,
}

impl<M: Machine> Vcpu<M> {
    /// Creates a vCPU that is down.
    pub fn new(id: VcpuId, core: Box<VcpuCore<M>>, processor: CpuId, now: Time) -> Self {
        Self {
            timers: VcpuTimers::default(),
            schedule: schedule::Slot::default(),
            lapic_identity: AtomicU64::new(core.lapic.identity().pack()),
            runstate: SpinLock::new(Runstate::new(now)),
            runstate_area: AtomicU64::new(0),
            time_area: AtomicU64::new(0),
            id,
            core: SpinLock::new(Slot::Here(core)),
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

    /// Takes the core, for the CPU that is to run it; None if another CPU has it or the domain ended.
    pub fn take_core(&self) -> Option<Box<VcpuCore<M>>> {
        let core = self.take_out().ok()?;
        self.running.store(true, Ordering::SeqCst);
        Some(core)
    }

    fn take_out(&self) -> Result<Box<VcpuCore<M>>, NoCore> {
        let mut slot = self.core.lock();
        match core::mem::replace(&mut *slot, Slot::Away) {
            Slot::Here(core) => Ok(core),
            Slot::Away => Err(NoCore::Away),
            Slot::Gone => {
                *slot = Slot::Gone;
                Err(NoCore::Gone)
            }
        }
    }

    /// Puts the core back.
    pub fn put_core(&self, core: Box<VcpuCore<M>>) {
        let mut slot = self.core.lock();
        *slot = Slot::Here(core);
        self.running.store(false, Ordering::SeqCst);
    }

    /// Calls `work` with the core while no CPU runs it; None if one does or the domain ended.
    pub fn with_core<R>(&self, work: impl FnOnce(&mut VcpuCore<M>) -> R) -> Option<R> {
        match &mut *self.core.lock() {
            Slot::Here(core) => Some(work(core)),
            Slot::Away | Slot::Gone => None,
        }
    }

    /// Does the same as [`Vcpu::with_core`], with no lock held in `work`: for work that allocates memory or frames. The
    /// caller has paused the vCPU.
    ///
    /// **Errors:** see [`NoCore`].
    pub fn with_core_apart<R>(&self, work: impl FnOnce(&mut VcpuCore<M>) -> R) -> Result<R, NoCore> {
        let mut core = self.take_out()?;
        let result = work(&mut core);
        *self.core.lock() = Slot::Here(core);
        Ok(result)
    }

    /// Takes the core for good: later callers find that the domain ended. None if that was done already. The caller owns it
    /// alone, so that what the machine allocated for it can be freed.
    ///
    /// **Errors:** [`NoCore::Away`], and nothing was changed.
    pub(crate) fn take_core_for_good(&self) -> Result<Option<Box<VcpuCore<M>>>, NoCore> {
        match self.take_out() {
            Ok(core) => {
                *self.core.lock() = Slot::Gone;
                Ok(Some(core))
            }
            Err(NoCore::Gone) => Ok(None),
            Err(NoCore::Away) => Err(NoCore::Away),
        }
    }

    /// Calls `look` with the core if it is in its slot; None if a CPU has it, or another CPU holds the lock.
    pub fn try_with_core<R>(&self, look: impl FnOnce(&VcpuCore<M>) -> R) -> Option<R> {
        match &*self.core.try_lock()? {
            Slot::Here(core) => Some(look(core)),
            Slot::Away | Slot::Gone => None,
        }
    }

    /// Returns the guest's instruction pointer at the last exit.
    pub fn last_rip(&self) -> u64 {
        self.last_rip.load(Ordering::Relaxed)
    }

    /// Records the guest's instruction pointer at an exit.
    pub fn note_rip(&self, rip: u64) {
        self.last_rip.store(rip, Ordering::Relaxed);
    }

    /// Returns true while a CPU runs it.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::SeqCst)
    }

    /// Returns true if it is neither down nor blocked nor paused, and does not wait for a device model.
    pub fn is_runnable(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & (BLOCKED | DOWN | WAITING) == 0
            && self.pause_count.load(Ordering::SeqCst) == 0
    }

    /// Returns true if it was brought up.
    pub fn is_up(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & DOWN == 0
    }

    /// Returns true if it is blocked.
    pub fn is_blocked(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & BLOCKED != 0
    }

    /// Returns true if its pause count is not 0.
    pub fn is_paused(&self) -> bool {
        self.pause_count.load(Ordering::SeqCst) != 0
    }

    /// Returns its pause count.
    pub fn pauses(&self) -> u32 {
        self.pause_count.load(Ordering::SeqCst)
    }

    /// Marks it as blocked. The caller checks for pending events *afterwards* and calls [`Vcpu::unblock`] if there are
    /// any, so that an event that came in between is not missed.
    pub fn block(&self) {
        self.flags.fetch_or(BLOCKED, Ordering::SeqCst);
    }

    /// Marks it as not blocked; returns true if it was blocked.
    pub fn unblock(&self) -> bool {
        self.flags.fetch_and(!BLOCKED, Ordering::SeqCst) & BLOCKED != 0
    }

    /// Marks it as waiting for a device model, before that is asked. Events do not end the wait.
    pub fn begin_wait(&self) {
        self.flags.fetch_or(WAITING, Ordering::SeqCst);
    }

    /// Makes it look at the answer of its device model; returns true if it waited for one.
    pub fn end_wait(&self) -> bool {
        self.requests.post_answer();
        self.flags.fetch_and(!WAITING, Ordering::SeqCst) & WAITING != 0
    }

    /// Returns true if it waits for a device model.
    pub fn is_waiting(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & WAITING != 0
    }

    /// Brings it up, in whatever state it was given; returns true if it was down.
    pub fn bring_up(&self) -> bool {
        self.mark_initialised();
        self.flags.fetch_and(!(DOWN | BLOCKED), Ordering::SeqCst) & DOWN != 0
    }

    /// Brings it up in the state in which it was taken down; returns true if it was down and has a state to run in.
    pub fn bring_back_up(&self) -> bool {
        self.flags.fetch_and(!DOWN, Ordering::SeqCst) & (DOWN | BLOCKED) == DOWN
    }

    /// Returns true if it has a state to run in.
    pub fn is_initialised(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & INITIALISED != 0
    }

    /// Notes that it has a state to run in.
    pub fn mark_initialised(&self) {
        self.flags.fetch_or(INITIALISED, Ordering::SeqCst);
    }

    /// Takes it down and notes that its state is gone, as INIT does.
    pub fn reset(&self) {
        self.flags.fetch_and(!INITIALISED, Ordering::SeqCst);
        self.take_down();
    }

    /// Takes it down; returns true if it was up.
    pub fn take_down(&self) -> bool {
        self.flags.fetch_or(DOWN, Ordering::SeqCst) & DOWN == 0
    }

    /// Raises its pause count.
    pub fn pause(&self) {
        self.pause_count.fetch_add(1, Ordering::SeqCst);
    }

    /// Raises its pause count by `reasons`.
    pub(crate) fn pause_times(&self, reasons: u32) {
        self.pause_count.fetch_add(reasons, Ordering::SeqCst);
    }

    /// Lowers its pause count; returns true if that is now 0.
    pub fn unpause(&self) -> bool {
        let before = self.pause_count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1));
        before == Ok(1)
    }

    /// Returns the CPU that it runs on, or whose queue it is or was last in.
    pub fn processor(&self) -> CpuId {
        CpuId(self.processor.load(Ordering::SeqCst))
    }

    /// Sets the CPU whose queue it has entered. Called with that queue's lock held.
    pub(crate) fn set_processor(&self, cpu: CpuId) {
        self.processor.store(cpu.0, Ordering::SeqCst);
    }

    /// Returns the local APIC identity by which interrupt messages address it.
    pub fn lapic_identity(&self) -> Identity {
        Identity::unpack(self.lapic_identity.load(Ordering::SeqCst))
    }

    /// Publishes the local APIC identity.
    pub fn set_lapic_identity(&self, identity: Identity) {
        self.lapic_identity.store(identity.pack(), Ordering::SeqCst);
    }

    /// Returns true if an event is pending by its `vcpu_info`. The guest may write anything there.
    #[inline]
    pub fn upcall_pending(&self, machine: &M) -> bool {
        let Some((page, offset)) = self.info(machine) else { return false };
        page.load_u8(offset + VCPU_INFO_UPCALL_PENDING).is_some_and(|pending| pending != 0)
    }

    /// Returns the place of its `vcpu_info`: the frame, which is pinned until the domain is destroyed, and the offset.
    pub fn info_place(&self) -> Option<(Mfn, usize)> {
        let place = self.info.load(Ordering::SeqCst);
        (place != 0).then_some((Mfn(place >> PAGE_SHIFT), place as usize & (PAGE_SIZE - 1)))
    }

    /// Returns true if the guest has registered the place of its `vcpu_info`, which it may do once.
    pub fn has_own_info(&self) -> bool {
        self.own_info.load(Ordering::SeqCst)
    }

    /// Notes that the guest has registered the place of its `vcpu_info`.
    pub fn mark_own_info(&self) {
        self.own_info.store(true, Ordering::SeqCst);
    }

    /// Sets the place of its `vcpu_info`; the caller has pinned the frame.
    pub fn set_info_place(&self, frame: Mfn, offset: usize) {
        self.info.store((frame.0 << PAGE_SHIFT) | offset as u64, Ordering::SeqCst);
    }

    /// Clears the place of its `vcpu_info`. CPUs that looked it up before may use it until their next quiescent state.
    pub(crate) fn forget_info(&self) {
        self.own_info.store(false, Ordering::SeqCst);
        self.info.store(0, Ordering::SeqCst);
    }

    /// Returns the page and offset of its `vcpu_info`.
    pub fn info<'m>(&self, machine: &'m M) -> Option<(&'m PageWords, usize)> {
        let (frame, offset) = self.info_place()?;
        Some((machine.page(frame)?, offset))
    }
}
