//! A reference to a vCPU that keeps its domain alive.

use crate::domains::domain::Domain;
use crate::domains::vcpu::Vcpu;
use xen_abi::VcpuId;
use xenolith_hal::Machine;
use xenolith_sync::Arc;

/// A reference to a vCPU that keeps its domain alive.
pub struct VcpuRef<M: Machine> {
    pub domain: Arc<Domain<M>>,
    pub id: VcpuId,
}

impl<M: Machine> Clone for VcpuRef<M> {
    fn clone(&self) -> Self {
        Self { domain: Arc::clone(&self.domain), id: self.id }
    }
}

/// Compares domains by identity, not by number.
impl<M: Machine> PartialEq for VcpuRef<M> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && Arc::ptr_eq(&self.domain, &other.domain)
    }
}

impl<M: Machine> VcpuRef<M> {
    /// Creates a reference to a vCPU of this domain; None if there is no such vCPU or the domain is being freed.
    pub fn of(domain: &Domain<M>, id: VcpuId) -> Option<Self> {
        domain.vcpu(id)?;
        Some(Self { domain: domain.shared()?, id })
    }

    /// Returns the vCPU; a `VcpuRef` is made only for one that exists.
    pub fn vcpu(&self) -> Option<&Vcpu<M>> {
        self.domain.vcpu(self.id)
    }
}
