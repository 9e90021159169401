//! A domain.

use crate::components::access::Subject;
use crate::components::control::{CreateOptions, DomainControl};
use crate::components::cpu_policy::KeptCpuid;
use crate::components::device_space::DeviceSpace;
use crate::components::devices::HostDevices;
use crate::components::event_channel::EventChannels;
use crate::components::grant::GrantTable;
use crate::components::hvm_params::HvmParams;
use crate::components::port_rights::PortRights;
use crate::components::stage::Stage;
use crate::components::watchdog::Watchdogs;
use crate::domains::vcpu::Vcpu;
use crate::domains::vcpus::Vcpus;
use crate::memory::frames::{PageRef, SharedFrame};
use crate::memory::physmap::Physmap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use xen_abi::{DomId, Errno, VcpuId};
use xenolith_devices::cpuid::CpuidTable;
use xenolith_devices::ports::PortDevices;
use xenolith_hal::{CpuId, Machine, Mfn};
use xenolith_sync::{Once, SpinLock, rank};

/// The number of no domain.
pub(crate) const NOBODY: DomId = DomId::FIRST_RESERVED;

/// How a domain ended its own life (`SHUTDOWN_*`), or [`Shutdown::NONE`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shutdown(pub u32);

impl Shutdown {
    /// It has not.
    pub const NONE: Self = Self(u32::MAX);
}

/// A domain: its vCPUs, its translation and everything that it owns.
pub struct Domain<M: Machine> {
    pub id: DomId,
    /// The control domain, which may do what others may not.
    pub privileged: bool,
    this: Weak<Self>,
    pub vcpus: Vcpus<M>,
    /// What the toolstack said about it.
    pub control: DomainControl,
    /// Its second-level translation.
    pub space: M::Space,
    /// The page that it shares with the hypervisor (`shared_info`).
    pub shared_info: Mfn,
    pub params: HvmParams,
    pub events: EventChannels,
    /// The lock over its translation, and the pool that pays for its page tables.
    pub physmap: Physmap,
    /// What it grants, and what it has mapped of others.
    pub grants: GrantTable,
    /// What CPUID says to it.
    pub cpuid: KeptCpuid,
    /// Which ports of the machine it reaches.
    pub ports: PortRights,
    /// Its own small devices behind ports.
    pub port_devices: SpinLock<PortDevices, rank::Device>,
    /// Which addresses of the machine it finds at their own place, if any.
    pub device_space: Once<DeviceSpace>,
    /// The machine's devices, if they are its own.
    pub devices: Once<HostDevices>,
    pub watchdogs: Watchdogs,
    /// What the guest said before it crashed (`SCHEDOP_shutdown_code`), [`Shutdown::NONE`] for nothing.
    pub shutdown_code: AtomicU32,
    runstate_updates: AtomicBool,
    /// References to its own pages that are held for as long as it lives.
    kept: SpinLock<Vec<PageRef>, rank::DomainPages>,
    /// The frame of `shared_info`, for domains that can end.
    shared_page: SpinLock<Option<SharedFrame>, rank::DomainPages>,
    /// How far taking it apart has come.
    pub(crate) destruction: SpinLock<Stage, rank::DomainControl>,
    shutdown: AtomicU32,
    life: AtomicU8,
    /// Which domain was dead already when this one died; see [`DomainTable`](crate::domains::table::DomainTable).
    pub(crate) died_before: AtomicU16,
    /// How many reasons there are for none of its vCPUs to run. Those that are made later take them over.
    pauses: SpinLock<u32, rank::DomainControl>,
    /// How far its clock is ahead of the machine's, in seconds.
    pub time_offset_seconds: AtomicU64,
}

/// How far the life of a domain has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Life {
    Alive = 0,
    /// It is being taken apart, and gets nothing new.
    Dying = 1,
    /// Nothing is left of it but pages that others still use.
    Dead = 2,
}

/// What a domain is made of.
pub struct DomainParts<M: Machine> {
    /// Its event channels, whose number is the domain's.
    pub events: EventChannels,
    pub physmap: Physmap,
    pub grants: GrantTable,
    pub privileged: bool,
    pub vcpus: Vec<Vcpu<M>>,
    pub space: M::Space,
    pub shared_info: Mfn,
    pub cpuid: CpuidTable,
    pub ports: PortRights,
}

impl<M: Machine> Domain<M> {
    /// A PVH domain whose vCPUs are all down and which is not paused. Its number is that of `events`.
    pub fn new(parts: DomainParts<M>) -> Arc<Self> {
        let options = CreateOptions::pvh(u32::try_from(parts.vcpus.len()).unwrap_or(u32::MAX));
        Self::controlled(parts, DomainControl::new(options, 0))
    }

    /// A domain whose vCPUs are all down, and which is paused as often as `control` says.
    pub fn controlled(parts: DomainParts<M>, control: DomainControl) -> Arc<Self> {
        let DomainParts { events, physmap, grants, privileged, vcpus, space, shared_info, cpuid, ports } = parts;
        let id = events.id();
        Arc::new_cyclic(|this| Self {
            id,
            privileged,
            this: this.clone(),
            vcpus: Vcpus::new(vcpus),
            pauses: SpinLock::new(control.state().pauses),
            control,
            space,
            shared_info,
            params: HvmParams::default(),
            events,
            physmap,
            grants,
            cpuid: KeptCpuid::new(cpuid),
            ports,
            port_devices: SpinLock::new(PortDevices::default()),
            device_space: Once::new(),
            devices: Once::new(),
            watchdogs: Watchdogs::default(),
            shutdown_code: AtomicU32::new(Shutdown::NONE.0),
            runstate_updates: AtomicBool::new(false),
            kept: SpinLock::new(Vec::new()),
            shared_page: SpinLock::new(None),
            destruction: SpinLock::new(Stage::FIRST),
            shutdown: AtomicU32::new(Shutdown::NONE.0),
            life: AtomicU8::new(Life::Alive as u8),
            died_before: AtomicU16::new(NOBODY.0),
            time_offset_seconds: AtomicU64::new(0),
        })
    }

