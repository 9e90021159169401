//! A domain: its vCPUs, its p2m and everything that it owns.

use crate::components::access::Subject;
use crate::components::chipset::Chipset;
use crate::components::control::{CreateOptions, DomainControl};
use crate::components::cpu_policy::KeptCpuid;
use crate::components::device_space::DeviceSpace;
use crate::components::devices::HostDevices;
use crate::components::event_channel::EventChannels;
use crate::components::grant::GrantTable;
use crate::components::hvm_params::HvmParams;
use crate::components::ioreq::DeviceModel;
use crate::components::port_rights::PortRights;
use crate::components::stage::Stage;
use crate::components::viridian::SharedViridian;
use crate::components::watchdog::Watchdogs;
use crate::domains::vcpu::Vcpu;
use crate::domains::vcpus::Vcpus;
use crate::memory::frames::{PageRef, SharedFrame};
use crate::memory::physmap::Physmap;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use xen_abi::{DomId, Errno, VcpuId};
use xenolith_devices::cpuid::CpuidTable;
use xenolith_devices::ports::PortDevices;
use xenolith_hal::{CpuId, Machine, Mfn};
use xenolith_sync::{Arc, Once, Room, SpinLock, Weak, rank};

/// The domain number that stands for no domain.
pub(crate) const NOBODY: DomId = DomId::FIRST_RESERVED;

/// The reason of a domain's shutdown (`SHUTDOWN_*`), or [`Shutdown::NONE`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shutdown(pub u32);

impl Shutdown {
    /// It has not shut down.
    pub const NONE: Self = Self(u32::MAX);
}

/// A domain: its vCPUs, its p2m and everything that it owns.
pub struct Domain<M: Machine> {
    pub id: DomId,
    /// It is the control domain, which may do what others may not.
    pub privileged: bool,
    this: Weak<Self>,
    pub vcpus: Vcpus<M>,
    /// The toolstack's settings of it.
    pub control: DomainControl,
    /// Its nested page tables (p2m).
    pub space: M::Space,
    /// Its shared_info page.
    pub shared_info: Mfn,
    pub params: HvmParams,
    pub events: EventChannels,
    /// Its p2m lock, and the paging pool that pays for its page tables.
    pub physmap: Physmap,
    /// Its grant table, and its mappings of other domains' grants.
    pub grants: GrantTable,
    /// Its CPUID table.
    pub cpuid: KeptCpuid,
    /// The machine's ports that it may access.
    pub ports: PortRights,
    /// Its emulated port devices.
    pub port_devices: SpinLock<PortDevices, rank::Device>,
    /// The machine addresses that it sees identity-mapped, if any.
    pub device_space: Once<DeviceSpace>,
    /// The machine's devices, if they are passed through to it.
    pub devices: Once<HostDevices>,
    /// Who answers its accesses to devices that the hypervisor does not emulate: HVM guests have it, PVH guests do not.
    pub device_model: Once<Box<DeviceModel>>,
    /// The chipset of an HVM guest.
    pub chipset: Once<Box<Chipset>>,
    /// Microsoft's hypervisor interface, of a domain that the toolstack gave it.
    pub viridian: Once<Box<SharedViridian>>,
    pub watchdogs: Watchdogs,
    /// The reason that the guest gave before it crashed (`SCHEDOP_shutdown_code`), [`Shutdown::NONE`] for none.
    pub shutdown_code: AtomicU32,
    runstate_updates: AtomicBool,
    /// True once the log has a line about a hypercall of its that does not exist.
    pub told_of_unknown_hypercall: AtomicBool,
    /// References to its own pages that are held until it is destroyed.
    kept: SpinLock<Vec<PageRef>, rank::DomainPages>,
    /// The frame of `shared_info`, for domains that can be destroyed.
    shared_page: SpinLock<Option<SharedFrame>, rank::DomainPages>,
    /// Progress of its destruction.
    pub(crate) destruction: SpinLock<Stage, rank::DomainControl>,
    shutdown: AtomicU32,
    life: AtomicU8,
    /// The domain that had died before this one died; see [`DomainTable`](crate::domains::table::DomainTable).
    pub(crate) died_before: AtomicU16,
    /// The domain's pause count. vCPUs that are created later start with it.
    pauses: SpinLock<u32, rank::DomainControl>,
    /// The offset of its wall clock from the machine's, in seconds.
    pub time_offset_seconds: AtomicU64,
}

/// The stage of a domain's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Life {
    Alive = 0,
    /// It is being destroyed, and gets nothing new.
    Dying = 1,
    /// Nothing is left of it but pages that other domains still use (a zombie).
    Dead = 2,
}

/// The components of a new domain.
pub struct DomainParts<M: Machine> {
    /// Its event channels, which carry the domain's number.
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
    /// Creates a PVH domain whose vCPUs are all down and which is not paused. Its number is that of `events`. Its memory is
    /// allocated before, since parts for which there is none would be lost.
    pub fn new(room: Room<Self>, parts: DomainParts<M>) -> Arc<Self> {
        let options = CreateOptions::pvh(u32::try_from(parts.vcpus.len()).unwrap_or(u32::MAX));
        Self::controlled(room, parts, DomainControl::new(options, 0))
    }

