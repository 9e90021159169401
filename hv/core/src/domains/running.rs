//! A vCPU that has a CPU now, with everything that an answer to its exit may touch.

use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::vcpu::{Vcpu, VcpuCore};
use xenolith_hal::Machine;

/// A vCPU that runs on this CPU: whose it is, what others may see of it, and the part that only its CPU touches.
pub struct Running<'a, M: Machine> {
    pub hv: &'a Hypervisor<M>,
    pub domain: &'a Domain<M>,
    pub vcpu: &'a Vcpu<M>,
    pub core: &'a mut VcpuCore<M>,
}
