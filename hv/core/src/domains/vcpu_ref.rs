//! A vCPU together with the domain that keeps it alive.

use crate::domains::domain::Domain;
use crate::domains::vcpu::Vcpu;
use alloc::sync::Arc;
use xen_abi::VcpuId;
use xenolith_hal::Machine;

/// A vCPU together with the domain that keeps it alive.
pub struct VcpuRef<M: Machine> {
    pub domain: Arc<Domain<M>>,
    pub id: VcpuId,
}

impl<M: Machine> Clone for VcpuRef<M> {
    fn clone(&self) -> Self {
        Self { domain: Arc::clone(&self.domain), id: self.id }
    }
}

/// The same vCPU of the same domain, not only of the same number.
impl<M: Machine> PartialEq for VcpuRef<M> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && Arc::ptr_eq(&self.domain, &other.domain)
    }
}

impl<M: Machine> VcpuRef<M> {
    /// A vCPU of this domain that keeps the domain alive; none if there is no such vCPU or the domain is going.
    pub fn of(domain: &Domain<M>, id: VcpuId) -> Option<Self> {
        domain.vcpu(id)?;
        Some(Self { domain: domain.shared()?, id })
    }

    /// The vCPU; a `VcpuRef` is made only for one that exists.
    pub fn vcpu(&self) -> Option<&Vcpu<M>> {
        self.domain.vcpu(self.id)
    }
}