    /// Creates a domain whose vCPUs are all down, and whose pause count is the one in `control`.
    pub fn controlled(room: Room<Self>, parts: DomainParts<M>, control: DomainControl) -> Arc<Self> {
        let DomainParts { events, physmap, grants, privileged, vcpus, space, shared_info, cpuid, ports } = parts;
        let id = events.id();
        room.fill_cyclic(|this| Self {
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
            device_model: Once::new(),
            chipset: Once::new(),
            viridian: Once::new(),
            watchdogs: Watchdogs::default(),
            shutdown_code: AtomicU32::new(Shutdown::NONE.0),
            runstate_updates: AtomicBool::new(false),
            told_of_unknown_hypercall: AtomicBool::new(false),
            kept: SpinLock::new(Vec::new()),
            shared_page: SpinLock::new(None),
            destruction: SpinLock::new(Stage::FIRST),
            shutdown: AtomicU32::new(Shutdown::NONE.0),
            life: AtomicU8::new(Life::Alive as u8),
            died_before: AtomicU16::new(NOBODY.0),
            time_offset_seconds: AtomicU64::new(0),
        })
    }

    /// Returns the vCPU with this number.
    pub fn vcpu(&self, id: VcpuId) -> Option<&Vcpu<M>> {
        self.vcpus.get(id.0 as usize)
    }

    /// Returns a reference that keeps the domain alive; None once it is being freed.
    pub fn shared(&self) -> Option<Arc<Self>> {
        self.this.upgrade()
    }

    /// Returns the reason of the domain's shutdown.
    pub fn shutdown_reason(&self) -> Shutdown {
        Shutdown(self.shutdown.load(Ordering::SeqCst))
    }

    /// Returns the domain as the subject of a permission check.
    #[inline]
    pub const fn subject(&self) -> Subject {
        Subject { id: self.id, privileged: self.privileged }
    }

    /// Returns the stage of its life.
    pub fn life(&self) -> Life {
        match self.life.load(Ordering::SeqCst) {
            0 => Life::Alive,
            1 => Life::Dying,
            _ => Life::Dead,
        }
    }

    /// Advances its life to `next`, never back. Returns true if it was not there yet.
    pub(crate) fn pass_on(&self, next: Life) -> bool {
        self.life.fetch_max(next as u8, Ordering::SeqCst) < next as u8
    }

    /// Returns true once the domain is being destroyed.
    pub fn is_dying(&self) -> bool {
        self.life() != Life::Alive
    }

    /// Sets the reason of the domain's shutdown; the first one stays. Returns false if it was shut down already.
    pub(crate) fn begin_shutdown(&self, reason: u32) -> bool {
        self.shutdown.compare_exchange(Shutdown::NONE.0, reason, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Clears the reason of the shutdown. Returns false if it had not shut down.
    pub(crate) fn end_shutdown(&self) -> bool {
        let was_down = self.shutdown.swap(Shutdown::NONE.0, Ordering::SeqCst) != Shutdown::NONE.0;
        if was_down {
            self.shutdown_code.store(Shutdown::NONE.0, Ordering::SeqCst);
        }
        was_down
    }

    /// Raises the pause count of every vCPU, and calls `stop` with each CPU that runs one.
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

    /// Lowers the pause count of every vCPU, and calls `wake` with each whose count drops to 0.
    pub(crate) fn unpause_each(&self, wake: impl Fn(&Vcpu<M>)) {
        let mut pauses = self.pauses.lock();
        *pauses = pauses.saturating_sub(1);
        for vcpu in &self.vcpus {
            if vcpu.unpause() {
                wake(vcpu);
            }
        }
    }

    /// Returns true while the domain's pause count is not 0.
    pub fn is_paused(&self) -> bool {
        *self.pauses.lock() != 0
    }

    /// Returns the domain's pause count; None while another CPU holds the lock.
    pub fn pauses_if_free(&self) -> Option<u32> {
        self.pauses.try_lock().map(|pauses| *pauses)
    }

    /// Sets the domain's vCPUs, which start with its pause count.
    ///
    /// **Errors:** the vCPUs, if it has some already.
    pub(crate) fn set_vcpus(&self, vcpus: Vec<Vcpu<M>>) -> Result<(), Vec<Vcpu<M>>> {
        let pauses = self.pauses.lock();
        for vcpu in &vcpus {
            vcpu.pause_times(*pauses);
        }
        self.vcpus.set(vcpus)
    }

    /// Returns the vector that events raise on every vCPU, if the guest asked for one.
    pub fn callback_vector(&self) -> Option<u8> {
        self.params.callback_vector()
    }

    /// Returns true if run states are marked while they are being written (`VMASST_TYPE_runstate_update_flag`).
    pub fn shows_runstate_updates(&self) -> bool {
        self.runstate_updates.load(Ordering::SeqCst)
    }

    /// Sets whether run states are marked while they are being written.
    pub fn show_runstate_updates(&self, on: bool) {
        self.runstate_updates.store(on, Ordering::SeqCst);
    }

    /// Holds a reference until the domain is destroyed. At most one for each vCPU is ever held so.
    ///
    /// **Errors:** `ENOMEM`, with the reference.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn keep(&self, reference: PageRef) -> Result<(), (Errno, PageRef)> {
        let mut kept = self.kept.lock();
        if kept.try_reserve(1).is_err() {
            return Err((Errno::ENOMEM, reference));
        }
        kept.push(reference);
        Ok(())
    }

    /// Sets the frame of `shared_info`, which is released when the domain is destroyed.
    pub(crate) fn own_shared_page(&self, page: SharedFrame) {
        *self.shared_page.lock() = Some(page);
    }

    /// Takes out the frame of `shared_info`, once: nothing writes there from now on.
    pub(crate) fn give_up_shared_page(&self) -> Option<SharedFrame> {
        self.shared_page.lock().take()
    }

    /// Returns the UUID by which the toolstack knows it.
    pub fn handle(&self) -> [u8; 16] {
        self.control.state().handle
    }

    /// Takes out one of the references that were held for the domain: its vCPUs run no more, and their `vcpu_info` is
    /// not accessed any more.
    pub(crate) fn let_go(&self) -> Option<PageRef> {
        self.kept.lock().pop()
    }
}