    /// The vCPU with this number.
    pub fn vcpu(&self, id: VcpuId) -> Option<&Vcpu<M>> {
        self.vcpus.get(id.0 as usize)
    }

    /// The domain, shared; none once it is going.
    pub fn shared(&self) -> Option<Arc<Self>> {
        self.this.upgrade()
    }

    /// How the domain shut down.
    pub fn shutdown_reason(&self) -> Shutdown {
        Shutdown(self.shutdown.load(Ordering::SeqCst))
    }

    /// The domain as one that asks for something.
    #[inline]
    pub const fn subject(&self) -> Subject {
        Subject { id: self.id, privileged: self.privileged }
    }

    /// How far its life has come.
    pub fn life(&self) -> Life {
        match self.life.load(Ordering::SeqCst) {
            0 => Life::Alive,
            1 => Life::Dying,
            _ => Life::Dead,
        }
    }

    /// Its life goes on to `next`, never back. True if it was not there yet.
    pub(crate) fn pass_on(&self, next: Life) -> bool {
        self.life.fetch_max(next as u8, Ordering::SeqCst) < next as u8
    }

    /// True once the domain is being taken apart.
    pub fn is_dying(&self) -> bool {
        self.life() != Life::Alive
    }

    /// Notes how the domain shut down; the first reason stays. False if it was shut down already.
    pub(crate) fn begin_shutdown(&self, reason: u32) -> bool {
        self.shutdown.compare_exchange(Shutdown::NONE.0, reason, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Forgets that the domain shut down. False if it had not.
    pub(crate) fn end_shutdown(&self) -> bool {
        let was_down = self.shutdown.swap(Shutdown::NONE.0, Ordering::SeqCst) != Shutdown::NONE.0;
        if was_down {
            self.shutdown_code.store(Shutdown::NONE.0, Ordering::SeqCst);
        }
        was_down
    }

    /// Adds a reason not to run to every vCPU, and names to `stop` each CPU that runs one.
    pub(crate) fn pause_each(&self, stop: impl Fn(CpuId)) {
        let mut pauses = self.pauses.lock();
        *pauses = pauses.saturating_add(1);
        for vcpu in &self.vcpus {
            vcpu.pause();
            if vcpu.is_running() {
                stop(vcpu.processor());
            }
        }
    }

    /// Takes a reason not to run away from every vCPU, and gives those that have none left to `wake`.
    pub(crate) fn unpause_each(&self, wake: impl Fn(&Vcpu<M>)) {
        let mut pauses = self.pauses.lock();
        *pauses = pauses.saturating_sub(1);
        for vcpu in &self.vcpus {
            if vcpu.unpause() {
                wake(vcpu);
            }
        }
    }

    /// True while there is a reason for none of its vCPUs to run.
    pub fn is_paused(&self) -> bool {
        *self.pauses.lock() != 0
    }

    /// How many reasons there are for none of its vCPUs to run; none while another CPU holds the lock.
    pub fn pauses_if_free(&self) -> Option<u32> {
        self.pauses.try_lock().map(|pauses| *pauses)
    }

    /// Gives the domain its vCPUs, which are as paused as it is.
    ///
    /// **Errors:** they come back if it has some already.
    pub(crate) fn set_vcpus(&self, vcpus: Vec<Vcpu<M>>) -> Result<(), Vec<Vcpu<M>>> {
        let pauses = self.pauses.lock();
        for vcpu in &vcpus {
            vcpu.pause_times(*pauses);
        }
        self.vcpus.set(vcpus)
    }

    /// The vector that events raise on every vCPU, if the guest asked for that.
    pub fn callback_vector(&self) -> Option<u8> {
        self.params.callback_vector()
    }

    /// True if run states are marked while they are being written.
    pub fn shows_runstate_updates(&self) -> bool {
        self.runstate_updates.load(Ordering::SeqCst)
    }

    /// Whether run states are marked while they are being written.
    pub fn show_runstate_updates(&self, on: bool) {
        self.runstate_updates.store(on, Ordering::SeqCst);
    }

    /// Holds a reference for as long as the domain lives. At most one for each vCPU is ever held so.
    ///
    /// **Errors:** `ENOMEM`, and the reference comes back.
    pub fn keep(&self, reference: PageRef) -> Result<(), (Errno, PageRef)> {
        let mut kept = self.kept.lock();
        if kept.try_reserve(1).is_err() {
            return Err((Errno::ENOMEM, reference));
        }
        kept.push(reference);
        Ok(())
    }

    /// Gives the domain the frame of `shared_info`, which goes back when it ends.
    pub(crate) fn own_shared_page(&self, page: SharedFrame) {
        *self.shared_page.lock() = Some(page);
    }

    /// The frame of `shared_info`, once: nobody writes there from now on.
    pub(crate) fn give_up_shared_page(&self) -> Option<SharedFrame> {
        self.shared_page.lock().take()
    }

    /// The number by which the toolstack knows it.
    pub fn handle(&self) -> [u8; 16] {
        self.control.state().handle
    }

    /// Gives up what was to be held for as long as the domain lives: its vCPUs run no more, and nobody looks at their
    /// `vcpu_info`.
    pub(crate) fn let_go(&self) -> Option<PageRef> {
        self.kept.lock().pop()
    }
}
