//! A hypercall as its handler sees it.

use crate::components::access::{Action, Object, may};
use crate::components::grant::World;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::running::Running;
use crate::domains::vcpu::{Vcpu, VcpuCore};
use crate::memory::guest_memory::{GuestView, Layout};
use xen_abi::compat::Wire;
use xen_abi::{DomId, Errno, GuestHandle, Union};
use xenolith_hal::{GuestCpu, Machine};

/// The caller and its arguments. Copying from and to the guest goes by the page tables of the calling vCPU.
pub struct Call<'a, M: Machine> {
    pub hv: &'a Hypervisor<M>,
    pub domain: &'a Domain<M>,
    pub vcpu: &'a Vcpu<M>,
    /// The core of the calling vCPU.
    pub core: &'a mut VcpuCore<M>,
    /// The arguments as the guest passed them.
    pub args: [u64; 6],
    /// The layout of the caller's structures.
    pub layout: Layout,
    /// It is an entry of a multicall: it may not block, and it cannot be nested.
    pub in_multicall: bool,
}

impl<'a, M: Machine> Call<'a, M> {
    /// Makes a call of the running vCPU's own.
    pub const fn new(running: &'a mut Running<'_, M>, args: [u64; 6], layout: Layout) -> Self {
        let Running { hv, domain, vcpu, .. } = *running;
        Self { hv, domain, vcpu, core: running.core, args, layout, in_multicall: false }
    }

    /// Returns the caller's memory. Not inline: nearly every operation has use of it.
    #[inline(never)]
    pub fn memory(&self) -> GuestView<'a, M> {
        GuestView::new(self.hv.memory(self.domain), self.core.hardware.paging(), self.layout)
    }

    /// Returns an argument; 0 past the sixth.
    pub fn arg(&self, index: usize) -> u64 {
        self.args.get(index).copied().unwrap_or(0)
    }

    /// Returns the low 32 bits of an argument.
    pub fn arg_u32(&self, index: usize) -> u32 {
        self.arg(index) as u32
    }

    /// Returns an argument as a pointer.
    pub fn handle<T>(&self, index: usize) -> GuestHandle<T> {
        GuestHandle::new(self.arg(index))
    }

    /// Copies in the structure that an argument points to.
    ///
    /// **Errors:** `EFAULT`.
    pub fn read_arg<T: Wire>(&self, index: usize) -> Result<T, Errno> {
        self.memory().read(self.handle(index))
    }

    /// Copies a structure out to where an argument points.
    ///
    /// **Errors:** `EFAULT`.
    pub fn write_arg<T: Wire>(&self, index: usize, value: &T) -> Result<(), Errno> {
        self.memory().write(self.handle(index), value)
    }

    /// Returns a member of a union that was copied in with its structure: that was not translated, as a structure does
    /// not say which member it holds.
    pub fn union_member<T: Wire, const N: usize>(&self, union: &Union<N>) -> T {
        if self.layout == Layout::Native || T::COMPAT.is_same() {
            return union.read();
        }
        let mut value = T::new_zeroed();
        T::COMPAT.widen(&union.0, value.as_mut_bytes());
        value
    }

    /// Returns true if the number means the caller: `DOMID_SELF` or its own.
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
