//! One hypercall, as its handler sees it.

use crate::components::access::{Action, Object, may};
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::running::Running;
use crate::domains::vcpu::{Vcpu, VcpuCore};
use crate::memory::guest_memory::GuestView;
use xen_abi::{DomId, Errno, GuestHandle};
use xenolith_hal::{GuestCpu, Machine};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Who calls, with what. Copying in and out goes by the page tables of the calling vCPU.
pub struct Call<'a, M: Machine> {
    pub hv: &'a Hypervisor<M>,
    pub domain: &'a Domain<M>,
    pub vcpu: &'a Vcpu<M>,
    /// The part of the calling vCPU that runs.
    pub core: &'a mut VcpuCore<M>,
    /// The arguments as the guest passed them.
    pub args: [u64; 6],
    /// One call of a multicall: it may not block, and it cannot be nested.
    pub in_multicall: bool,
}

impl<'a, M: Machine> Call<'a, M> {
    /// A call that the running vCPU makes by itself.
    pub const fn new(running: &'a mut Running<'_, M>, args: [u64; 6]) -> Self {
        let Running { hv, domain, vcpu, .. } = *running;
        Self { hv, domain, vcpu, core: running.core, args, in_multicall: false }
    }

    /// The caller's memory.
    pub fn memory(&self) -> GuestView<'a, M> {
        GuestView::new(&self.hv.machine, &self.domain.space, self.core.hardware.paging())
    }

    /// An argument; those past the sixth are 0.
    pub fn arg(&self, index: usize) -> u64 {
        self.args.get(index).copied().unwrap_or(0)
    }

    /// An argument of which the interface uses the low 32 bits.
    pub fn arg_u32(&self, index: usize) -> u32 {
        self.arg(index) as u32
    }

    /// An argument as a pointer.
    pub fn handle<T>(&self, index: usize) -> GuestHandle<T> {
        GuestHandle::new(self.arg(index))
    }

    /// Copies in the structure that an argument points to.
    ///
    /// **Errors:** `EFAULT`.
    pub fn read_arg<T: FromBytes + IntoBytes>(&self, index: usize) -> Result<T, Errno> {
        self.memory().read(self.handle(index))
    }

    /// Copies a structure out to where an argument points.
    ///
    /// **Errors:** `EFAULT`.
    pub fn write_arg<T: IntoBytes + Immutable>(&self, index: usize, value: &T) -> Result<(), Errno> {
        self.memory().write(self.handle(index), value)
    }

    /// True if the number means the caller: `DOMID_SELF` or its own.
    pub fn is_self(&self, id: DomId) -> bool {
        id == DomId::SELF || id == self.domain.id
    }

    /// Decides whether the caller may do this.
    ///
    /// **Errors:** `EPERM`.
    #[inline]
    pub fn may(&self, action: Action, object: Object) -> Result<(), Errno> {
        may(self.domain.subject(), action, object)
    }
}
